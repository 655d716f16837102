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


def in_layer(network: Weighted, name: str, shape: Sequence[int]) -> list[Candidate]:
    """Every place in the layer of this name, which is live; none where there is no such layer."""
    layers = [x for x in network.layers if x.live and x.name == name]
    return [place for x in layers for place in _places(x, tuple(shape), "asked")]


def everywhere(network: Weighted, shape: Sequence[int]) -> list[Candidate]:
    """Every place of a carrier of this shape, in the order in which the network computes.

    Whole layers as they are come first, then transposed ones and parts of joined ones.
    """
    wanted = tuple(shape)
    found = [p for x in network.layers if x.live for p in _places(x, wanted, "shape")]
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
            way: Way = "shape" if len(free) == 1 else "order"
            found |= {n: Candidate(x, shape, way) for n, x in zip(names, free, strict=True)}
    return found


def _places(layer: Layer, shape: tuple[int, ...], way: Way) -> Iterator[Candidate]:
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
    # Its operators are unknown ones, so that their weights have no role.
    if layer.operator != "Conv" or layer.role != "other" or not len(shape) == len(layer.shape) == 4:
        return
    for block in _BLOCKS:
        if layer.shape in (_padded(shape, block, both=True), _padded(shape, block, both=False)):
            yield Candidate(layer, shape, way, block=block)


def _padded(shape: tuple[int, ...], block: int, *, both: bool) -> tuple[int, ...]:
    """The shape with whole blocks of filters, and of inputs too."""
    up = -(-shape[0] // block) * block
    across = -(-shape[1] // block) * block if both else shape[1]
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
