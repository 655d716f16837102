"""Quantized operators of the standard: exact as the runtimes, and trainable straight through."""

from __future__ import annotations

import torch
from torch import Tensor

from nnw_onnx_torch.graph.dtypes import TORCH_TYPES
from nnw_onnx_torch.graph.operators._quantized import (
    along,
    bounds,
    float8,
    integers,
    requantized,
    saturated,
    shifted,
    spread,
)
from nnw_onnx_torch.graph.operators._table import Call, operator
from nnw_onnx_torch.graph.operators.convolution import conv


@operator("QuantizeLinear")
def quantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """The sum x / scale + zero, rounded, within the range of the type."""
    number = call.get("output_dtype", 0) or call.type_of(2)
    dtype = TORCH_TYPES[number or 2] if zero is None else zero.dtype
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    precision = TORCH_TYPES.get(call.get("precision", 0), scale.dtype)
    scaled = x.to(precision) / spread(scale, axis, x.shape, block).to(precision)
    if dtype.is_floating_point:
        return float8(scaled, dtype, bool(call.get("saturate", 1)))
    zeros = None if zero is None else spread(zero, axis, x.shape, block)
    return saturated(scaled, zeros, dtype, bounds(dtype, number))


@operator("DequantizeLinear")
def dequantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """(x - zero) * scale, in the type of the scale."""
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    zeros = None if zero is None else spread(zero, axis, x.shape, block)
    real = shifted(x, zeros, torch.float64 if x.dtype == torch.int32 else scale.dtype)
    y = real.to(scale.dtype) * spread(scale, axis, x.shape, block)
    return y.to(TORCH_TYPES.get(call.get("output_dtype", 0), scale.dtype))


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A tensor as uint8 with the scale and zero point of its own range, which holds 0."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale).detach()
    zero = torch.round((-low.detach() / scale).clamp(0, 255)).to(torch.uint8)
    return saturated(x / scale, zero, torch.uint8), scale, zero


@operator("ConvInteger")
def conv_integer(
    call: Call,
    x: Tensor,
    w: Tensor,
    x_zero: Tensor | None = None,
    w_zero: Tensor | None = None,
) -> Tensor:
    """A convolution of integers, as int32."""
    w_zero = None if w_zero is None else along(w_zero, 0, w.dim())
    x_zero = None if x_zero is None else x_zero.reshape(())
    left, right = shifted(x, x_zero), shifted(w, w_zero)
    wide = torch.promote_types(left.dtype, right.dtype)
    return integers(conv(call, left.to(wide), right.to(wide)))


def _per_row(zero: Tensor | None) -> Tensor | None:
    """Numbers of the rows of a left factor, shaped to broadcast."""
    return zero if zero is None or zero.dim() != 1 or zero.numel() == 1 else zero[:, None]


@operator("MatMulInteger")
def matmul_integer(
    call: Call,
    a: Tensor,
    b: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
) -> Tensor:
    """A product of integers, as int32."""
    left, right = shifted(a, _per_row(a_zero)), shifted(b, b_zero)
    wide = torch.promote_types(left.dtype, right.dtype)
    return integers(left.to(wide) @ right.to(wide))


@operator("QLinearMatMul")
def qlinear_matmul(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    """A product of quantized matrices, quantized."""
    total = matmul_integer(call, a, b, a_zero, b_zero)
    rows = _per_row(a_scale)
    assert rows is not None
    return requantized(total, rows * b_scale / y_scale, y_zero)


@operator("QLinearConv")
def qlinear_conv(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """A convolution of quantized tensors, quantized; the bias has the scale of the products."""
    total = conv_integer(call, x, w, x_zero, w_zero)
    if bias is not None:
        total = total + along(bias, 1, x.dim()).to(total.dtype)
    return requantized(total, along(x_scale * w_scale / y_scale, 1, x.dim()), y_zero)
