"""The layer that carries a watermark: choosing it, naming it in a key, finding it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import commitments
from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    ModelFileError,
)
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Key, Layer, Network, Weights

_SPARSE = 0.1


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


def kernels(network: Network) -> list[Layer]:
    """Kernels that may carry a watermark: replaceable, used once, not empty; in file order."""
    return [layer for layer in network.layers if not _structural_defect(layer)]


def named(network: Network, name: str) -> Layer:
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


def take(network: Network, layer: Layer) -> Carrier:
    """The carrier of a layer whose weights are fit to be marked.

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
    return Carrier(layer, values, sparse if zeros >= _SPARSE else ())


def first_fit(network: Network, preference: Iterable[Layer], refusal: str) -> Carrier:
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


def key_for(
    method: str, carrier: Carrier, network: Network, size: int, secret: bytes, why: Iterable[str]
) -> Key:
    """The key of a carrier, committed to secret, method, carrier and unmarked weights."""
    layer = carrier.layer
    digest = commitments.digest(network.weights[layer.name])
    return Key(
        method=method,
        secret=secret,
        layers=(layer.name,),
        shapes=(layer.shape,),
        payload_size=size,
        commitment=commitments.commit(secret, method, [(layer.name, layer.shape, digest)]),
        notes=(*why, *carrier.notes),
    )


def check_size(payload_size: int) -> None:
    """Raise `InjectionError` unless there is at least one Symbol."""
    if payload_size < 1:
        raise InjectionError(
            f"payload: expected at least one symbol, got {payload_size}; give a longer payload"
        )


def find(network: Network, key: Key, method: str) -> Carrier:
    """The carrier of a key: by name and shape, else the only kernel of that shape.

    The shape decides without looking at the weights, so the p-value needs no correction.

    Raises:
        ConfigurationError: the key is of another method, or of more Symbols than weights.
        CarrierNotFoundError: no such layer, or several of that shape.
        ModelFileError: weights that are not finite.
    """
    _check_method(key, method)
    layer, notes = _locate(network, key.layers[0], key.shapes[0])
    if key.payload_size > layer.size:
        raise ConfigurationError(
            f"key: expected at most one symbol a weight, got {key.payload_size} for the "
            f"{layer.size} weights of layer {layer.name!r}; restore the key from a copy"
        )
    values = _values(network, layer)
    if not np.isfinite(values).all():
        raise ModelFileError(
            f"layer {layer.name!r}: expected finite weights, got NaN or infinity; use a network "
            "that is not damaged"
        )
    return Carrier(layer, values, notes)


def trained(weights: Weights, key: Key, method: str) -> NDArray[Any]:
    """The weights of the carrier of a key, while a network is being trained.

    Raises:
        ConfigurationError: the key is of another method.
        CarrierNotFoundError: `weights` lacks that layer, or has another shape for it.
    """
    _check_method(key, method)
    name, shape = key.layers[0], key.shapes[0]
    if name not in weights or weights[name].shape != shape:
        got = f"one of shape {weights[name].shape}" if name in weights else "none of this name"
        raise CarrierNotFoundError(
            f"carrier: expected layer {name} of shape {shape} in the training, got {got}; make "
            "the key for the network that is trained"
        )
    return weights[name]


def _check_method(key: Key, method: str) -> None:
    if key.method != method or not key.layers:
        raise ConfigurationError(
            f"key: expected a key of method {method!r}, got one of {key.method!r}; use that method"
        )


def _locate(network: Network, name: str, shape: tuple[int, ...]) -> tuple[Layer, tuple[str, ...]]:
    same_shape = [x for x in network.layers if x.shape == shape and x.role == "kernel"]
    for layer in network.layers:
        if layer.name == name and layer.shape == shape:
            return layer, ()
    wanted = f"{name} ({'x'.join(map(str, shape))})"
    renamed = name not in {layer.name for layer in network.layers}
    if renamed and len(same_shape) == 1:
        found = same_shape[0]
        return found, (f"carrier {wanted} not found by name; took {found.name}, the only kernel "
                       "of its shape",)  # fmt: skip
    got = f"{len(same_shape)} kernels of that shape" if renamed else "another shape"
    raise CarrierNotFoundError(
        f"carrier: expected layer {wanted}, got {got}; decode a network that has this layer"
    )


def _values(network: Network, layer: Layer) -> NDArray[np.float64]:
    return np.asarray(network.weights[layer.name], dtype=np.float64)


def _structural_defect(layer: Layer) -> str | None:
    if layer.role != "kernel":
        return f"is a {layer.role}"
    if not layer.replaceable:
        return f"is stored as integers ({layer.quantization})"
    if layer.shared:
        return f"is shared by {len(layer.consumers)} operators"
    return "has no weights" if layer.size == 0 else None


def _numerical_defect(values: NDArray[Any]) -> str | None:
    if not np.isfinite(values).all():
        return "NaN or infinity"
    if values.min() == values.max():
        return f"the same value {values.flat[0]:g} everywhere"
    with np.errstate(over="ignore", under="ignore"):
        energy = float(values.var())
    return None if 0 < energy < np.inf else f"values whose variance is {energy:g}"
