"""What each operator does to the channels of its inputs.

A rule says which entries of inputs and outputs are the same channel, and under which scalings of
the inputs its outputs are scaled. An operator without a rule needs every entry in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from nnw_onnx.graph.channel_flow import (
    UNIT,
    Flow,
    Rule,
    first_only,
    joined,
    joined_axis,
    labelled,
    product,
    quotient,
)
from nnw_onnx.graph.channel_moves import MOVES
from nnw_onnx.graph.labels import Axis, Part, Value, added, fixed, length
from nnw_onnx.graph.scopes import number
from nnw_onnx.graph.tensors import PLAIN


def _contracted(flow: Flow, first: Axis, second: Axis) -> None:
    """Entries over whose products an operator sums: factors have to cancel."""
    for p, q in flow.labels.paired(first, second) or ():
        flow.labels.vanishes(added(p.scale, q.scale))


def _along(value: Value, axis: int, rank: int) -> Value:
    """A vector of one number for each entry of an axis of values of so many axes."""
    if value is None or len(value) != 1:
        return None
    return (*[UNIT] * axis, value[0], *[UNIT] * (rank - axis - 1))


def same(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """An operator on each entry that passes positive scalings on."""
    return [inputs[0]]


def entrywise(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """Any function of each entry, or of the entries of several inputs at one place."""
    given = [v for v, name in zip(inputs, node.input, strict=True) if name]
    result = flow.unscaled(given[0])
    for value in given[1:]:
        result = joined(flow, result, flow.unscaled(value), product)
    return [result]


def total(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """A sum, or another function of entries at one place that scales as all of them do."""
    result = inputs[0]
    for value in inputs[1:]:
        result = joined(flow, result, value, None)
    return [result]


def _times(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    how = product if node.op_type == "Mul" else quotient
    return [joined(flow, inputs[0], inputs[1], how)]


def _slopes(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    return [joined(flow, inputs[0], flow.unscaled(inputs[1]), first_only)]


def _cast(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    passes = number(node, "to", 0) in PLAIN
    return [inputs[0] if passes else flow.unscaled(inputs[0])]


def _softmax(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    # Its sum does not depend on the order of what is summed, on any axis.
    return [flow.unscaled(inputs[0])]


def _of_rank(value: Value, other: Value) -> Value:
    """The value, or where its number of axes is unknown fixed ones, as many as of the other."""
    return value if value is not None or other is None else (None,) * len(other)


def _convolution(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data, kernel = _of_rank(inputs[0], inputs[1]), inputs[1]
    if data is None or kernel is None or len(data) != len(kernel) or len(data) < 3:
        return None
    turned, group = node.op_type == "ConvTranspose", max(1, number(node, "group", 1))
    out, into = (kernel[1], kernel[0]) if turned else kernel[:2]
    for axis in (*data[2:], *kernel[2:]):
        flow.labels.pin(axis)
    channels = length(data[1])
    if group == 1:
        _contracted(flow, data[1], into)
        made = flow.axis(out)
    elif turned:
        return None
    elif length(into) == 1 and channels == group:
        made = _depthwise(flow, data[1], out)
    else:
        flow.labels.pin(data[1])
        flow.labels.pin(into)
        made = _in_groups(flow, out, group)
    spatial = flow.sized(node.output[0], len(data))[2:]
    result: Value = (data[0], made, *spatial)
    if len(inputs) > 2 and node.input[2]:
        result = joined(flow, result, _along(inputs[2], 1, len(data)), None)
    return [result]


def _depthwise(flow: Flow, data: Axis, kernel: Axis) -> Axis:
    """Each channel has a kernel, or several, of its own."""
    size, made = length(data), length(kernel)
    if data is None or not size or made is None or made % size:
        flow.labels.pin(data)
        flow.labels.pin(kernel)
        return fixed(made)
    several = made // size
    blocks = tuple(
        Part(p.length * several, p.channels, p.block * several, p.scale)
        for p in flow.labels.resolved(data)
    )
    return joined_axis(flow, blocks, kernel, product)


def _in_groups(flow: Flow, kernel: Axis, group: int) -> Axis:
    """The output channels of a group may change places among themselves."""
    size = length(kernel)
    if size is None or size % group:
        flow.labels.pin(kernel)
        return fixed(size)
    groups = tuple(flow.labels.fresh(size // group) for _ in range(group))
    return joined_axis(flow, kernel, groups, first_only)


def _gemm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    first, second = _of_rank(inputs[0], inputs[1]), _of_rank(inputs[1], inputs[0])
    if first is None or second is None or len(first) != 2 or len(second) != 2:
        return None
    rows, inner = first[::-1] if number(node, "transA", 0) else first
    again, columns = second[::-1] if number(node, "transB", 0) else second
    _contracted(flow, inner, again)
    result = flow.resolved((rows, columns))
    if len(inputs) > 2 and node.input[2]:
        result = joined(flow, result, inputs[2], None)
    return [result]


def _matmul(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    first, second = inputs[:2]
    if first is None or second is None or min(len(first), len(second)) < 2:
        return None
    _contracted(flow, first[-1], second[-2])
    batch = joined(flow, first[:-2], second[:-2], product) or ()
    return [flow.resolved((*batch, first[-2], second[-1]))]


def _batch_norm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    learns = number(node, "training_mode", 0) or any(node.output[1:])
    if data is None or len(data) < 2 or learns or not number(node, "spatial", 1):
        return None
    scale, shift, mean, variance = (_along(v, 1, len(data)) for v in inputs[1:5])
    # scale (x - mean) / sqrt(variance + epsilon) + shift
    result = joined(flow, data, mean, None)
    result = joined(flow, result, flow.unscaled(variance), first_only)
    result = joined(flow, result, scale, product)
    return [joined(flow, result, shift, None)]


def _instance_norm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    if data is None or len(data) < 2:
        return None
    for axis in data[2:]:
        flow.labels.pin(axis)
    scale, shift = (_along(v, 1, len(data)) for v in inputs[1:3])
    result = joined(flow, flow.unscaled(data), scale, product)
    return [joined(flow, result, shift, None)]


def _layer_norm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    if any(node.output[1:]) or inputs[0] is None:
        return None
    result = joined(flow, flow.unscaled(inputs[0]), inputs[1], product)
    if len(inputs) > 2 and node.input[2]:
        result = joined(flow, result, inputs[2], None)
    return [result]


def _pooled(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    if data is None or len(data) < 3 or any(node.output[1:]):
        return None
    for axis in data[2:]:
        flow.labels.pin(axis)
    spatial = flow.sized(node.output[0], len(data))[2:]
    if node.op_type.startswith("Global"):
        spatial = (UNIT,) * len(data[2:])
    return [(*data[:2], *spatial)]


_HOMOGENEOUS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"}
)


def _reduced(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    value = flow.resolved(inputs[0])
    if not value:
        return None
    axes = flow.integers(node, 1, "axes")
    if axes is None and any(node.input[1:]):
        return None
    if not axes and number(node, "noop_with_empty_axes", 0):
        return None
    gone = {a % len(value) for a in axes} if axes else set(range(len(value)))
    data = (value if node.op_type in _HOMOGENEOUS else flow.unscaled(value)) or ()
    for part in labelled(tuple(data[k] for k in gone)):
        flow.labels.vanishes(part.scale)  # a sum over the channels needs them as they were
    keeps = number(node, "keepdims", 1)
    left = [UNIT if k in gone else a for k, a in enumerate(data) if keeps or k not in gone]
    return [tuple(left)]


_REDUCING = ("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
_PASSING = ("Identity", "Relu", "LeakyRelu", "Dropout", "Neg", "Abs")


_ENTRYWISE = (
    "Sigmoid", "Tanh", "Elu", "Selu", "Celu", "Gelu", "HardSigmoid", "HardSwish", "Softplus",
    "Softsign", "Mish", "Swish", "ThresholdedRelu", "Erf", "Exp", "Log", "Sqrt", "Reciprocal",
    "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Clip", "Pow", "Not", "Equal", "Greater",
    "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Where",
)  # fmt: skip


FEWEST_INPUTS: Mapping[str, int] = {
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Div", "PRelu", "Gather"), 2
    ),
    "BatchNormalization": 5,
    "InstanceNormalization": 3,
    "LayerNormalization": 2,
}
"""Operators whose rules look at several inputs; a file may have fewer."""
SETTINGS = frozenset({*MOVES, *_HOMOGENEOUS, *_REDUCING}) - {"Concat"}
"""Operators whose inputs but the first one say where and how much, and have no channels."""
RULES: Mapping[str, Rule] = {
    **MOVES,
    **dict.fromkeys(_PASSING, same),
    **dict.fromkeys(_ENTRYWISE, entrywise),
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean", "Max", "Min"), total),
    **dict.fromkeys(("Mul", "Div"), _times),
    **dict.fromkeys(("Conv", "ConvTranspose"), _convolution),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pooled),
    **dict.fromkeys((*sorted(_HOMOGENEOUS), *_REDUCING), _reduced),
    "PRelu": _slopes,
    "Cast": _cast,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
}
