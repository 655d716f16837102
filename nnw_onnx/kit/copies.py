"""Copies of one network that went to several recipients, weight by weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.math.casting import cast_like
from nnw_onnx.vocabulary import Array, Layer, Network


def stacked(what: str, layer: Layer, copies: Sequence[Network]) -> NDArray[np.float64]:
    """The weights (K, *shape) of one layer in all copies, the first copy first.

    Args:
        what: who asks, for the message.
        layer: of the first copy.
        copies: K networks.

    Raises:
        ConfigurationError: a copy has no such layer, or one of another shape.
    """
    return np.stack([_values(what, layer, copy) for copy in copies])


def mean(what: str, copies: Sequence[Network]) -> dict[str, Array]:
    """The mean of every layer of the first copy that takes new weights, for `with_weights`.

    Computed in float64, and told in the type of the first copy.

    Args:
        what: who asks, for the message.
        copies: networks.

    Raises:
        ConfigurationError: see `stacked`.
    """
    first = copies[0]
    return {
        layer.name: cast_like(stacked(what, layer, copies).mean(axis=0), first.weights[layer.name])
        for layer in first.layers
        if layer.replaceable
    }


def _values(what: str, layer: Layer, copy: Network) -> NDArray[np.float64]:
    shapes = {other.name: other.shape for other in copy.layers}
    if shapes.get(layer.name) != layer.shape:
        raise ConfigurationError(
            f"{what}: expected copies of one network, got one without a layer {layer.name!r} of "
            f"shape {layer.shape}; give copies of the same network"
        )
    return np.asarray(copy.weights[layer.name], np.float64)
