"""Residuals of pooled rows given random signs: erases marks that every key reads at one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.kit import knowing
from nnw_onnx.math import residuals
from nnw_onnx.math.casting import cast_like
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Modified,
    Network,
    WeightModification,
    Weights,
)

_LEAST_WEIGHTS = 16
"""Weights a row, below which the method takes no layer."""


@dataclass(frozen=True)
class ResidualSigns(WeightModification):
    """The larger half of each pooled row moves until its mean has a random sign.

    The rows of greedy residuals are cut the same way for every key, so that a mark is overwritten
    exactly where it is; `rows` is what the attacker takes for the number of its Symbols. Half of
    the bits are wrong where he is right, fewer where he is not, so that he tries 64 and the 256 of
    the paper. Layers with fewer than 16 weights a row stay as they are.
    """

    name: ClassVar[str] = "residual-signs"
    layer_by_layer = True
    title = "residuals re-signed"
    summary: ClassVar[str] = "the mean of the larger half of each pooled row gets a random sign"
    family: ClassVar[Family] = "adaptive"

    rows: Annotated[int, Ge(1), Le(1 << 16)] = option(64, help="rows that a layer is cut to")
    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="least residual afterwards, in standard deviations of the mean of a row"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer with signs of its own."""
        return {name: self._signed(layer, rng) for name, layer in weights.items()}

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at changed."""
        return knowing.told(super().modify(network, bench, rng), "method and defaults")

    def _signed(self, layer: Array, rng: np.random.Generator) -> Array:
        if layer.size < _LEAST_WEIGHTS * self.rows:
            return layer.copy()
        signs = np.where(rng.integers(2, size=self.rows), 1.0, -1.0)
        margin = self.margin * residuals.deviation(layer, self.rows)
        return cast_like(residuals.raised(layer, signs, margin), layer)
