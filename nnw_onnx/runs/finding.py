"""Finding the carriers of a key in a network, before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import candidates
from nnw_onnx.kit.candidates import Candidate
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import WEIGHT_ROLES, Found, Key, Layer, Method, Suspect

Where: TypeAlias = tuple[tuple[str, Candidate], ...]


@dataclass(frozen=True)
class Carriers:
    """Where all carriers of a key may be.

    Attributes:
        where: name in the key, and its place; carriers that are missing are left out.
        read: number of places among which these were chosen by their weights.
        left: further places that were not read, because there are too many.
    """

    where: Where = ()
    read: int = 1
    left: int = 0

    @property
    def as_in_key(self) -> bool:
        """Whether every one that is there has the name and shape that the key knows it by."""
        return all(
            place.layer.name == name and place.layer.shape == place.shape and not place.part
            for name, place in self.where
        )

    def found(self) -> tuple[Found, ...]:
        """The same for people and records."""
        return tuple(
            Found(name, place.layer.name, place.part, place.way, self.read)
            for name, place in self.where
        )

    def among(self, read: int) -> Carriers:
        """The same, chosen among so many."""
        return replace(self, read=read)


@dataclass(frozen=True)
class Places:
    """Every way to take the layers of a network for the carriers of a key.

    Attributes:
        first: the one that names tell, which needs no correction; None where they tell none.
        others: all others, found when they are asked for.
        missing: why there is none, where there is none.
    """

    first: Carriers | None
    others: Callable[[], list[Carriers]]
    missing: str


def places_of(suspect: Suspect, method: Method, key: Key, layer: str | None = None) -> Places:
    """Where the carriers of a key may be.

    One carrier is looked for by its name, by a unique similar one, and by its shape: as it is,
    transposed, in a part of a joined layer, in blocks of channels. Several are found by name,
    similar name, and by their order among the layers of one shape. That is one way, or one for each
    size of blocks of channels where the file has them and does not tell which.

    Args:
        suspect: the network.
        method: of the key.
        key: names the carriers.
        layer: the layer to read, whatever the key calls it.

    Raises:
        ConfigurationError: a layer is named for a key that has not exactly one carrier, or the
            network has no such layer.
    """
    single = len(key.layers) == len(key.shapes) == 1 and method.access != "answers"
    if layer is not None:
        return _asked(suspect, key, layer, single=single)
    if method.access == "answers" or not key.shapes:
        return Places(Carriers(), list, "")
    return _one(suspect, method, key) if single else _several(suspect, method, key)


def in_words(found: tuple[Found, ...], key: Key, left: int = 0, others: int = 0) -> tuple[str, ...]:
    """What a person should know of where carriers were read; nothing where that is plain.

    Args:
        found: where they were read.
        key: whose carriers they are.
        left: places that were not read.
        others: places that were read after this one, in none of which the mark is.
    """
    shapes = dict(zip(key.layers, key.shapes, strict=False))
    lines = [_line(f, shapes[f.carrier]) for f in found if not f.plain]
    if others:
        lines.append(f"{others} other places of this shape were read too: it is in none of them")
    if left:
        lines.append(f"{left} more places of this shape were not read; name one to read it")
    return tuple(lines)


def _line(found: Found, shape: tuple[int, ...]) -> str:
    part = f" ({found.part})" if found.part else ""
    line = f"carrier {found.carrier} ({_by(shape)}) was read from {found.layer}{part}"
    if found.candidates > 1:
        return (
            f"{line}, the best of {found.candidates} places of its shape; the p-value is corrected "
            "for their number"
        )
    if found.cosine is None or found.margin is None:
        return f"{line}, {_WAYS[found.way]}"
    return (
        f"{line}, {_WAYS[found.way]}; its filters are like those of the reference by a mean cosine "
        f"of {found.cosine:.2f}, {found.margin:.2f} above the best wrong ones"
    )


_WAYS = {
    "name": "the layer of its name",
    "similar name": "the only layer of a similar name",
    "shape": "the only place of its shape",
    "order": "by its order among the layers of its shape",
    "asked": "as asked",
    "content": "the one whose weights are most like its, in whatever order",
    "aligned": "the one that is like it, once all other layers are in order",
}


def _one(suspect: Suspect, method: Method, key: Key) -> Places:
    name, shape = key.layers[0], key.shapes[0]
    first = candidates.likely(suspect, name, shape)

    def others() -> list[Carriers]:
        found = candidates.everywhere(suspect, shape)
        if method.access == "activations":
            # What a joined or turned layer answers is not what the carrier answered.
            found = [place for place in found if not place.part]
        taken = [p for p in found if first is None or not _same(p, first)]
        read = candidates.affordable(taken)
        left = len(taken) - len(read)
        return [Carriers(((name, place),), left=left) for place in read]

    alone = None if first is None else Carriers(((name, first),))
    return Places(alone, others, _missing(suspect, name, shape))


def _several(suspect: Suspect, method: Method, key: Key) -> Places:
    shapes = dict(zip(key.layers, key.shapes, strict=False))
    found = {n: p for n, s in shapes.items() if (p := candidates.likely(suspect, n, s)) is not None}
    found |= candidates.by_order(suspect, *_missed(shapes, found))
    more: list[dict[str, Candidate]] = []
    # What a layer in blocks answers is not what the carrier answered.
    if len(found) < len(shapes) and method.access != "activations":
        more = candidates.by_order_in_blocks(suspect, *_missed(shapes, found))
    ways = [
        Carriers(tuple((name, where[name]) for name in shapes if name in where))
        for where in ([found | one for one in more] or [found])
    ]
    return Places(ways[0], list, "") if len(ways) == 1 else Places(None, lambda: ways, "")


def _missed(
    shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, Candidate]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Carriers that are not found yet, and layers that are carriers already."""
    rest = {name: shape for name, shape in shapes.items() if name not in found}
    return rest, [place.layer.name for place in found.values()]


