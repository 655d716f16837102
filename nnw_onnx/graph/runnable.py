"""What a runtime needs: the graph as bytes, and its weights as arrays beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.files import ModelFile, resolve
from nnw_onnx.graph.splitting import Part, read_by
from nnw_onnx.graph.tensors import (
    DATA_FIELD_NAMES,
    STRIP_ABOVE,
    StoredTensor,
    numpy_dtype,
    stored_bytes,
)
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array, TensorInfo

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
    file: ModelFile,
    replaced: Mapping[Address, Array],
    inner: Mapping[str, str],
    part: Part | None = None,
) -> Runnable:
    """The model, or a part of it, with its replaced weights and the values of `inner` as outputs.

    What all networks of a file have in common is made once, but where small tensors are replaced,
    which are values inside the model.

    Raises:
        ModelFileError: a graph beyond protobuf's 2 GiB.
    """
    own = {a: v for a, v in replaced.items() if not _detachable(file.tensors[a])}
    question = tuple(dict.fromkeys(inner.values())), part
    if own or question not in file.skeletons:
        made = _skeleton(file, own, *question)
        if not own:
            file.skeletons[question] = made
    else:
        made = file.skeletons[question]
    now = {
        t.name: replaced[t.address] if t.address in replaced else t.array() for t in made.detached
    }
    initializers = {
        name: np.require(values, requirements=["C", "A"]) for name, values in now.items()
    }
    return Runnable(made.model, initializers, made.folder, inner)


def lifted(made: Runnable) -> Runnable:
    """The same with its weights as inputs of the graph, which a session is fed at every run."""
    return Runnable(_lifted(made.model), made.initializers, made.folder, made.inner)


@lru_cache(maxsize=8)
def _lifted(model: bytes) -> bytes:
    proto = onnx.ModelProto()
    proto.ParseFromString(model)
    graph = proto.graph
    outside = {t.name: t for t in graph.initializer if t.data_location == TensorProto.EXTERNAL}
    known = {value.name for value in graph.input}
    for name, tensor in outside.items():
        if name not in known:
            info = onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
            graph.input.append(info)
    kept = [t for t in graph.initializer if t.name not in outside]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return _serialized(proto)


@dataclass(frozen=True)
class _Skeleton:
    """What sessions of one graph have in common.

    Attributes:
        model: serialized, without the values of `detached`.
        detached: initializers that are given as arrays.
        folder: where data files lie that are still needed, or None.
    """

    model: bytes
    detached: tuple[StoredTensor, ...]
    folder: Path | None


def _skeleton(
    file: ModelFile, own: Mapping[Address, Array], outputs: Iterable[str], part: Part | None
) -> _Skeleton:
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    detached, folder = [], None
    nodes = frozenset(range(len(proto.graph.node))) if part is None else part.nodes
    idle = _unused(proto.graph, nodes, part)
    for tensor in file.tensors.values():
        if _is_left_out(tensor, nodes, idle):
            continue
        message = resolve(proto, tensor.address)
        if _detachable(tensor):
            detached.append(tensor)
            _mark_external(message, tensor)
        elif tensor.address in own:
            values = stored_bytes(own[tensor.address], tensor.data_type).tobytes()
            _embed(message, tensor, values)
        elif _must_stay_outside(tensor):
            folder = file.folder
        elif tensor.external is not None or tensor.stripped:
            _embed(message, tensor, bytes(tensor.raw()))
    for index in reversed([i for i, t in enumerate(proto.graph.initializer) if t.name in idle]):
        del proto.graph.initializer[index]
    if part is not None:
        _cut_out(proto.graph, part)
    _append_outputs(proto.graph, outputs)
    return _Skeleton(_serialized(proto), tuple(detached), folder)


def _is_left_out(tensor: StoredTensor, nodes: frozenset[int], idle: frozenset[str]) -> bool:
    """Whether a tensor of the main graph is not among what is run."""
    kind, index = tensor.address[1] if len(tensor.address) > 1 else ("", 0)
    if tensor.address[0] == ("graph", 0) and kind == "node":
        return index not in nodes
    return len(tensor.address) == 2 and tensor.name in idle


def _cut_out(graph: GraphProto, part: Part) -> None:
    """Leave the nodes of a part, and what they read and answer; initializers are left already."""
    for index in reversed([i for i in range(len(graph.node)) if i not in part.nodes]):
        del graph.node[index]
    read = _read(graph)
    for index in reversed([i for i, v in enumerate(graph.input) if v.name not in read]):
        del graph.input[index]
    graph.input.extend(_typed(info) for info in part.given)
    if part.outputs:
        del graph.output[:]
        graph.output.extend(ValueInfoProto(name=name) for name in part.outputs)


def _typed(info: TensorInfo) -> ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype))
    return onnx.helper.make_tensor_value_info(info.name, kind, info.shape)


def whole(file: ModelFile) -> ModelProto:
    """The model as one message that holds every value, for tools that want such a one."""
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    for tensor in file.tensors.values():
        if tensor.external is not None or tensor.stripped:
            _embed(resolve(proto, tensor.address), tensor, bytes(tensor.raw()))
    return proto


def _unused(graph: GraphProto, nodes: frozenset[int], part: Part | None) -> frozenset[str]:
    """Names of initializers of the main graph that none of these nodes reads, also in a subgraph.

    The runtime drops them before it looks for the values that it is given, and then fails. Those
    that are inputs with a default value stay: without it they would have to be fed.
    """
    kept = set().union(*(read_by(graph.node[place]) for place in nodes))
    if part is None:
        kept |= {value.name for value in (*graph.output, *graph.input)}
    return frozenset(t.name for t in graph.initializer if t.name not in kept)


def _read(graph: GraphProto) -> set[str]:
    """Names that the nodes of a graph read."""
    return set().union(*map(read_by, graph.node))


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
