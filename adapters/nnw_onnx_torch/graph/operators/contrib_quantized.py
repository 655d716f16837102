"""Quantized operators of onnxruntime's domain `com.microsoft`."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional

from nnw_onnx_torch.graph.operators._quantized import (
    saturated,
    shifted,
    spread,
)
from nnw_onnx_torch.graph.operators._table import Call, operator
from nnw_onnx_torch.graph.operators.contrib_attention import attention
from nnw_onnx_torch.graph.operators.indexing import gather
from nnw_onnx_torch.graph.operators.pooling import average_pool
from nnw_onnx_torch.graph.operators.quantization import (
    dequantize_linear,
    dynamic_quantize_linear,
    matmul_integer,
    qlinear_conv,
    quantize_linear,
)

_DOMAIN = "com.microsoft"


def _real(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """The numbers that quantized ones stand for."""
    return shifted(x, zero, scale.dtype) * scale


def _whole(y: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """Numbers, quantized as their zero point tells."""
    return saturated(y / scale, zero, torch.uint8 if zero is None else zero.dtype)


@operator("QuantizeLinear", domain=_DOMAIN)
def microsoft_quantize_linear(
    call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    """QuantizeLinear of the standard."""
    return quantize_linear(call, x, scale, zero)


@operator("DequantizeLinear", domain=_DOMAIN)
def microsoft_dequantize_linear(
    call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    """DequantizeLinear of the standard."""
    return dequantize_linear(call, x, scale, zero)


@operator("QLinearAdd", domain=_DOMAIN)
def qlinear_add(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
) -> Tensor:
    """The sum of quantized tensors, quantized."""
    return _whole(_real(a, a_scale, a_zero) + _real(b, b_scale, b_zero), y_scale, y_zero)


@operator("QLinearMul", domain=_DOMAIN)
def qlinear_mul(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
) -> Tensor:
    """The product of quantized tensors, quantized."""
    return _whole(_real(a, a_scale, a_zero) * _real(b, b_scale, b_zero), y_scale, y_zero)


@operator("QLinearSigmoid", "QLinearLeakyRelu", domain=_DOMAIN)
def qlinear_activation(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
) -> Tensor:
    """Sigmoid, or LeakyReLU where there is an alpha, of a quantized tensor, quantized."""
    real = _real(x, x_scale, x_zero)
    alpha = call.get("alpha")
    y = torch.sigmoid(real) if alpha is None else functional.leaky_relu(real, alpha)
    return _whole(y, y_scale, y_zero)


@operator("QLinearSoftmax", domain=_DOMAIN)
def qlinear_softmax(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
) -> Tensor:
    """Softmax of a quantized tensor, quantized; before opset 13 over the axes from `axis` on."""
    real, axis = _real(x, x_scale, x_zero), call.get("axis", -1) % x.dim()
    if call.get("opset", 13) < 13:
        shares = torch.softmax(real.flatten(axis), -1).reshape(x.shape)
    else:
        shares = torch.softmax(real, axis)
    return _whole(shares, y_scale, y_zero)


@operator("QLinearAveragePool", "QLinearGlobalAveragePool", domain=_DOMAIN)
def qlinear_average_pool(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
) -> Tensor:
    """Means of windows, or of whole images where there is no window, quantized."""
    last = bool(call.get("channels_last", 0))
    real = _real(x, x_scale, x_zero)
    real = real.movedim(-1, 1) if last else real
    if "kernel_shape" in call.attributes:
        y = average_pool(call, real)
    else:
        y = real.mean(list(range(2, x.dim())), keepdim=True)
    return _whole(y.movedim(1, -1) if last else y, y_scale, y_zero)


@operator("QLinearConcat", domain=_DOMAIN)
def qlinear_concat(call: Call, y_scale: Tensor, y_zero: Tensor, *inputs: Tensor) -> Tensor:
    """Quantized tensors joined along an axis, quantized anew."""
    parts = [_real(*inputs[i : i + 3]) for i in range(0, len(inputs), 3)]
    return _whole(torch.cat(parts, call.attributes["axis"]), y_scale, y_zero)


@operator("QLinearConv", domain=_DOMAIN)
def microsoft_qlinear_conv(call: Call, x: Tensor, *inputs: Tensor) -> Tensor:
    """QLinearConv of the standard, with the channels first or last."""
    if not call.get("channels_last", 0):
        return qlinear_conv(call, x, *inputs)
    return qlinear_conv(call, x.movedim(-1, 1), *inputs).movedim(1, -1)


@operator("QGemm", domain=_DOMAIN)
def qgemm(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero: Tensor | None = None,
) -> Tensor:
    """The sum alpha * (a @ b + c) of quantized matrices; quantized if there is a scale for it."""
    a = a.t() if call.get("transA", 0) else a
    b = b.t() if call.get("transB", 0) else b
    total = matmul_integer(call, a, b, a_zero, b_zero)
    total = total if c is None else total + c.to(total.dtype)
    factor: Tensor = call.get("alpha", 1.0) * a_scale * b_scale
    if y_scale is None:
        return total.to(factor.dtype) * factor
    dtype = torch.uint8 if y_zero is None else y_zero.dtype
    return saturated(total.to(factor.dtype) * (factor / y_scale), y_zero, dtype)


@operator("MatMulIntegerToFloat", domain=_DOMAIN)
def matmul_integer_to_float(
    call: Call,
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The real product of quantized matrices, plus a bias."""
    y = matmul_integer(call, a, b, a_zero, b_zero).to(a_scale.dtype) * (a_scale * b_scale)
    return y if bias is None else y + bias


