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

_SINCE = 13
_ALWAYS = {
    (range(1), range(1, 2)): "Constant",
    (range(1, 2), range(1, 2)): (
        "Abs AveragePool Cast Ceil ConstantOfShape DepthToSpace Elu Erf Exp Flatten Floor Gelu "
        "GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity LeakyRelu Log LogSoftmax "
        "MaxPool Mish Neg Not Reciprocal ReduceMax ReduceMean Relu Round Selu Shape Sigmoid Sign "
        "Softmax Softplus Softsign Sqrt Tanh Transpose"
    ),
    (range(2, 3), range(1, 2)): (
        "Add And Div Equal Expand Gather Greater Less MatMul Mul PRelu Pow Reshape Sub Tile "
        "Unsqueeze"
    ),
    (range(1, 3), range(1, 2)): "ReduceSum Squeeze",
    (range(1, 4), range(1, 2)): "Clip Dropout",
    (range(2, 4), range(1, 2)): (
        "Conv ConvTranspose DequantizeLinear Gemm LayerNormalization Pad QuantizeLinear"
    ),
    (range(3, 4), range(1, 2)): "InstanceNormalization Where",
    (range(3, 6), range(1, 2)): "Slice",
    (range(5, 6), range(1, 2)): "BatchNormalization",
    (range(1, 1 << 31), range(1, 2)): "Concat Max Min Sum",
    (range(1, 3), range(1, 1 << 31)): "Split",
}
"""Numbers of inputs and outputs that frequent operators may have in every operator set since.

onnx tells them of all, but learns every operator before it tells of one, which takes longer than to
open a network.
"""
_NONE = range(0), range(0)
_FREQUENT = {name: counts for counts, names in _ALWAYS.items() for name in names.split()}


def check_arity(node: NodeProto, opset: int) -> None:
    """Raise `ModelFileError` where a node of a standard operator has too few or too many.

    What follows may then look at the inputs that an operator must have.
    """
    if node.domain not in _STANDARD:
        return
    inputs, outputs = _FREQUENT.get(node.op_type, _NONE) if opset >= _SINCE else _NONE
    if len(node.input) in inputs and len(node.output) in outputs:
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
    return max(found) if found else int(onnx.defs.onnx_opset_version())


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
