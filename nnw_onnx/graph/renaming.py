"""Names dropped: nothing in the file says any more what a tensor or a node is for."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableSequence
from pathlib import Path

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from nnw_onnx.graph.editing import rewrite_file, subgraphs, unlist_initializers

_NOTES = ("doc_string", "metadata_props")
"""Where exporters write the names of modules."""


def drop_names(source: Path, target: Path) -> None:
    """Write the model with numbers in the place of names.

    Initializers and what nodes compute are called "1", "2", ... in the order of the file; nodes
    have no name, and documentation and metadata inside the graph go. Inputs and outputs of the
    graph keep their names, and the model its metadata.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the other one is written.

    Raises:
        ModelFileError: a file cannot be read or written.
    """
    rewrite_file(source, target, _drop)


def _drop(model: ModelProto) -> None:
    # It would name what is called otherwise now; no runtime reads it.
    model.ClearField("training_info")
    unlist_initializers(model)
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    numbers = (str(k) for k in itertools.count(1) if str(k) not in kept)
    _in_graph(model.graph, {name: name for name in kept}, numbers, kept)
    for function in model.functions:
        _in_function(function)


def _in_graph(
    graph: GraphProto,
    outside: Mapping[str, str],
    numbers: Iterator[str],
    kept: Collection[str] = (),
) -> None:
    """Rename what a graph defines but for `kept`; `outside` has the new names around it."""
    own = (name for name in _defined(graph) if name not in kept)
    known = {**outside, **{name: next(numbers) for name in own}}
    graph.name = "graph"
    _clear(graph)
    for value in (*graph.input, *graph.output):
        value.name = known.get(value.name, value.name)
        _clear(value)
    for tensor in graph.initializer:
        tensor.name = known[tensor.name]
        _clear(tensor)
    for sparse in graph.sparse_initializer:
        sparse.values.name = known[sparse.values.name]
    for note in graph.quantization_annotation:
        note.tensor_name = known.get(note.tensor_name, note.tensor_name)
        for entry in note.quant_parameter_tensor_names:
            entry.value = known.get(entry.value, entry.value)
    _in_types(graph.value_info, known)
    _in_nodes(graph.node, known, numbers)


def _in_function(function: FunctionProto) -> None:
    """Rename what the body of a function defines, which nothing outside can see."""
    numbers = map(str, itertools.count(1))
    results = (name for node in function.node for name in node.output if name)
    known = {name: next(numbers) for name in dict.fromkeys((*function.input, *results))}
    _clear(function)
    function.input[:] = [known[name] for name in function.input]
    function.output[:] = [known.get(name, name) for name in function.output]
    _in_types(function.value_info, known)
    _in_nodes(function.node, known, numbers)


def _in_nodes(nodes: Iterable[NodeProto], known: Mapping[str, str], numbers: Iterator[str]) -> None:
    for node in nodes:
        node.name = ""
        _clear(node)
        node.input[:] = [known.get(name, name) for name in node.input]
        node.output[:] = [known.get(name, name) for name in node.output]
        for inside in subgraphs(node):
            _in_graph(inside, known, numbers)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.HasField("t"):
                attribute.t.ClearField("name")


def _in_types(values: MutableSequence[ValueInfoProto], known: Mapping[str, str]) -> None:
    for place in reversed(range(len(values))):
        if values[place].name in known:
            values[place].name = known[values[place].name]
            _clear(values[place])
        else:
            del values[place]


def _defined(graph: GraphProto) -> dict[str, None]:
    """Every name that a graph defines, in order."""
    names = [value.name for value in graph.input]
    names += [tensor.name for tensor in graph.initializer]
    names += [sparse.values.name for sparse in graph.sparse_initializer]
    names += [name for node in graph.node for name in node.output if name]
    return dict.fromkeys(names)


def _clear(message: GraphProto | FunctionProto | NodeProto | ValueInfoProto) -> None:
    for name in _NOTES:
        message.ClearField(name)
