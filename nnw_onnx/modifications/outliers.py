"""Large weights at random places: false ones among the large weights of a code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le

from nnw_onnx.kit import knowing
from nnw_onnx.math import pruning
from nnw_onnx.math.casting import cast_like
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Modified,
    Network,
    Parameter,
    WeightModification,
    Weights,
)


@dataclass(frozen=True)
class Outliers(WeightModification):
    """A random share of the weights of each layer is set to one large size, with random signs.

    Where large weights are read as the word of a code, each is a false one: of words of L weights a
    share s hits 1 - (1 - s)^L. The layer changes by about size sqrt(s) of its root mean square.
    """

    name: ClassVar[str] = "outliers"
    layer_by_layer = True
    title = "outliers put in"
    summary: ClassVar[str] = "a few random weights of each layer made large"
    family: ClassVar[Family] = "adaptive"
    parameter: ClassVar[Parameter] = Parameter(
        "S", "share of the weights that is made large", "%", option="share"
    )

    share: Annotated[float, Gt(0), Le(100)] = option(
        0.2, help="S: share of the weights of each layer in %, rounded"
    )
    size: Annotated[float, Gt(0), Le(1000)] = option(
        4.2, help="size of these weights / root mean square of the layer"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer with outliers of its own."""
        return {name: self._with(layer, rng) for name, layer in weights.items()}

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at changed."""
        return knowing.told(super().modify(network, bench, rng), "method and defaults")

    def _with(self, layer: Array, rng: np.random.Generator) -> Array:
        flat = np.array(layer, np.float64).reshape(-1)
        count = pruning.count(self.share, flat.size)
        if not count:
            return layer.copy()
        places = rng.choice(flat.size, count, replace=False, shuffle=False)
        unit = float(np.sqrt(np.mean(np.square(flat))))
        flat[places] = self.size * unit * (2 * rng.integers(2, size=count) - 1)
        return cast_like(flat.reshape(layer.shape), layer)
