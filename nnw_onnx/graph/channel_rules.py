"""What each operator does to the channels of its inputs.

A rule says which entries of inputs and outputs are the same channel, and under which scalings of
the inputs its outputs are scaled. An operator without a rule needs every entry in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from onnx import NodeProto

from nnw_onnx.graph.channel_flow import (
    BESIDE,
    GROUPED,
    LARGEST,
    PRODUCT,
    QUOTIENT,
    SUM,
    UNIT,
    Flow,
    Rule,
    aligned,
    joined,
    joined_axis,
    labelled,
)
from nnw_onnx.graph.channel_moves import MOVES
from nnw_onnx.graph.forms import added
from nnw_onnx.graph.labels import Axis, Value, fixed, is_fixed, length
from nnw_onnx.graph.scopes import number
from nnw_onnx.graph.tensors import PLAIN


def _contracted(
    flow: Flow, node: NodeProto, first: Axis, second: Axis, heads: Collection[int] = ()
) -> None:
    """Entries over whose products an operator sums: factors have to cancel."""
    labels = flow.labels
    for p, q in labels.paired(first, second, heads) or ():
        labels.scales.vanishes(added(p.action.scale, q.action.scale))
        labels.signs.vanishes(added(p.action.sign, q.action.sign))
        labels.mixes.vanishes(added(p.action.mix, q.action.mix))
    if not any(name in flow.constants for name in node.input[:2]):
        labels.count(first)  # nothing stored takes a new channel in


def _along(value: Value, axis: int, rank: int) -> Value:
    """A vector of one number for each entry of an axis of values of so many axes."""
    if value is None or len(value) != 1:
        return None
    return (*[UNIT] * axis, value[0], *[UNIT] * (rank - axis - 1))


def same(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """An operator on each entry that passes everything on."""
    return [inputs[0]]


def positive(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """A function of each entry that passes positive factors on."""
    return [flow.positive(inputs[0])]


def magnitude(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """The absolute value."""
    return [flow.magnitude(inputs[0])]


def odd(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """A function of each entry that passes signs on."""
    return [flow.odd(inputs[0])]


def even(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """A function of each entry that does not see its sign."""
    return [flow.even(inputs[0])]


def entrywise(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """Any function of each entry, or of the entries of several inputs at one place."""
    given = [v for v, name in zip(inputs, node.input, strict=True) if name]
    result = flow.unscaled(given[0])
    for value in given[1:]:
        result = joined(flow, result, flow.unscaled(value), PRODUCT)
    return [result]


def power(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """X to the power of a whole number is odd or even; else it is any function."""
    exponent = flow.single(node.input[1])
    if exponent is None or exponent % 1 or exponent < 1:
        return entrywise(flow, node, inputs)
    value = (even if exponent % 2 == 0 else odd)(flow, node, inputs)[0]
    return [joined(flow, value, inputs[1], PRODUCT)]


def total(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """A sum, or another function of entries at one place that scales as all of them do."""
    how = LARGEST if node.op_type in ("Max", "Min") and len(inputs) > 1 else SUM
    result = inputs[0]
    for value in inputs[1:]:
        result = joined(flow, result, value, how)
    return [result]


def _times(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    how = PRODUCT if node.op_type == "Mul" else QUOTIENT
    return [joined(flow, inputs[0], inputs[1], how)]


def _slopes(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    return [joined(flow, flow.positive(inputs[0]), inputs[1], BESIDE)]


def _cast(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    passes = number(node, "to", 0) in PLAIN
    return [inputs[0] if passes else flow.unscaled(inputs[0])]


def _softmax(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    # Its sum does not depend on the order of what is summed, on any axis.
    value = flow.resolved(inputs[0])
    if value:
        place = number(node, "axis", -1 if flow.opset >= _OWN_AXIS else 1) % len(value)
        summed = value[place : place + 1] if flow.opset >= _OWN_AXIS else value[place:]
        _summed(flow, value, summed)
    return [flow.unscaled(value)]


def _summed(flow: Flow, value: Value, axes: Sequence[Axis]) -> None:
    """An operator computes something of all channels of these axes: no one may come or go."""
    for axis in axes:
        flow.labels.count(axis)
        if not is_fixed(axis):
            flow.labels.share_value(value)


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
        _contracted(flow, node, data[1], into)
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
        result = joined(flow, result, _along(inputs[2], 1, len(data)), SUM)
    return [result]


def _depthwise(flow: Flow, data: Axis, kernel: Axis) -> Axis:
    """Each channel has a kernel, or several, of its own."""
    size, made = length(data), length(kernel)
    if data is None or not size or made is None or made % size:
        flow.labels.pin(data)
        flow.labels.pin(kernel)
        return fixed(made)
    several = made // size
    parts = flow.labels.resolved(data)
    blocks = [q for p in parts for q in flow.labels.spread(p, (), several)]
    return joined_axis(flow, tuple(blocks), kernel, PRODUCT)


def _in_groups(flow: Flow, kernel: Axis, group: int) -> Axis:
    """The output channels of a group may change places among themselves."""
    size = length(kernel)
    if size is None or size % group:
        flow.labels.pin(kernel)
        return fixed(size)
    groups = tuple(flow.labels.fresh(size // group) for _ in range(group))
    made = joined_axis(flow, kernel, groups, GROUPED)
    flow.labels.count(made)  # all groups have as many
    return made


def _gemm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    first, second = _of_rank(inputs[0], inputs[1]), _of_rank(inputs[1], inputs[0])
    if first is None or second is None or len(first) != 2 or len(second) != 2:
        return None
    rows, inner = first[::-1] if number(node, "transA", 0) else first
    again, columns = second[::-1] if number(node, "transB", 0) else second
    _contracted(flow, node, inner, again)
    result = flow.resolved((rows, columns))
    if len(inputs) > 2 and node.input[2]:
        result = joined(flow, result, inputs[2], SUM)
    return [result]


def _matmul(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    first, second = inputs[:2]
    if first is None or second is None or min(len(first), len(second)) < 2:
        return None
    batch = joined(flow, first[:-2], second[:-2], PRODUCT) or ()
    rank = len(batch)
    left = (UNIT,) * (rank + 2 - len(first)) + first
    right = (UNIT,) * (rank + 2 - len(second)) + second
    heads = aligned(flow, left, right, range(rank))
    _contracted(flow, node, first[-1], second[-2], heads)
    return [flow.resolved((*batch, first[-2], second[-1]))]


def _batch_norm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    learns = number(node, "training_mode", 0) or any(node.output[1:])
    if data is None or len(data) < 2 or learns or not number(node, "spatial", 1):
        return None
    scale, shift, mean, variance = (_along(v, 1, len(data)) for v in inputs[1:5])
    # scale (x - mean) / sqrt(variance + epsilon) + shift
    result = joined(flow, data, mean, SUM)
    result = joined(flow, result, variance, BESIDE)
    result = joined(flow, result, scale, PRODUCT)
    return [joined(flow, result, shift, SUM)]


def _instance_norm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    if data is None or len(data) < 2:
        return None
    for axis in data[2:]:
        flow.labels.pin(axis)
    scale, shift = (_along(v, 1, len(data)) for v in inputs[1:3])
    result = joined(flow, flow.odd(data), scale, PRODUCT)
    return [joined(flow, result, shift, SUM)]


def _layer_norm(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = flow.resolved(inputs[0])
    if any(node.output[1:]) or not data:
        return None
    _summed(flow, data, data[number(node, "axis", -1) % len(data) :])
    result = joined(flow, flow.unscaled(data), inputs[1], PRODUCT)
    if len(inputs) > 2 and node.input[2]:
        result = joined(flow, result, inputs[2], SUM)
    return [result]


def _pooled(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0] if "Average" in node.op_type else flow.positive(inputs[0])
    if data is None or len(data) < 3 or any(node.output[1:]):
        return None
    for axis in data[2:]:
        flow.labels.pin(axis)
    spatial = flow.sized(node.output[0], len(data))[2:]
    if node.op_type.startswith("Global"):
        spatial = (UNIT,) * len(data[2:])
    return [(*data[:2], *spatial)]


_LINEAR = frozenset({"ReduceMean", "ReduceSum"})
_LARGEST = frozenset({"ReduceMax", "ReduceMin"})
_NORMS = frozenset({"ReduceL1", "ReduceL2"})
_HOMOGENEOUS = _LINEAR | _LARGEST | _NORMS
_REDUCING = ("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")


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
    data = _before_reducing(flow, node.op_type, value) or ()
    for part in labelled(tuple(data[k] for k in gone)):
        flow.labels.still(part.action)  # a sum over the channels needs them as they were
    for k in gone:
        flow.labels.count(data[k])
    keeps = number(node, "keepdims", 1)
    left = [UNIT if k in gone else a for k, a in enumerate(data) if keeps or k not in gone]
    return [tuple(left)]


def _before_reducing(flow: Flow, operator: str, value: Value) -> Value:
    if operator in _LINEAR:
        return value
    if operator in _LARGEST:
        return flow.positive(value)
    if operator in _NORMS:
        return flow.magnitude(value)
    return flow.even(value) if operator == "ReduceSumSquare" else flow.unscaled(value)


_ENTRYWISE = (
    "Sigmoid", "Elu", "Selu", "Celu", "Gelu", "HardSigmoid", "HardSwish", "Softplus",
    "Mish", "Swish", "ThresholdedRelu", "Exp", "Log", "Sqrt", "Floor", "Ceil", "Clip", "Not",
    "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Where",
)  # fmt: skip
_ODD = ("Tanh", "Softsign", "Erf", "Reciprocal", "Round", "Sign", "Sin", "Tan", "Asin", "Atan",
        "Sinh", "Asinh", "Atanh")  # fmt: skip
_EVEN = ("Cos", "Cosh")
_OWN_AXIS = 13
"""From this operator set on Softmax sums over one axis; before over all from it on."""
PER_HEAD = frozenset({
    *_ENTRYWISE, *_ODD, *_EVEN, *_HOMOGENEOUS, *_REDUCING, *MOVES, "Identity", "Relu", "LeakyRelu",
    "Dropout", "Neg", "Abs", "Add", "Sub", "Sum", "Mean", "Max", "Min", "Mul", "Div", "Pow",
    "PRelu", "Cast", "Softmax", "LogSoftmax", "MatMul", "Gemm", "Conv", "BatchNormalization",
    "LayerNormalization",
})  # fmt: skip
"""Operators whose rules know whether they treat each head by itself."""


FEWEST_INPUTS: Mapping[str, int] = {
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Div", "Pow", "PRelu", "Gather"), 2
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
    **dict.fromkeys(("Identity", "Dropout", "Neg"), same),
    **dict.fromkeys(("Relu", "LeakyRelu"), positive),
    **dict.fromkeys(_ODD, odd),
    **dict.fromkeys(_EVEN, even),
    "Abs": magnitude,
    "Pow": power,
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