def _asked(suspect: Suspect, key: Key, layer: str, *, single: bool) -> Places:
    if not single:
        raise ConfigurationError(
            f"layer: expected none for a key of {len(key.layers)} carriers, got {layer!r}; leave "
            "it out"
        )
    names = [x.name for x in suspect.layers]
    if layer not in names:
        weights = [x.name for x in suspect.layers if x.role in WEIGHT_ROLES]
        raise ConfigurationError(
            f"layer: expected the name of a layer of this network, got {layer!r}"
            f"{closest(layer, weights) or closest(layer, names)}; see 'nnw layers'"
        )
    name, shape = key.layers[0], key.shapes[0]
    places = candidates.affordable(candidates.in_layer(suspect, layer, shape))
    ways = [Carriers(((name, place),)) for place in places]
    asked = next(x for x in suspect.layers if x.name == layer)
    got = f"layer {layer} ({_by(asked.shape)})" + (
        "" if asked.live else ", of which no output of the network is made"
    )
    missing = f"carrier: expected {name} ({_by(shape)}), got {got}; name another layer"
    return Places(None, lambda: ways, missing)


def _same(one: Candidate, other: Candidate) -> bool:
    return replace(one, way="name") == replace(other, way="name")


def _missing(suspect: Suspect, name: str, shape: tuple[int, ...]) -> str:
    """Why no place is left, in one line."""
    named = next((x for x in suspect.layers if x.name == name), None)
    return (
        f"carrier: expected layer {name} ({_by(shape)}), got {_got(named)}, and no other layer "
        "that reaches an output and has this shape, transposed or joined with others; "
        f"{_remedy(suspect)}"
    )


def _got(named: Layer | None) -> str:
    if named is None:
        return "none of this name"
    if not named.live:
        return "one of this name of which no output is made"
    return f"one of shape {_by(named.shape)}"


def _remedy(suspect: Suspect) -> str:
    if any(layer.quantization for layer in suspect.layers):
        return "take the network that this one was made from, before its weights were packed"
    return "take a network that has this layer, or one that was not optimised for one processor"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
