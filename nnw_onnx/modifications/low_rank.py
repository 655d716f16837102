"""Low-rank approximation of each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.math.casting import cast_like
from nnw_onnx.math.low_rank import Truncated, truncated
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Json,
    Modified,
    Network,
    Parameter,
    WeightModification,
    Weights,
)


@dataclass(frozen=True)
class LowRank(WeightModification):
    """Each layer, as a matrix (filters, weights of a filter), keeps its largest singular values.

    Layers of one axis or of rank 1 stay as they are. The facts tell how much of the weights is
    gone, as a ratio of root mean squares: independent weights are the worst case.
    """

    name: ClassVar[str] = "low-rank"
    title = "low rank"
    summary: ClassVar[str] = "each layer with its largest singular values alone"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "K", "share of the singular values that is kept", "%", stronger="down"
    )

    intensity: Annotated[float, Gt(0), Le(100)] = option(
        help="K: percentage of the singular values of each layer that is kept; one at least"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer of smaller rank; nothing is random."""
        return _values(self._truncated(weights), weights)

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at of smaller rank."""
        aimed = {name: network.weights[name] for name in bench.layers}
        found = self._truncated(aimed)
        return Modified(network.with_weights(_values(found, aimed)), facts=_facts(found))

    def _truncated(self, weights: Weights) -> dict[str, Truncated]:
        found = {}
        for name, layer in weights.items():
            full = min(len(layer), layer.size // len(layer)) if layer.ndim > 1 and layer.size else 0
            if full > 1 and not np.isfinite(np.asarray(layer, np.float64)).all():
                raise NotApplicableError(
                    f"{self.name}: expected finite weights, got NaN or infinite ones in layer "
                    f"{name!r}; leave it out for this network"
                )
            if full > 1:
                found[name] = truncated(layer, max(1, round(self.intensity * full / 100)))
        return found


def _values(found: Mapping[str, Truncated], weights: Weights) -> dict[str, Array]:
    return {
        name: cast_like(found[name].values, layer) if name in found else layer.copy()
        for name, layer in weights.items()
    }


def _facts(found: Mapping[str, Truncated]) -> dict[str, Json]:
    energy, lost = sum(t.energy for t in found.values()), sum(t.lost for t in found.values())
    return {"residual rms / rms": math.sqrt(lost / energy) if energy else 0.0}
