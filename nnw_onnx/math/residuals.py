"""Residuals of pooled weights: the arithmetic of Liu, Weng, Zhu, ICML 2021 (greedy residuals).

The weights of a layer, flat, are cut to rows of blocks and averaged in each block; the half of a
row with the largest magnitudes stays, and the mean of the row with the rest at zero is its
residual.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array

_COLUMNS = 253
_HALVINGS = 30
_BEYOND = 1 + 1e-6


def shape(size: int, rows: int) -> tuple[int, int]:
    """Columns of the pooled matrix, and weights a block, for `size` >= `rows` weights."""
    columns = min(_COLUMNS, size // rows)
    return columns, size // (rows * columns)


def pooled(values: Array, rows: int) -> NDArray[np.float64]:
    """The rows (rows, columns) of means over blocks of weights."""
    columns, block = shape(values.size, rows)
    flat = np.asarray(values, np.float64).reshape(-1)[: rows * columns * block]
    found: NDArray[np.float64] = flat.reshape(rows, columns, block).mean(axis=2)
    return found


def larger_half(matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the larger half of each row is; of an odd number of columns one more stays."""
    dropped = matrix.shape[1] // 2
    order = np.argsort(np.abs(matrix), axis=1, kind="stable")
    kept = np.ones(matrix.shape, np.bool_)
    np.put_along_axis(kept, order[:, :dropped], values=False, axis=1)
    return kept


def means(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean (rows,) of each row without its smaller half: the residuals."""
    found: NDArray[np.float64] = np.where(larger_half(matrix), matrix, 0.0).mean(axis=1)
    return found


def deviation(values: Array, rows: int) -> float:
    """Standard deviation of the mean of a row of independent weights: sigma / sqrt(weights)."""
    columns, block = shape(values.size, rows)
    return float(np.std(values, dtype=np.float64)) / math.sqrt(columns * block)


def raised(values: Array, signs: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """The weights with every residual at least sign x margin, by the least constant for each row.

    The constant is added to all weights of the half of the row that stays.

    Args:
        values: of a layer, any shape.
        signs: (rows,) of 1 and -1.
        margin: least residual, in the unit of the weights.
    """
    matrix = pooled(values, len(signs))
    moved = signs[:, None] * _least_steps(signs, matrix, margin)
    added = np.where(larger_half(matrix), moved, 0.0)
    flat = np.array(values, np.float64).reshape(-1)
    block = shape(flat.size, len(signs))[1]
    flat[: added.size * block] += np.repeat(added.reshape(-1), block)
    return flat.reshape(values.shape)


def _least_steps(
    signs: NDArray[np.float64], matrix: NDArray[np.float64], margin: float
) -> NDArray[np.float64]:
    """The least steps (rows, 1) >= 0 by which the larger half moves until a residual is enough.

    The half that is the larger may change on the way, but the residual only grows: of the numbers
    that are moved those of the wrong sign shrink, and whatever takes their place counts for more.
    """
    upright = signs[:, None] * matrix
    half = larger_half(upright)
    low = np.zeros((len(matrix), 1))
    # Beyond it every number that is moved is larger than all others, and has the right sign.
    high = 2 * np.abs(matrix).max(axis=1, keepdims=True) + 2 * margin + low
    enough = means(upright) >= margin
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = means(upright + middle * half)[:, None] >= margin
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    # A little beyond, because exactly where two numbers change places rounding decides on them.
    return np.where(enough[:, None], 0.0, _BEYOND * high)
