"""Changes of the graph itself: its constants and nodes, and models from one file to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.checker import ValidationError

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.files import Limits, open_file
from nnw_onnx.graph.runnable import whole
from nnw_onnx.graph.tensors import one_line
from nnw_onnx.vocabulary import Array

_MOST_BYTES_INSIDE = 1 << 30
"""Models with more bytes of values than these are written with their values beside them."""
_INITIALIZERS_ARE_INPUTS = 4
"""Before this IR version every initializer is an input of the graph too."""


class Constants:
    """The constants of the main graph by name: initializers, and the values of Constant nodes."""

    def __init__(self, model: ModelProto) -> None:
        self._graph, self._listed = model.graph, model.ir_version < _INITIALIZERS_ARE_INPUTS
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            value = _constant(node)
            if value is not None:
                self._tensors[node.output[0]] = value

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Array:
        return numpy_helper.to_array(self._tensors[name])

    def put(self, name: str, values: Array) -> None:
        """Give a constant these values; one that is new becomes an initializer."""
        if name not in self._tensors:
            self._tensors[name] = self._graph.initializer.add()
            if self._listed:
                kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
                value = onnx.helper.make_tensor_value_info(name, kind, list(values.shape))
                self._graph.input.append(value)
        self._tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def uses(graph: GraphProto) -> Counter[str]:
    """How often each value is used: by nodes here and inside them, and as an output."""
    return Counter(_used(graph))


def unused_name(graph: GraphProto, wish: str) -> str:
    """The name itself where nothing in the graph has it, else one with a number behind it."""
    taken = {value.name for value in (*graph.initializer, *graph.input)}
    taken.update(name for node in graph.node for name in (*node.output, *node.input))
    names = (wish, *(f"{wish}_{k}" for k in range(1, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def remove_nodes(graph: GraphProto, places: Iterable[int], before: Container[str]) -> None:
    """Take the nodes at these places out of the graph, and the constants that nobody uses now.

    `before` are the names that were used at first: what never was used stays as it is.
    """
    for place in sorted(places, reverse=True):
        del graph.node[place]
    after = uses(graph)

    def idle(name: str) -> bool:
        return name in before and name not in after

    for values in (graph.initializer, graph.input, graph.value_info):
        for k in reversed(range(len(values))):
            if idle(values[k].name):
                del values[k]
    for k in reversed(range(len(graph.node))):
        if graph.node[k].op_type == "Constant" and idle(graph.node[k].output[0]):
            del graph.node[k]


def rewrite_file(source: Path, target: Path, change: Callable[[ModelProto], None]) -> None:
    """Write to `target` what `change` makes of the model of `source`.

    Raises:
        ModelFileError: a file that cannot be opened, or a place that cannot be written.
    """
    model = whole(open_file(source, Limits()))
    change(model)
    write_model(model, target)


def to_plain_form(source: Path, target: Path, opset: int = 13) -> None:
    """Write the model in the form in which conversion tools see every constant.

    The values of Constant nodes become initializers, which are no inputs of the graph, and the
    standard operators are those of `opset` or later. Names and numbers stay.

    Raises:
        ModelFileError: onnx cannot convert it, or a file cannot be read or written.
    """
    model = whole(open_file(source, Limits()))
    _lift_constants(model.graph)
    unlist_initializers(model)
    write_model(_raised(model, opset), target)


def write_model(model: ModelProto, target: Path, *, outside: bool = False) -> None:
    """Write a model; the values of a large one into a data file beside it.

    Args:
        model: it is changed where values go into a data file.
        target: where it is written.
        outside: whether they go there whatever the size of the model.

    Raises:
        ModelFileError: a place that cannot be written.
    """
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _MOST_BYTES_INSIDE
    data = f"{target.name}.data"
    try:
        onnx.save(model, target, save_as_external_data=large or outside, location=data)
    except (OSError, EncodeError, ValueError) as error:
        raise ModelFileError(
            f"model: expected a place that can be written, got: {one_line(error)}; "
            "choose another one"
        ) from error


def _constant(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node; None where it is none, or one that has no tensor or name."""
    if node.op_type != "Constant" or not node.output:
        return None
    return next((found.t for found in node.attribute if found.name == "value"), None)


def _lift_constants(graph: GraphProto) -> None:
    known = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    for k in reversed(range(len(graph.node))):
        node = graph.node[k]
        value = _constant(node)
        name = node.output[0] if value is not None else ""
        if value is not None and name not in known and name not in outputs:
            known.add(name)
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = name
            del graph.node[k]


def unlist_initializers(model: ModelProto) -> None:
    """Take initializers out of the inputs; from that IR version on they need not be there."""
    model.ir_version = max(model.ir_version, _INITIALIZERS_ARE_INPUTS)
    given = {tensor.name for tensor in model.graph.initializer}
    for k in reversed(range(len(model.graph.input))):
        if model.graph.input[k].name in given:
            del model.graph.input[k]


def _raised(model: ModelProto, opset: int) -> ModelProto:
    own = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return model if not own or max(own) >= opset else converted(model, opset)


def converted(model: ModelProto, opset: int) -> ModelProto:
    """The model with the standard operators of another operator set, by onnx's own converter.

    Raises:
        ModelFileError: onnx cannot convert it.
    """
    try:
        return onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, KeyError, EncodeError, ValidationError) as error:
        raise ModelFileError(
            f"model: expected one that onnx can bring to opset {opset}, got: {one_line(error)}; "
            "export it with that opset"
        ) from error


def _used(graph: GraphProto) -> Iterator[str]:
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for inside in subgraphs(node):
            yield from _used(inside)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g
