"""Results in the dtype of what they came from, rounded once."""

from __future__ import annotations

import numpy as np

from nnw_onnx.vocabulary import Array


def cast_like(values: Array, model: Array) -> Array:
    """Values in the dtype of `model`; what is too large becomes infinite, without a warning.

    Storing an infinite weight is refused by `Network.with_weights`, in words.
    """
    with np.errstate(over="ignore"):
        return values.astype(model.dtype, copy=False)
