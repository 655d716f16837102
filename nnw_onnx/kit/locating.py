"""Which layers of a network are those of a reference, whatever they are called.

By name, by a similar name, else by what their weights are like whatever the order, the scales and
the signs of their channels. Layers that no output is made of are none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from nnw_onnx.kit import candidates
from nnw_onnx.kit.candidates import Candidate
from nnw_onnx.kit.strands import Lying, Strands
from nnw_onnx.math.assignment import assigned, balanced_spectrum, unlikeness
from nnw_onnx.vocabulary import WEIGHT_ROLES, Array, Layer, Weighted

_ORDER = 1e-3
"""What the order of computation counts beside spectra, which tell equal layers not apart."""
_LARGEST = 1 << 26
"""Weights of a layer whose spectrum is taken."""


def located(
    strands: Strands,
    reference: Weighted,
    network: Weighted,
    sizes: Mapping[int, int],
    *,
    names: bool = True,
    unread: Collection[str] = (),
) -> dict[str, Candidate]:
    """For each layer of the reference where it is in the network; those that are not are left out.

    Args:
        strands: of the reference.
        reference: the network whose layers are looked for.
        network: where they are looked for.
        sizes: channels that the network has on hidden axes, where they differ.
        names: whether names are believed.
        unread: layers of the reference whose weights are not looked at.
    """
    live = [x for x in network.layers if x.live]
    found = _by_name(strands, live, network, sizes) if names else {}
    taken = {place.layer.name for place in found.values()}
    kernels = [x for x in strands.layers if x.role in WEIGHT_ROLES and x.name not in found]
    free = [x for x in live if x.name not in taken]
    for group in _by_shape(kernels, strands, sizes).values():
        known = [x for x in group if x.name not in unread]
        found |= _by_content(known, reference, network, free, strands, sizes)
        rest = [x for x in group if x.name in unread]
        taken = {place.layer.name for place in found.values()}
        found |= _by_order(rest, [x for x in free if x.name not in taken], strands, sizes)
    return found | _beside(strands, live, found, sizes)


def sizes_of(strands: Strands, network: Weighted) -> dict[int, int]:
    """Channels that the network has on each hidden axis, as most of its layers tell.

    Layers are compared that have the name, or a similar one; without any the kernels in their
    order, where there are as many.
    """
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    for layer, other in _pairs(strands, network):
        for axis in range(min(len(layer.shape), len(other.shape))):
            lying = strands.on(layer.name, axis)
            if len(lying) == 1:
                count = _channels(lying[0], strands, layer.shape[axis], other.shape[axis])
                if count is not None:
                    votes[lying[0].number][count] += 1
    return {number: told.most_common(1)[0][0] for number, told in votes.items()}


def _channels(one: Lying, strands: Strands, here: int, there: int) -> int | None:
    """Channels of an axis that has so many entries there; None where that fits no number."""
    each = one.strand.repeat * one.strand.block
    rest = here - strands.axes[one.number].size * each
    return None if there <= rest or (there - rest) % each else (there - rest) // each


def _pairs(strands: Strands, network: Weighted) -> list[tuple[Layer, Layer]]:
    live = {x.name: x for x in network.layers if x.live}
    found = [(x, live[x.name]) for x in strands.layers if x.name in live]
    if found:
        return found
    own, others = (
        [x for x in n if x.role in WEIGHT_ROLES] for n in (strands.layers, live.values())
    )
    return list(zip(own, others, strict=True)) if len(own) == len(others) else []


def _by_name(
    strands: Strands, live: Sequence[Layer], network: Weighted, sizes: Mapping[int, int]
) -> dict[str, Candidate]:
    named = {x.name: x for x in live}
    found: dict[str, Candidate] = {}
    for layer in strands.layers:
        shape, there = strands.shape(layer.name, sizes), named.get(layer.name)
        place = None if there is None else candidates.as_it_is(there, shape, "name")
        if place is None and layer.role in WEIGHT_ROLES:
            place = candidates.likely(network, layer.name, shape)
        if place is not None:
            found[layer.name] = place
    return _once(found)


def _once(found: Mapping[str, Candidate]) -> dict[str, Candidate]:
    """Without similar names that are told of two layers, or that are the name of one."""
    count = Counter(place.layer.name for place in found.values())
    return {n: p for n, p in found.items() if p.way == "name" or count[p.layer.name] == 1}


def _by_shape(
    layers: Iterable[Layer], strands: Strands, sizes: Mapping[int, int]
) -> dict[tuple[int, ...], list[Layer]]:
    groups: dict[tuple[int, ...], list[Layer]] = defaultdict(list)
    for layer in layers:
        groups[strands.shape(layer.name, sizes)].append(layer)
    return groups


def _by_content(
    wanted: Sequence[Layer],
    reference: Weighted,
    network: Weighted,
    free: Sequence[Layer],
    strands: Strands,
    sizes: Mapping[int, int],
) -> dict[str, Candidate]:
    """Layers of one shape where the spectra are most alike, all of them together."""
    if not wanted:
        return {}
    shape = strands.shape(wanted[0].name, sizes)
    places = [p for x in free for p in candidates.places_in(x, shape, "content")]
    places = candidates.affordable(sorted(places, key=lambda p: bool(p.part)))
    if not places:
        return {}
    own = [_spectrum(reference.weights[x.name]) for x in wanted]
    theirs = [_spectrum(p.of(network.weights)) for p in places]
    cost = np.array([[unlikeness(a, b) for b in theirs] for a in own])
    cost += _ORDER * np.abs(np.subtract.outer(_ranks(wanted), _ranks([p.layer for p in places])))
    pairs = zip(wanted, assigned(-cost), strict=True)
    return {x.name: places[k] for x, k in pairs if k >= 0}


def _by_order(
    wanted: Sequence[Layer], free: Sequence[Layer], strands: Strands, sizes: Mapping[int, int]
) -> dict[str, Candidate]:
    """Layers that are not looked at: of each shape the first is the first there, where as many."""
    if not wanted:
        return {}
    shape = strands.shape(wanted[0].name, sizes)
    places = [p for x in free if (p := candidates.as_it_is(x, shape, "order")) is not None]
    places = [p for p in places if p.layer.role in WEIGHT_ROLES]
    if len(places) != len(wanted):
        return {}
    return {x.name: place for x, place in zip(wanted, places, strict=True)}


def _ranks(layers: Sequence[Layer]) -> Array:
    """Where layers are in the order of computation, from 0 to 1."""
    order = {p: k for k, p in enumerate(sorted({x.position for x in layers}))}
    return np.array([order[x.position] / max(len(order) - 1, 1) for x in layers])


def _spectrum(values: Array) -> Array:
    return balanced_spectrum(values) if values.size <= _LARGEST else np.zeros(1)


def _beside(
    strands: Strands,
    live: Sequence[Layer],
    found: Mapping[str, Candidate],
    sizes: Mapping[int, int],
) -> dict[str, Candidate]:
    """What lies behind a kernel that was found: biases and normalisations, in the same order."""
    own, others = _behind(strands.layers), _behind(live)
    taken = {place.layer.name for place in found.values()}
    more: dict[str, Candidate] = {}
    for kernel, place in found.items():
        free = [x for x in others.get(place.layer.name, ()) if x.name not in taken]
        for layer in own.get(kernel, ()):
            if layer.name in found or layer.name in more:
                continue
            shape = strands.shape(layer.name, sizes)
            fits = (candidates.as_it_is(x, shape, place.way) for x in free if _alike(layer, x))
            fit = next((one for one in fits if one is not None), None)
            if fit is not None:
                more[layer.name] = fit
                free.remove(fit.layer)
    return more


def _behind(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """Kernel -> what is no kernel behind it and before the next one."""
    found: dict[str, list[Layer]] = {}
    last: list[Layer] = []
    for layer in layers:
        if layer.role in WEIGHT_ROLES:
            last = found.setdefault(layer.name, [])
        else:
            last.append(layer)
    return found


def _alike(one: Layer, other: Layer) -> bool:
    """Whether layers may do the same; what operators of a runtime's own do is not known."""
    same = (one.role, one.operator) == (other.role, other.operator)
    return same or (one.role == "bias" and other.role in ("bias", "other"))
