"""Weights of one size that occurs again and again replaced by others: erases set values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import knowing
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

_MOST = 0.02
"""Share of the weights above which their type, or a grid, is what makes them equal."""


@dataclass(frozen=True)
class RedrawnRepeats(WeightModification):
    """Weights whose absolute value occurs many times in all layers are drawn from their layer anew.

    Weights that were learnt are hardly ever equal in 32 bits, while those that were set to the two
    values of a bit are. Zeros, which pruning makes, stay.

    Its default was chosen with a look at `tartaglione` and `constant-weight` in three small
    networks of CIFAR-10; their cards tell of networks and keys not looked at.
    """

    name: ClassVar[str] = "redrawn-repeats"
    title = "repeated values redrawn"
    summary: ClassVar[str] = "weights of a size that occurs again and again replaced by others"
    family: ClassVar[Family] = "adaptive"

    times: Annotated[int, Ge(2), Le(1 << 20)] = option(
        8, help="how often a size occurs at least, in all layers aimed at together"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer with repeated values of its own drawn anew; none if they are too many."""
        found = self._repeated(weights)
        if not 0 < self._share(weights, found) <= _MOST:
            return {name: layer.copy() for name, layer in weights.items()}
        return {name: _redrawn(layer, found, rng) for name, layer in weights.items()}

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at changed.

        Raises:
            NotApplicableError: no value is repeated, or so many that the type alone explains it.
        """
        aimed = {name: network.weights[name] for name in bench.layers}
        found = self._repeated(aimed)
        share = self._share(aimed, found)
        if not 0 < share <= _MOST:
            raise NotApplicableError(
                "redrawn-repeats: expected a few weights of equal size among weights that differ, "
                f"got {share:.0%} of them; leave it out for this network"
            )
        facts = {"values": len(found), "share": share}
        return knowing.told(super().modify(network, bench, rng), "method", facts=facts)

    def _repeated(self, weights: Weights) -> Array:
        """Sizes that occur so often, without 0."""
        sizes = [_sizes(layer).reshape(-1) for layer in weights.values()]
        every = np.concatenate([np.zeros(1, np.float32), *sizes])
        values, counts = np.unique(every, return_counts=True)
        often: Array = values[(counts >= self.times) & (values > 0)]
        return often

    def _share(self, weights: Weights, found: Array) -> float:
        """Share of the weights that have such a size."""
        total = sum(layer.size for layer in weights.values())
        hit = sum(int(np.count_nonzero(_among(layer, found))) for layer in weights.values())
        return hit / total if total else 0.0


def _sizes(layer: Array) -> Array:
    """Absolute values, exactly, in a type that sorts fast and takes as little memory as it can."""
    sizes: Array = np.abs(layer if layer.dtype == np.float64 else np.asarray(layer, np.float32))
    return sizes


def _among(layer: Array, found: Array) -> NDArray[np.bool_]:
    return np.isin(_sizes(layer), found)


def _redrawn(layer: Array, found: Array, rng: np.random.Generator) -> Array:
    changed, repeated = np.array(layer, np.float64), _among(layer, found)
    if repeated.any() and not repeated.all():
        changed[repeated] = rng.choice(changed[~repeated], int(np.count_nonzero(repeated)))
    return cast_like(changed, layer)
