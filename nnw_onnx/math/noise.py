"""Noise added to weights (MPAI-NNT, Modification 0)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array


def add_gaussian(weights: Array, ratio: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights + N(0, (ratio sigma)^2), sigma being their population standard deviation."""
    values = np.asarray(weights, dtype=np.float64)
    noise = rng.standard_normal(values.shape)
    noise *= ratio * float(values.std()) if values.size else 0.0
    noise += values
    return noise
