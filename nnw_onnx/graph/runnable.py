"""What a runtime needs: the graph as bytes, and its weights as arrays beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.files import ModelFile, resolve
from nnw_onnx.graph.tensors import (
    DATA_FIELD_NAMES,
    STRIP_ABOVE,
    StoredTensor,
    numpy_dtype,
    stored_bytes,
)
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array

LOCATION = "weights"
_NATIVE = "biuf"
_EMBED_BELOW = 1 << 28


@dataclass(frozen=True)
class Runnable:
    """A model ready for a session.

    Attributes:
        model: the serialized graph; large initializers are marked external in it.
        initializers: name -> values of exactly those initializers, in stored layout and type, for
            `SessionOptions.add_external_initializers` (which must see all of them).
        folder: where the runtime finds data files that are still needed, or None.
        inner: layer or inner value that was asked for -> name of the output that has it.
    """

    model: bytes
    initializers: Mapping[str, Array]
    folder: Path | None = None
    inner: Mapping[str, str] = field(default_factory=dict)


def make_runnable(
    file: ModelFile, replaced: Mapping[Address, Array], inner: Mapping[str, str]
) -> Runnable:
    """The model with its replaced weights, and the values of `inner` as further outputs.

    Raises:
        ModelFileError: a graph beyond protobuf's 2 GiB.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    initializers: dict[str, Array] = {}
    folder = None
    idle = _unused(proto.graph)
    for tensor in file.tensors.values():
        if len(tensor.address) == 2 and tensor.name in idle:
            continue
        message = resolve(proto, tensor.address)
        values = replaced.get(tensor.address)
        if _detachable(tensor):
            array = tensor.array() if values is None else values
            initializers[tensor.name] = np.require(array, requirements=["C", "A"])
            _mark_external(message, tensor)
        elif values is not None:
            _embed(message, tensor, stored_bytes(values, tensor.data_type).tobytes())
        elif _must_stay_outside(tensor):
            folder = file.folder
        elif tensor.external is not None or tensor.stripped:
            _embed(message, tensor, bytes(tensor.raw()))
    for index in reversed([i for i, t in enumerate(proto.graph.initializer) if t.name in idle]):
        del proto.graph.initializer[index]
    _append_outputs(proto.graph, inner.values())
    return Runnable(_serialized(proto), initializers, folder, inner)


def whole(file: ModelFile) -> ModelProto:
    """The model as one message that holds every value, for tools that want such a one."""
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    for tensor in file.tensors.values():
        if tensor.external is not None or tensor.stripped:
            _embed(resolve(proto, tensor.address), tensor, bytes(tensor.raw()))
    return proto


def _unused(graph: GraphProto) -> frozenset[str]:
    """Names of initializers of the main graph that nothing reads, not even a subgraph.

    The runtime drops them before it looks for the values that it is given, and then fails. Those
    that are inputs with a default value stay: without it they would have to be fed.
    """
    kept = _read(graph) | {value.name for value in (*graph.output, *graph.input)}
    return frozenset(t.name for t in graph.initializer if t.name not in kept)


def _read(graph: GraphProto) -> set[str]:
    """Names that the nodes of a graph read; of its subgraphs those that are not their own."""
    found: set[str] = set()
    for node in graph.node:
        found.update(node.input)
        for attribute in node.attribute:
            for inside in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                own = {t.name for t in (*inside.initializer, *inside.input)}
                own.update(name for n in inside.node for name in n.output)
                outputs = {value.name for value in inside.output}
                found |= (_read(inside) | outputs) - own
    return found


def _append_outputs(graph: GraphProto, names: Iterable[str]) -> None:
    """Make these values outputs; without a type, which the runtime infers."""
    known = {output.name for output in graph.output}
    graph.output.extend(
        ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in known
    )


def _detachable(tensor: StoredTensor) -> bool:
    """Whether the runtime takes this tensor as an array: a large initializer of the main graph."""
    return (
        len(tensor.address) == 2
        and tensor.address[1][0] == "initializer"
        and tensor.nbytes >= STRIP_ABOVE
        and tensor.data_type != TensorProto.STRING
        and numpy_dtype(tensor.data_type).kind in _NATIVE
    )


def _must_stay_outside(tensor: StoredTensor) -> bool:
    return tensor.external is not None and tensor.nbytes >= _EMBED_BELOW


def _mark_external(message: TensorProto, tensor: StoredTensor) -> None:
    _clear(message)
    message.data_location = TensorProto.EXTERNAL
    for key, value in (("location", LOCATION), ("offset", "0"), ("length", str(tensor.nbytes))):
        message.external_data.add(key=key, value=value)


def _embed(message: Any, tensor: StoredTensor, values: bytes) -> None:
    if tensor.is_floats:
        del message.floats[:]
        message.floats.extend(np.frombuffer(values, "<f4").tolist())
        return
    _clear(message)
    message.data_location = TensorProto.DEFAULT
    message.raw_data = values


def _clear(message: TensorProto) -> None:
    for name in (*DATA_FIELD_NAMES, "external_data"):
        message.ClearField(name)


def _serialized(proto: ModelProto) -> bytes:
    try:
        data: bytes = proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelFileError(
            "model: expected a graph below 2 GiB without its large weights, got more; store its "
            "constants as initializers"
        ) from error
    return data
