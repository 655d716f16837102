"""The same numbers in another container: initializers, Constant nodes, a data file, half the bits.

None of this is meant to change what a network answers. Exporters and deployment tools do all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from nnw_onnx.graph.editing import (
    rewrite_file,
    subgraphs,
    to_plain_form,
    unlist_initializers,
    unused_name,
    write_model,
)
from nnw_onnx.graph.files import Limits, open_file
from nnw_onnx.graph.layers import list_layers
from nnw_onnx.graph.runnable import whole
from nnw_onnx.vocabulary import Array

_LITERALS: Mapping[str, type[np.generic]] = {
    "value_float": np.float32, "value_floats": np.float32,
    "value_int": np.int64, "value_ints": np.int64,
}  # fmt: skip
_HELD = ("kernel", "recurrent", "embedding", "bias", "norm")
"""Roles of the tensors that are stored with fewer bits: all that a network has learnt."""
_BFLOAT16_FROM = 13
"""The operator set from which Cast knows bfloat16."""


def initializers_to_constants(source: Path, target: Path) -> None:
    """Write the model with a Constant node in the place of each initializer, subgraphs included.

    Raises:
        ModelFileError: a file cannot be read or written.
    """

    def change(model: ModelProto) -> None:
        unlist_initializers(model)
        for graph in _graphs(model.graph):
            made = [_constant(tensor) for tensor in graph.initializer]
            del graph.initializer[:]
            _put_first(graph, made)

    rewrite_file(source, target, change)


def constants_to_initializers(source: Path, target: Path) -> None:
    """Write the model with an initializer in the place of each Constant node of numbers.

    Where its value is an output of the graph the node stays, and texts and sparse tensors do.

    Raises:
        ModelFileError: a file cannot be read or written.
    """

    def change(model: ModelProto) -> None:
        unlist_initializers(model)
        for graph in _graphs(model.graph):
            _lift(graph)

    rewrite_file(source, target, change)


def values_outside(source: Path, target: Path) -> None:
    """Write the model with the values of its initializers of 1 KiB and more in `target`.data.

    Raises:
        ModelFileError: a file cannot be read or written.
    """
    write_model(whole(open_file(source, Limits())), target, outside=True)


def weights_in_bfloat16(source: Path, target: Path) -> None:
    """Write the model with its weights stored as bfloat16, each behind a Cast to float32.

    What the network has learnt (kernels, embeddings, biases, normalisations) in float32 keeps its
    names; the network computes in float32. Numbers are rounded to even, and those too large for
    bfloat16 become its largest one.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the other one is written, in the form of `to_plain_form`.

    Raises:
        ModelFileError: a file cannot be read, converted or written.
    """
    to_plain_form(source, target, _BFLOAT16_FROM)
    file = open_file(target, Limits())
    wanted = {
        entry.tensor.name
        for entry in list_layers(file).values()
        if entry.layer.role in _HELD and len(entry.tensor.address) == 2
    }
    model = whole(file)
    _halve(model.graph, wanted)
    write_model(model, target)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all inside it, the innermost first."""
    for node in graph.node:
        for inside in subgraphs(node):
            yield from _graphs(inside)
    yield graph


def _constant(tensor: TensorProto) -> NodeProto:
    return helper.make_node("Constant", [], [tensor.name], f"{tensor.name}_constant", value=tensor)


def _put_first(graph: GraphProto, made: Sequence[NodeProto]) -> None:
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*made, *rest])


def _lift(graph: GraphProto) -> None:
    known = {tensor.name for tensor in graph.initializer} | {v.name for v in graph.output}
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        tensor = _value(node) if node.op_type == "Constant" else None
        if tensor is None or node.output[0] in known:
            continue
        known.add(node.output[0])
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        del graph.node[place]


def _value(node: NodeProto) -> TensorProto | None:
    """The value of a Constant as a tensor of its own, or None for texts and sparse tensors."""
    (attribute,) = node.attribute
    if attribute.name in _LITERALS:
        given = helper.get_attribute_value(attribute)
        return numpy_helper.from_array(np.array(given, _LITERALS[attribute.name]))
    if attribute.name != "value":
        return None
    tensor = TensorProto()
    tensor.CopyFrom(attribute.t)
    return tensor


def _halve(graph: GraphProto, wanted: set[str]) -> None:
    outputs = {value.name for value in graph.output}
    casts, renamed = [], {}
    for tensor in graph.initializer:
        if tensor.name in wanted - outputs and tensor.data_type == TensorProto.FLOAT:
            values = _rounded(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            renamed[tensor.name] = unused_name(graph, f"{tensor.name}_float32")
            casts.append(
                helper.make_node(
                    "Cast", [tensor.name], [renamed[tensor.name]], renamed[tensor.name],
                    to=TensorProto.FLOAT,
                )
            )  # fmt: skip
    # A type that was told of a weight would be that of before.
    for place in reversed(range(len(graph.value_info))):
        if graph.value_info[place].name in renamed:
            del graph.value_info[place]
    _read_instead(graph, renamed)
    _put_first(graph, casts)


def _rounded(values: Array) -> Array:
    info = ml_dtypes.finfo(ml_dtypes.bfloat16)  # type: ignore[no-untyped-call]  # has no types
    most = float(info.max)
    return np.asarray(np.clip(values, -most, most).astype(ml_dtypes.bfloat16))


def _read_instead(graph: GraphProto, renamed: Mapping[str, str]) -> None:
    """Have the nodes here and inside them read other values; names inside hide those of outside."""
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        for inside in subgraphs(node):
            own = {v.name for v in (*inside.initializer, *inside.input)}
            own.update(name for n in inside.node for name in n.output)
            left = {old: new for old, new in renamed.items() if old not in own}
            _read_instead(inside, left)
            for value in inside.output:
                value.name = left.get(value.name, value.name)
