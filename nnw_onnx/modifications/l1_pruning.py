"""L1 pruning: Modification 1 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.math import pruning
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Parameter, WeightModification, Weights


@dataclass(frozen=True)
class L1Pruning(WeightModification):
    """Sets the round(P n / 100) smallest absolute values of each layer of n weights to 0.

    Ties go by lowest flat index. The preset `mpai-testbed` (NNWTestbed, `l1_unstructured`) is the
    same, with P given as a proportion.
    """

    name: ClassVar[str] = "l1-pruning"
    layer_by_layer = True
    summary: ClassVar[str] = "the smallest weights of each layer set to zero"
    number: ClassVar[int | None] = 1
    family: ClassVar[Family] = "standard"
    parameter: ClassVar[Parameter] = Parameter(
        "P", "share of the weights of a layer that is removed", "%", 1, 90, high_single_layer=99.99
    )

    intensity: Annotated[float, Ge(0), Le(100)] = option(
        help="P: percentage of the smallest weights of each layer set to zero"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer pruned by itself; nothing is random."""
        return {
            name: pruning.smallest(layer, pruning.count(self.intensity, layer.size))
            for name, layer in weights.items()
        }
