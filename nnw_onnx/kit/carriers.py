"""The layer that carries a watermark: choosing it, naming it in a key, taking its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    ModelFileError,
)
from nnw_onnx.kit import commitments, transforms
from nnw_onnx.math import blocks
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import (
    WEIGHT_ROLES,
    Array,
    Bench,
    Json,
    Key,
    Layer,
    Method,
    Network,
    Weighted,
    Weights,
)

ENOUGH = 1 << 25
"""Weights beyond which a kernel is taken only where no smaller one will do.

A mark gains little by more, and what is computed with a carrier takes up to 100 bytes a weight.
"""
_SPARSE = 0.1
_RANKS = 3
_SHOWN = 8


@dataclass(frozen=True)
class Carrier:
    """A carrier found in a network: its layer, its weights, and how it was found.

    Attributes:
        layer: where it is.
        stored: the weights as the network gives them; a method for large layers reads these in
            blocks (`math.blocks`).
        notes: plain words on how it was found.
    """

    layer: Layer
    stored: Array
    notes: tuple[str, ...] = ()

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """All weights in float64, which of float32 takes twice their memory."""
        return np.asarray(self.stored, np.float64)


def describe(layer: Layer) -> str:
    """Name and shape in words, such as "conv1.weight (16x3x3x3)"."""
    return f"{layer.name} ({_by(layer.shape)})"


def inputs_per_filter(layer: Layer) -> int:
    """Weights of one filter: the length M of the filter mean."""
    return layer.size // max(layer.shape[0], 1) if layer.shape else 0


def asked(bench: Bench, method: str) -> str | None:
    """The one carrier layer that the owner asks for, or None where the method chooses.

    Raises:
        InjectionError: several layers are asked for.
    """
    if len(bench.layers) > 1:
        raise InjectionError(
            f"{method}: expected at most one carrier layer, got {len(bench.layers)}; name one of "
            f"{listed(bench.layers)}"
        )
    return bench.layers[0] if bench.layers else None


def refuse_layers(bench: Bench, method: str) -> None:
    """Raise `InjectionError` where a layer is asked for, for a method that has no carrier."""
    if bench.layers:
        raise InjectionError(
            f"{method}: expected no layer, because the whole network carries the watermark, got "
            f"{', '.join(map(repr, bench.layers))}; leave it out"
        )


def kernels(network: Weighted) -> list[Layer]:
    """Kernels that take new values exactly as they are, in order of computation.

    Each is used once, reaches an output, and is learnt. Those of `preferred` are for a method that
    chooses one of them.
    """
    return [x for x in _possible(network) if _rank(x) == 0]


def preferred(
    network: Weighted, order: Callable[[list[Layer]], Iterable[Layer]]
) -> Iterator[Layer]:
    """Every kernel that a method may choose, the best first; `first_fit` looks at its weights.

    Those of `kernels` come before kernels that several operators share or that reach their operator
    through arithmetic, and these before kernels on the grid of a quantizer.

    Args:
        network: where to look.
        order: the kernels of such a group in the method's order of preference.
    """
    found = _possible(network)
    for rank in range(_RANKS):
        yield from order([layer for layer in found if _rank(layer) == rank])


def why_none(network: Weighted) -> str:
    """In words what keeps the weights of a network from carrying a watermark, the most first."""
    reasons = Counter(
        defect
        for x in network.layers
        if x.role in WEIGHT_ROLES and (defect := _reason(network, x)) is not None
    )
    counted = [f"{count} that {why}" for why, count in reasons.most_common(3)]
    return f"none but {', '.join(counted)}" if counted else "none"


def named(network: Weighted, name: str) -> Layer:
    """The layer of a name, which must be fit to carry a watermark.

    Recurrent and embedding layers are, too; no method chooses them by itself.

    Raises:
        InjectionError: no layer has this name, or it cannot carry a watermark.
    """
    by_name = {layer.name: layer for layer in network.layers}
    if name not in by_name:
        near = closest(name, [x.name for x in kernels(network)]) or closest(name, by_name)
        raise InjectionError(
            f"layer: expected the name of a layer of this network, got {name!r}{near}; "
            f"{suggestions(network)}"
        )
    layer = by_name[name]
    defect = _structural_defect(layer) or doubt(network, layer)
    if defect:
        raise InjectionError(
            f"layer {name!r}: expected weights that can carry a watermark, got a layer that "
            f"{defect}; {suggestions(network)}"
        )
    return layer


def suggestions(network: Weighted) -> str:
    """What could carry a watermark, the largest first, as the end of a message."""
    fit = [layer for layer in kernels(network) if doubt(network, layer) is None]
    fit = sorted(fit, key=lambda layer: -layer.size)[:_SHOWN]
    if not fit:
        return "no kernel of this network can; see 'nnw layers'"
    return f"take for example {', '.join(describe(layer) for layer in fit)}"


def doubt(network: Weighted, layer: Layer) -> str | None:
    """Why a kernel cannot carry a watermark although it takes one; None where nothing is odd.

    So are public constants, such as the basis of a Fourier transform, and layers of a network that
    anybody can get (`Layer.public`): whoever writes them back has removed the watermark without a
    trace. It ends a sentence: "a layer that ...".
    """
    public = _public(network, layer)
    return None if public is None else f"is {public}"


def is_fit(network: Weighted, layer: Layer) -> bool:
    """Whether the weights of a layer are finite numbers that differ."""
    return _numerical_defect(network.weights[layer.name]) is None


def listed(names: Sequence[str]) -> str:
    """Names with commas, the first few of them where they are many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def take(network: Weighted, layer: Layer, *, fills: bool = True) -> Carrier:
    """The carrier of a layer whose weights are fit to be marked.

    Args:
        network: where it is.
        layer: which one.
        fills: whether a watermark makes zeros other numbers, which is then noted.

    Raises:
        InjectionError: weights that are not finite, all equal, or too large to square.
    """
    defect = _numerical_defect(network.weights[layer.name])
    if defect:
        raise InjectionError(
            f"layer {layer.name!r}: expected finite weights that differ, got {defect}; choose "
            "another layer"
        )
    return _taken(network, layer, fills=fills)


