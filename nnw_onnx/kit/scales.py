"""By what the channels of a hidden axis were multiplied, as the layers on it tell together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnw_onnx.kit.strands import Floats, Order, as_it_is
from nnw_onnx.math.assignment import unit_rows
from nnw_onnx.vocabulary import Array, HiddenAxis, Strand

_SMALL = 0.05
"""Root mean square of the logarithms of factors up to which channels are left as they are."""
_PRIOR = 1e-12
_LEAST_COSINE = 0.05
_FEWEST = 8
"""Channels whose mean is more than one of them."""


@dataclass(frozen=True)
class Told:
    """What one layer tells of the channels of a hidden axis.

    Attributes:
        place: among the strands of the axis.
        own: (size, features) its channels in the reference.
        theirs: (count, features) in the network, the other axes of the layer in order.
        cosines: (size, count) of all pairs.
        apart: the same of what tells the channels apart: without the direction that all share,
            where no signs may have been turned.
        signed: whether signs count; if not, they are cosines of absolute values.
    """

    place: int
    own: Floats
    theirs: Floats
    cosines: Floats
    apart: Floats
    signed: bool = True

    @classmethod
    def of(cls, place: int, own: Floats, theirs: Floats, *, signs: bool = False) -> Told:
        """With the cosines; `signs` says whether signs may have been turned."""
        units = unit_rows(own), unit_rows(theirs)
        cosines = units[0] @ units[1].T
        if signs or min(map(len, units)) < _FEWEST:
            return cls(place, own, theirs, cosines, cosines)
        one, other = (unit_rows(x - x.mean(axis=0)) for x in units)
        return cls(place, own, theirs, cosines, one @ other.T)

    def absolute(self) -> Told:
        """What the sizes of the weights tell alone."""
        return replace(Told.of(self.place, np.abs(self.own), np.abs(self.theirs)), signed=False)

    @property
    def features(self) -> int:
        """Weights of a channel."""
        return int(self.own.shape[1])


def factors_of(axis: HiddenAxis, told: Sequence[Told], order: Order) -> Floats:
    """Factors (scalings, size) of the channels in an order; 1 where noise may be all there is.

    In each layer a channel was multiplied by g = <theirs, own> / |own|^2. The logarithms of the
    factors are the least squares of log |g| = sum of power x log factor over the layers, each
    weighted by the variance (1 - c^2) / (c^2 features) that noise of this cosine c gives log |g|.
    They are taken where their mean square is above twice that of noise.
    """
    count = len(axis.scalings)
    found = np.ones((count, axis.size))
    if not count:
        return found
    powers = np.array([[s[one.place] for s in axis.scalings] for one in told], np.float64)
    gains, weights = _gains(told, order)
    normal = np.einsum("kj,kc,kl->cjl", powers, weights, powers) + _PRIOR * np.eye(count)
    inverse = np.linalg.inv(normal)
    logs = np.einsum("cjl,kl,kc,kc->jc", inverse, powers, weights, gains)
    variances = np.einsum("cjj->jc", inverse)
    known = order.index >= 0
    for j in range(count):
        seen = known & (variances[j] < 1.0)
        noise = float(variances[j][seen].mean()) if seen.any() else np.inf
        if seen.any() and float(np.square(logs[j][seen]).mean()) > 2 * noise + _SMALL**2:
            found[j][seen] = np.exp(logs[j][seen])
    return found


def _gains(told: Sequence[Told], order: Order) -> tuple[Floats, Floats]:
    """Log |g| and its weight, (layers, size) each; weight 0 where a layer tells nothing."""
    size = len(order.index)
    gains, weights = (np.zeros((len(told), size)) for _ in range(2))
    there = np.flatnonzero(order.index >= 0)
    for k, one in enumerate(told):
        own, theirs = one.own[there], one.theirs[order.index[there]]
        energy = np.square(own).sum(axis=1)
        cosine = np.abs(one.cosines[there, order.index[there]])
        gain = np.divide(
            np.abs((own * theirs).sum(axis=1)), energy, out=np.ones(len(there)), where=energy > 0
        )
        fit = (cosine > _LEAST_COSINE) & (gain > 0) & (energy > 0)
        noise = (1 - np.minimum(cosine[fit], 1.0) ** 2) / cosine[fit] ** 2 / one.features
        gains[k, there[fit]] = np.log(gain[fit])
        weights[k, there[fit]] = 1 / (noise + _PRIOR)
    return gains, weights


def common_factors(gains: Floats, powers: Floats, weights: Floats) -> Floats:
    """Factors (axes,) by which all channels of axes are still too large, as layers tell together.

    Axis by axis a factor that they share moves on from layer to layer only slowly. Here the
    logarithms are the least squares over all layers at once, the shortest where some are not told.

    Args:
        gains: (layers,) by how much each layer is too large, > 0.
        powers: (layers, axes) with which factors come in.
        weights: (layers,) how sure each is.
    """
    root = np.sqrt(weights)
    logs = np.linalg.lstsq(powers * root[:, None], np.log(gains) * root, rcond=None)[0]
    factors: Floats = np.exp(logs)
    return factors


def gains_of(own: Array, theirs: Array) -> Floats:
    """By what each filter (out, ...) was multiplied; all 1 where noise may be all there is.

    <theirs, own> / |own|^2 of each, where that is positive; see `factors_of`.
    """
    rows = [np.asarray(w, np.float64).reshape(len(w), -1) for w in (own, theirs)]
    axis = HiddenAxis(len(own), (Strand("", 0, "out"),), scalings=((1,),))
    index = np.arange(len(own))
    told: Floats = factors_of(axis, [Told.of(0, *rows)], as_it_is(axis, index))[0]
    return told
