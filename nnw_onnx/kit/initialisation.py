"""Fresh weights for a layer: what a network has before any training.

He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, for kernels; zeros for biases; the
neutral element for normalisations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from nnw_onnx.vocabulary import Array, Layer, Network

_NEUTRAL = {1: 1.0, 2: 0.0, 3: 0.0, 4: 1.0}
"""Input of a normalisation -> value: scale, shift, running mean, running variance."""
_NORMALISATIONS = ("BatchNormalization", "LayerNormalization", "GroupNormalization",
                   "InstanceNormalization", "RMSNormalization")  # fmt: skip


def fresh(network: Network, names: Iterable[str], rng: np.random.Generator) -> dict[str, Array]:
    """Fresh weights, canonical, of the named layers, drawn in the order of the network.

    Kernels are N(0, 2 / M) with M weights a filter, recurrent kernels uniform within
    1 / sqrt(hidden size), embeddings N(0, 1); biases and norms are neutral. A layer of another
    role, such as a table of positions, keeps its values.
    """
    wanted = set(names)
    return {
        layer.name: _fresh(layer, network, rng)
        for layer in network.layers
        if layer.name in wanted and layer.replaceable
    }


def last_layer(network: Network) -> tuple[str, ...]:
    """Names of the kernel that is computed last and of the biases behind it; empty without one."""
    kernels = [x for x in network.layers if x.role == "kernel" and x.replaceable]
    if not kernels:
        return ()
    last = max(kernels, key=lambda layer: layer.position)
    biases = [x.name for x in network.layers if x.role == "bias" and x.position >= last.position]
    return (last.name, *biases)


def _fresh(layer: Layer, network: Network, rng: np.random.Generator) -> Array:
    if layer.role == "kernel":
        inputs = max(1, layer.size // max(1, layer.shape[0]))
        return rng.normal(0.0, math.sqrt(2.0 / inputs), layer.shape)
    if layer.role == "recurrent":
        bound = 1.0 / math.sqrt(max(1, layer.shape[0] // 4))
        return rng.uniform(-bound, bound, layer.shape)
    if layer.role == "embedding":
        return rng.normal(0.0, 1.0, layer.shape)
    operator, _, index = (layer.consumers[0] if layer.consumers else "").rpartition(":")
    place = int(index) if index.isdigit() else 0
    if operator.split(":")[0] in _NORMALISATIONS and place in _NEUTRAL:
        return np.full(layer.shape, _NEUTRAL[place])
    if layer.role == "bias":
        return np.zeros(layer.shape)
    return np.array(network.weights[layer.name])
