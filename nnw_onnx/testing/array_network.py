"""A network that is only arrays: for tests of plug-ins, without any file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from nnw_onnx.errors import ModelFileError
from nnw_onnx.vocabulary import Array, HiddenAxis, Layer, TensorInfo, Weights


@dataclass(frozen=True)
class ArrayNetwork:
    """A `Network` in memory; it stores and refuses values as a network of a file does.

    Attributes:
        layers: the layers, in order.
        weights: canonical weights of each layer, read-only.
        inputs: inputs that must be fed.
        producer: of the program that made it.
        hidden_axes: channels that may change places; nothing is proved of arrays alone.
    """

    layers: tuple[Layer, ...]
    weights: Weights
    inputs: tuple[TensorInfo, ...] = ()
    producer: str = ""
    hidden_axes: tuple[HiddenAxis, ...] = ()

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, Array],
        inputs: tuple[TensorInfo, ...] = (),
        **changes: Mapping[str, Any],
    ) -> Self:
        """A network of kernels; four or more axes make a Conv, two a MatMul, one a bias.

        Args:
            arrays: name -> weights (out, in, *kernel); copied.
            inputs: inputs that must be fed.
            changes: name -> fields of `Layer` that differ from the usual ones.
        """
        layers = tuple(
            replace(_layer(name, array, position), **changes.get(name, {}))
            for position, (name, array) in enumerate(arrays.items())
        )
        weights = MappingProxyType({n: _locked(np.array(a)) for n, a in arrays.items()})
        return cls(layers, weights, inputs)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of layers, inputs and every weight."""
        state = hashlib.sha256(repr((self.layers, self.inputs)).encode())
        for name, array in self.weights.items():
            state.update(f"{name} {array.dtype} {array.shape};".encode())
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()

    def with_weights(self, replaced: Weights) -> Self:
        """The same network with some weights replaced, in their stored dtypes.

        Raises:
            ModelFileError: an unknown name, a wrong shape, a value that is not finite once stored,
                or a layer that is not replaceable.
        """
        by_name = {layer.name: layer for layer in self.layers}
        stored = {name: _stored(by_name, name, value) for name, value in replaced.items()}
        return replace(self, weights=MappingProxyType({**self.weights, **stored}))

    def with_resized(self, axis: HiddenAxis, resized: Weights) -> Self:
        """The same network with another number of channels along an axis of whole layers.

        Raises:
            ModelFileError: an axis that is not resizable, or a layer that is missing.
        """
        if not axis.resizable or axis not in self.hidden_axes or set(axis.layers) - set(resized):
            raise ModelFileError(
                "channels: expected a resizable axis and weights of all of its layers, got others; "
                "take it from `hidden_axes`"
            )
        layers = tuple(
            replace(one, shape=resized[one.name].shape, stored_shape=resized[one.name].shape)
            if one.name in axis.layers else one
            for one in self.layers
        )  # fmt: skip
        first = axis.strands[0]
        other = replace(axis, size=resized[first.layer].shape[first.axis])
        axes = tuple(other if one == axis else one for one in self.hidden_axes)
        return replace(self, layers=layers, hidden_axes=axes).with_weights(resized)


def _layer(name: str, array: Array, position: int) -> Layer:
    axes = tuple(range(array.ndim))
    operator = "MatMul" if array.ndim == 2 else "Conv"
    return Layer(
        name=name,
        operator=operator,
        role="kernel" if array.ndim > 1 else "bias",
        shape=array.shape,
        axes=axes,
        stored_shape=array.shape,
        dtype=array.dtype.name,
        consumers=(f"{operator}::1",),
        position=position,
    )


def _stored(by_name: Mapping[str, Layer], name: str, value: Array) -> Array:
    layer = by_name.get(name)
    if layer is None or not layer.replaceable or layer.shape != value.shape:
        known = "no such layer" if layer is None else f"shape {layer.shape}"
        raise ModelFileError(
            f"weights: expected a replaceable layer of shape {value.shape} for {name!r}, got "
            f"{known}; give the layer's own shape"
        )
    with np.errstate(over="ignore"):
        stored = np.array(value, dtype=np.dtype(layer.dtype))
    if not np.isfinite(stored).all():
        raise ModelFileError(
            f"weights: expected values of {name!r} that are finite as {layer.dtype}, got others; "
            "give smaller ones"
        )
    return _locked(stored)


def _locked(array: Array) -> Array:
    array.flags.writeable = False
    return array
