"""Shrinkage: every weight is moved towards zero by the same distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Parameter, WeightModification, Weights


@dataclass(frozen=True)
class Shrinkage(WeightModification):
    """Soft threshold of Donoho (1995): w becomes sign(w) max(|w| - T sigma, 0), layer by layer."""

    name = "shrinkage"
    summary = "weights moved towards zero, those near it onto it"
    parameter = Parameter("T", "distance that every weight moves", "x sigma")

    intensity: Annotated[float, Gt(0)] = option(
        0.5, help="T: distance that every weight moves, in standard deviations"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> Weights:
        """Every layer shrunk by itself; nothing is random."""
        return {name: self._less(np.asarray(layer, np.float64)) for name, layer in weights.items()}

    def _less(self, layer: NDArray[np.float64]) -> NDArray[np.float64]:
        reach = self.intensity * layer.std()
        return layer - np.clip(layer, -reach, reach)
