"""How many inputs and outputs the standard operators have; every runtime refuses other files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import onnx.defs
from onnx import NodeProto, OperatorSetIdProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.tensors import shown

_STANDARD = ("", "ai.onnx")
_ANY = range(1 << 31)


def check_arity(node: NodeProto, opset: int) -> None:
    """Raise `ModelFileError` where a node of a standard operator has too few or too many.

    What follows may then look at the inputs that an operator must have.
    """
    if node.domain not in _STANDARD:
        return
    inputs, outputs = _arities(node.op_type, opset)
    for what, names, asked in (("input", node.input, inputs), ("output", node.output, outputs)):
        if len(names) not in asked:
            raise ModelFileError(
                f"model: expected {_counted(asked, what)} of an operator {shown(node.op_type)}, "
                f"got {len(names)}; export the model again"
            )


def standard_opset(imports: Iterable[OperatorSetIdProto]) -> int:
    """The newest standard operator set among them; of none, the newest that onnx knows."""
    found = [s.version for s in imports if s.domain in _STANDARD]
    return max(found, default=onnx.defs.onnx_opset_version())


@lru_cache(maxsize=4096)
def _arities(operator: str, opset: int) -> tuple[range, range]:
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except (onnx.defs.SchemaError, TypeError, ValueError):
        return _ANY, _ANY  # an operator, or a version, that no onnx has
    return (
        range(schema.min_input, schema.max_input + 1),
        range(schema.min_output, schema.max_output + 1),
    )


def _counted(asked: range, what: str) -> str:
    fewest, most = asked.start, asked.stop - 1
    if most >= _ANY.stop - 1:
        return f"at least {fewest} {what}s"
    if fewest == most:
        return f"{fewest} {what}" + ("" if fewest == 1 else "s")
    return f"{fewest} to {most} {what}s"
