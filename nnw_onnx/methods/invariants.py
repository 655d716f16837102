"""A payload in what a network does not depend on: the order, or the scales, of hidden channels.

Fernandez, Couairon, Furon, Douze, "Functional Invariants to Watermark Large Transformers", ICASSP
2024, arXiv 2310.11446: of the invariants of a block one is applied, and which one says the Symbol.
Here a block is a pair of channels, and the invariants are two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, channels, injections, keystream, knowing, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Card,
    Decodes,
    Decoding,
    HiddenAxis,
    Injects,
    Key,
    Network,
    Payload,
    Strand,
    Suspect,
    Weights,
)

_AXES, _ORIGINAL, _PAIRS = "axes", "original", "pairs"
_FEATURES = 256
"""Weights of a channel that the key keeps at most: the deviation of a reading is 1 / 16 of it."""
_FACTOR = 2.0
"""A power of two, so that every product is exact."""
_LEAST = 1e-6
"""Of the largest difference of two channels; those that differ less cannot be told apart."""

Floats: TypeAlias = NDArray[np.float64]


class _Pairs(NamedTuple):
    """Disjoint pairs of the channels of an axis, (count,) each."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def swap(self, size: int, where: Array) -> NDArray[np.int64]:
        """The order of so many channels in which the pairs at `where` have changed places."""
        order = np.arange(size)
        order[self.first[where]], order[self.second[where]] = (
            self.second[where],
            self.first[where],
        )
        return order


