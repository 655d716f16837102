"""Conversion between types of elements."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from nnw_onnx_torch.graph.dtypes import TORCH_TYPES
from nnw_onnx_torch.graph.operators._table import Call, operator

_BITS: Mapping[int, int] = {21: 4, 22: 4, 25: 2, 26: 2}
"""ONNX types below a byte, which torch holds in a byte -> bits."""
_ROUNDED_TO_LARGEST: Mapping[torch.dtype, float] = {
    torch.float8_e4m3fn: 464.0,
    torch.float8_e4m3fnuz: 248.0,
    torch.float8_e5m2: 61440.0,
    torch.float8_e5m2fnuz: 61440.0,
}
"""Type of a byte -> where, half a step above its largest value, overflow begins."""


@operator("Cast")
def cast(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The values in another type; those that do not fit a byte saturate, if asked for."""
    number = call.get("to")
    if number in _BITS:
        return _wrapped(x, _BITS[number], signed=TORCH_TYPES[number] == torch.int8)
    return _cast(call, x, TORCH_TYPES[number])


@operator("CastLike")
def cast_like(call: Call, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The values in the type of another tensor."""
    return _cast(call, x, like.dtype)


def _cast(call: Call, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype not in _ROUNDED_TO_LARGEST or not x.is_floating_point():
        return x.to(dtype)
    largest = torch.finfo(dtype).max
    limited = x.float().clamp(-largest, largest)
    if call.get("saturate", 1):
        return limited.to(dtype)
    beyond = x.float().abs() > _ROUNDED_TO_LARGEST[dtype]
    outside = math.inf if dtype == torch.float8_e5m2 else math.nan
    return torch.where(beyond, x.float().sign() * outside, limited).to(dtype)


def _wrapped(x: torch.Tensor, bits: int, *, signed: bool) -> torch.Tensor:
    """The low bits of integers, in a byte."""
    low: torch.Tensor = x.to(torch.int64) & (2**bits - 1)
    if not signed:
        return low.to(torch.uint8)
    half = 2 ** (bits - 1)
    return torch.sub(low ^ half, half).to(torch.int8)


@operator("BitCast")
def bit_cast(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The same bits, read as another type of the same size."""
    return x.view(TORCH_TYPES[call.get("to")])
