"""A network put back into the order of a reference: which channel of one is which of the other.

Channels are matched by the cosine of their weights, summed over every layer of a hidden axis, each
once, from the input of the network to its output and again until nothing changes. What is decided
here is decided by the two networks alone: no key and no payload takes part, so that whatever a key
reads afterwards is as likely as before, and needs no correction.

Li et al., arXiv 2112.14108, and De Sousa Trias et al., "Find the Lady", AAAI 2024, arXiv
2312.14182, match each neuron for itself, layer by layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nnw_onnx.kit import candidates, channels, locating
from nnw_onnx.kit.bases import basis_of
from nnw_onnx.kit.candidates import Candidate
from nnw_onnx.kit.dummies import Removed, without_dummies
from nnw_onnx.kit.scales import Told, common_factors, factors_of
from nnw_onnx.kit.strands import Floats, Indices, Lying, Order, Strands, as_it_is
from nnw_onnx.kit.weighing import mean_apart, mean_cosine, signs_of, weighed
from nnw_onnx.math.assignment import in_deviations, likeliest, margins, unit_rows
from nnw_onnx.vocabulary import Array, HiddenAxis, Network, Weighted, Weights

_SWEEPS = 16
_SETTLED = 1e-4
_EXACT = 1e-9
"""Share of a layer's energy that is not that of the reference, below which it is rounding."""
_FEWEST_AXES = 2
_FEWEST = 4
"""Weights of a channel in a layer by which it can be told from others."""
_POINTS = 64
TOLD, TOLD_WITH_SIGNS = 1.25, 2.5
"""Mean distance of the channels' own partners from the best wrong ones, in deviations of wrong
ones, at which a network is taken for one of the reference's. The likeliest pairs of networks that
have nothing in common reach 0.75, and 1.4 where signs may be turned (the most of 144 pairs of
random ones each); with noise all channels are found down to about 2.5, and below hardly one."""
_AXIS = 2.0
"""How many times that a single axis must reach where the mean of all does not: 1.5 times 1 and 2
was the most of one axis of networks that have nothing in common."""
_ALIKE_APART = 0.9
"""Cosine that partners of networks that have nothing in common are far from."""
_SURE = 0.75
"""The same of one axis, or of one layer, of a network of which that is known."""


@dataclass(frozen=True)
class Matched:
    """How the channels of one hidden axis of the reference were found.

    Attributes:
        axis: of the reference.
        size: channels that the network has on it, dummies left out.
        order: which of them are whose.
        cosine: mean cosine of each channel and its partner, over the layers by their weights.
        margin: how much larger that is than of the best wrong partner, on average.
        gap: the same of the evidence of all layers, in standard deviations of wrong partners.
        apart: mean cosine without the direction that all channels share; 0 where that is of too
            few weights.
    """

    axis: HiddenAxis
    size: int
    order: Order
    cosine: float
    margin: float
    gap: float
    apart: float = 0.0

    @property
    def told(self) -> bool:
        """Whether its channels could be told apart."""
        return self.mixed or self.gap >= _SURE or self.alike

    @property
    def alike(self) -> bool:
        """Whether partners are so alike that no others are, however alike wrong ones may be."""
        return self.apart >= _ALIKE_APART and self.margin > 0

    @property
    def mixed(self) -> bool:
        """Whether they are in another basis, which is told by what it explains and not by a gap."""
        return self.order.basis is not None

    @property
    def moved(self) -> int:
        """Channels that were found in other places."""
        index = self.order.index
        return int(np.count_nonzero((index >= 0) & (index != np.arange(len(index)))))

    @property
    def missing(self) -> int:
        """Channels of the reference that the network does not have."""
        return int(np.count_nonzero(self.order.index < 0))


@dataclass(frozen=True)
class Likeness:
    """How like a layer that was put in order is to that of the reference.

    Attributes:
        cosine: mean cosine of its filters and their partners.
        margin: how much larger that is than of the best wrong filter of the layer, on average.
        gap: that in standard deviations of wrong ones.
    """

    cosine: float
    margin: float
    gap: float


