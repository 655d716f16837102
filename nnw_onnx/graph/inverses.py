"""Operators undone: what an input must be so that an output comes out, as nearly as may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.graph import arithmetic
from nnw_onnx.graph.arithmetic import MISFITS, UnknownOperatorError
from nnw_onnx.graph.expressions import Result
from nnw_onnx.graph.scopes import number, real
from nnw_onnx.vocabulary import Array

F64 = NDArray[np.float64]
_TINY = np.finfo(np.float64).tiny
_MOST_IN_A_SOLUTION = 1 << 22
"""Numbers of a matrix by which is divided."""

Inputs = Sequence[Array | None]
_Undo = Callable[[Result, int, F64, Inputs, Array], F64]
"""Result, input, wanted output, inputs and output as they are now -> wanted input."""

_CONTRACTING = frozenset({"MatMul", "Gemm", "Einsum", "ReduceSum", "ReduceMean"})
_VIEWS = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
)


def obstacle(result: Result, index: int) -> str | None:
    """Why no input can be told from an output, or None where one can."""
    operator = result.node.op_type
    if operator not in _UNDO:
        return f"no weights can be solved for through {operator}"
    if (operator in ("Pow", "Gather") and index) or (operator == "Gemm" and index < 2):
        return f"no weights can be solved for through {operator}"
    if operator == "MatMul":
        other = result.inputs[1 - index]
        if other is None or len(other.shape) != 2 or other.size > _MOST_IN_A_SOLUTION:
            return "they are a product of tensors with more than two axes, or of large ones"
    return None


def proportional(result: Result) -> bool:
    """Whether a scale that is solved for can be looked for among the inputs."""
    operator = result.node.op_type
    if operator in _CONTRACTING:
        return result.size == 1
    return operator in _VIEWS or operator in ("Mul", "Div", "Neg", "Expand", "Abs", "Cast")


def undo(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """The input with which the wanted output comes out, as nearly as may be.

    An element whose output is as wanted already keeps its input, to the last bit.

    Args:
        result: the operator.
        index: number of the input.
        wanted: the output to get.
        inputs: values of all inputs as they are now.
        now: the output as it is now.

    Raises:
        UnknownOperatorError: operands that do not fit.
    """
    try:
        with np.errstate(all="ignore"):
            return _undone(result, index, wanted, inputs, now)
    except (*MISFITS, np.linalg.LinAlgError) as error:
        raise UnknownOperatorError(result.node.op_type) from error


def _undone(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    given = inputs[index]
    assert given is not None
    operator = result.node.op_type
    if operator in _CONTRACTING and now.size == 1:
        found = given.astype(np.float64) * (wanted / now.astype(np.float64)).reshape(-1)[0]
    else:
        found = _UNDO[operator](result, index, wanted, inputs, now)
    found = np.asarray(unspread(found, given.shape), np.float64)
    if given.shape != now.shape:
        return found
    return np.asarray(np.where(wanted == now, given.astype(np.float64), found))


def unspread(values: F64, shape: tuple[int, ...]) -> F64:
    """The mean over the axes along which an operand was repeated."""
    if values.shape == shape:
        return values
    extra = values.ndim - len(shape)
    axes = [k for k in range(values.ndim) if k < extra or shape[k - extra] != values.shape[k]]
    return np.asarray(np.mean(values, axis=tuple(axes), keepdims=True).reshape(shape))


def _number(inputs: Inputs, index: int) -> F64:
    found = inputs[index]
    if found is None:
        raise ValueError("an input that is left out")
    return found.astype(np.float64)


def _same(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    return wanted


def _by(function: Callable[[F64], F64]) -> _Undo:
    return lambda result, index, wanted, inputs, now: function(wanted)


def _abs(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    return np.copysign(np.maximum(wanted, 0), _number(inputs, 0))


def _sign(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """Latent weights turn around where the sign does; a zero gets the mean size of all."""
    latent = _number(inputs, 0)
    sizes = np.where(latent == 0, np.abs(latent).mean() or 1.0, np.abs(latent))
    sign = np.clip(np.rint(wanted), -1, 1)
    return np.where(sign == np.sign(latent), latent, sign * sizes)


def _clipped(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """Latent weights beyond an end stay there where the end is wanted."""
    ends = arithmetic.compute(result.node, [np.array([-np.inf, np.inf]), *inputs[1:]])[0]
    held = np.clip(wanted, *ends)
    return np.where(held == now, _number(inputs, 0), held)


def _whole(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """Latent weights stay where the whole number does."""
    nearest = np.rint(wanted) + 0.0
    return np.where(nearest == now, _number(inputs, 0), nearest)


def _tanh(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    return np.arctanh(np.clip(wanted, -1 + 1e-7, 1 - 1e-7))


def _sigmoid(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    held = np.clip(wanted, 1e-9, 1 - 1e-9)
    return np.log(held / (1 - held))


def _power(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    exponent = _number(inputs, 1)
    root = np.power(np.abs(wanted), 1 / exponent)
    odd = exponent % 2 == 1
    even = np.where(wanted < 0, 0, np.copysign(root, _number(inputs, 0)))
    return np.where(odd, np.copysign(root, wanted), even)


def _sum(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    others = [_number(inputs, k) for k in range(len(inputs)) if k != index]
    return wanted - sum(others[1:], others[0])


def _difference(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    other = _number(inputs, 1 - index)
    return other - wanted if index else wanted + other


def _product(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """Least squares over the axes along which the operand is repeated; by 0 nothing is divided."""
    return _divided(wanted, _number(inputs, 1 - index), _number(inputs, index))


def _quotient(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    if not index:
        return wanted * _number(inputs, 1)
    return 1 / _divided(wanted, _number(inputs, 0), 1 / _number(inputs, 1))


def _divided(wanted: F64, factor: F64, given: F64) -> F64:
    """X of wanted = factor X in the shape of `given`, which stays where the factor is 0."""
    energy, along = _summed(factor * factor, given), _summed(wanted * factor, given)
    return np.where(energy == 0, given, along / np.where(energy == 0, 1, energy))


def _summed(values: F64, given: F64) -> F64:
    values = np.broadcast_to(values, np.broadcast_shapes(values.shape, given.shape))
    extra = values.ndim - given.ndim
    axes = [k for k in range(values.ndim) if k < extra or given.shape[k - extra] == 1]
    return np.asarray(values.sum(axis=tuple(axes), keepdims=True).reshape(given.shape))


def _largest(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    others = [_number(inputs, k) for k in range(len(inputs)) if k != index]
    bound = others[0]
    for other in others[1:]:
        bound = (
            np.maximum(bound, other) if result.node.op_type == "Max" else np.minimum(bound, other)
        )
    given = _number(inputs, index)
    hidden = given <= bound if result.node.op_type == "Max" else given >= bound
    beyond = wanted <= bound if result.node.op_type == "Max" else wanted >= bound
    return np.where(beyond, np.where(hidden, given, bound), wanted)


def _where(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    chosen = inputs[0]
    assert chosen is not None
    mine = chosen.astype(bool) if index == 1 else ~chosen.astype(bool)
    return np.where(mine, wanted, _number(inputs, index))


def _matrix(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """Least squares: the factor of which the product is nearest to the wanted one."""
    other = _number(inputs, 1 - index)
    if index:
        return np.linalg.pinv(other) @ wanted
    return wanted @ np.linalg.pinv(other)


def _third(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """What is added to a product, times beta."""
    third = _number(inputs, 2)
    product = now.astype(np.float64) - third * (beta := real(result.node, "beta", 1.0))
    return (wanted - product) / beta


def _transposed(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    places = arithmetic.compute(result.node, [np.empty((1,) * wanted.ndim)])[0]
    order = [a.ints for a in result.node.attribute if a.name == "perm"]
    axes = list(order[0]) if order else list(range(places.ndim))[::-1]
    return np.transpose(wanted, np.argsort(axes))


def _reshaped(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    given = inputs[0]
    assert given is not None
    return wanted.reshape(given.shape)


def _placed(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """Operators that move elements: each goes back to where it came from, the others stay."""
    given = _number(inputs, 0)
    places = np.arange(given.size).reshape(given.shape)
    moved = arithmetic.compute(result.node, [places, *inputs[1:]])[result.output]
    found = given.reshape(-1).copy()
    found[moved.reshape(-1)] = wanted.reshape(-1)
    return found.reshape(given.shape)


def _part(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """The piece of a Concat that comes from one input."""
    axis = number(result.node, "axis", 0)
    before = sum(_number(inputs, k).shape[axis] for k in range(index))
    return np.take(wanted, range(before, before + _number(inputs, index).shape[axis]), axis)


def _unpadded(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    given = inputs[0]
    assert given is not None
    pads = inputs[1]
    if pads is None:
        raise UnknownOperatorError(result.node.op_type)
    return wanted[tuple(slice(p, p + s) for p, s in zip(pads, given.shape, strict=False))]


def _dequantized(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """The numbers, not rounded yet, which go to those of their type when they are stored."""
    one = arithmetic.compute(result.node, [np.ones(now.shape, np.float32), *inputs[1:]])[0]
    none = arithmetic.compute(result.node, [np.zeros(now.shape, np.float32), *inputs[1:]])[0]
    step = one.astype(np.float64) - none
    places = (wanted - none) / np.where(step == 0, 1, step)
    return np.where(step == 0, _number(inputs, 0), places)


def _quantized(result: Result, index: int, wanted: F64, inputs: Inputs, now: Array) -> F64:
    """Numbers of which the quantizer makes what is wanted: the middles of its steps."""
    zero = inputs[2] if len(inputs) > 2 else None
    scale = _number(inputs, 1)
    middle = 0.0 if zero is None else zero.astype(np.float64)
    if scale.size > 1 or np.size(middle) > 1:
        shape = [1] * wanted.ndim
        shape[number(result.node, "axis", 1)] = -1
        scale, middle = scale.reshape(shape), np.asarray(middle).reshape(shape)
    nearest = np.rint(wanted)
    return np.where(nearest == now, _number(inputs, 0), (nearest - middle) * scale)


_UNDO: Mapping[str, _Undo] = {
    **dict.fromkeys(
        (
            "Identity", "Dropout", "Cast", "CastLike", "Expand",
            "LpNormalization", "Quant", "IntQuant", "BipolarQuant",
        ),
        _same,
    ),
    "Round": _whole,
    "Floor": _whole,
    "Ceil": _whole,
    "Neg": _by(np.negative),
    "Reciprocal": _by(lambda wanted: 1 / wanted),
    "Abs": _abs,
    "Sign": _sign,
    "Clip": _clipped,
    "Relu": _clipped,
    "Tanh": _tanh,
    "Sigmoid": _sigmoid,
    "Exp": _by(lambda wanted: np.log(np.maximum(wanted, _TINY))),
    "Log": _by(np.exp),
    "Sqrt": _by(lambda wanted: np.square(np.maximum(wanted, 0))),
    "Softplus": _by(lambda wanted: np.log(np.expm1(np.maximum(wanted, 1e-12)))),
    "Pow": _power,
    "Add": _sum,
    "Sum": _sum,
    "Sub": _difference,
    "Mul": _product,
    "Div": _quotient,
    "Min": _largest,
    "Max": _largest,
    "Where": _where,
    "MatMul": _matrix,
    "Gemm": _third,
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Slice": _placed,
    "Split": _placed,
    "Gather": _placed,
    "Concat": _part,
    "Pad": _unpadded,
    "DequantizeLinear": _dequantized,
    "QuantizeLinear": _quantized,
}  # fmt: skip
OF_FIRST = frozenset(_UNDO) - {
    "Add", "Sum", "Sub", "Mul", "Div", "Min", "Max", "Where", "MatMul", "Gemm", "Concat",
}  # fmt: skip
"""Operators whose first input is what is computed with."""
