"""The nearest matrix of a smaller rank (Eckart and Young, Psychometrika 1, 1936)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array


class Truncated(NamedTuple):
    """A layer of smaller rank.

    Attributes:
        values: in the shape of the layer.
        energy: sum of squares of the layer.
        lost: sum of squares of what is gone.
    """

    values: NDArray[np.float64]
    energy: float
    lost: float


def truncated(weights: Array, rank: int) -> Truncated:
    """A layer (L, *M axes) with the `rank` largest singular values of its matrix (L, M) alone.

    Args:
        weights: of any real type, with two axes at least.
        rank: from 0 to min(L, M); at that number nothing is lost.
    """
    matrix = np.asarray(weights, np.float64).reshape(len(weights), -1)
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    squares = np.square(singular)
    values = (left[:, :rank] * singular[:rank]) @ right[:rank]
    return Truncated(
        values.reshape(weights.shape), float(squares.sum()), float(squares[rank:].sum())
    )