@dataclass(frozen=True)
class Alignment:
    """A network in the order of a reference.

    Attributes:
        strands: of the reference.
        places: layer of the reference -> where it is in the network.
        values: its weights as they lie there, dummies left out.
        sizes: channels on each hidden axis, dummies left out.
        matched: for each hidden axis that could be matched, by its number.
        removed: dummies that were taken out, by the number of the axis.
        reference: weights of the reference.
    """

    strands: Strands
    places: Mapping[str, Candidate]
    values: Mapping[str, Array]
    sizes: Mapping[int, int]
    matched: Mapping[int, Matched]
    removed: Mapping[int, Removed]
    reference: Weights

    @cached_property
    def orders(self) -> dict[int, Order]:
        """The orders of the hidden axes."""
        return {number: one.order for number, one in self.matched.items()}

    @property
    def gap(self) -> float:
        """Mean over all channels of their distance from wrong partners, in deviations."""
        if self.matched:
            return _gap(self.matched)
        gaps = [one.gap for one in self.likeness.values()]
        return sum(gaps) / len(gaps) if gaps else 0.0

    @property
    def told(self) -> int:
        """Channels of the hidden axes whose channels could be told apart."""
        return sum(one.axis.size for one in self.matched.values() if one.told)

    @property
    def wanted(self) -> float:
        """The gap that networks which have nothing in common do not reach."""
        return _wanted(self.matched)

    @property
    def recovered(self) -> bool:
        """Whether the network is one of the reference's: its channels could be told apart."""
        axes = (one.gap / _wanted_of(one.axis) for one in self.matched.values())
        sure = any(one.alike for one in self.matched.values())
        return sure or self.gap >= self.wanted or max(axes, default=0.0) >= _AXIS

    def whole(self, name: str) -> bool:
        """Whether a layer was found, and the order of all its channels."""
        return name in self.values and self.strands.numbers(name) <= self.orders.keys()

    def weights(self, name: str) -> Floats:
        """A layer in the order and shape of the reference; channels that are missing are 0."""
        return self.strands.ordered(name, self.values[name], self.orders, self.sizes)

    @cached_property
    def likeness(self) -> dict[str, Likeness]:
        """How like each kernel is that was found and put in order."""
        return {
            layer.name: likeness(self.reference[layer.name], self.weights(layer.name))
            for layer in self.strands.layers
            if len(layer.shape) > 1 and layer.shape[0] > 1 and self.whole(layer.name)
        }


def aligned(reference: Network, network: Weighted, unread: Collection[str] = ()) -> Alignment:
    """A network beside a reference that it may have been made from.

    Names are believed first; where channels cannot be told apart so, layers are looked for by what
    they are like alone.

    Args:
        reference: its hidden axes tell what may have changed places.
        network: the other one.
        unread: layers of the reference whose weights must not decide anything.
    """
    first = _attempt(reference, network, unread, names=True)
    named = any(place.way != "content" for place in first.places.values())
    if not named or all(one.told for one in first.matched.values()):
        return first
    second = _attempt(reference, network, unread, names=False)
    return max(first, second, key=lambda one: (one.told, one.gap))


def likeness(reference: Array, weights: Array) -> Likeness:
    """How like the filters (out, ...) of two layers in the same order are."""
    own, theirs = (unit_rows(np.asarray(w).reshape(len(w), -1)) for w in (reference, weights))
    table = own @ theirs.T
    return _likeness(table, table, np.arange(len(table)))


def _gap(matched: Mapping[int, Matched]) -> float:
    told = [one for one in matched.values() if not one.mixed]
    total = sum(one.axis.size for one in told)
    return sum(one.axis.size * one.gap for one in told) / total if total else 0.0


def _wanted(matched: Mapping[int, Matched]) -> float:
    limits = [(m.axis.size, _wanted_of(m.axis)) for m in matched.values() if not m.mixed]
    total = sum(size for size, _ in limits)
    return sum(size * limit for size, limit in limits) / total if total else TOLD


def _wanted_of(axis: HiddenAxis) -> float:
    return TOLD_WITH_SIGNS if axis.signs else TOLD


def _same(before: Mapping[int, Matched], after: Mapping[int, Matched]) -> bool:
    """Whether nothing is in another order, and factors have settled."""
    pairs = [(before[number].order, one.order) for number, one in after.items()]
    return all(
        np.array_equal(a.index, b.index)
        and (a.basis is None) == (b.basis is None)
        and np.array_equal(a.signs, b.signs)
        and np.allclose(a.factors, b.factors, rtol=_SETTLED, atol=0)
        for a, b in pairs
    )


def _likeness(cosines: Floats, evidence: Floats, order: Indices) -> Likeness:
    there = np.flatnonzero(order >= 0)
    cosine = float(cosines[there, order[there]].mean()) if len(there) else 0.0
    margin, gap = (_mean(margins(x, order)) for x in (cosines, in_deviations(evidence)))
    return Likeness(cosine, margin, gap)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _attempt(
    reference: Network, network: Weighted, unread: Collection[str], *, names: bool
) -> Alignment:
    strands = Strands.of(reference, reference.hidden_axes)
    sizes = locating.sizes_of(strands, network)
    places = locating.located(strands, reference, network, sizes, names=names, unread=unread)
    found = _with(strands, reference, network, places, sizes, unread)
    moved = _replaced(found, network, unread)
    return found if moved == places else _with(strands, reference, network, moved, sizes, unread)


