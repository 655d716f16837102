"""Where the channels of every hidden axis of a network lie in the weights of another of its like.

The other network may have more channels, or fewer, on some axes; its layers are laid out alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit.channels import by_channel, with_channels
from nnw_onnx.vocabulary import Array, HiddenAxis, Layer, Strand, Weighted

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


class Lying(NamedTuple):
    """One strand: the number of its hidden axis, its place among the strands of that, itself."""

    number: int
    place: int
    strand: Strand


@dataclass(frozen=True)
class Order:
    """Which channels of another network are those of a hidden axis, and what was done to them.

    Attributes:
        index: (size,) for each channel its number in the other network; -1 where it has none.
        factors: (scalings, size) by which it was multiplied there, for each scaling of the axis.
        signs: (signs, size) 1 or -1, likewise.
        basis: (size, size) matrix by which channels in order were mixed there, or None.
    """

    index: Indices
    factors: Floats
    signs: Floats
    basis: Floats | None = None

    def unmixing(self, axis: HiddenAxis, place: int) -> Floats | None:
        """The matrix that undoes the mixing of a strand; None where there is none."""
        power = axis.mixings[place] if self.basis is not None and axis.mixings else 0
        if self.basis is None or not power:
            return None
        return np.asarray(np.linalg.inv(self.basis) if power > 0 else self.basis.T, np.float64)

    def done_to(self, axis: HiddenAxis, place: int) -> Floats:
        """What the weights of a strand were multiplied by, (size,)."""
        told = np.ones(axis.size)
        for powers, factors in zip(axis.scalings, self.factors, strict=True):
            told *= factors ** powers[place]
        for flips, signs in zip(axis.signs, self.signs, strict=True):
            told *= signs ** flips[place]
        return told


def as_it_is(axis: HiddenAxis, index: Indices) -> Order:
    """An order in which nothing is scaled."""
    size = axis.size
    return Order(index, np.ones((len(axis.scalings), size)), np.ones((len(axis.signs), size)))


@dataclass(frozen=True)
class Strands:
    """The hidden axes of a network, layer by layer.

    Attributes:
        axes: of the network whose order is wanted.
        layers: all its layers.
    """

    axes: tuple[HiddenAxis, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, network: Weighted, axes: Sequence[HiddenAxis]) -> Strands:
        """Those of a network."""
        return cls(tuple(axes), tuple(network.layers))

    @cached_property
    def by_name(self) -> Mapping[str, Layer]:
        """The layers by name."""
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def _lying(self) -> Mapping[tuple[str, int], list[Lying]]:
        found: dict[tuple[str, int], list[Lying]] = defaultdict(list)
        for number, axis in enumerate(self.axes):
            for place, strand in enumerate(axis.strands):
                found[strand.layer, strand.axis].append(Lying(number, place, strand))
        return {k: sorted(v, key=lambda one: one.strand.start) for k, v in found.items()}

    def on(self, layer: str, axis: int) -> list[Lying]:
        """The strands along an axis of a layer, by where they begin."""
        return self._lying.get((layer, axis), [])

    def numbers(self, layer: str) -> set[int]:
        """Numbers of the hidden axes that a layer takes part in."""
        rank = len(self.by_name[layer].shape)
        return {one.number for k in range(rank) for one in self.on(layer, k)}

    def shape(self, layer: str, sizes: Mapping[int, int]) -> tuple[int, ...]:
        """The shape of a layer where hidden axes have other sizes."""
        own = self.by_name[layer].shape
        return tuple(n + self._more(layer, k, sizes) for k, n in enumerate(own))

    def _more(
        self, layer: str, axis: int, sizes: Mapping[int, int], until: int | None = None
    ) -> int:
        """Entries more along an axis of a layer, of all strands or of those before an entry."""
        return sum(
            (sizes.get(one.number, self.axes[one.number].size) - self.axes[one.number].size)
            * one.strand.repeat
            * one.strand.block
            for one in self.on(layer, axis)
            if until is None or one.strand.start < until
        )

    def there(self, one: Lying, sizes: Mapping[int, int]) -> Strand:
        """The strand as it lies where hidden axes have other sizes."""
        moved = self._more(one.strand.layer, one.strand.axis, sizes, one.strand.start)
        return replace(one.strand, start=one.strand.start + moved)

    def ordered(
        self,
        layer: str,
        values: Array,
        orders: Mapping[int, Order],
        sizes: Mapping[int, int],
        without: int | None = None,
    ) -> Floats:
        """Weights of the other network in the order of this one, with what was done undone.

        Args:
            layer: which one, by its name here.
            values: of the shape `shape(layer, sizes)`.
            orders: of the hidden axes whose order is known; the others stay as they are.
            sizes: channels of hidden axes in the other network, where they differ.
            without: an axis of the layer that stays as it is, or None.
        """
        now = np.asarray(values, np.float64)
        for axis in range(now.ndim):
            lying = [one for one in self.on(layer, axis) if one.number in orders]
            if lying and axis != without:
                index, factors = self._gathered(layer, axis, orders, sizes)
                now = np.take(now, np.maximum(index, 0), axis=axis)
                shape = [-1 if k == axis else 1 for k in range(now.ndim)]
                now = now * np.where(index < 0, 0.0, factors).reshape(shape)
                for one in lying:
                    now = self._unmixed(one, now, orders[one.number])
        return now

    def _unmixed(self, one: Lying, values: Floats, order: Order) -> Floats:
        """The weights with the channels of a strand, which are in order, in their own basis."""
        axis = self.axes[one.number]
        matrix = order.unmixing(axis, one.place)
        if matrix is None:
            return values
        parts = by_channel(values, one.strand, axis.size)
        return with_channels(values, one.strand, np.tensordot(matrix, parts, axes=1))

    def _gathered(
        self, layer: str, axis: int, orders: Mapping[int, Order], sizes: Mapping[int, int]
    ) -> tuple[Indices, Floats]:
        """For each entry along an axis where it is in the other network, and its factor."""
        length = self.by_name[layer].shape[axis]
        index, factors = np.arange(length), np.ones(length)
        for one in self.on(layer, axis):
            strand, size = one.strand, self.axes[one.number].size
            there, count = self.there(one, sizes), sizes.get(one.number, size)
            index[strand.start + size * strand.repeat * strand.block :] += (
                (count - size) * strand.repeat * strand.block
            )
            order = orders.get(one.number)
            if order is None:
                continue
            place, channel = entries(strand, size)
            known = order.index[channel]
            moved = there.start + _at(strand, count, known, size)
            index[place] = np.where(known < 0, -1, moved)
            done = order.done_to(self.axes[one.number], one.place)
            factors[place] = 1.0 / done[channel]
        return index, factors

    def __iter__(self) -> Iterator[tuple[int, HiddenAxis]]:
        return iter(enumerate(self.axes))


def entries(strand: Strand, size: int) -> tuple[Indices, Indices]:
    """The entries of a strand along its axis, and the channel of each."""
    inside = np.arange(size * strand.repeat * strand.block)
    return strand.start + inside, (inside // strand.block) % size


def _at(strand: Strand, count: int, channels: Indices, size: int) -> Indices:
    """Where the entries of a strand are, from its start, of these channels among `count`."""
    inside = np.arange(size * strand.repeat * strand.block)
    repeat, within = inside // (strand.block * size), inside % strand.block
    return (repeat * count + channels) * strand.block + within
