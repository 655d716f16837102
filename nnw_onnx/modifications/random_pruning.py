"""Random pruning: Modification 2 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.math import pruning
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
class RandomPruning(WeightModification):
    """Sets round(R N / 100) of the N weights of all listed layers, drawn together, to 0.

    The preset `mpai-testbed` (NNWTestbed) is scope "layer": round(R n / 100) in each layer.
    """

    name: ClassVar[str] = "random-pruning"
    summary: ClassVar[str] = "weights drawn at random, regardless of layer, set to zero"
    number: ClassVar[int | None] = 2
    family: ClassVar[Family] = "standard"
    parameter: ClassVar[Parameter] = Parameter(
        "R", "share of the weights of all layers that is removed", "%", 1, 10
    )

    intensity: Annotated[float, Ge(0), Le(100)] = option(
        help="R: percentage of weights, drawn at random, set to zero"
    )
    scope: Literal["all", "layer"] = option(
        "all", help="draw over all layers together (the standard), or in each layer (mpai-testbed)"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer with its share of the removed weights."""
        removed = self._removed([layer.size for layer in weights.values()], rng)
        pairs = zip(weights.items(), removed, strict=True)
        return {name: pruning.drawn(layer, here, rng) for (name, layer), here in pairs}

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at pruned, one after the other."""
        sizes = {layer.name: layer.size for layer in network.layers}
        removed = self._removed([sizes[name] for name in bench.layers], rng)
        for name, here in zip(bench.layers, removed, strict=True):
            pruned = pruning.drawn(network.weights[name], here, rng)
            network = network.with_weights({name: pruned})
        return Modified(network)

    def _removed(self, sizes: list[int], rng: np.random.Generator) -> list[int]:
        """How many weights of each layer are removed."""
        if self.scope == "all":
            return pruning.shares(sizes, pruning.count(self.intensity, sum(sizes)), rng)
        return [pruning.count(self.intensity, size) for size in sizes]