def _with(
    strands: Strands,
    reference: Network,
    network: Weighted,
    places: Mapping[str, Candidate],
    sizes: Mapping[int, int],
    unread: Collection[str],
) -> Alignment:
    """The alignment with layers in these places."""
    read = {name: place.of(network.weights) for name, place in places.items()}
    read = {name: values for name, values in read.items() if np.isfinite(values).all()}
    values, fewer, removed = without_dummies(strands, read, sizes)
    own = {name: np.asarray(reference.weights[name], np.float64) for name in values}
    matcher = _Matcher(strands, own, values, fewer, frozenset(unread))
    return Alignment(strands, places, values, fewer, matcher.matched(), removed, own)


def _replaced(found: Alignment, network: Weighted, unread: Collection[str]) -> dict[str, Candidate]:
    """The places, other ones for kernels that are not alike though all around them is in order."""
    strands, places = found.strands, dict(found.places)
    if not found.recovered:
        return places
    known = [x for x in strands.layers if found.orders.keys() >= strands.numbers(x.name)]
    poor = [
        x
        for x in known
        if len(x.shape) > 1 and x.name not in unread
        if x.name not in found.likeness or found.likeness[x.name].gap < _SURE
    ]
    good = {places[name].layer.name for name in places if name not in {x.name for x in poor}}
    free = [x for x in network.layers if x.live and x.name not in good]
    for layer in poor:
        shape = strands.shape(layer.name, found.sizes)
        tried = []
        for place in (p for x in free for p in candidates.places_in(x, shape, "aligned")):
            values = place.of(network.weights)
            if np.isfinite(values).all():
                now = strands.ordered(layer.name, values, found.orders, found.sizes)
                tried.append((likeness(found.reference[layer.name], now), place))
        best = max(tried, key=lambda one: one[0].cosine, default=None)
        own = found.likeness.get(layer.name)
        if (
            best is not None
            and best[0].gap >= _SURE
            and (own is None or best[0].cosine > own.cosine)
        ):
            places[layer.name] = best[1]
    return places