@dataclass(frozen=True)
class Invariants(Decodes, Injects):
    """Each bit has a keyed pair of hidden channels, which change places or not.

    With `invariant` "scale" one channel of the pair is doubled and the other one halved, and the
    layers behind undo it. Outputs stay as they are, bit by bit where channels are scaled by powers
    of two, and but for the order of summation where they change places. The Decoder compares each
    pair with the unmarked one: by the product of the difference of its channels then and now, or
    by the ratio of their scales. It reads them in such a way that the bits of other pairs do not
    matter. The mask makes bits that a network without the key answers fair coins.
    """

    name = "invariants"
    summary = "order or scales of keyed pairs of hidden channels; outputs stay (invariants 2024)"
    in_order = True
    card: ClassVar[Card | None] = Card(
        paper="Fernandez, Couairon, Furon, Douze, Functional Invariants to Watermark Large "
        "Transformers, ICASSP 2024, arXiv 2310.11446",
        blind=False,
        capacity="one bit for two hidden channels of the axes that the graph proves",
        key="the axes, and for each bit how the two unmarked channels differ",
        null="Bin(bits, 1/2), exact: bits masked by the key; the paper's formula for chunks of one "
        "bit and one user",
        reported=("no change of the outputs but for rounding (abstract)",),
        dies_of=(
            "putting the same channels into another random order, or scaling them again: free for "
            "whoever knows the method; provenance is still told by independence (methods.md 17)",
        ),
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    invariant: Literal["order", "scale"] = option(
        "order", help="what of a pair of channels tells the bit: their places, or their scales"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the widest hidden axes, or of those that begin in the layers asked for.

        Raises:
            InjectionError: the graph proves none, or they have too few pairs of channels.
        """
        carriers.check_size(size)
        axes = [a for a in channels.chosen(network, bench.layers, self.name) if self._fits(a)]
        taken, pairs = [], 0
        for axis in axes:
            if pairs < size:
                taken.append(axis)
                pairs = self._count(network, taken, secret)
        if pairs < size:
            raise InjectionError(
                f"invariants: expected at least {size} pairs of hidden channels that differ, got "
                f"{pairs} in {len(axes)} axes; use a shorter payload or another layer"
            )
        told = [f"{axis.name} ({axis.size})" for axis in taken]
        why = f"{size} pairs of hidden channels from {carriers.listed(told)}"
        found = channels.taken(network, taken)
        facts = {_AXES: channels.to_facts(taken)}
        key = carriers.key_for(self, found, network, size, secret, [why], facts)
        read = self._read(network.weights, taken, secret)
        bits = np.flatnonzero(self._able(read))[:size]
        arrays: dict[str, Array] = {_ORIGINAL: read[bits].astype(np.float32), _PAIRS: bits}
        return replace(key, arrays=arrays)

    def _able(self, read: Floats) -> NDArray[np.bool_]:
        """Which pairs can be told from their opposite; a change of scale always can."""
        return _able(read) if self.invariant == "order" else np.ones(len(read), np.bool_)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with its pairs in the places, or of the scales, of the payload.

        Raises:
            InjectionError: the payload does not fit, or is not read back.
        """
        signs, (original, bits) = symbols.embedded_signs(payload, key), _kept(key)
        axes = channels.from_facts(key.facts.get(_AXES))
        changed: dict[str, Array] = {}
        start = 0
        for index, axis in enumerate(axes):
            pairs = _pairs(key.secret, index, axis.size)
            here = (bits >= start) & (bits < start + len(pairs.first))
            now = {**network.weights, **changed}
            changed |= self._put(now, axis, pairs, bits[here] - start, signs[here])
            start += len(pairs.first)
        result = network.with_weights(changed)
        wrong = self.decode(injections.Own(result, bench), key).payload.errors(payload)
        if wrong:
            raise InjectionError(
                f"invariants: expected all {len(payload)} symbols to be read back, got {wrong} "
                f"wrong ones of {len(original)}; use other layers"
            )
        return result

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Whether each pair is as it was.

        Raises:
            CarrierNotFoundError: a layer of the axes is not in this network.
            ConfigurationError: the key does not hold the axes or the unmarked pairs.
        """
        axes = channels.from_facts(key.facts.get(_AXES))
        original, bits = _kept(key)
        sized = replace(key, size=0)  # a bias has fewer numbers than a payload may have Symbols
        weights = {}
        for index, name in enumerate(key.layers):
            weights[name] = carriers.find(suspect, sized, self.name, index).values
        read = self._read(weights, axes, key.secret)
        if read.shape[1:] != original.shape[1:] or bits.max(initial=0) >= len(read):
            raise _broken()
        return symbols.read(self._told(original, read[bits]), 1.0, key)

    def _fits(self, axis: HiddenAxis) -> bool:
        if self.invariant == "scale":
            return _scaling(axis) is not None
        return bool(_rows(axis))

    def _count(self, network: Network, axes: Sequence[HiddenAxis], secret: bytes) -> int:
        return int(self._able(self._read(network.weights, axes, secret)).sum())

    def _put(
        self, now: Weights, axis: HiddenAxis, pairs: _Pairs, which: Array, signs: Array
    ) -> dict[str, Array]:
        """The layers of one axis with some of its pairs as the signs say."""
        if self.invariant == "order":
            return channels.permuted(now, axis, pairs.swap(axis.size, which[signs < 0]).tolist())
        factors = np.ones(axis.size)
        factors[pairs.first[which]] = _FACTOR**signs
        factors[pairs.second[which]] = _FACTOR**-signs
        return channels.scaled(now, axis, factors, _scaling(axis) or 0)

    def _read(self, weights: Weights, axes: Sequence[HiddenAxis], secret: bytes) -> Floats:
        """Each pair of all axes: how its channels differ (pairs, features)."""
        pairs = [_pairs(secret, k, axis.size) for k, axis in enumerate(axes)]
        found = []
        for index, axis in enumerate(axes):
            others = [
                (a, p) for k, (a, p) in enumerate(zip(axes, pairs, strict=True)) if k != index
            ]
            plain = self._without(weights, axis, others)
            found.append(self._differences(plain, axis, pairs[index], secret))
        width = max((f.shape[1] for f in found), default=1)
        return np.concatenate([np.pad(f, ((0, 0), (0, width - f.shape[1]))) for f in found])

    def _without(
        self, weights: Weights, axis: HiddenAxis, others: Sequence[tuple[HiddenAxis, _Pairs]]
    ) -> Mapping[str, Array]:
        """The layers of an axis so that the bits of the other axes do not matter to them."""
        plain = {name: np.asarray(weights[name], np.float64) for name in axis.layers}
        for other, pairs in others:
            common = [s for s in other.strands if s.layer in plain]
            order = pairs.swap(other.size, np.arange(len(pairs.first)))
            for name, turned in channels.permuted(
                plain, replace(other, strands=tuple(common), scalings=()), order.tolist()
            ).items():
                if self.invariant == "order":
                    plain[name] = (plain[name] + turned) / 2
                else:
                    plain[name] = np.sqrt(np.abs(plain[name] * turned))
        return plain

    def _differences(
        self, plain: Weights, axis: HiddenAxis, pairs: _Pairs, secret: bytes
    ) -> Floats:
        if self.invariant == "scale":
            scale = _scales(plain, axis)
            return np.array(scale[pairs.first] - scale[pairs.second])[:, None]
        parts = [
            channels.by_channel(plain[s.layer], s, axis.size).reshape(axis.size, -1)
            for s in _rows(axis)
        ]
        rows = np.concatenate(parts, axis=1)
        label = f"invariants/features/{axis.name}"
        places = keystream.permutation(secret, label, rows.shape[1], _FEATURES)
        return np.array(rows[pairs.first] - rows[pairs.second])[:, places]

    def _told(self, original: Floats, now: Floats) -> Floats:
        """One number a bit, > 0 for +1: a correlation in standard deviations, or a log ratio."""
        if self.invariant == "scale":
            return np.array(now - original)[:, 0]
        sizes = np.linalg.norm(original, axis=1) * np.linalg.norm(now, axis=1)
        features = np.count_nonzero(original, axis=1)
        products = (original * now).sum(axis=1) * np.sqrt(features)
        told: Floats = np.divide(products, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
        return told


def _rows(axis: HiddenAxis) -> list[Strand]:
    """Kernels that make the channels, but for those that take them in as well."""
    return [s for s in axis.strands if s.direction == "out" and _once(axis, s)]


def _once(axis: HiddenAxis, strand: Strand) -> bool:
    return sum(s.layer == strand.layer for s in axis.strands) == 1


def _scaling(axis: HiddenAxis) -> int | None:
    """The first scaling that reaches a consumer: folded normalisations keep that one."""
    for index, powers in enumerate(axis.scalings):
        seen = [(s, p) for s, p in zip(axis.strands, powers, strict=True) if p and _once(axis, s)]
        taken = any(s.direction == "in" for s, _ in seen)
        if taken and {p > 0 for _, p in seen} == {True, False}:
            return index
    return None


def _scales(plain: Weights, axis: HiddenAxis) -> Floats:
    """Logarithm of the scale of each channel before the consumers, over that within them."""
    index = _scaling(axis)
    powers = axis.scalings[index] if index is not None else ()
    energy = np.zeros((2, axis.size))
    for strand, power in zip(axis.strands, powers, strict=True):
        if power and _once(axis, strand):
            parts = channels.by_channel(plain[strand.layer], strand, axis.size)
            energy[int(power < 0)] += np.square(parts).reshape(axis.size, -1).sum(axis=1)
    told = np.log(np.maximum(energy, np.finfo(np.float64).tiny))
    return np.array(told[0] - told[1])


def _pairs(secret: bytes, index: int, size: int) -> _Pairs:
    """Keyed disjoint pairs of channels."""
    order = keystream.permutation(secret, f"invariants/pairs/{index}", size)
    half = size // 2
    return _Pairs(order[:half], order[half : 2 * half])


def _able(read: Floats) -> NDArray[np.bool_]:
    """Which pairs can be told from their opposite."""
    sizes = np.linalg.norm(read, axis=1)
    able: NDArray[np.bool_] = sizes > _LEAST * sizes.max(initial=0)
    return able


def _kept(key: Key) -> tuple[Floats, NDArray[np.int64]]:
    """The unmarked pairs of the key (bits, features), and which pair each bit has."""
    original, pairs = key.arrays.get(_ORIGINAL), key.arrays.get(_PAIRS)
    if original is None or pairs is None or original.ndim != 2:
        raise _broken()
    if len(original) != key.size or pairs.shape != (key.size,):
        raise _broken()
    return np.asarray(original, np.float64), np.asarray(pairs, np.int64)


def _broken() -> ConfigurationError:
    return ConfigurationError(
        "key: expected the unmarked pairs of its channels, got none that fit; restore the key from "
        "a copy"
    )
