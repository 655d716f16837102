"""Which entries of the axes of all tensors are one and the same channel.

Every axis is a list of parts: runs of channels, or entries that have to stay where they are. The
channels of two axes that an operator pairs are one; channels that it needs in their order are
pinned. What is left in the end may be put into any order. Beside it `forms` say what else may be
done to the channels of each part, and every operator adds the equations under which it passes that
on.

Where an axis is split into heads, a channel is a head, and the entries of its block are channels
too. These are others in each head, until an operator treats all heads alike: a family, whose member
is chosen by the head.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from nnw_onnx.graph.forms import STILL, Action, Forms

MOST_PARTS = 4096


@dataclass(frozen=True)
class Part:
    """A run of entries along an axis.

    Attributes:
        length: number of entries.
        channels: which channels they are, or None for entries that stay in their places.
        block: entries of one channel.
        action: what may be done to the channels.
        inner: what the entries of a block are, where these are channels too; then `action` is that
            of theirs, and nothing may be done to the channels but to exchange them.
    """

    length: int
    channels: int | None = None
    block: int = 1
    action: Action = STILL
    inner: tuple[Part, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether each entry is a channel."""
        return self.channels is not None and self.block == 1


Axis: TypeAlias = tuple[Part, ...] | None
"""The parts of an axis; None for one of unknown length, all of whose entries stay."""
Value: TypeAlias = tuple[Axis, ...] | None
"""The axes of a tensor; None where their number is unknown, and all entries stay."""
Pair: TypeAlias = tuple[Part, Part]


def length(axis: Axis) -> int | None:
    """Number of entries, where it is known."""
    return None if axis is None else sum(part.length for part in axis)


def fixed(size: int | None) -> Axis:
    """An axis all of whose entries stay."""
    return None if size is None else (Part(size),)


def is_fixed(axis: Axis) -> bool:
    """Whether all entries stay, as far as it was resolved."""
    return axis is None or all(part.channels is None for part in axis)


