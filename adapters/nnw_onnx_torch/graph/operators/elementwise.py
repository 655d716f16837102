"""Arithmetic, comparisons and logic, element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import torch

from nnw_onnx_torch.graph.operators._table import Call, Value, operator

Limit: TypeAlias = torch.Tensor | float | None
_Unary = Callable[[torch.Tensor], torch.Tensor]
_Binary = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# torch stores these, but computes little with them.
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)

_UNARY: dict[str, _Unary] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin,
    "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil,
    "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf, "Exp": torch.exp,
    "Floor": torch.floor, "IsNaN": torch.isnan, "Log": torch.log, "Neg": torch.neg,
    "Not": torch.logical_not, "Reciprocal": torch.reciprocal, "Round": torch.round,
    "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh, "Sqrt": torch.sqrt,
    "Tan": torch.tan, "Tanh": torch.tanh, "BitwiseNot": torch.bitwise_not,
}  # fmt: skip
_BINARY: dict[str, _Binary] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Equal": torch.eq,
    "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le,
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
    "BitwiseAnd": torch.bitwise_and, "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}  # fmt: skip


def computable(x: torch.Tensor) -> torch.Tensor:
    """The tensor in a type that torch computes with."""
    return x.to(torch.int64) if x.dtype in _UNSIGNED else x


def old_broadcast(call: Call, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The second operand in opsets below 7, which align it at the attribute `axis`."""
    if call.opset >= 7 or not call.get("broadcast") or call.get("axis") is None:
        return y
    behind = x.dim() - call.get("axis") % x.dim() - y.dim()
    return y.reshape(*y.shape, *[1] * behind)


def _enter_unary(name: str, function: _Unary) -> None:
    @operator(name)
    def compute(call: Call, x: torch.Tensor) -> torch.Tensor:
        if x.dtype in _UNSIGNED:
            return function(computable(x)).to(x.dtype)
        return function(x)


def _enter_binary(name: str, function: _Binary) -> None:
    @operator(name)
    def compute(call: Call, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if call.opset < 7:
            y = old_broadcast(call, x, y)
        if x.dtype in _UNSIGNED:
            result = function(computable(x), computable(y))
            return result if result.dtype == torch.bool else result.to(x.dtype)
        return function(x, y)


for _name, _unary in _UNARY.items():
    _enter_unary(_name, _unary)
for _name, _binary in _BINARY.items():
    _enter_binary(_name, _binary)


@operator("Div")
def div(call: Call, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Quotient; of integers cut towards zero."""
    y = old_broadcast(call, x, y)
    if x.is_floating_point() or x.is_complex():
        return torch.div(x, y)
    return torch.div(computable(x), computable(y), rounding_mode="trunc").to(x.dtype)


@operator("Mod")
def mod(call: Call, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Remainder with the sign of the divisor, or with `fmod` that of the dividend."""
    function = torch.fmod if call.get("fmod") else torch.remainder
    return function(computable(x), computable(y)).to(x.dtype)


@operator("Pow")
def power(call: Call, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The power x ** y, in the type of x."""
    y = old_broadcast(call, x, y)
    if y.dim() == 0 and y.device.type == "cpu" and not y.requires_grad and x.is_floating_point():
        return torch.pow(x, y.item())
    if not x.is_floating_point() and not x.is_complex():
        if y.is_floating_point():
            return torch.pow(x.double(), y.double()).to(x.dtype)
        return torch.pow(x.long(), y.long()).to(x.dtype)
    return torch.pow(x, y.to(x.dtype))


@operator("BitShift")
def bit_shift(call: Call, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Bits of unsigned integers shifted to the left or right."""
    left = call.get("direction") == "LEFT"
    shift = torch.bitwise_left_shift if left else torch.bitwise_right_shift
    return shift(computable(x), computable(y)).to(x.dtype)


def _variadic(function: _Binary) -> Callable[..., torch.Tensor]:
    def compute(call: Call, *inputs: torch.Tensor) -> torch.Tensor:
        first = inputs[0]
        if first.dtype in _UNSIGNED:
            return reduce(function, map(computable, inputs)).to(first.dtype)
        return reduce(function, inputs)

    return compute


operator("Sum")(_variadic(torch.add))
operator("Min")(_variadic(torch.minimum))
operator("Max")(_variadic(torch.maximum))


@operator("Mean")
def mean(call: Call, *inputs: torch.Tensor) -> torch.Tensor:
    """Mean of the inputs."""
    return reduce(torch.add, inputs) / len(inputs)


@operator("Clip")
def clip(
    call: Call,
    x: torch.Tensor,
    low: torch.Tensor | None = None,
    high: torch.Tensor | None = None,
) -> torch.Tensor:
    """Values limited to [low, high]."""
    least: Limit = call.get("min") if low is None else low
    most: Limit = call.get("max") if high is None else high
    if least is None and most is None:
        return x
    if x.dtype in _UNSIGNED:
        wide = torch.clamp(computable(x), _number(least), _number(most))
        return wide.to(x.dtype)
    both = [v for v in (least, most) if isinstance(v, torch.Tensor)]
    if any(v.requires_grad or v.device.type != "cpu" for v in both):
        return torch.clamp(x, _like(least, x), _like(most, x))
    # Limits on the CPU become numbers: cheaper, and whole integers stay integers.
    return torch.clamp(x, _number(least), _number(most))


def _number(limit: Limit) -> float | None:
    return limit.item() if isinstance(limit, torch.Tensor) else limit


def _like(limit: Limit, x: torch.Tensor) -> torch.Tensor | None:
    if limit is None or isinstance(limit, torch.Tensor):
        return None if limit is None else limit.to(x.device, x.dtype)
    return torch.tensor(limit, device=x.device).to(x.dtype)


@operator("Where")
def where(call: Call, condition: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One input where the condition holds, the other elsewhere."""
    return torch.where(condition, x, y)


@operator("IsInf")
def is_inf(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Whether values are infinite, with the signs that are asked for."""
    infinite = torch.isinf(x)
    if not call.get("detect_negative", 1):
        infinite = infinite & (x > 0)
    if not call.get("detect_positive", 1):
        infinite = infinite & (x < 0)
    return infinite


@operator("Identity")
def identity(call: Call, x: Value) -> tuple[Value]:
    """The input itself."""
    return (x,)


@operator("Dropout")
def dropout(
    call: Call,
    x: torch.Tensor,
    ratio: torch.Tensor | None = None,
    training: torch.Tensor | None = None,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """The input; in training mode with a share of it dropped, and what was kept."""
    share = float(ratio) if ratio is not None else float(call.get("ratio", 0.5))
    kinds = torch.bool if call.opset >= 10 else x.dtype
    active = call.training and (training is None or bool(training)) and share > 0
    if len(call.outputs) == 1:
        return torch.nn.functional.dropout(x, share, True) if active else x
    if not active:
        return x, torch.ones(x.shape, dtype=kinds, device=x.device)
    kept = torch.rand(x.shape, device=x.device) >= share
    scale = 0.0 if share >= 1 else 1 / (1 - share)
    return x * kept.to(x.dtype) * scale, kept.to(kinds)
