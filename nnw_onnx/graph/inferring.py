"""Sizes of the values of a model, as far as onnx infers them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from nnw_onnx.graph.tensors import MOST_AXES

_REFUSALS = (
    ValueError,
    RuntimeError,
    EncodeError,
    onnx.shape_inference.InferenceError,
    onnx.checker.ValidationError,
)
MOST_COMPUTED = 1 << 12
"""Numbers of one value that sizes are computed with; a shape has far fewer."""
_INTEGERS = (TensorProto.INT64, TensorProto.INT32)


def with_sizes(model: ModelProto, *, computed: bool = True) -> ModelProto:
    """The model with what onnx can tell of sizes; as it is where onnx does not take it.

    Args:
        model: it is not changed.
        computed: whether sizes that the graph itself computes are worked out, too.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=computed and not _grows(model))
    except _REFUSALS:
        return model


def _grows(model: ModelProto) -> bool:
    """Whether working sizes out could take any memory: joined to itself, a list doubles.

    Forty nodes are enough for that. Concat alone makes more numbers than it is given.
    """
    if any(node.op_type == "Concat" for f in model.functions for node in f.node):
        return True
    return any(count > MOST_COMPUTED for count in _joined(model.graph, {}))


def _joined(graph: GraphProto, most: dict[str, int]) -> Iterator[int]:
    """At most so many numbers has each list that a Concat makes.

    Args:
        graph: nodes as the file lists them, which is how onnx goes through them.
        most: name -> numbers at most, of what sizes are computed with; it is filled.
    """
    most.update((t.name, math.prod(t.dims)) for t in graph.initializer if _is_list(t))
    for node in graph.node:
        for attribute in node.attribute:
            for inside in (attribute.g, *attribute.graphs):
                if inside.node:
                    yield from _joined(inside, most)
        count = _computed(node, most)
        if count:
            count = min(count, MOST_COMPUTED + 1)
            most.update((name, max(count, most.get(name, 0))) for name in node.output)
        if count and node.op_type == "Concat":
            yield count


def _computed(node: NodeProto, most: dict[str, int]) -> int:
    """Numbers of what a node computes for sizes; 0 where onnx works nothing out."""
    if node.op_type == "Constant":
        return sum(math.prod(a.t.dims) if _is_list(a.t) else len(a.ints) for a in node.attribute)
    if node.op_type in ("Shape", "Size"):
        return MOST_AXES
    if node.op_type not in _working():
        return 0
    given = [most[name] for name in node.input if name in most]
    if node.op_type == "Concat":
        return sum(given) if len(given) == len(node.input) else 0
    return max(given, default=0)


def _is_list(tensor: TensorProto) -> bool:
    return tensor.data_type in _INTEGERS and len(tensor.dims) < 2


@functools.cache
def _working() -> frozenset[str]:
    """Operators whose results onnx works out."""
    every = onnx.defs.get_all_schemas_with_history()
    return frozenset(s.name for s in every if s.has_data_propagation_function)
