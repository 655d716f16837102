"""Which part of a network's weights a choice of layers reaches, and which layers are copies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from nnw_onnx.graph.layers import ListedLayer, Listing
from nnw_onnx.vocabulary import WEIGHT_ROLES, Array, Coverage, Layer, Weights

_LOOKED_AT = 64
"""Numbers that two tensors are compared by before all of them are."""


def coverage(listing: Listing, names: Iterable[str]) -> Coverage:
    """What these layers reach of the floating-point numbers that the network computes with.

    Chosen layers reach the tensors that take part in their weights too, but for masks and vectors
    that do not learn. Scales and zero points of integers, and numbers that say sizes, do not count.
    """
    chosen = [listing[name] for name in names]
    reached = {entry.tensor.address for entry in chosen}
    for entry in chosen:
        parts = () if entry.weights is None else entry.weights.parts
        reached |= {p.tensor.address for p in parts if p.tensor is not None}
    left: Counter[str] = Counter(listing.others)
    total = 0
    for entry in listing.values():
        layer = entry.layer
        if entry in chosen or (entry.tensor.address in reached and layer.learns and layer.live):
            total += layer.size
        else:
            left[_reason(entry)] += layer.size
    most_first = {reason: count for reason, count in left.most_common() if count}
    return Coverage(total, total + sum(most_first.values()), most_first)


def _reason(entry: ListedLayer) -> str:
    layer = entry.layer
    if not layer.live:
        return "dead"
    if entry.fixed is not None:
        return entry.fixed
    if layer.role in WEIGHT_ROLES and not layer.replaceable:
        return "not replaceable"
    return layer.role if layer.role != "other" else f"other ({layer.operator})"


def copies(
    layers: Sequence[Layer], weights: Weights, stored: Weights
) -> tuple[tuple[str, ...], ...]:
    """Names of layers that hold the same weights in tensors of their own; each group in order.

    Exporters write tied weights once or several times, and turned around in one of the places.
    What arrives by arithmetic is compared with nothing.

    Args:
        layers: of the network.
        weights: as they arrive, read where a few numbers are equal.
        stored: as the file has them, from which the few numbers of quantized layers are taken.
    """
    alike: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for layer in layers:
        if layer.role in WEIGHT_ROLES and layer.size > 1 and not layer.arithmetic:
            seen = stored if layer.quantization else weights
            few = _few(seen[layer.name])
            alike[layer.shape, layer.dtype, layer.quantization, few].append(layer.name)
    found = [g for names in alike.values() if len(names) > 1 for g in _equal(names, weights)]
    return tuple(sorted(found))


def _few(array: Array) -> bytes:
    """Some numbers of an array, so that those that differ need not be read whole."""
    step = max(1, array.size // _LOOKED_AT)
    return bytes(array[np.unravel_index(np.arange(0, array.size, step), array.shape)].tobytes())


def _equal(names: Sequence[str], weights: Weights) -> list[tuple[str, ...]]:
    """Groups of names with the same numbers, where these are not all one and the same."""
    groups: list[list[str]] = []
    for name in names:
        array = weights[name]
        known = next((g for g in groups if np.array_equal(weights[g[0]], array)), None)
        if known is None:
            groups.append([name])
        else:
            known.append(name)
    return [tuple(g) for g in groups if len(g) > 1 and _differ(weights[g[0]])]


def _differ(array: Array) -> bool:
    return bool((array != array.flat[0]).any())
