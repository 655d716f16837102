"""Which entries of the axes of all tensors are one and the same channel.

Every axis is a list of parts: runs of channels, or entries that have to stay where they are. The
channels of two axes that an operator pairs are one; channels that it needs in their order are
pinned. What is left in the end may be put into any order. Beside it a linear form over unknown
logarithms of factors says how each part is scaled, and every operator adds the equations under
which it passes a scaling on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

Variable: TypeAlias = tuple[int, ...]
"""An unknown factor of each channel: a number, then which piece of it, where it was cut."""
Form: TypeAlias = tuple[tuple[Variable, int], ...]
"""Sum of variables times integers, sorted; () is 0: not scaled."""

MOST_PARTS = 4096


@dataclass(frozen=True)
class Part:
    """A run of entries along an axis.

    Attributes:
        length: number of entries.
        channels: which channels they are, or None for entries that stay in their places.
        block: entries of one channel.
        scale: logarithm of the factor of each channel.
    """

    length: int
    channels: int | None = None
    block: int = 1
    scale: Form = ()

    @property
    def plain(self) -> bool:
        """Whether each entry is a channel."""
        return self.channels is not None and self.block == 1


Axis: TypeAlias = tuple[Part, ...] | None
"""The parts of an axis; None for one of unknown length, all of whose entries stay."""
Value: TypeAlias = tuple[Axis, ...] | None
"""The axes of a tensor; None where their number is unknown, and all entries stay."""
Pair: TypeAlias = tuple[Part, Part]


def added(first: Form, second: Form, factor: int = 1) -> Form:
    """The form first + factor second."""
    found = dict(first)
    for variable, power in second:
        found[variable] = found.get(variable, 0) + factor * power
    return tuple(sorted((v, p) for v, p in found.items() if p))


def length(axis: Axis) -> int | None:
    """Number of entries, where it is known."""
    return None if axis is None else sum(part.length for part in axis)


def fixed(size: int | None) -> Axis:
    """An axis all of whose entries stay."""
    return None if size is None else (Part(size),)


def is_fixed(axis: Axis) -> bool:
    """Whether all entries stay, as far as it was resolved."""
    return axis is None or all(part.channels is None for part in axis)


class Labels:
    """Channels of a network, and what is known of them so far."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._made: dict[int, tuple[Part, ...]] = {}
        self._solved: dict[Variable, Form] = {}
        self._variables = 0

    def fresh(self, size: int, *, scaled: bool = False) -> Part:
        """New channels, with an unknown factor where they are scaled."""
        self._sizes.append(size)
        scale: Form = ()
        if scaled:
            scale = (((self._variables,), 1),)
            self._variables += 1
        return Part(size, len(self._sizes) - 1, 1, scale)

    def size(self, channels: int) -> int:
        """Number of channels."""
        return self._sizes[channels]

    def resolved(self, parts: Iterable[Part]) -> tuple[Part, ...]:
        """The same entries in the channels that they have become."""
        found: list[Part] = []
        waiting = list(parts)[::-1]
        while waiting:
            part = waiting.pop()
            made = None if part.channels is None else self._made.get(part.channels)
            if made is not None:
                waiting += self._inside(part, made)[::-1]
            elif part.channels is None and found and found[-1].channels is None:
                found[-1] = Part(found[-1].length + part.length)
            elif part.length:
                found.append(part if part.channels is not None else Part(part.length))
        return tuple(found)

    def _inside(self, part: Part, made: Sequence[Part]) -> list[Part]:
        """What the channels of a part are made of, each piece with its own factor."""
        one = len(made) == 1
        return [
            Part(
                piece.length * part.block,
                piece.channels,
                piece.block * part.block,
                part.scale if one else _cut(part.scale, k),
            )
            for k, piece in enumerate(made)
        ]

    def scale(self, form: Form) -> Form:
        """The form over variables that are free so far."""
        found: Form = ()
        waiting = list(form)
        while waiting:
            variable, power = waiting.pop()
            value = self._value(variable)
            if value is None:
                found = added(found, ((variable, 1),), power)
            else:
                waiting += [(v, power * p) for v, p in value]
        return found

    def _value(self, variable: Variable) -> Form | None:
        """What the variable, or what it is a piece of, is known to be."""
        for end in range(len(variable), 0, -1):
            value = self._solved.get(variable[:end])
            if value is not None:
                return tuple((v + variable[end:], p) for v, p in value)
        return None

    def vanishes(self, form: Form) -> None:
        """From now on the form is 0."""
        free = self.scale(form)
        chosen = next(((v, p) for v, p in free if abs(p) == 1), None)
        if chosen is None:
            for variable, _ in free:  # 2 x = 0, or 2 x = 3 y: no scaling is listed rather than half
                self._solved[variable] = ()
            return
        rest = tuple((v, -chosen[1] * p) for v, p in free if v != chosen[0])
        self._solved[chosen[0]] = rest

    def pin(self, axis: Axis) -> None:
        """Keep all entries of an axis in their places."""
        for part in self.resolved(axis or ()):
            self._pin(part)

    def _pin(self, part: Part) -> None:
        if part.channels is not None and part.channels not in self._made:
            self._made[part.channels] = (Part(self._sizes[part.channels]),)

    def pin_value(self, value: Value) -> None:
        """Keep all entries of a tensor in their places."""
        for axis in value or ():
            self.pin(axis)

    def paired(self, first: Axis, second: Axis) -> list[Pair] | None:
        """The parts of two axes whose entries are one by one the same.

        None where they are not of equal length or cannot be the same channels: all are pinned.
        """
        if first is None or second is None or length(first) != length(second):
            self.pin(first)
            self.pin(second)
            return None
        done: list[Pair] = []
        left, right = list(first), list(second)
        while True:
            left, right = list(self.resolved(left)), list(self.resolved(right))
            if not left:
                return self._still(done)
            p, q = left[0], right[0]
            if p.channels is None and q.channels is None:
                size = min(p.length, q.length)
                left[:1] = [Part(p.length - size)]
                right[:1] = [Part(q.length - size)]
            elif (p.channels, p.length, p.block) == (q.channels, q.length, q.block):
                done.append((p, q))
                del left[0], right[0]
            else:
                self._become_one(p, q)

    def _still(self, pairs: list[Pair]) -> list[Pair]:
        """Pairs, of which later ones may have cut or pinned the channels."""
        found: list[Pair] = []
        for p, q in pairs:
            both = zip(self.resolved([p]), self.resolved([q]), strict=True)
            found += [(a, b) for a, b in both if a.channels is not None]
        return found

    def _become_one(self, p: Part, q: Part) -> None:
        """Make the channels of two different parts the same at their beginning, or pin them."""
        labelled = p.channels is not None and q.channels is not None
        if labelled and (p.block, p.length) == (q.block, q.length):
            assert p.channels is not None
            self._made[p.channels] = (Part(self._sizes[p.channels], q.channels),)
            return
        for one, other in ((p, q), (q, p)):
            longer = one.plain and one.length >= other.length
            if longer and one.channels != other.channels:
                self._made_of(one, other)
                return
        self._pin(p)
        self._pin(q)

    def _made_of(self, p: Part, q: Part) -> None:
        """Plain channels begin with the entries of another part, which is not longer."""
        assert p.channels is not None
        first = Part(q.length, q.channels, q.block)
        rest = p.length - q.length
        self._made[p.channels] = (first, self.fresh(rest)) if rest else (first,)

    def cut(self, axis: Axis, start: int, stop: int) -> Axis:
        """The entries from start to stop; channels that are cut inside a block are pinned."""
        if axis is None:
            return fixed(max(0, stop - start))
        for place in (start, stop):
            self._cut_at(axis, place)
        found, position = [], 0
        for part in self.resolved(axis):
            low, high = max(start, position), min(stop, position + part.length)
            if low < high:
                found.append(replace(part, length=high - low))
            position += part.length
        return tuple(found)

    def _cut_at(self, axis: Sequence[Part], place: int) -> None:
        position = 0
        for part in self.resolved(axis):
            before, after = place - position, position + part.length - place
            position += part.length
            if part.channels is None or before <= 0 or after <= 0:
                continue
            if part.plain:
                self._made[part.channels] = (self.fresh(before), self.fresh(after))
            elif before % part.block:
                self._pin(part)
            else:
                size = before // part.block
                rest = self.fresh(self._sizes[part.channels] - size)
                self._made[part.channels] = (self.fresh(size), rest)
            return


def _cut(form: Form, piece: int) -> Form:
    return tuple(sorted(((*v, piece), p) for v, p in form))


def rescaled(axis: Axis, change: Callable[[Form], Form]) -> Axis:
    """The axis with other factors of its channels."""
    if axis is None:
        return None
    return tuple(p if p.channels is None else replace(p, scale=change(p.scale)) for p in axis)