def _taken(network: Weighted, layer: Layer, *, fills: bool = True) -> Carrier:
    """The carrier of a layer whose weights were found fit."""
    values = network.weights[layer.name]
    zeros = 1 - np.count_nonzero(values) / values.size
    sparse = (f"{zeros:.0%} of its weights are zero; the watermark fills them",)
    return Carrier(layer, values, sparse if fills and zeros >= _SPARSE else ())


def first_fit(network: Weighted, preference: Iterable[Layer], refusal: str) -> Carrier:
    """The first layer of an order of preference whose weights are learnt and fit to be marked.

    Raises:
        InjectionError: the order is empty (with the words of `refusal`), or the weights of every
            layer in it have a defect.
    """
    defects = []
    for layer in preference:
        if defect := _numerical_defect(network.weights[layer.name]):
            defects.append(f"{defect} in layer {layer.name!r}")
        elif public := _public(network, layer):
            defects.append(f"layer {layer.name!r}, which is {public}")
        else:
            return _taken(network, layer)
    if defects:
        raise InjectionError(
            "layer: expected one whose weights are finite, differ, and are not public, got "
            f"{defects[0]}; use a trained network, or another reference"
        )
    raise InjectionError(refusal)


def largest_first(layers: Iterable[Layer]) -> list[Layer]:
    """Layers by their number of weights, for `preferred`; those beyond `ENOUGH` last, in turn."""
    return sorted(layers, key=lambda x: x.size if x.size > ENOUGH else -x.size)


