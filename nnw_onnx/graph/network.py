"""A network stored in an ONNX file: layers, lazily read weights, and an overlay of new ones."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, ModelFileError
from nnw_onnx.graph import description, quantized, runnable, saving
from nnw_onnx.graph.files import Limits, ModelFile, open_file
from nnw_onnx.graph.layers import ListedLayer, list_layers
from nnw_onnx.graph.runnable import Runnable
from nnw_onnx.graph.tensors import finite, is_real, numpy_dtype, shown
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array, Layer, TensorInfo, Weights


class CanonicalWeights(Mapping[str, Array]):
    """Layer name -> read-only array in canonical layout, read when it is asked for."""

    def __init__(
        self, layers: Mapping[str, ListedLayer], replaced: Mapping[Address, Array]
    ) -> None:
        self._layers, self._replaced = layers, replaced

    def __getitem__(self, name: str) -> Array:
        listed = self._layers[name]
        layer, tensor = listed.layer, listed.tensor
        if listed.dequantization is not None:
            stored: Array = quantized.dequantize(tensor, listed.dequantization)
        else:
            found = self._replaced.get(tensor.address)
            stored = tensor.array() if found is None else found
        array = stored if layer.axes is None else stored.transpose(layer.axes)
        array.setflags(write=False)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class OnnxNetwork:
    """A network in an ONNX file; a value: `with_weights` makes another one.

    Kernels are (out, in, *kernel): ConvTranspose (out / group, in, *kernel), a grouped Conv
    (out, in / group, *kernel), a batched MatMul (out, in, *batch), recurrent layers
    (gates * hidden, in, directions). Embeddings, biases and norms keep their stored layout.
    """

    def __init__(
        self,
        file: ModelFile,
        listed: Mapping[str, ListedLayer],
        replaced: Mapping[Address, Array] | None = None,
    ) -> None:
        self._file, self._listed = file, listed
        self._replaced: Mapping[Address, Array] = MappingProxyType(dict(replaced or {}))

    def __repr__(self) -> str:
        return f"OnnxNetwork({str(self.path)!r}, {len(self._listed)} layers)"

    @property
    def path(self) -> Path:
        """The file as it was opened."""
        return self._file.path

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the .onnx bytes, then of each external tensor, as opened.

        Of a model in one file this is the SHA-256 of the file.
        """
        return self._file.sha256

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) that changes with the graph and with every weight.

        That of the file, `sha256`, while every weight is as in the file; else one over it, and over
        the name and the stored values of each layer that has others.
        """
        changed = {
            name: values
            for name, entry in self._listed.items()
            if (values := self._replaced.get(entry.tensor.address)) is not None
            and not np.array_equal(_bytes(values), np.frombuffer(entry.tensor.raw(), np.uint8))
        }
        if not changed:
            return self.sha256
        state = hashlib.sha256(self.sha256.encode())
        for name, values in sorted(changed.items()):
            state.update(f"{len(name)} {name} {values.nbytes} ".encode())
            state.update(_bytes(values).data)
        return state.hexdigest()

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """Every layer, in the order of the file."""
        return tuple(entry.layer for entry in self._listed.values())

    @property
    def weights(self) -> Weights:
        """Weights by layer name in canonical layout, read-only; quantized ones as float32."""
        return CanonicalWeights(self._listed, self._replaced)

    @cached_property
    def replaced(self) -> frozenset[str]:
        """Names of the layers that have other weights than the file."""
        return frozenset(
            name for name, e in self._listed.items() if e.tensor.address in self._replaced
        )

    @cached_property
    def addresses(self) -> Mapping[str, Address]:
        """Layer name -> the path of fields and indices to its tensor in the model's message.

        It ends in ("initializer", k) or, for the value of a Constant, in the attribute; it holds
        for the message in `runnable()` too.
        """
        return {name: entry.tensor.address for name, entry in self._listed.items()}

    @cached_property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Inputs that must be fed: those of the graph that have no initializer."""
        return description.inputs(self._file)

    @cached_property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Outputs of the graph."""
        return description.outputs(self._file)

    @cached_property
    def opset(self) -> Mapping[str, int]:
        """Operator set version by domain ("" is the standard one)."""
        return description.opset(self._file)

    @cached_property
    def producer(self) -> str:
        """Name and version of the program that wrote the file, possibly empty."""
        return description.producer(self._file)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before trusting results; one line each.

        Reads every weight once, to find values that are not finite.
        """
        return description.warnings(self._file, self._listed, self._replaced)

    @cached_property
    def parameters(self) -> int:
        """Number of floating-point parameters in all layers, quantized ones included."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def weight_count(self) -> int:
        """Number of weights in kernels, the Weights of the standard."""
        return sum(layer.size for layer in self.layers if layer.role == "kernel")

    @cached_property
    def no_weights_reason(self) -> str | None:
        """One sentence that says why no kernel can be replaced, or None where one can."""
        return description.no_weights_reason(self._file, self.layers)

    def with_weights(self, replaced: Weights) -> Self:
        """The same network with some weights replaced; nothing else is copied.

        Values are in canonical layout, of any real type, and are stored in the layer's own type.
        Raises `ModelFileError` for an unknown name, a wrong shape, a value that is not finite
        (also after the cast), or a layer that is not replaceable.
        """
        overlay = dict(self._replaced)
        for name, values in replaced.items():
            listed = self._listed.get(name)
            if listed is None:
                raise ModelFileError(
                    f"weights: expected the name of a layer of {self.path.name!r}, got "
                    f"{shown(name)}; list the layers with `nnw layers`"
                )
            overlay[listed.tensor.address] = _stored_values(listed, values)
        return type(self)(self._file, self._listed, overlay)

    def save(self, path: str | Path) -> None:
        """Write the network, external data included; atomic, nothing half-written is left.

        Where nothing changed the files are byte-identical; otherwise they differ in the replaced
        tensors only (and in the name of a data file that would overwrite another one). Raises
        `ModelFileError` where the place cannot be written.
        """
        saving.save(self._file, self._replaced, Path(path))

    def inner(self, names: Iterable[str]) -> dict[str, str]:
        """Each name -> the value of the main graph that it stands for.

        A name is that of a layer, and stands for the output of the operator that consumes it (the
        first one of a shared layer), with its bias also where that is an Add of its own, before
        every activation function, and as integers where the operator computes with integers. What
        is not the name of a layer is that of a value which a node of the main graph computes. Names
        of nodes are none: files repeat them or leave them out.

        Raises:
            CarrierNotFoundError: neither; or a layer inside a subgraph or function.
        """
        return {name: self._inner(name) for name in names}

    def _inner(self, name: str) -> str:
        listed = self._listed.get(name)
        if listed is None:
            if name in description.computed(self._file):
                return name
            reason = "no such name"
        elif listed.result is not None:
            return listed.result
        else:
            reason = "a layer inside a subgraph or function, whose values cannot be reached"
        raise CarrierNotFoundError(
            f"layer {shown(name)}: expected a layer, or a value that a node of the main graph "
            f"computes, got {reason}; choose another one with `nnw layers`"
        )

    def runnable(self, layers: Iterable[str] = ()) -> Runnable:
        """The model as bytes and its weights as arrays, for a session of the runtime.

        With names of layers or of inner values (see `inner`) these become outputs of the graph, in
        this copy only. A runtime then fuses no operators across them, so the other outputs may
        differ from those without them in the last bits.

        Raises:
            CarrierNotFoundError: see `inner`.
        """
        return runnable.make_runnable(self._file, self._replaced, self.inner(layers))


def open_network(
    path: str | Path, limits: Limits | None = None, keep: object = None
) -> OnnxNetwork:
    """Open an ONNX model as untrusted input; weights are read when they are asked for.

    Args:
        path: the file.
        limits: what it may ask for at most.
        keep: what must live as long as the network and all that are made of it, such as the
            temporary folder of the file.

    Raises:
        ModelFileError: one line, for a file that is missing, broken, hostile or not ONNX.
    """
    file = dataclasses.replace(open_file(Path(path), limits or Limits()), keep=keep)
    return OnnxNetwork(file, {entry.layer.name: entry for entry in list_layers(file)})


def _bytes(values: Array) -> NDArray[np.uint8]:
    """The bytes of values in stored layout, which `_stored_values` made contiguous."""
    return values.reshape(-1).view(np.uint8)


def _stored_values(listed: ListedLayer, values: Array) -> Array:
    """New values in stored layout and type; raises `ModelFileError` where they do not fit."""
    layer = listed.layer
    name = f"layer {shown(layer.name)}"
    array = np.asarray(values)
    if not layer.replaceable:
        raise ModelFileError(
            f"{name}: expected a layer of floating-point weights, got weights quantized by "
            f"{layer.quantization}; replace weights before quantizing"
        )
    if array.shape != layer.shape or not is_real(array.dtype):
        raise ModelFileError(
            f"{name}: expected real weights of shape {layer.shape}, got {array.dtype} of shape "
            f"{array.shape}; keep the shape (out, in, *kernel)"
        )
    if not finite(array):
        raise ModelFileError(
            f"{name}: expected finite weights, got NaN or infinity; correct the values"
        )
    if layer.axes is not None:
        array = array.transpose(np.argsort(layer.axes))
    with np.errstate(over="ignore", invalid="ignore"):
        stored = np.array(array, dtype=numpy_dtype(listed.tensor.data_type), order="C")
    if not finite(stored):
        raise ModelFileError(
            f"{name}: expected weights that fit its type {layer.dtype}, got larger ones; "
            "reduce the change"
        )
    stored.setflags(write=False)
    return stored
