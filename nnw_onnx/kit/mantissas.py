"""The bits of floating-point weights: which ones can keep a message, and how to reach them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array

BITS = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
"""Element type -> bits of its mantissa."""
_LEAST_EXPONENT = 2
"""Weights of a smaller (biased) exponent keep no bit: zeros stay zeros, runtimes flush the rest."""


def words(weights: Array) -> NDArray[np.unsignedinteger[Any]]:
    """The bits of contiguous floating-point weights as unsigned integers, a view."""
    return weights.view(np.dtype(f"u{weights.dtype.itemsize}"))


def carrying(weights: Array) -> NDArray[np.bool_]:
    """Which weights can keep bits of their mantissa; what these are now does not matter.

    None of a type that is not in `BITS`.
    """
    mantissa = BITS.get(weights.dtype.name)
    if mantissa is None:
        return np.zeros(weights.shape, np.bool_)
    bits = words(weights)
    sign = bits.dtype.type(1 << (8 * weights.dtype.itemsize - 1))
    big: NDArray[np.bool_] = (bits & ~sign) >= bits.dtype.type(_LEAST_EXPONENT << mantissa)
    return big