def leaves(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts whose actions count: of heads, those inside."""
    for part in parts:
        if part.inner:
            yield from leaves(part.inner)
        elif part.channels is not None:
            yield part


def acted(axis: Axis, change: Callable[[Action], Action]) -> Axis:
    """The axis with other actions on its channels."""
    if axis is None:
        return None
    return tuple(_acted(part, change) for part in axis)


def _acted(part: Part, change: Callable[[Action], Action]) -> Part:
    if part.inner:
        return replace(part, inner=tuple(_acted(p, change) for p in part.inner))
    return part if part.channels is None else replace(part, action=change(part.action))


def _structure(part: Part) -> Part:
    """The part without actions."""
    return _acted(part, lambda _: STILL)


class Labels:
    """Channels of a network, and what is known of them so far.

    Attributes:
        scales: equations on positive factors.
        signs: equations on signs.
        mixes: equations on matrices.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._made: dict[int, tuple[Part, ...]] = {}
        self._heads: dict[int, int] = {}
        self._counted: set[int] = set()
        self.scales, self.signs, self.mixes = Forms(), Forms(2), Forms()

    def fresh(self, size: int, *, free: bool = False) -> Part:
        """New channels; with an action that nothing restricts yet where they are free."""
        self._sizes.append(size)
        channels = len(self._sizes) - 1
        form = (((channels,), 1),) if free else ()
        return Part(size, channels, 1, Action(form, form, form))

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
                continue
            if part.inner:
                inner = self.resolved(part.inner)
                part = replace(part, inner=() if is_fixed(inner) else inner)
            if part.channels is None and found and found[-1].channels is None:
                found[-1] = Part(found[-1].length + part.length)
            elif part.length:
                found.append(part if part.channels is not None else Part(part.length))
        return tuple(found)

    def _inside(self, part: Part, made: Sequence[Part]) -> list[Part]:
        """What the channels of a part are made of, each piece with its own action."""
        pieces = made if part.inner else _with_action(made, part.action)
        return [q for piece in pieces for q in self.spread(piece, part.inner, part.block)]

    def spread(self, piece: Part, inner: tuple[Part, ...], width: int) -> list[Part]:
        """The part with a block of so many entries, `inner` ones, in the place of each entry."""
        if not inner:
            inner = (Part(width),)
        if piece.channels is None:
            if is_fixed(inner):
                return [Part(piece.length * width)]
            if len(inner) * piece.length > MOST_PARTS:
                self.pin(inner)
                return [Part(piece.length * width)]
            return list(inner) * piece.length
        if len(inner) * piece.block > MOST_PARTS:
            self.pin(inner)
            inner = (Part(width),)
        grown = replace(piece, length=piece.length * width, block=piece.block * width)
        if piece.inner:
            deeper = [q for p in piece.inner for q in self.spread(p, inner, width)]
            return [replace(grown, inner=tuple(deeper))]
        if is_fixed(inner):
            return [grown]
        return [replace(grown, action=STILL, inner=inner * piece.block)]

    def free(self, action: Action) -> Action:
        """The action over variables that are free so far."""
        return Action(
            self.scales.free(action.scale),
            self.signs.free(action.sign),
            self.mixes.free(action.mix),
        )

    def still(self, action: Action) -> Action:
        """From now on nothing may be done: the action that is left."""
        self.scales.vanishes(action.scale)
        self.signs.vanishes(action.sign)
        self.mixes.vanishes(action.mix)
        return STILL

    def family(self, channels: int) -> int | None:
        """The heads by which the members of a family are chosen; None for channels of their own."""
        heads = self._heads.get(channels)
        if heads is None:
            return None
        parts = self.resolved([Part(self._sizes[heads], heads)])
        return parts[0].channels if len(parts) == 1 and not parts[0].inner else None

    def share(self, channels: int | None) -> None:
        """From now on these channels are the same in all heads."""
        if channels is not None:
            self._heads.pop(channels, None)

    def share_value(self, value: Value) -> None:
        """Do so with all channels of a tensor."""
        for axis in value or ():
            for part in axis or ():
                self._share_part(part)

    def _share_part(self, part: Part) -> None:
        self.share(part.channels)
        for inside in part.inner:
            self._share_part(inside)

    def settle(self, value: Value) -> None:
        """Leave families only where the head of every entry is known from the value itself."""
        on_axes = [
            {p.channels for p in axis if p.channels is not None} for axis in value or () if axis
        ]
        heads = [channels for on_axis in on_axes for channels in on_axis]
        for axis in value or ():
            for part in axis or ():
                self._settle(part, [h for h in heads if heads.count(h) == 1])

    def _settle(self, part: Part, known: Collection[int]) -> None:
        if part.channels is not None and (part.inner or self.family(part.channels) not in known):
            self.share(part.channels)
        for inside in part.inner:
            self._settle(inside, () if part.channels is None else (part.channels,))

    def count(self, axis: Axis) -> None:
        """The graph has the number of these channels somewhere: it has to stay."""
        for part in self.resolved(axis or ()):
            if part.channels is not None:
                self._counted.add(part.channels)
            self.count(part.inner)

    def counted(self) -> frozenset[int]:
        """The channels of now whose number has to stay."""
        found: set[int] = set()
        waiting = [Part(self._sizes[k], k) for k in self._counted]
        while waiting:
            for part in self.resolved([waiting.pop()]):
                if part.channels is not None:
                    found.add(part.channels)
                waiting += part.inner
        return frozenset(found)

    def pin(self, axis: Axis) -> None:
        """Keep all entries of an axis in their places."""
        for part in self.resolved(axis or ()):
            self._pin(part)

    def _pin(self, part: Part) -> None:
        self.pin(part.inner)
        if part.channels is not None and part.channels not in self._made:
            self._made[part.channels] = (Part(self._sizes[part.channels]),)

    def pin_value(self, value: Value) -> None:
        """Keep all entries of a tensor in their places."""
        for axis in value or ():
            self.pin(axis)

    def paired(self, first: Axis, second: Axis, aligned: Collection[int] = ()) -> list[Pair] | None:
        """The parts of two axes whose entries are one by one the same.

        None where they are not of equal length or cannot be the same channels: all are pinned.

        Args:
            first: one of them.
            second: the other.
            aligned: heads of which each one of one value only meets the same one of the other.
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
            elif _structure(p) == _structure(q):
                self._keep_families(p, q, aligned)
                done.append((p, q))
                del left[0], right[0]
            else:
                self._become_one(p, q, aligned)

    def _keep_families(self, p: Part, q: Part, aligned: Collection[int]) -> None:
        for channels in (p.channels, q.channels):
            if channels is not None and self.family(channels) not in aligned:
                self.share(channels)

    def _still(self, pairs: list[Pair]) -> list[Pair]:
        """Pairs, of which later ones may have cut or pinned the channels."""
        found: list[Pair] = []
        for p, q in pairs:
            found += zip(leaves(self.resolved([p])), leaves(self.resolved([q])), strict=True)
        return found

    def _become_one(self, p: Part, q: Part, aligned: Collection[int]) -> None:
        """Make the channels of two different parts the same at their beginning, or pin them."""
        labelled = p.channels is not None and q.channels is not None
        if labelled and (p.block, p.length) == (q.block, q.length):
            self._become_equal(p, q, aligned)
            return
        for one, other in ((p, q), (q, p)):
            longer = one.plain and one.length >= other.length
            if longer and one.channels != other.channels:
                # Which member of a family they are is only known to parts as long as it.
                self.share(other.channels)
                self._made_of(one, other)
                return
        self._pin(p)
        self._pin(q)

    def _become_equal(self, p: Part, q: Part, aligned: Collection[int]) -> None:
        """Parts of as many channels of as many entries."""
        assert p.channels is not None
        assert q.channels is not None
        if p.channels != q.channels:
            families = self.family(p.channels), self.family(q.channels)
            self._made[p.channels] = (Part(self._sizes[p.channels], q.channels),)
            if families[0] != families[1] or families[0] not in aligned:
                self.share(q.channels)
        elif not p.inner or not q.inner:
            self.pin(p.inner or q.inner)
        else:
            self.paired(p.inner, q.inner, (p.channels,))

    def _made_of(self, p: Part, q: Part) -> None:
        """Plain channels begin with the entries of another part, which is not longer."""
        assert p.channels is not None
        rest = p.length - q.length
        first = _structure(q)
        self._made[p.channels] = (first, self.fresh(rest)) if rest else (first,)

    def parted(self, axis: Axis, width: int) -> tuple[Axis, Axis] | None:
        """The axis as two: the blocks of so many entries, and the entries of a block.

        None where channels would have to be cut.
        """
        outer: list[Part] = []
        inner: Axis = None
        if not width:
            return None
        for part in self._refined(axis, width):
            split = _split(part, width)
            if split is None:
                return None
            outer.append(split[0])
            if inner is not None and self.paired(inner, split[1]) is None:
                return None
            inner = split[1]
        return self.resolved(outer), None if inner is None else self.resolved(inner)

    def _refined(self, axis: Axis, width: int) -> tuple[Part, ...]:
        """The axis with plain channels made into heads of so many entries."""
        for part in self.resolved(axis or ()):
            several = width > 1 and part.length % width == 0 and part.length // width > 1
            few = part.length // width <= MOST_PARTS
            if part.plain and several and few and part.channels not in self._heads:
                assert part.channels is not None
                heads, entries = self.fresh(part.length // width), self.fresh(width)
                assert heads.channels is not None
                assert entries.channels is not None
                self._heads[entries.channels] = heads.channels
                grid = Part(part.length, heads.channels, width, inner=(entries,))
                self._made[part.channels] = (grid,)
        return self.resolved(axis or ())

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
            if before % part.block:
                self._pin(part)
            else:
                size = before // part.block
                pieces = self.fresh(size), self.fresh(self._sizes[part.channels] - size)
                self._made[part.channels] = pieces
                for piece in pieces:
                    if part.channels in self._heads and piece.channels is not None:
                        self._heads[piece.channels] = self._heads[part.channels]
            return


def _split(part: Part, width: int) -> tuple[Part, tuple[Part, ...]] | None:
    """A part as blocks of so many entries, and a block; None where a channel would be cut."""
    if part.channels is not None and part.length == width and part.block != width:
        return Part(1), (part,)
    if part.length % width or (part.channels is not None and part.block % width):
        return None
    many = part.length // width
    if part.channels is None:
        return Part(many), (Part(width),)
    outer = Part(many, part.channels, part.block // width, part.action)
    if not part.inner:
        return outer, (Part(width),)
    again = part.block // width
    block = part.inner[: len(part.inner) // again]
    periodic = block * again == part.inner and length(block) == width
    return (outer, block) if periodic else None


def _with_action(made: Sequence[Part], action: Action) -> list[Part]:
    """The parts with an action on their entries, or each with its own piece of it."""
    if len(made) == 1:
        return [_given(made[0], action)]
    return [_given(part, action.piece(k)) for k, part in enumerate(made)]


def _given(part: Part, action: Action) -> Part:
    if part.inner:
        return replace(part, inner=tuple(_with_action(part.inner, action)))
    return replace(part, action=action)
