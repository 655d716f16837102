"""Quantisers: the standard's min-max map, and those of deployed integer networks.

All arithmetic is in float64; the results are the dequantised weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array


def min_max(weights: Array, bits: int) -> NDArray[np.float64]:
    """Weights on 2^bits levels between their minimum and maximum (MPAI-NNT, Modification 3).

    q = round((w - lo) (2^B - 1) / (hi - lo)), w = q (hi - lo) / (2^B - 1) + lo, half to even.
    Constant and empty tensors are unchanged. `bits` is from 1 to 32.
    """
    values = np.array(weights, dtype=np.float64)
    if values.size == 0 or values.min() == values.max():
        return values
    low = float(values.min())
    step = (float(values.max()) - low) / (2**bits - 1)
    values -= low
    values /= step
    np.rint(values, out=values)
    values *= step
    values += low
    return values


def fake_quantize(
    weights: Array, bits: int = 8, *, symmetric: bool = True, axis: int | None = None
) -> NDArray[np.float64]:
    """Weights rounded as an integer runtime stores them.

    Args:
        weights: any float array.
        bits: from 2 to 16.
        symmetric: levels -(2^(B-1) - 1) ... 2^(B-1) - 1 and zero point 0; otherwise
            0 ... 2^B - 1 over the range extended to contain 0, with an integer zero point.
        axis: one scale for each index of this axis, or None for one scale.

    The scale is rounded to float32, as it is stored; a scale of 0 becomes 1.
    """
    values = np.asarray(weights, dtype=np.float64)
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis)
    low = np.minimum(values.min(axis=others, keepdims=True), 0.0)
    high = np.maximum(values.max(axis=others, keepdims=True), 0.0)
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
    bottom, top = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)
    scale = ((high - low) / (top - bottom)).astype(np.float32).astype(np.float64)
    scale = np.where(scale == 0, 1.0, scale)
    zero = np.rint(bottom - low / scale)
    levels = np.clip(np.rint(values / scale) + zero, bottom, top)
    quantized: NDArray[np.float64] = (levels - zero) * scale
    return quantized
