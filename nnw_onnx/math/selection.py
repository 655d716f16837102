"""The smallest or largest values of a tensor of any size, found without sorting all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import kernels
from nnw_onnx.vocabulary import Array

_SAMPLE = 1 << 16
_DEVIATIONS = 5
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Kth:
    """Where a rank lies among absolute values.

    Attributes:
        value: the absolute value of this rank.
        below: how many are smaller.
        equal: how many are equal to it.
    """

    value: float
    below: int
    equal: int


@dataclass(frozen=True)
class _Part:
    """Absolute values against two bounds: how many lie where, and those strictly between."""

    below: int
    to_low: int
    below_high: int
    to_high: int
    between: list[NDArray[np.floating]]


def magnitudes(values: Array) -> NDArray[np.floating]:
    """Absolute values in the type that all of them are exact in."""
    wide = values.astype(kernels.computed_in(values.dtype))
    found: NDArray[np.floating] = np.abs(wide, out=wide)
    return found


def kth_magnitude(values: Array, rank: int) -> Kth:
    """The absolute value of which `rank` others are no larger, exactly.

    Two bounds that a sample gives enclose it nearly always (Floyd and Rivest 1975), and only what
    lies between them is partitioned; else everything is.

    Args:
        values: (n,) floating-point numbers; NaN counts as larger than all.
        rank: 0 to n - 1.
    """
    if values.size <= 4 * _SAMPLE:
        return _of(magnitudes(values), rank)
    low, high = _bounds(values, rank)
    found = _between(_against(values, low, high), low, high, rank)
    return found or _of(magnitudes(values), rank)


def largest(values: Array, count: int) -> NDArray[np.intp]:
    """Flat places of the `count` largest values, the largest first; ties by lowest place."""
    flat = kernels.flat(values)
    count = min(count, flat.size)
    if not count:
        return np.zeros(0, np.intp)
    limit = np.partition(flat, flat.size - count)[flat.size - count]
    above = np.flatnonzero(flat > limit)
    chosen = np.concatenate([above, np.flatnonzero(flat == limit)[: count - len(above)]])
    return chosen[np.argsort(-flat[chosen], kind="stable")]


def _of(sizes: NDArray[np.floating], rank: int) -> Kth:
    sizes.partition(rank)
    value = sizes[rank]
    return Kth(float(value), int(np.sum(sizes < value)), int(np.sum(sizes == value)))


def _bounds(values: Array, rank: int) -> tuple[float, float]:
    # Multiples of the golden ratio meet no period that weights may lie in, and need no randomness.
    places = np.arange(_SAMPLE) * _GOLDEN % 1 * values.size
    sample = magnitudes(values[places.astype(np.int64)])
    sample.sort()
    share = (rank + 0.5) / values.size
    centre = share * _SAMPLE
    margin = _DEVIATIONS * math.sqrt(centre * (1 - share)) + _DEVIATIONS
    first, last = math.floor(centre - margin), math.ceil(centre + margin)
    low = -math.inf if first < 0 else float(sample[first])
    return low, math.inf if last >= _SAMPLE else float(sample[last])


def _against(values: Array, low: float, high: float) -> _Part:
    def work(stretch: slice) -> list[_Part]:
        return [_compared(values[block], low, high) for block in kernels.within(stretch)]

    parts = [part for stretch in kernels.over(values.size, work) for part in stretch]
    return _Part(
        sum(part.below for part in parts),
        sum(part.to_low for part in parts),
        sum(part.below_high for part in parts),
        sum(part.to_high for part in parts),
        [sizes for part in parts for sizes in part.between],
    )


def _compared(values: Array, low: float, high: float) -> _Part:
    sizes = magnitudes(values)
    to_low, below_high = sizes <= low, sizes < high
    return _Part(
        int(np.count_nonzero(sizes < low)),
        int(np.count_nonzero(to_low)),
        int(np.count_nonzero(below_high)),
        int(np.count_nonzero(sizes <= high)),
        [sizes[below_high > to_low]],
    )


def _between(part: _Part, low: float, high: float, rank: int) -> Kth | None:
    if part.below <= rank < part.to_low:
        return Kth(low, part.below, part.to_low - part.below)
    if part.below_high <= rank < part.to_high:
        return Kth(high, part.below_high, part.to_high - part.below_high)
    if not part.to_low <= rank < part.below_high:
        return None
    inner = _of(np.concatenate(part.between), rank - part.to_low)
    return Kth(inner.value, part.to_low + inner.below, inner.equal)