def largest(
    network: Weighted, bench: Bench, method: str, least: int, purpose: str
) -> tuple[Carrier, str]:
    """The largest kernel fit to carry, or the one asked for, and in words why it was taken.

    Args:
        network: where to look.
        bench: says which layer is asked for.
        method: name of the method.
        least: number of weights that it must have.
        purpose: what so many are needed for, and what else to use, such as "8 symbols; use a
            shorter payload".

    Raises:
        InjectionError: no layer, or not this one, is fit or has so many weights.
    """

    def refusal(what: str, got: str) -> str:
        words, _, remedy = purpose.partition("; ")
        return (
            f"{method}: {what}: expected at least {least} weights for {words}, got {got}; {remedy}"
        )

    name = asked(bench, method)
    if name is None:
        found = list(preferred(network, largest_first))
        best = max((x.size for x in found), default=0)
        words = refusal("largest kernel", f"{best}" if best else why_none(network))
        carrier = first_fit(network, [x for x in found if x.size >= least], words)
        passed = best > ENOUGH >= carrier.layer.size
        bound = f"of at most {ENOUGH:,} weights " if passed else ""
        return carrier, f"the largest kernel {bound}fit to carry it"
    carrier = take(network, named(network, name))
    if carrier.layer.size < least:
        raise InjectionError(refusal(f"layer {name!r}", f"{carrier.layer.size}"))
    return carrier, "as asked"


def key_for(
    method: Method,
    chosen: Sequence[Carrier],
    network: Network,
    size: int,
    secret: bytes,
    why: Iterable[str],
    facts: Mapping[str, Json] | None = None,
) -> Key:
    """The key of some carriers, committed to secret, method, carriers and unmarked weights.

    Args:
        method: whose key it is.
        chosen: the carriers.
        network: before anything is put in.
        size: number of Symbols.
        secret: 32 bytes.
        why: plain words on how the carriers were chosen.
        facts: numbers and words of the key itself.
    """
    layers = [carrier.layer for carrier in chosen]
    bound = [(x.name, x.shape, commitments.digest(network.weights[x.name])) for x in layers]
    return Key(
        method=method.spec(),
        secret=secret,
        size=size,
        layers=tuple(layer.name for layer in layers),
        shapes=tuple(layer.shape for layer in layers),
        facts=dict(facts or {}),
        commitment=commitments.commit(secret, method.name, bound),
        notes=(*why, *(note for carrier in chosen for note in carrier.notes)),
    )


def check_size(size: int) -> None:
    """Raise `InjectionError` unless there is at least one Symbol."""
    if size < 1:
        raise InjectionError(
            f"payload: expected at least one symbol, got {size}; give a longer payload"
        )


def check_presence(size: int, method: str) -> None:
    """Raise `InjectionError` where Symbols are given to a method that carries none."""
    if size:
        raise InjectionError(
            f"{method}: expected no payload, because it only says that it is there, got {size} "
            "symbols; leave the payload out"
        )


def check_method(key: Key, method: str) -> None:
    """Raise `ConfigurationError` for the key of another method."""
    if key.method.name != method:
        raise ConfigurationError(
            f"key: expected a key of method {method!r}, got one of {key.method.name!r}; use that "
            "method"
        )


def find(
    network: Weighted, key: Key, method: str, index: int = 0, *, finite: bool = True
) -> Carrier:
    """A carrier of a key: the layer of its name and shape, which reaches an output.

    Where tools have renamed, turned or joined it, whoever calls the Decoder has found it before
    (`kit.candidates`) and presents it under this name.

    Args:
        network: where to look.
        key: names the carriers.
        method: name of the method that asks.
        index: which of the carriers.
        finite: whether weights that are not finite are refused.

    Raises:
        ConfigurationError: the key is of another method, has no such carrier, or is of more Symbols
            than weights.
        CarrierNotFoundError: no such layer.
        ModelFileError: weights that are not finite.
    """
    name, shape = _place(key, method, index)
    layer = _located(network, name, shape)
    if key.size > layer.size:
        raise ConfigurationError(
            f"key: expected at most one symbol a weight, got {key.size} for the "
            f"{layer.size} weights of layer {layer.name!r}; restore the key from a copy"
        )
    values = network.weights[layer.name]
    if finite and not blocks.finite(values):
        raise ModelFileError(
            f"layer {layer.name!r}: expected finite weights, got NaN or infinity; use a network "
            "that is not damaged"
        )
    return Carrier(layer, values)


