"""Quantisers: the standard's min-max map, and those of deployed integer networks.

All arithmetic is in float64; the results are the dequantised weights, rounded once to the dtype of
the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import kernels
from nnw_onnx.vocabulary import Array


def min_max(weights: Array, bits: int) -> Array:
    """Weights on 2^bits levels between their minimum and maximum (MPAI-NNT, Modification 3).

    q = round((w - lo) (2^B - 1) / (hi - lo)), w = q (hi - lo) / (2^B - 1) + lo, half to even.
    Constant and empty tensors are unchanged. `bits` is from 1 to 32.
    """
    values = kernels.flat(weights)
    if not values.size or values.min() == values.max():
        return np.array(weights)
    low, high = float(values.min()), float(values.max())
    step = (high - low) / (2**bits - 1)

    def rounded(exact: NDArray[np.float64], block: slice) -> None:
        exact -= low
        exact /= step
        np.rint(exact, out=exact)
        exact *= step
        exact += low

    return _each(values, rounded).reshape(weights.shape)


def fake_quantize(
    weights: Array, bits: int = 8, *, symmetric: bool = True, axis: int | None = None
) -> Array:
    """Weights rounded as an integer runtime stores them.

    Args:
        weights: any float array.
        bits: from 2 to 16.
        symmetric: levels -(2^(B-1) - 1) ... 2^(B-1) - 1 and zero point 0; otherwise
            0 ... 2^B - 1 over the range extended to contain 0, with an integer zero point.
        axis: one scale for each index of this axis, or None for one scale.

    The scale is rounded to float32, as it is stored; a scale of 0 becomes 1.
    """
    if not weights.size:
        return np.array(weights)
    ordered = weights if axis is None else np.moveaxis(weights, axis, 0)
    rows = kernels.flat(ordered).reshape(1 if axis is None else len(ordered), -1)
    grid = _Grid.of(rows, bits, symmetric)
    result = _each(rows.reshape(-1), grid.round).reshape(ordered.shape)
    return result if axis is None else np.ascontiguousarray(np.moveaxis(result, 0, axis))


@dataclass(frozen=True)
class _Grid:
    """The levels of each row of weights.

    Attributes:
        length: weights of a row.
        scale: (rows,) distance of two levels.
        zero: (rows,) the level of 0.
        bottom: the lowest level.
        top: the highest level.
    """

    length: int
    scale: NDArray[np.float64]
    zero: NDArray[np.float64]
    bottom: int
    top: int

    @classmethod
    def of(cls, rows: Array, bits: int, symmetric: bool) -> _Grid:
        """The grid of (rows, length) weights."""
        low = np.minimum(rows.min(axis=1).astype(np.float64), 0.0)
        high = np.maximum(rows.max(axis=1).astype(np.float64), 0.0)
        if symmetric:
            high = np.maximum(-low, high)
            low = -high
        bottom, top = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)
        scale = ((high - low) / (top - bottom)).astype(np.float32).astype(np.float64)
        scale = np.where(scale == 0, 1.0, scale)
        return cls(rows.shape[1], scale, np.rint(bottom - low / scale), bottom, top)

    def round(self, exact: NDArray[np.float64], block: slice) -> None:
        """Round the weights of a block of the flat rows, in place."""
        scale, zero = self._at(self.scale, block), self._at(self.zero, block)
        exact /= scale
        np.rint(exact, out=exact)
        exact += zero
        np.clip(exact, self.bottom, self.top, out=exact)
        exact -= zero
        exact *= scale

    def _at(self, each: NDArray[np.float64], block: slice) -> NDArray[np.float64]:
        """The number of each row at the weights of a block."""
        first, last = block.start // self.length, (block.stop - 1) // self.length
        if first == last:
            return each[first : first + 1]
        ends = np.arange(first, last + 2) * self.length
        lengths = np.diff(np.clip(ends, block.start, block.stop))
        return np.repeat(each[first : last + 1], lengths)


def _each(values: Array, change: Callable[[NDArray[np.float64], slice], None]) -> Array:
    """The weights after a change of each block in float64, rounded once to their dtype."""
    result = np.empty_like(values)

    def work(stretch: slice) -> None:
        with np.errstate(over="ignore"):
            for block in kernels.within(stretch):
                exact = values[block].astype(np.float64)
                change(exact, block)
                result[block] = exact

    kernels.over(values.size, work)
    return result
