"""Arrays of any size, taken some rows at a time: nothing is made in float64 of all of one at once.

An array of at most `MOST` numbers is one block, so that sums over it are those of numpy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array

MOST = 1 << 22
"""Numbers of an array that is one block."""
_STEP = 1 << 18
"""Numbers of a block of a larger one, unless a single row has more."""
# Of twice as many, an array in float64 has 4 MB: numpy takes huge pages for those, which the system
# clears for each block anew, and sums take ten times as long.

F64 = NDArray[np.float64]


def rows(array: Array) -> Iterator[slice]:
    """Ranges of the first axis, in which blocks lie."""
    if not array.ndim or array.size <= MOST:
        yield slice(None)
        return
    step = max(1, _STEP // (array.size // len(array)))
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def converted(array: Array) -> Iterator[F64]:
    """The blocks of an array in float64; those of a large one as they lie in memory."""
    ordered = np.atleast_1d(array) if array.size <= MOST else array.ravel(order="K")
    for part in rows(ordered):
        yield np.asarray(ordered[part], np.float64)


def finite(array: Array) -> bool:
    """Whether no value is NaN or infinite."""
    return all(bool(np.isfinite(block).all()) for block in converted(array))


def extremes(array: Array) -> tuple[float, float]:
    """The smallest and the largest value of an array that is not empty; NaN where one is."""
    found = np.array([(block.min(), block.max()) for block in converted(array)])
    return float(found[:, 0].min()), float(found[:, 1].max())


def variance(array: Array) -> float:
    """Population variance (>= 0), from two passes where there are several blocks."""
    if array.size <= MOST:
        return float(np.var(np.asarray(array, np.float64)))
    mean = sum(float(block.sum()) for block in converted(array)) / array.size
    return sum(float(np.square(block - mean).sum()) for block in converted(array)) / array.size


def mean_square(array: Array) -> float:
    """Mean of the squares (>= 0)."""
    if array.size <= MOST:
        return float(np.mean(np.square(np.asarray(array, np.float64))))
    return sum(float(np.square(block).sum()) for block in converted(array)) / array.size


def result_type(array: Array) -> type[np.float32] | type[np.float64]:
    """In what new values of an array are kept: those of a large one in float32 stay so."""
    return np.float32 if array.size > MOST and array.dtype == np.float32 else np.float64
