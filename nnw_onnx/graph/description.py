"""What a model says about itself: inputs, outputs, origin, warnings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import onnx
from onnx import GraphProto, NodeProto, TensorShapeProto, ValueInfoProto

from nnw_onnx.graph.files import MAP_ABOVE, ModelFile
from nnw_onnx.graph.layers import ListedLayer
from nnw_onnx.graph.tensors import dtype_name, finite, one_line, shown
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array, Layer, TensorInfo

_KNOWN_DOMAINS = frozenset(
    {
        "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview",
        "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc",
        "com.ms.internal.nhwc", "com.microsoft.experimental",
    }
)  # fmt: skip
LOOKED_AT = 1 << 28
"""Weights of a network that are looked at for NaN, about: to read more of it takes as long as to
copy it, and whatever is marked, modified or read is looked at whole by who does so."""
_NOT_MODELS = frozenset({"ai.onnx.ml"})


def _info(value: ValueInfoProto) -> TensorInfo:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorInfo(str(value.name), (), (kind or "").removesuffix("_type"))
    tensor = value.type.tensor_type
    shape = tuple(_dimension(d) for d in tensor.shape.dim)
    known = tensor.elem_type in onnx.TensorProto.DataType.values() and tensor.elem_type
    return TensorInfo(str(value.name), shape, dtype_name(tensor.elem_type) if known else "")


def _dimension(dim: TensorShapeProto.Dimension) -> int | str | None:
    which = dim.WhichOneof("value")
    if which == "dim_value":
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return (str(dim.dim_param) or None) if which == "dim_param" else None


def inputs(file: ModelFile) -> tuple[TensorInfo, ...]:
    """Inputs of the graph that have no initializer."""
    graph = file.proto.graph
    given = {t.name for t in graph.initializer}
    return tuple(_info(v) for v in graph.input if v.name not in given)


def outputs(file: ModelFile) -> tuple[TensorInfo, ...]:
    """Outputs of the graph."""
    return tuple(_info(v) for v in file.proto.graph.output)


def computed(file: ModelFile) -> frozenset[str]:
    """Names of the values that nodes of the main graph compute."""
    return frozenset(name for node in file.proto.graph.node for name in node.output if name)


def opset(file: ModelFile) -> dict[str, int]:
    """Operator set version by domain."""
    return {
        str(o.domain) if o.domain != "ai.onnx" else "": o.version for o in file.proto.opset_import
    }


def producer(file: ModelFile) -> str:
    """Name and version of the program that wrote the file."""
    return f"{file.proto.producer_name} {file.proto.producer_version}".strip()


def card(file: ModelFile) -> dict[str, str]:
    """The metadata of the model, key -> text."""
    return {entry.key: entry.value for entry in file.proto.metadata_props}


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
            for inside in attribute.graphs:
                yield from _nodes(inside)


def all_nodes(file: ModelFile) -> Iterator[NodeProto]:
    """Every node of the graph, its subgraphs and the functions."""
    yield from _nodes(file.proto.graph)
    for function in file.proto.functions:
        yield from _nodes(function)


def warnings(
    file: ModelFile,
    listed: Mapping[str, ListedLayer],
    replaced: Mapping[Address, Array],
) -> tuple[str, ...]:
    """What a person should know before trusting what is read from weights."""
    return (*_graph_warnings(file), *_value_warnings(listed, replaced))


def _graph_warnings(file: ModelFile) -> Iterator[str]:
    nodes = list(all_nodes(file))
    own = {f.domain for f in file.proto.functions}
    custom = Counter(n.domain for n in nodes if n.domain not in _KNOWN_DOMAINS | own)
    for domain, count in sorted(custom.items()):
        yield (
            f"{count} nodes of the custom domain {shown(domain)}: onnxruntime cannot run them "
            "without the library that defines them, and their weights may not be listed"
        )
    if any(n.domain in ("com.microsoft.nchwc", "com.ms.internal.nhwc") for n in nodes):
        yield (
            "nodes of com.microsoft.nchwc: this file was optimised for one kind of processor; "
            "use the model it was made from"
        )
    if any(n.op_type == "EPContext" for n in nodes):
        yield "EPContext nodes: weights compiled for one device are hidden inside them"
    training = [n for n in nodes if n.op_type == "BatchNormalization" and _in_training(n)]
    if training:
        yield (
            f"{len(training)} BatchNormalization nodes in training mode: outputs depend on the "
            "batch; export the network in evaluation mode"
        )
    sparse = sparse_numbers(file)
    if sparse:
        yield f"{sparse} weights in sparse tensors: they are not listed"


def sparse_numbers(file: ModelFile) -> int:
    """Numbers in sparse initializers and in the sparse values of Constants."""
    graphs = [
        file.proto.graph,
        *(a.g for n in all_nodes(file) for a in n.attribute if a.HasField("g")),
    ]
    stored = [s.values.dims for graph in graphs for s in graph.sparse_initializer]
    stored += [
        a.sparse_tensor.values.dims
        for node in all_nodes(file)
        for a in node.attribute
        if a.name == "sparse_value"
    ]
    return sum(math.prod(dims) for dims in stored)


def _in_training(node: NodeProto) -> bool:
    return any(a.name == "training_mode" and a.i for a in node.attribute)


def _value_warnings(
    listed: Mapping[str, ListedLayer], replaced: Mapping[Address, Array]
) -> Iterator[str]:
    floating = {name: entry.tensor for name, entry in listed.items() if entry.tensor.floating}
    every = max(1, -(-sum(tensor.size for tensor in floating.values()) // LOOKED_AT))
    for name, tensor in floating.items():
        found = replaced.get(tensor.address)
        if not finite(tensor.array() if found is None else found, every):
            yield f"layer {shown(name)}: NaN or infinite weights"


def objections(file: ModelFile) -> Iterator[str]:
    """What onnx itself objects to; a runtime may be more tolerant, so it is no error."""
    if len(file.buffer) > MAP_ABOVE:
        return
    # Of a file it is the name, from which the checker finds external data.
    model = bytes(file.buffer) if file.folder is None else str(file.path)
    try:
        onnx.checker.check_model(model, full_check=False)
    except (onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        yield f"onnx.checker: {one_line(error)}"


def no_weights_reason(file: ModelFile, layers: Sequence[Layer]) -> str | None:
    """One sentence that says why no kernel can be replaced, or None where one can."""
    kernels = [layer for layer in layers if layer.role == "kernel"]
    if any(layer.replaceable and layer.live for layer in kernels):
        return None
    if kernels:
        return _why_none_of(kernels)
    elsewhere = _weights_elsewhere(file)
    if elsewhere is not None:
        return elsewhere
    if layers:
        roles = ", ".join(sorted({layer.role for layer in layers}))
        return f"this model has no kernel (Conv, Gemm, MatMul ...), only {roles} tensors"
    return "this model has no weights"


def _weights_elsewhere(file: ModelFile) -> str | None:
    """Where the weights are, if not in tensors of the graph."""
    machine_learning = sorted(
        {n.op_type for n in all_nodes(file) if n.domain in _NOT_MODELS and _has_floats(n)}
    )
    if machine_learning:
        return (
            f"the weights of this model are attributes of ai.onnx.ml nodes "
            f"({', '.join(machine_learning)}), not tensors that a watermark could change"
        )
    calls = _calls_with_tensors(file)
    if calls:
        return (
            f"the weights of this model are attributes where its own functions are called "
            f"({', '.join(calls)}), not tensors of the graph; inline the functions first"
        )
    if sparse_numbers(file):
        return "the weights of this model are sparse tensors, which are not read; store them dense"
    return None


def _why_none_of(kernels: Sequence[Layer]) -> str:
    if all(not kernel.live for kernel in kernels):
        return (
            f"none of the {len(kernels)} kernels of this model can reach an output: it answers "
            "whatever they are"
        )
    reasons = "; ".join(sorted({str(k.obstacle) for k in kernels if k.live}))
    return f"none of the {len(kernels)} kernels of this model takes new weights: {reasons}"


def _calls_with_tensors(file: ModelFile) -> list[str]:
    """Types of the nodes that give tensors to functions of the model as attributes."""
    own = {(f.domain, f.name) for f in file.proto.functions}
    return sorted(
        {
            node.op_type
            for node in all_nodes(file)
            if (node.domain, node.op_type) in own and any(a.HasField("t") for a in node.attribute)
        }
    )


def _has_floats(node: NodeProto) -> bool:
    return any(len(a.floats) or a.HasField("t") for a in node.attribute)
