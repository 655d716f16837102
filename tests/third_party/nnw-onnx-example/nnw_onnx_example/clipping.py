"""Clipping: weights beyond some standard deviations are cut to that value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Parameter, WeightModification, Weights


@dataclass(frozen=True)
class Clipping(WeightModification):
    """Cuts each layer at mean +- C standard deviations."""

    name = "clipping"
    summary = "weights beyond some standard deviations cut to that value"
    parameter = Parameter(
        "C", "largest distance from the mean / standard deviation", "ratio", 0.5, 3, stronger="down"
    )

    intensity: Annotated[float, Gt(0)] = option(
        2.0, help="C: largest distance from the mean, in standard deviations"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> Weights:
        """Every layer cut by itself; nothing is random."""
        return {name: self._cut(np.asarray(layer, np.float64)) for name, layer in weights.items()}

    def _cut(self, layer: NDArray[np.float64]) -> NDArray[np.float64]:
        middle, reach = layer.mean(), self.intensity * layer.std()
        return np.clip(layer, middle - reach, middle + reach)
