"""What computes the outputs of a graph."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from nnw_onnx.graph.files import ModelFile

_VIEWS = frozenset(
    {
        "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout",
        "QuantizeLinear", "DequantizeLinear",
    }
)  # fmt: skip


def last_operators(file: ModelFile) -> tuple[str, ...]:
    """For each output the type of the operator that computes its values; "" where none does.

    Operators that only arrange, convert or round values are passed over.
    """
    graph = file.proto.graph
    makers = {str(name): node for node in graph.node for name in node.output if name}
    return tuple(_operator(str(output.name), makers) for output in graph.output)


def _operator(name: str, makers: Mapping[str, NodeProto]) -> str:
    for _ in range(len(makers)):  # a graph may be a circle
        node = makers.get(name)
        if node is None or not node.input:
            break
        if node.op_type not in _VIEWS:
            return str(node.op_type)
        name = str(node.input[0])
    return ""
