"""Fused and extra operators of onnxruntime's domain `com.microsoft`."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from nnw_onnx_torch.graph.operators._functions import activation
from nnw_onnx_torch.graph.operators._table import Call, numbers, operator
from nnw_onnx_torch.graph.operators.convolution import conv
from nnw_onnx_torch.graph.operators.indexing import gather_nd, unique
from nnw_onnx_torch.graph.operators.linear import gemm
from nnw_onnx_torch.graph.operators.normalization import group_normalization
from nnw_onnx_torch.graph.operators.pooling import max_pool

MICROSOFT = "com.microsoft"


def _activated(x: Tensor, name: str, parameters: list[float]) -> Tensor:
    if name.lower() == "clip":
        return x.clamp(*parameters)
    return activation(name, iter(parameters[:1]), iter(parameters[1:]))(x) if name else x


@operator("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation", domain=MICROSOFT)
def fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The product alpha * a @ b; either may be transposed, or have its rows before its batches."""
    a, b = (
        _transposed(x, bool(call.get(f"trans{name}", 0)), bool(call.get(f"transBatch{name}", 0)))
        for x, name in ((a, "A"), (b, "B"))
    )
    y = a @ b
    y = y if call.get("alpha", 1.0) == 1.0 else y * call.get("alpha", 1.0)
    parameters = [call.get(f"activation_{n}", 0.0) for n in ("alpha", "beta")]
    return _activated(y, call.get("activation", ""), parameters)


def _transposed(x: Tensor, swaps: bool, rows_first: bool) -> Tensor:
    if rows_first and x.dim() > 2:
        x = x.movedim(0, -2)
    return x.transpose(-1, -2) if swaps and x.dim() > 1 else x


@operator("FusedConv", domain=MICROSOFT)
def fused_conv(
    call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    """A convolution, a sum with another tensor, and an activation."""
    y = conv(call, x, w, bias)
    y = y if added is None else y + added
    parameters = list(call.get("activation_params") or ())
    return _activated(y, call.get("activation", ""), parameters)


@operator("NhwcConv", "NhwcFusedConv", domain=MICROSOFT)
def nhwc_conv(
    call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    """FusedConv of images and kernels with the channels last."""
    added = None if added is None else added.movedim(-1, 1)
    return fused_conv(call, x.movedim(-1, 1), w.movedim(-1, 1), bias, added).movedim(1, -1)


@operator("FusedGemm", domain=MICROSOFT)
def fused_gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm and an activation."""
    names = ("activation_alpha", "activation_beta")
    parameters = [call.attributes[name] for name in names if name in call.attributes]
    return _activated(gemm(call, a, b, c), call.get("activation", ""), parameters)


@operator("Gelu", "BiasGelu", domain=MICROSOFT)
def bias_gelu(call: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU of a sum."""
    return functional.gelu(x if bias is None else x + bias)


@operator("FastGelu", domain=MICROSOFT)
def fast_gelu(call: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU of a sum, by the tangens hyperbolicus."""
    return functional.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("QuickGelu", domain=MICROSOFT)
def quick_gelu(call: Call, x: Tensor) -> Tensor:
    """The product x * sigmoid(alpha * x)."""
    return x * torch.sigmoid(call.get("alpha", 1.702) * x)


@operator("BiasAdd", domain=MICROSOFT)
def bias_add(call: Call, x: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """The sum of three."""
    return x + bias + skip


@operator("BiasSplitGelu", domain=MICROSOFT)
def bias_split_gelu(call: Call, x: Tensor, bias: Tensor) -> Tensor:
    """Half of a sum times GELU of the other half."""
    left, right = (x + bias).chunk(2, -1)
    return left * functional.gelu(right)


@operator("BiasSoftmax", domain=MICROSOFT)
def bias_softmax(call: Call, x: Tensor, bias: Tensor) -> Tensor:
    """Softmax of a sum over the axes from `axis` on."""
    total = (x + bias).flatten(call.get("axis", 1) % x.dim())
    return torch.softmax(total, -1).reshape(x.shape)


@operator("GroupNorm", domain=MICROSOFT)
def group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """GroupNormalization of images with the channels last, and SiLU on request."""
    last = bool(call.get("channels_last", 1))
    standard = replace(
        call,
        attributes={"num_groups": call.attributes["groups"], "epsilon": call.get("epsilon", 1e-5)},
        opset=21,
    )
    images = x.movedim(-1, 1) if last else x
    y = group_normalization(standard, images, scale.to(x.dtype), bias.to(x.dtype))
    y = functional.silu(y) if call.get("activation", 0) else y
    return y.movedim(1, -1) if last else y


@operator("NhwcMaxPool", domain=MICROSOFT)
def nhwc_max_pool(call: Call, x: Tensor) -> Tensor:
    """MaxPool of images with the channels last."""
    pooled = max_pool(replace(call, outputs=(True,), opset=12), x.movedim(-1, 1))
    return cast(Tensor, pooled).movedim(1, -1)


@operator("Inverse", domain=MICROSOFT)
def inverse(call: Call, x: Tensor) -> Tensor:
    """Inverses of square matrices."""
    inverted: Tensor = torch.linalg.inv(x)
    return inverted


@operator("Trilu", domain=MICROSOFT)
def trilu(call: Call, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper or lower triangle of matrices."""
    cut = torch.triu if call.get("upper", 1) else torch.tril
    return cut(x, 0 if k is None else int(k))


@operator("ExpandDims", domain=MICROSOFT)
def expand_dims(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """A tensor with one more axis."""
    return x.unsqueeze(numbers(axis)[0])


@operator("GatherND", domain=MICROSOFT)
def microsoft_gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """GatherND of the standard."""
    return gather_nd(call, x, indices)


@operator("Unique", domain=MICROSOFT)
def microsoft_unique(call: Call, x: Tensor) -> tuple[Tensor, ...]:
    """Distinct values in order of appearance, the index of each element, and the counts."""
    values, _, inverse_indices, counts = unique(replace(call, attributes={"sorted": 0}), x)
    return values, inverse_indices, counts


@operator("ComplexMul", domain=MICROSOFT)
def complex_mul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Products of complex numbers (..., 2)."""
    return _complex_product(a, b, False)


@operator("ComplexMulConj", domain=MICROSOFT)
def complex_mul_conj(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Products of complex numbers (..., 2) with conjugates."""
    return _complex_product(a, b, True)


def _complex_product(a: Tensor, b: Tensor, conjugates: bool) -> Tensor:
    left, right = (torch.view_as_complex(x.contiguous()) for x in (a, b))
    return torch.view_as_real(left * (right.conj() if conjugates else right))


@operator("ImageScaler")
def image_scaler(call: Call, x: Tensor) -> Tensor:
    """Images (n, c, h, w) times a scale plus a bias of each channel; an operator of old."""
    bias = torch.tensor(list(call.get("bias") or [0.0]), dtype=x.dtype, device=x.device)
    scale: float = call.get("scale", 1.0)
    return x * scale + bias.reshape(-1, 1, 1)
