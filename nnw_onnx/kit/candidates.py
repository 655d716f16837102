"""Where the carrier of a key may be in another file of its network.

Exporters rename tensors, and optimizers transpose them and join several into one. A carrier is
therefore a *place*: a layer, and which of its weights in which order. Only layers from which a
value can reach an output are places: weights that no inference uses carry nothing.

What is chosen by names alone needs no correction of a p-value. What is chosen by looking at the
weights of several places does: by their number (Bonferroni), which is right for places that depend
on each other too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnw_onnx.vocabulary import Array, Layer, Way, Weighted, Weights

MOST = 1024
"""Places of one carrier that are read."""
MOST_WEIGHTS = 1 << 29
"""Weights that they have in all: some ten seconds of work."""
_LARGEST_JOIN = 16
"""Layers of one shape that a joined one is taken apart into; vocabularies are no joined layers."""
_FEW_MORE = 8
_BLOCKS = (8, 16)
"""Channels that onnxruntime interleaves for a processor with 256 or 512 bits a register."""


@dataclass(frozen=True)
class Candidate:
    """Weights that may be a carrier.

    Attributes:
        layer: where they are.
        shape: canonical shape that the carrier has in its key.
        way: how the place was found.
        transposed: whether rows and columns of the layer are exchanged.
        start: first row (after that) of the carrier in a joined layer.
        block: channels that are interleaved (NCHWc), or 0.
    """

    layer: Layer
    shape: tuple[int, ...]
    way: Way
    transposed: bool = False
    start: int = 0
    block: int = 0

    @property
    def part(self) -> str:
        """Which weights of the layer, in words; empty for all as they are."""
        rows = self.layer.shape[-1] if self.transposed else (self.layer.shape or (0,))[0]
        words = []
        if self.shape and self.shape[0] != rows and not self.block:
            axis = "columns" if self.transposed else "rows"
            words.append(f"{axis} {self.start} to {self.start + self.shape[0] - 1}")
        words += ["transposed"] * self.transposed
        words += [f"channels in blocks of {self.block} put in order"] * bool(self.block)
        return ", ".join(words)

    def of(self, weights: Weights) -> Array:
        """The weights (shape) of the carrier, read-only."""
        values = weights[self.layer.name]
        if self.block:
            values = _in_order(values, self.block)
        if self.transposed:
            values = values.T
        found = values[self.start : self.start + self.shape[0]] if self.shape else values
        if self.block:
            found = found[tuple(slice(n) for n in self.shape)]
        found = found.reshape(self.shape)
        found.setflags(write=False)
        return found


def likely(network: Weighted, name: str, shape: Sequence[int]) -> Candidate | None:
    """The place that names alone tell: of this name, else of the only one that is similar.

    Wrappers put words before a name ("model." + name), tools behind it (name + "_quantized").
    """
    wanted = tuple(shape)
    live = [x for x in network.layers if x.live and _same_shape(x.shape, wanted)]
    exact = [x for x in live if x.name == name]
    if exact:
        return Candidate(exact[0], wanted, "name")
    # "m_quantized" is nearer to "m" than "m.b_quantized" is.
    derived = [x for x in live if x.name.startswith(f"{name}_")]
    similar = [x for x in live if _similar(x.name, name)]
    alone = next((found for found in (derived, similar) if len(found) == 1), None)
    return None if alone is None else Candidate(alone[0], wanted, "similar name")


def as_it_is(layer: Layer, shape: Sequence[int], way: Way) -> Candidate | None:
    """The whole layer, of any role, where it has this shape; else None."""
    return Candidate(layer, tuple(shape), way) if _same_shape(layer.shape, shape) else None


def in_layer(network: Weighted, name: str, shape: Sequence[int]) -> list[Candidate]:
    """Every place in the layer of this name, which is live; none where there is no such layer."""
    layers = [x for x in network.layers if x.live and x.name == name]
    return [place for x in layers for place in places_in(x, tuple(shape), "asked")]


def everywhere(network: Weighted, shape: Sequence[int]) -> list[Candidate]:
    """Every place of a carrier of this shape, in the order in which the network computes.

    Whole layers as they are come first, then transposed ones and parts of joined ones.
    """
    wanted = tuple(shape)
    found = [p for x in network.layers if x.live for p in places_in(x, wanted, "shape")]
    return sorted(found, key=lambda place: bool(place.part))


def affordable(places: Sequence[Candidate]) -> list[Candidate]:
    """The first of some places, as many as are read at most; at least one where there is one."""
    each = math.prod(places[0].shape) if places else 1
    return list(places[: max(1, min(MOST, MOST_WEIGHTS // max(each, 1)))])


def by_order(
    network: Weighted, carriers: Mapping[str, Sequence[int]], taken: Sequence[str]
) -> dict[str, Candidate]:
    """Carriers without a name in the network: of each shape the first is the first there, ...

    This holds only where as many kernels of a shape are free as carriers miss; others are left out.

    Args:
        network: where to look.
        carriers: name -> shape of those that are missing, in the order of their key.
        taken: names of the layers that are carriers already.
    """
    found: dict[str, Candidate] = {}
    for shape in dict.fromkeys(tuple(s) for s in carriers.values()):
        names = [name for name, s in carriers.items() if tuple(s) == shape]
        free = [
            x for x in network.layers
            if x.live and x.role == "kernel" and x.name not in taken and _same_shape(x.shape, shape)
        ]  # fmt: skip
        if len(free) == len(names):
            found |= {n: Candidate(x, shape, _way(free)) for n, x in zip(names, free, strict=True)}
    return found


def by_order_in_blocks(
    network: Weighted, carriers: Mapping[str, Sequence[int]], taken: Sequence[str]
) -> list[dict[str, Candidate]]:
    """The same for kernels of which some are interleaved (NCHWc); empty where none is.

    All of a file are in blocks of one size, which their shapes alone may not tell: there is one
    answer for each size with which the most carriers are found.
    """
    ways = [_by_order_in_blocks(network, carriers, taken, block) for block in _BLOCKS]
    most = max(map(len, ways))
    return [found for found in ways if found and len(found) == most]


def _by_order_in_blocks(
    network: Weighted, carriers: Mapping[str, Sequence[int]], taken: Sequence[str], block: int
) -> dict[str, Candidate]:
    """Carriers whose kernels have one shape in the file are told by their order among those."""
    free = [x for x in network.layers if x.live and len(x.shape) == 4 and x.name not in taken]
    free = [x for x in free if x.role == "kernel" or _is_interleaved(x)]
    wanted = {name: tuple(s) for name, s in carriers.items() if len(s) == 4}
    found: dict[str, Candidate] = {}
    for stored in dict.fromkeys(_padded(s, block) for s in wanted.values()):
        names = [name for name, s in wanted.items() if _padded(s, block) == stored]
        there = [
            x for x in free
            if stored == (x.shape if _is_interleaved(x) else _padded(x.shape, block))
        ]  # fmt: skip
        if len(there) == len(names) and any(map(_is_interleaved, there)):
            pairs = list(zip(names, there, strict=True))
            if all(_is_interleaved(x) or x.shape == wanted[n] for n, x in pairs):
                found |= {n: _whole(x, wanted[n], block, _way(there)) for n, x in pairs}
    return found


def _whole(layer: Layer, shape: tuple[int, ...], block: int, way: Way) -> Candidate:
    return Candidate(layer, shape, way, block=block if _is_interleaved(layer) else 0)


def _way(free: Sequence[Layer]) -> Way:
    return "shape" if len(free) == 1 else "order"


def places_in(layer: Layer, shape: tuple[int, ...], way: Way) -> Iterator[Candidate]:
    """Every place in a layer of a carrier of this shape: whole, joined, turned, interleaved.

    Biases and normalisations are no places; see `as_it_is`.
    """
    if layer.role in ("bias", "norm") or not shape:
        return
    if _same_shape(layer.shape, shape):
        yield Candidate(layer, shape, way)
    yield from _joined(layer, layer.shape, shape, way, transposed=False)
    if len(layer.shape) == 2 and len(_compact(shape)) == 2:
        turned = layer.shape[::-1]
        if _same_shape(turned, shape):
            yield Candidate(layer, shape, way, transposed=True)
        yield from _joined(layer, turned, shape, way, transposed=True)
    yield from _interleaved(layer, shape, way)


def _joined(
    layer: Layer, have: tuple[int, ...], shape: tuple[int, ...], way: Way, *, transposed: bool
) -> Iterator[Candidate]:
    """Parts of a layer of more rows: at multiples of the carrier's rows, and at the end.

    Where there are a few rows more only, whoever has put them there may have begun anywhere.
    """
    rows, size = (have or (0,))[0], shape[0]
    alike = len(have) > 1 and _compact(have[1:]) == _compact(shape[1:])
    if not alike or not size < rows <= _LARGEST_JOIN * size:
        return
    step = 1 if rows - size <= _FEW_MORE else size
    starts = dict.fromkeys((*range(0, rows - size + 1, step), rows - size))
    for start in starts:
        yield Candidate(layer, shape, way, transposed=transposed, start=start)


def _interleaved(layer: Layer, shape: tuple[int, ...], way: Way) -> Iterator[Candidate]:
    """Kernels as onnxruntime stores them for one kind of processor (domain com.microsoft.nchwc)."""
    if _is_interleaved(layer) and len(shape) == 4:
        for block in _BLOCKS:
            if layer.shape == _padded(shape, block):
                yield Candidate(layer, shape, way, block=block)


def _is_interleaved(layer: Layer) -> bool:
    """Whether it may be a kernel in blocks: of an unknown operator, so that it has no role."""
    return layer.operator == "Conv" and layer.role == "other" and len(layer.shape) == 4


def _padded(shape: tuple[int, ...], block: int) -> tuple[int, ...]:
    """The shape with whole blocks of filters, and of inputs where there are enough for one."""
    up = -(-shape[0] // block) * block
    across = shape[1] if shape[1] < block else -(-shape[1] // block) * block
    return (up, across, *shape[2:])


def _in_order(values: Array, block: int) -> Array:
    """Filters (out, in, h, w) whose channels were interleaved: OIHWBiBo, or OIHWBo of few inputs.

    These are the names that onnxruntime gives to the two orders.
    """
    out, across, *kernel = values.shape
    if across % block:
        parts = values.reshape(out // block, across, *kernel, block)
        return parts.transpose(0, 4, 1, 2, 3).reshape(values.shape)
    parts = values.reshape(out // block, across // block, *kernel, block, block)
    return parts.transpose(0, 5, 1, 4, 2, 3).reshape(values.shape)


def _compact(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _same_shape(have: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether two shapes differ in axes of one entry only, as Linear and 1x1 Conv do."""
    return tuple(have) == tuple(wanted) or (
        len(have) > 0
        and len(wanted) > 0
        and have[0] == wanted[0]
        and _compact(have[1:]) == _compact(wanted[1:])
    )


def _similar(one: str, other: str) -> bool:
    """Whether one name is a whole part of the other."""
    short, long = sorted((one, other), key=len)
    return bool(short) and re.search(_WHOLE.format(re.escape(short)), long) is not None


_WHOLE = r"(?:^|[./:_]){}(?:$|[./:_'])"
