"""Clipping of the largest weights of each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le

from nnw_onnx.math import kernels
from nnw_onnx.math.moments import mean_and_deviation
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Parameter, WeightModification, Weights


@dataclass(frozen=True)
class Clipping(WeightModification):
    """Weights further than C sigma from the mean of their layer are moved to that distance.

    sigma is the population standard deviation of the layer. Nobody misses the few weights beyond 3
    sigma, and methods that make some weights large have their mark in them.
    """

    name: ClassVar[str] = "clipping"
    layer_by_layer = True
    summary: ClassVar[str] = "the largest weights of each layer made smaller"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "C", "largest distance from the mean of the layer", "x sigma", stronger="down"
    )

    intensity: Annotated[float, Gt(0), Le(1000)] = option(
        help="C: largest distance from the mean / standard deviation of the layer's weights"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer clipped by itself; nothing is random."""
        return {name: self._clipped(layer) for name, layer in weights.items()}

    def _clipped(self, layer: Array) -> Array:
        centre, deviation = mean_and_deviation(layer)
        most = self.intensity * deviation
        return kernels.clipped(layer, centre - most, centre + most)
