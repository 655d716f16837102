"""The layer that carries a watermark: choosing it, naming it in a key, finding it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    ModelFileError,
)
from nnw_onnx.kit import commitments
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Array, Bench, Json, Key, Layer, Method, Network, Weighted, Weights

_SPARSE = 0.1
_SHOWN = 8


@dataclass(frozen=True)
class Carrier:
    """A carrier found in a network: its layer, its weights in float64, and how it was found."""

    layer: Layer
    values: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def describe(layer: Layer) -> str:
    """Name and shape in words, such as "conv1.weight (16x3x3x3)"."""
    return f"{layer.name} ({'x'.join(map(str, layer.shape))})"


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
    """Kernels that may carry a watermark: replaceable, used once, not empty; in file order."""
    return [layer for layer in network.layers if not _structural_defect(layer)]


def named(network: Weighted, name: str) -> Layer:
    """The layer of a name, which must be fit to carry a watermark.

    Raises:
        InjectionError: no layer has this name, or it cannot carry a watermark.
    """
    by_name = {layer.name: layer for layer in network.layers}
    if name not in by_name:
        raise InjectionError(
            f"layer: expected the name of a layer of this network, got {name!r}"
            f"{closest(name, by_name)}; see 'nnw layers'"
        )
    defect = _structural_defect(by_name[name])
    if defect:
        raise InjectionError(
            f"layer {name!r}: expected a kernel that can be replaced alone, got one that {defect}; "
            "choose another layer"
        )
    return by_name[name]


def is_fit(network: Weighted, layer: Layer) -> bool:
    """Whether the weights of a layer are finite numbers that differ."""
    return _numerical_defect(_values(network, layer)) is None


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
    values = _values(network, layer)
    defect = _numerical_defect(values)
    if defect:
        raise InjectionError(
            f"layer {layer.name!r}: expected finite weights that differ, got {defect}; choose "
            "another layer"
        )
    zeros = 1 - np.count_nonzero(values) / values.size
    sparse = (f"{zeros:.0%} of its weights are zero; the watermark fills them",)
    return Carrier(layer, values, sparse if fills and zeros >= _SPARSE else ())


def first_fit(network: Weighted, preference: Iterable[Layer], refusal: str) -> Carrier:
    """The first layer of an order of preference whose weights are fit to be marked.

    Raises:
        InjectionError: the order is empty (with the words of `refusal`), or the weights of every
            layer in it have a defect.
    """
    defects = []
    for layer in preference:
        defect = _numerical_defect(_values(network, layer))
        if defect is None:
            return take(network, layer)
        defects.append(f"{defect} in layer {layer.name!r}")
    if defects:
        raise InjectionError(
            f"layer: expected one with finite weights that differ, got {defects[0]}; "
            "use a trained network"
        )
    raise InjectionError(refusal)


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

    def refusal(what: str, got: int) -> str:
        words, _, remedy = purpose.partition("; ")
        return (
            f"{method}: {what}: expected at least {least} weights for {words}, got {got}; {remedy}"
        )

    name = asked(bench, method)
    if name is None:
        found = sorted(kernels(network), key=lambda x: x.size, reverse=True)
        words = refusal("largest kernel", max([0, *(x.size for x in found)]))
        carrier = first_fit(network, [x for x in found if x.size >= least], words)
        return carrier, "the largest kernel fit to carry it"
    carrier = take(network, named(network, name))
    if carrier.layer.size < least:
        raise InjectionError(refusal(f"layer {name!r}", carrier.layer.size))
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


def find(network: Weighted, key: Key, method: str, index: int = 0) -> Carrier:
    """A carrier of a key: by name and shape, else the only kernel of that shape.

    Where there are several, the only one whose name begins with that of the carrier, as the tools
    that quantize networks name them. Shape and name decide without looking at the
    weights, so the p-value needs no correction.

    Args:
        network: where to look.
        key: names the carriers.
        method: name of the method that asks.
        index: which of the carriers.

    Raises:
        ConfigurationError: the key is of another method, has no such carrier, or is of more Symbols
            than weights.
        CarrierNotFoundError: no such layer, or several of that shape.
        ModelFileError: weights that are not finite.
    """
    name, shape = _place(key, method, index)
    layer, notes = _locate(network, name, shape)
    if key.size > layer.size:
        raise ConfigurationError(
            f"key: expected at most one symbol a weight, got {key.size} for the "
            f"{layer.size} weights of layer {layer.name!r}; restore the key from a copy"
        )
    values = _values(network, layer)
    if not np.isfinite(values).all():
        raise ModelFileError(
            f"layer {layer.name!r}: expected finite weights, got NaN or infinity; use a network "
            "that is not damaged"
        )
    return Carrier(layer, values, notes)


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


def _place(key: Key, method: str, index: int) -> tuple[str, tuple[int, ...]]:
    check_method(key, method)
    if not index < min(len(key.layers), len(key.shapes)):
        raise ConfigurationError(
            f"key: expected carrier number {index + 1} with its shape, got {len(key.layers)} "
            "carriers; restore the key from a copy"
        )
    return key.layers[index], key.shapes[index]


def _locate(network: Weighted, name: str, shape: tuple[int, ...]) -> tuple[Layer, tuple[str, ...]]:
    same_shape = [x for x in network.layers if x.shape == shape and x.role == "kernel"]
    for layer in network.layers:
        if layer.name == name and layer.shape == shape:
            return layer, ()
    wanted = f"{name} ({'x'.join(map(str, shape))})"
    renamed = name not in {layer.name for layer in network.layers}
    # Quantizers write "NAME_quantized", which tells kernels of one shape apart.
    derived = [x for x in same_shape if x.name.startswith(f"{name}_")]
    for found, why in ((derived, " whose name begins so"), (same_shape, "")):
        if renamed and len(found) == 1:
            return found[0], (f"carrier {wanted} not found by name; took {found[0].name}, the only "
                              f"kernel of its shape{why}",)  # fmt: skip
    got = f"{len(same_shape)} kernels of that shape" if renamed else "another shape"
    raise CarrierNotFoundError(
        f"carrier: expected layer {wanted}, got {got}; decode a network that has this layer"
    )


def _values(network: Weighted, layer: Layer) -> NDArray[np.float64]:
    return np.asarray(network.weights[layer.name], dtype=np.float64)


def _structural_defect(layer: Layer) -> str | None:
    if layer.role != "kernel":
        return f"is a {layer.role}"
    if not layer.replaceable:
        return f"is stored as integers ({layer.quantization})"
    if layer.shared:
        return f"is shared by {len(layer.consumers)} operators"
    return "has no weights" if layer.size == 0 else None


def _numerical_defect(values: Array) -> str | None:
    if not np.isfinite(values).all():
        return "NaN or infinity"
    if values.min() == values.max():
        return f"the same value {values.flat[0]:g} everywhere"
    with np.errstate(over="ignore", under="ignore"):
        energy = float(values.var())
    return None if 0 < energy < np.inf else f"values whose variance is {energy:g}"