@dataclass(frozen=True)
class _Matcher:
    """Matches the channels of every hidden axis.

    Attributes:
        strands: of the reference.
        reference: weights of the reference.
        values: of the network's layers, by their names in the reference.
        sizes: channels that the network has.
        unread: layers that decide nothing.
    """

    strands: Strands
    reference: Weights
    values: Mapping[str, Array]
    sizes: Mapping[int, int]
    unread: frozenset[str]

    def matched(self) -> dict[int, Matched]:
        """Every axis that can be matched: from the input on, or from the output where that fails.

        A first axis of which little is known spoils those behind it.
        """
        numbers = [number for number, _ in self.strands]
        first = self._from(numbers)
        if not first or _gap(first) >= _wanted(first) or len(numbers) < _FEWEST_AXES:
            return first
        return max(first, self._from(numbers[::-1]), key=_gap)

    def _from(self, numbers: Sequence[int]) -> dict[int, Matched]:
        found: dict[int, Matched] = {}
        for sweep in range(_SWEEPS):
            before = dict(found)
            for number in numbers:
                orders = {k: one.order for k, one in found.items()}
                # What an axis in a wrong order tells of others is wrong too.
                new = self._axis(number, orders, [k for k, one in found.items() if one.told])
                if new is not None:
                    found[number] = new
            found = self._levelled(found)
            if sweep and before.keys() == found.keys() and _same(before, found):
                break
        return found

    def _levelled(self, found: Mapping[int, Matched]) -> dict[int, Matched]:
        """The same with factors that all channels of an axis share set by all layers at once."""
        free = [
            (number, k)
            for number, one in found.items()
            for k, factors in enumerate(one.order.factors)
            if (factors != 1).any()
        ]
        orders = {k: one.order for k, one in found.items()}
        told = [t for name in self.values if (t := self._level(name, orders, free)) is not None]
        if not free or not told:
            return dict(found)
        gains, weights, powers = (np.array([t[k] for t in told]) for k in range(3))
        settled = dict(found)
        for (number, k), factor in zip(free, common_factors(gains, powers, weights), strict=True):
            order = settled[number].order
            factors = order.factors.copy()
            factors[k] *= factor
            settled[number] = replace(settled[number], order=replace(order, factors=factors))
        return settled

    def _level(
        self, name: str, orders: Mapping[int, Order], free: Sequence[tuple[int, int]]
    ) -> tuple[float, float, list[float]] | None:
        """By how much a layer is too large, how sure that is, and which factors make it so."""
        own = self.reference[name]
        known = self.strands.numbers(name) <= orders.keys()
        if name in self.unread or own.size < _FEWEST or not known:
            return None
        now = self.strands.ordered(name, self.values[name], orders, self.sizes)
        product, energy = float(np.sum(now * own)), float(np.sum(np.square(own)))
        if product <= 0 or energy <= 0:
            return None
        left = max(float(np.sum(np.square(now))) / product * energy / product - 1, 0.0)
        lying = [one for k in range(own.ndim) for one in self.strands.on(name, k)]
        powers = [
            float(
                sum(
                    self.strands.axes[number].scalings[k][one.place]
                    for one in lying
                    if one.number == number
                )
            )
            for number, k in free
        ]
        return product / energy, own.size / (left + _EXACT), powers

    def _size(self, number: int) -> int:
        return self.sizes.get(number, self.strands.axes[number].size)

    def _axis(
        self, number: int, orders: Mapping[int, Order], trusted: Collection[int]
    ) -> Matched | None:
        axis = self.strands.axes[number]
        told = self._told(number, {k: v for k, v in orders.items() if k in trusted})
        told = told or self._told(number, orders) or self._told_without_order(number)
        if not told:
            return None
        evidence, nats = weighed(axis, told)
        index = likeliest(evidence, nats)
        signed = [one for one in told if one.signed]
        order = replace(as_it_is(axis, index), signs=signs_of(axis, told, index))
        order = replace(order, factors=factors_of(axis, signed, order))
        like = _likeness(mean_cosine(axis, signed, order), evidence, index)
        if axis.mixings and like.gap < _wanted_of(axis):
            mixed = self._mixed(number, signed, like.gap)
            if mixed is not None:
                return mixed
        apart = mean_apart(axis, signed, order)
        return Matched(axis, self._size(number), order, like.cosine, like.margin, like.gap, apart)

    def _mixed(self, number: int, told: Sequence[Told], gap: float) -> Matched | None:
        """The axis where its channels are those of the reference in another basis."""
        axis = self.strands.axes[number]
        basis = basis_of(axis, told)
        if basis is None:
            return None
        order = replace(as_it_is(axis, np.arange(axis.size)), basis=basis)
        rows = [order.unmixing(axis, one.place) for one in told]
        own = np.concatenate([unit_rows(one.own) for one in told], axis=1)
        theirs = np.concatenate(
            [
                unit_rows(one.theirs if matrix is None else matrix @ one.theirs)
                for one, matrix in zip(told, rows, strict=True)
            ],
            axis=1,
        )
        like = likeness(own, theirs)
        return Matched(axis, axis.size, order, like.cosine, like.margin, gap)

    def _told(self, number: int, orders: Mapping[int, Order]) -> list[Told]:
        """What each layer tells whose other channels are in order already."""
        found = []
        for one in self._lying(number):
            strand = one.strand
            rank = len(self.strands.by_name[strand.layer].shape)
            others = {
                x.number for k in range(rank) if k != strand.axis
                for x in self.strands.on(strand.layer, k)
            }  # fmt: skip
            if others <= orders.keys():
                now = self.strands.ordered(
                    strand.layer, self.values[strand.layer], orders, self.sizes, strand.axis
                )
                found.append(self._compared(one, now))
                if any(self.strands.axes[number].signs for number in (one.number, *others)):
                    # Signs that are not known yet do not matter to sizes.
                    found.append(found[-1].absolute())
        return found

    def _compared(self, one: Lying, now: Floats) -> Told:
        size, count = self.strands.axes[one.number].size, self._size(one.number)
        there = self.strands.there(one, self.sizes)
        own = channels.by_channel(self.reference[there.layer], one.strand, size)
        theirs = channels.by_channel(now, there, count).reshape(count, -1)
        own = own.reshape(size, -1)
        signs = bool(self.strands.axes[one.number].signs)
        return Told.of(one.place, np.asarray(own, np.float64), theirs, signs=signs)

    def _told_without_order(self, number: int) -> list[Told]:
        """What layers tell whose other channels are in no known order: by their sorted weights."""
        found = []
        size, count = self.strands.axes[number].size, self._size(number)
        for one in self._lying(number):
            there, layer = self.strands.there(one, self.sizes), one.strand.layer
            own = channels.shape_free(self.reference[layer], one.strand, size, _POINTS)
            theirs = channels.shape_free(self.values[layer], there, count, _POINTS)
            if own.shape[1] == theirs.shape[1] >= _FEWEST:
                found.append(Told.of(one.place, own, theirs))
        return found

    def _lying(self, number: int) -> list[Lying]:
        """Strands of an axis in layers that were found and tell channels apart."""
        axis = self.strands.axes[number]
        found = []
        for place, strand in enumerate(axis.strands):
            if strand.layer in self.values and strand.layer not in self.unread:
                shape = self.strands.by_name[strand.layer].shape
                features = int(np.prod(shape)) // shape[strand.axis] * strand.repeat * strand.block
                if features >= _FEWEST:
                    found.append(Lying(number, place, strand))
        return found
