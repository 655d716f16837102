"""Mean and standard deviation of a tensor of any size, in float64 and the memory of a block."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import kernels
from nnw_onnx.vocabulary import Array


def mean_and_deviation(weights: Array) -> tuple[float, float]:
    """Mean and population standard deviation; 0 and 0 of no weights.

    Each block has a mean and squares around it, so that a mean far from 0 costs no digits (Chan,
    Golub, LeVeque 1983).
    """
    values = kernels.flat(weights)
    if not values.size:
        return 0.0, 0.0

    def work(stretch: slice) -> list[tuple[int, float, float]]:
        # New memory for each block would take as long as the arithmetic.
        room = np.empty(kernels.BLOCK)
        return [_moments(values[block], room) for block in kernels.within(stretch)]

    parts = [part for stretch in kernels.over(values.size, work) for part in stretch]
    sizes, means, squares = np.array(parts).T
    mean = float(np.sum(sizes * means)) / values.size
    around = float(np.sum(squares + sizes * (means - mean) ** 2))
    return mean, math.sqrt(around / values.size)


def _moments(block: Array, room: NDArray[np.float64]) -> tuple[int, float, float]:
    exact = room[: block.size]
    exact[:] = block
    mean = float(exact.mean())
    exact -= mean
    np.square(exact, out=exact)
    return block.size, mean, float(exact.sum())
