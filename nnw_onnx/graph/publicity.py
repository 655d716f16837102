"""Layers whose weights a public network gives away: nobody needs a key to write them back."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from nnw_onnx.graph.layers import Listing
from nnw_onnx.vocabulary import WEIGHT_ROLES, Layer, Weighted

_NEAR = 0.01
"""Share of its norm by which a layer may differ from the public one: rounding to float16 moves it
by 0.0003, a rate of learning that leaves a layer nearly frozen by less than this."""


def beside(listing: Listing, network: Weighted, reference: Weighted, name: str) -> Listing:
    """The listing with what is public of each layer told in `Layer.public`.

    Args:
        listing: of the network.
        network: whose layers are compared.
        reference: a network that anybody can get, such as the one a fine-tuning began with.
        name: what the reference is called in words.
    """
    told = dict(_found(network, reference, name))
    entries = {
        key: dataclasses.replace(
            entry, layer=dataclasses.replace(entry.layer, public=told.get(key, entry.layer.public))
        )
        for key, entry in listing.items()
    }
    return dataclasses.replace(listing, entries=entries)


def _found(network: Weighted, reference: Weighted, name: str) -> Iterator[tuple[str, str]]:
    """Layer -> what of it is public; compared with every layer of its shape, its own name first."""
    alike: Mapping[tuple[int, ...], list[str]] = defaultdict(list)
    for layer in reference.layers:
        if layer.role in WEIGHT_ROLES and layer.size > 1:
            alike[layer.shape].append(layer.name)
    for layer in network.layers:
        if layer.role not in WEIGHT_ROLES or layer.shape not in alike:
            continue
        others = sorted(alike[layer.shape], key=lambda other: other != layer.name)
        distance, other = _nearest(network, layer, reference, others)
        if distance <= _NEAR:
            how = "equal to" if distance == 0 else f"{distance:.2g} of its norm away from"
            yield layer.name, f"{how} layer {other!r} of {name}"


def _nearest(
    network: Weighted, layer: Layer, reference: Weighted, others: list[str]
) -> tuple[float, str]:
    """Relative distance and name of the most similar of some layers of the same shape."""
    own = np.asarray(network.weights[layer.name], np.float64)
    norm = float(np.linalg.norm(own))
    best, found = np.inf, others[0]
    for name in others:
        there = np.asarray(reference.weights[name], np.float64)
        distance = float(np.linalg.norm(own - there)) / norm if norm > 0 else np.inf
        if distance < best:
            best, found = distance, name
        if best <= _NEAR:
            break
    return best, found