@operator("DynamicQuantizeMatMul", domain=_DOMAIN)
def dynamic_quantize_matmul(
    call: Call,
    a: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The product with a matrix that is quantized by its own range first."""
    q, scale, zero = dynamic_quantize_linear(call, a)
    return matmul_integer_to_float(call, q, b, scale, b_scale, zero, b_zero, bias)


@operator("QAttention", domain=_DOMAIN)
def qattention(
    call: Call,
    x: Tensor,
    weights: Tensor,
    bias: Tensor,
    x_scale: Tensor,
    w_scale: Tensor,
    mask: Tensor | None = None,
    x_zero: Tensor | None = None,
    w_zero: Tensor | None = None,
    past: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of a quantized input and projection."""
    real = _real(x, x_scale, x_zero), _real(weights, w_scale, w_zero)
    return attention(call, *real, bias, mask, past)


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` numbers of some bits of each row of bytes, the lowest bits first."""
    shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.uint8)
    numbers: Tensor = (packed.to(torch.uint8)[..., None] >> shifts) & (2**bits - 1)
    return numbers.flatten(-2)[..., :count]


@operator("MatMulNBits", domain=_DOMAIN)
def matmul_nbits(
    call: Call,
    x: Tensor,
    packed: Tensor,
    scales: Tensor,
    zeros: Tensor | None = None,
    groups: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The sum x @ w.T + bias for w (n, k) in blocks of few bits with scales and zero points."""
    rows, columns, bits = call.attributes["N"], call.attributes["K"], call.get("bits", 4)
    size = call.attributes["block_size"]
    blocks = -(-columns // size)
    w = _unpacked(packed.reshape(rows, -1), bits, blocks * size).to(x.dtype)
    scales = scales.reshape(rows, blocks).to(x.dtype)
    middle: Tensor | float = 2.0 ** (bits - 1)
    packs = zeros is not None and zeros.dtype == torch.uint8
    # With g_idx onnxruntime (1.31) does not look at zero points that are packed into bytes.
    if zeros is not None and not (packs and groups is not None):
        flat = zeros.reshape(rows, -1)
        middle = (_unpacked(flat, bits, blocks) if packs else flat).to(x.dtype)
    if groups is None:
        groups = torch.arange(blocks * size, device=x.device) // size
    scale = scales[:, groups.long()]
    zero = middle[:, groups.long()] if isinstance(middle, Tensor) else middle
    real = (w[:, : scale.shape[1]] - zero) * scale
    return functional.linear(x, real[:, :columns], bias)


@operator("GatherBlockQuantized", domain=_DOMAIN)
def gather_block_quantized(
    call: Call, data: Tensor, indices: Tensor, scales: Tensor, zeros: Tensor | None = None
) -> Tensor:
    """Slices of a tensor that is quantized in blocks along an axis."""
    bits, size = call.get("bits", 4), call.get("block_size", 128)
    in_bytes = call.type_of(0) == TensorProto.UINT8
    if in_bytes and bits < 8:
        data = _unpacked(data, bits, data.shape[-1] * 8 // bits)
        zeros = None if zeros is None else _unpacked(zeros, bits, scales.shape[-1])
    axis = call.get("quantize_axis", 1) % data.dim()
    if zeros is None:
        real = data.to(scales.dtype) - (2 ** (bits - 1) if in_bytes else 0)
    else:
        real = shifted(data, spread(zeros, axis, data.shape, size), scales.dtype)
    real = real * spread(scales, axis, data.shape, size)
    return gather(Call({"axis": call.get("gather_axis", 0)}, (True,), 13, False, False), real,
                  indices)  # fmt: skip
