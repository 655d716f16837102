"""What the layers on a hidden axis tell together of which channels are whose."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from nnw_onnx.kit.scales import Told
from nnw_onnx.kit.strands import Floats, Indices, Order
from nnw_onnx.math.assignment import assigned, spread
from nnw_onnx.vocabulary import HiddenAxis

_ROUNDING = 1e-9
_ALIKE = 1e-4
"""Deviation of cosines below which a layer tells no channel from another."""
_MOST_SIGNS = 10
"""Ways of turning signs that are tried together, 2 ** 10 of them."""
_MANY = 32
"""Weights of a channel by which a cosine says how alike two are, whatever others there are."""


def weighed(axis: HiddenAxis, told: Sequence[Told]) -> tuple[Floats, float]:
    """Sum of cosines over their variance for wrong pairs, and how many nats one unit of it is.

    Where a layer may have been turned on its own only the size of its cosine counts.
    """
    weights = [_weight(one.apart) for one in told]
    tables = [
        w * (np.abs(one.apart) if one.signed and _turns(axis, one) else one.apart)
        for w, one in zip(weights, told, strict=True)
    ]
    evidence = np.asarray(sum(tables), np.float64)
    return evidence, _nats(told, weights, evidence)


def signs_of(axis: HiddenAxis, told: Sequence[Told], index: Indices) -> Floats:
    """Which signs (signs of the axis, size) make the cosines of partners the largest together."""
    found = np.ones((len(axis.signs), axis.size))
    there = np.flatnonzero(index >= 0)
    signed = [one for one in told if one.signed]
    if not len(there) or not axis.signs or not signed:
        return found
    cosines = [_weight(one.apart) * one.apart[there, index[there]] for one in signed]
    best = np.full(len(there), -np.inf)
    free = min(len(axis.signs), _MOST_SIGNS)
    for choice in itertools.product((1.0, -1.0), repeat=free):
        turned = [_turned(axis, one, choice) for one in signed]
        total = np.sum([t * c for t, c in zip(turned, cosines, strict=True)], axis=0)
        better = total > best + _ROUNDING
        best[better] = total[better]
        found[:free, there[better]] = np.array(choice)[:, None]
    return found


def mean_cosine(axis: HiddenAxis, told: Sequence[Told], order: Order) -> Floats:
    """Mean cosine of all pairs over the layers, each as often as it has weights of a channel."""
    total = sum(one.features for one in told)
    found: Floats = sum(
        (
            one.features / total * one.cosines * np.sign(order.done_to(axis, one.place))[:, None]
            for one in told
        ),
        np.zeros_like(told[0].cosines),
    )
    return found


def mean_apart(axis: HiddenAxis, told: Sequence[Told], order: Order) -> float:
    """Mean cosine of partners without the direction that all channels share; 0 of few weights."""
    total = sum(one.features for one in told)
    there = np.flatnonzero(order.index >= 0)
    if total < _MANY or not len(there):
        return 0.0
    signs = [np.sign(order.done_to(axis, one.place))[there] for one in told]
    return sum(
        one.features / total * float((s * one.apart[there, order.index[there]]).mean())
        for s, one in zip(signs, told, strict=True)
    )


def _turns(axis: HiddenAxis, one: Told) -> bool:
    return any(flips[one.place] for flips in axis.signs)


def _turned(axis: HiddenAxis, one: Told, choice: Sequence[float]) -> float:
    """The sign of a layer, where the signs of the axis are these."""
    return float(
        np.prod([s ** flips[one.place] for s, flips in zip(choice, axis.signs, strict=False)])
    )


def _nats(told: Sequence[Told], weights: Sequence[float], evidence: Floats) -> float:
    """Logarithm of likelihood for one unit of evidence, if what best pairs differ by is noise.

    Two directions of cosine c are 2 - 2 c apart. Noise that leaves the best pairs c on average has
    (2 - 2 c) / features of variance, so one unit of cosine is features / (2 - 2 c) nats.
    """
    index = assigned(evidence)
    there = np.flatnonzero(index >= 0)
    own = [float(np.abs(one.apart[there, index[there]]).mean()) for one in told]
    nats = [one.features / max(2 - 2 * c, _ROUNDING) for one, c in zip(told, own, strict=True)]
    used = [(n, w) for n, w in zip(nats, weights, strict=True) if w > 0]
    return sum(n for n, _ in used) / sum(w for _, w in used) if used else 1.0


def _weight(cosines: Floats) -> float:
    """One over the variance of the cosines; 0 where all channels of a layer are alike."""
    deviation = spread(cosines)
    return 1 / deviation**2 if deviation > _ALIKE else 0.0
