"""Reductions along axes, and what ranks or accumulates along them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from nnw_onnx_torch.graph.operators._table import Call, numbers, operator
from nnw_onnx_torch.graph.operators.elementwise import computable

_Reduction = Callable[[torch.Tensor, list[int]], torch.Tensor]


def _largest(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    return _extreme(x, axes, largest=True)


def _smallest(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    return _extreme(x, axes, largest=False)


def _extreme(x: torch.Tensor, axes: list[int], *, largest: bool) -> torch.Tensor:
    """Largest or smallest value; of nothing the limit of the type."""
    if x.dtype == torch.bool:
        return _extreme(x.to(torch.uint8), axes, largest=largest).bool()
    if any(x.shape[a] == 0 for a in axes):
        shape = [1 if k in axes else n for k, n in enumerate(x.shape)]
        return torch.full(shape, _limit(x.dtype, least=largest), dtype=x.dtype, device=x.device)
    return torch.amax(x, axes, True) if largest else torch.amin(x, axes, True)


def _limit(dtype: torch.dtype, *, least: bool) -> float:
    if dtype.is_floating_point:
        return -math.inf if least else math.inf
    return torch.iinfo(dtype).min if least else torch.iinfo(dtype).max


def _product(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    for axis in axes:
        x = torch.prod(x, axis, keepdim=True)
    return x


def _log_sum_exp(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    return torch.logsumexp(x if x.is_floating_point() else x.double(), axes, True)


def _norm(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    wide = x if x.is_floating_point() else x.double()
    norm: torch.Tensor = torch.linalg.vector_norm(wide, 2, axes, keepdim=True)
    return norm


def _mean(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    if x.is_floating_point():
        return torch.mean(x, axes, True)
    count = math.prod(x.shape[a] for a in axes)
    return torch.div(torch.sum(x, axes, True), count, rounding_mode="trunc")


_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceSum": lambda x, axes: torch.sum(x, axes, True),
    "ReduceMean": _mean,
    "ReduceMax": _largest,
    "ReduceMin": _smallest,
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes: torch.sum(x.abs(), axes, True),
    "ReduceL2": _norm,
    "ReduceSumSquare": lambda x, axes: torch.sum(x * x, axes, True),
    "ReduceLogSum": lambda x, axes: torch.log(torch.sum(x, axes, True)),
    "ReduceLogSumExp": _log_sum_exp,
}


def _enter_reduction(name: str, function: _Reduction) -> None:
    @operator(name)
    def compute(call: Call, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        along: Sequence[int] | None = call.get("axes") if axes is None else numbers(axes)
        if not along and call.get("noop_with_empty_axes", 0):
            if name in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
                return x
            # Without axes the reduction is still applied to each element.
            return function(computable(x).unsqueeze(-1), [x.dim()]).squeeze(-1).to(x.dtype)
        chosen = sorted({a % x.dim() for a in along} if along else range(x.dim()))
        if not chosen:
            return function(computable(x).unsqueeze(0), [0]).squeeze(0).to(x.dtype)
        result = function(computable(x), chosen)
        if not call.get("keepdims", 1):
            result = result.squeeze(tuple(chosen))
        return result if result.dtype == x.dtype else result.to(x.dtype)


for _name, _function in _REDUCTIONS.items():
    _enter_reduction(_name, _function)


def _arg(call: Call, x: torch.Tensor, *, largest: bool) -> torch.Tensor:
    """Index of the first, or last, largest or smallest value along an axis."""
    axis, keep = call.get("axis", 0), bool(call.get("keepdims", 1))
    extreme = x.amax(axis, True) if largest else x.amin(axis, True)
    hits = (x == extreme).to(torch.uint8)
    if call.get("select_last_index", 0):
        from_end = torch.argmax(hits.flip(axis), axis, keep)
        return torch.rsub(from_end, x.shape[axis] - 1)
    return torch.argmax(hits, axis, keep)


@operator("ArgMax")
def arg_max(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Index of the largest value along an axis."""
    return _arg(call, x, largest=True)


@operator("ArgMin")
def arg_min(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Index of the smallest value along an axis."""
    return _arg(call, x, largest=False)


@operator("CumSum")
def cum_sum(call: Call, x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """Sums of all values up to each, with or without it, from either end."""
    return _accumulated(call, x, int(axis), torch.cumsum, 0)


@operator("CumProd")
def cum_prod(call: Call, x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """Products of all values up to each, with or without it, from either end."""
    return _accumulated(call, x, int(axis), torch.cumprod, 1)


def _accumulated(
    call: Call, x: torch.Tensor, axis: int, function: Callable[..., torch.Tensor], neutral: int
) -> torch.Tensor:
    if call.get("reverse", 0):
        x = x.flip(axis)
    result = function(x, axis, dtype=x.dtype)
    if call.get("exclusive", 0):
        first = torch.full_like(result.narrow(axis, 0, min(1, x.shape[axis])), neutral)
        result = torch.cat([first, result.narrow(axis, 0, max(x.shape[axis] - 1, 0))], axis)
    return result.flip(axis) if call.get("reverse", 0) else result


@operator("TopK")
def top_k(call: Call, x: torch.Tensor, k: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """The k largest or smallest values along an axis, and their indices; the first of equals."""
    count = call.get("k") if k is None else int(k)
    axis = call.get("axis", -1)
    wide = computable(x)
    values, at = torch.sort(wide, dim=axis, descending=bool(call.get("largest", 1)), stable=True)
    return values.narrow(axis, 0, count).to(x.dtype), at.narrow(axis, 0, count)


def _along_axis(call: Call, x: torch.Tensor, function: Callable[..., torch.Tensor]) -> torch.Tensor:
    """A function along `axis`; before opset 13 along all axes from it on, flattened."""
    if call.opset >= 13:
        return function(x, call.get("axis", -1))
    axis = call.get("axis", 1)
    if x.dim() and axis % x.dim() == x.dim() - 1:
        return function(x, -1)
    rows = math.prod(x.shape[: axis if axis >= 0 else axis + x.dim()])
    return function(x.reshape(rows, -1), 1).reshape(x.shape)


@operator("Softmax")
def softmax(call: Call, x: torch.Tensor) -> torch.Tensor:
    """exp(x) divided by its sum."""
    return _along_axis(call, x, torch.softmax)


@operator("LogSoftmax")
def log_softmax(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Logarithm of the softmax."""
    return _along_axis(call, x, torch.log_softmax)


@operator("Hardmax")
def hardmax(call: Call, x: torch.Tensor) -> torch.Tensor:
    """1 at the first largest value, 0 elsewhere."""

    def largest(values: torch.Tensor, axis: int) -> torch.Tensor:
        at = torch.argmax((values == values.amax(axis, True)).to(torch.uint8), axis, True)
        return torch.zeros_like(values).scatter(axis, at, 1.0)

    return _along_axis(call, x, largest)
