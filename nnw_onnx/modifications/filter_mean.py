"""Mean filters in another order: erases what is read from the means of filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnw_onnx.kit import knowing
from nnw_onnx.math.casting import cast_like
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Modified,
    Network,
    WeightModification,
    Weights,
)


@dataclass(frozen=True)
class FilterMean(WeightModification):
    """Replaces the mean over the filters of each layer by a random permutation of its own entries.

    W becomes W - mean(W) + pi(mean(W)), the mean over axis 0. The new mean has the old entries and
    does not depend on any key, so a Payload read from it is read at random. It takes no data and
    no key. Layers with fewer than two filters or axes, such as biases, stay as they are.
    """

    name: ClassVar[str] = "filter-mean"
    layer_by_layer = True
    title = "Filter mean replaced"
    summary: ClassVar[str] = "entries of each layer's mean filter put into a random order"
    family: ClassVar[Family] = "adaptive"

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer with its mean filter in an order of its own."""
        return {name: _replaced(layer, rng) for name, layer in weights.items()}

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at changed."""
        return knowing.told(super().modify(network, bench, rng), "method")


def _replaced(layer: Array, rng: np.random.Generator) -> Array:
    if layer.ndim < 2 or len(layer) < 2:
        return layer.copy()
    exact = np.asarray(layer, np.float64)
    mean = exact.mean(axis=0)
    other = rng.permutation(mean.ravel()).reshape(mean.shape)
    return cast_like(exact - mean + other, layer)
