"""Gaussian noise addition: Modification 0 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from nnw_onnx.math import noise
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Parameter, WeightModification, Weights


@dataclass(frozen=True)
class GaussianNoise(WeightModification):
    """Adds N(0, (S sigma)^2) to each layer, sigma its population standard deviation.

    The preset `mpai-testbed` (NNWTestbed) is the same, with the layers listed by name.
    """

    name: ClassVar[str] = "gaussian-noise"
    layer_by_layer = True
    summary: ClassVar[str] = "zero-mean Gaussian noise on every weight of a layer"
    number: ClassVar[int | None] = 0
    family: ClassVar[Family] = "standard"
    parameter: ClassVar[Parameter] = Parameter(
        "S", "standard deviation of the noise / that of the layer's weights", "x sigma", 0.1, 0.3
    )

    intensity: Annotated[float, Ge(0)] = option(
        help="S: standard deviation of the noise / that of the layer's weights"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer with noise of its own; the layers share one generator, in the order given."""
        return {
            name: noise.add_gaussian(layer, self.intensity, rng) for name, layer in weights.items()
        }
