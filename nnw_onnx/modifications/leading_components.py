"""Leading singular components subtracted: takes a strong rank-one mark out of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.kit import knowing
from nnw_onnx.math.casting import cast_like
from nnw_onnx.math.low_rank import truncated
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
class LeadingComponents(WeightModification):
    """Each layer, as a matrix (filters, weights of a filter), loses its first singular components.

    A mark that adds one vector to every filter, times a sign of the filter, is a term of rank one.
    It is the first component of a layer of independent weights once its root mean square exceeds
    about (filters x weights a filter)^(-1/4) of theirs. Trained layers have large components of
    their own, which then go instead. Layers with fewer than two filters or axes stay as they are.
    """

    name: ClassVar[str] = "leading-components"
    layer_by_layer = True
    title = "leading components removed"
    summary: ClassVar[str] = "the first singular components of each layer subtracted"
    family: ClassVar[Family] = "adaptive"
    parameter: ClassVar[Parameter] = Parameter(
        "K", "singular components that are subtracted", "", option="count"
    )

    count: Annotated[int, Ge(1), Le(1 << 12)] = option(
        1, help="K: singular components that are subtracted; one at least stays"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer without its first components; nothing is random."""
        return {name: self._without(layer) for name, layer in weights.items()}

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at changed."""
        return knowing.told(super().modify(network, bench, rng), "method")

    def _without(self, layer: Array) -> Array:
        least = min(len(layer), layer.size // len(layer)) if layer.ndim > 1 and layer.size else 0
        if least < 2:
            return layer.copy()
        leading = truncated(layer, min(self.count, least - 1)).values
        return cast_like(np.asarray(layer, np.float64) - leading, layer)