def trained(weights: Weights, key: Key, method: str) -> Array:
    """The weights of the carrier of a key, while a network is being trained.

    Raises:
        ConfigurationError: the key is of another method.
        CarrierNotFoundError: `weights` lacks that layer, or has another shape for it.
    """
    name, shape = _place(key, method, 0)
    if name not in weights or weights[name].shape != shape:
        got = f"one of shape {weights[name].shape}" if name in weights else "none of this name"
        raise CarrierNotFoundError(
            f"carrier: expected layer {name} of shape {shape} in the training, got {got}; make "
            "the key for the network that is trained"
        )
    return weights[name]


def _possible(network: Weighted) -> list[Layer]:
    """Kernels that may be chosen without being asked for, whatever their weights are."""
    return [x for x in network.layers if x.role == "kernel" and _structural_defect(x) is None]


def _reason(network: Weighted, layer: Layer) -> str | None:
    """Why a layer is not chosen: it cannot carry a watermark, or is not chosen by itself."""
    if layer.role in ("recurrent", "embedding"):
        return f"is {layer.role} and has to be named"
    return _structural_defect(layer) or doubt(network, layer)


def _public(network: Weighted, layer: Layer) -> str | None:
    """Where anybody can get the weights of a layer: in another network, or by a formula."""
    return layer.public or _constant(network, layer)


def _constant(network: Weighted, layer: Layer) -> str | None:
    if layer.role != "kernel" or not layer.size:
        return None
    name = transforms.recognised(network.weights[layer.name])
    return None if name is None else f"a public constant ({name})"


def _rank(layer: Layer) -> int:
    """How readily a kernel is chosen: 0 is best."""
    if layer.quantization is not None:
        return 2
    return 1 if layer.shared or layer.arithmetic else 0


def _place(key: Key, method: str, index: int) -> tuple[str, tuple[int, ...]]:
    check_method(key, method)
    if not index < min(len(key.layers), len(key.shapes)):
        raise ConfigurationError(
            f"key: expected carrier number {index + 1} with its shape, got {len(key.layers)} "
            "carriers; restore the key from a copy"
        )
    return key.layers[index], key.shapes[index]


def _located(network: Weighted, name: str, shape: tuple[int, ...]) -> Layer:
    layer = next((x for x in network.layers if x.name == name), None)
    if layer is not None and layer.shape == shape and layer.live:
        return layer
    got = "none of this name"
    if layer is not None:
        dead = layer.shape == shape
        got = "one that no output depends on" if dead else f"one of shape {_by(layer.shape)}"
    raise CarrierNotFoundError(
        f"carrier: expected layer {name} ({_by(shape)}), got {got}; decode a network that has "
        "this layer"
    )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _structural_defect(layer: Layer) -> str | None:
    """Why a layer cannot carry a watermark, as the end of a sentence; None where it can."""
    defects = {
        f"is a {layer.role}": layer.role not in WEIGHT_ROLES,
        "has no weights": not layer.size,
        "no output depends on": not layer.live,
        "does not learn: it is a constant, or frozen": not layer.learns,
        f"takes no new values, because {layer.obstacle}": layer.obstacle is not None,
        f"is shared by {len(layer.consumers)} operators that read it differently": (
            not _read_alike(layer)
        ),
    }
    return next((words for words, there in defects.items() if there), None)


def _read_alike(layer: Layer) -> bool:
    """Whether every use is the same operator's same input, so that the layout is one."""
    uses = {(use.split(":")[0], use.rsplit(":", 1)[-1]) for use in layer.consumers}
    return len(uses) <= 1


def _numerical_defect(values: Array) -> str | None:
    low, high = blocks.extremes(values)
    if not np.isfinite((low, high)).all():
        return "NaN or infinity"
    if low == high:
        return f"the same value {low:g} everywhere"
    with np.errstate(over="ignore", under="ignore"):
        energy = blocks.variance(values)
    return None if 0 < energy < np.inf else f"values whose variance is {energy:g}"
