"""Normalizations over batch, channels, groups or features."""

from __future__ import annotations

import torch
from torch.nn import functional

from nnw_onnx_torch.graph.dtypes import TORCH_TYPES
from nnw_onnx_torch.graph.operators._table import Call, operator


@operator("BatchNormalization")
def batch_normalization(
    call: Call,
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Normalization of each channel by running statistics, or by those of the batch.

    With statistics of the batch, mean and var are updated in place: mean <- momentum mean +
    (1 - momentum) mean of the batch, var likewise with the unbiased variance, as torch does.
    """
    epsilon, momentum = call.get("epsilon", 1e-5), call.get("momentum", 0.9)
    if call.opset < 9 and not call.get("spatial", 1):
        return _every_feature(call, x, scale, bias, mean, var)
    scale, bias = scale.to(mean.dtype), bias.to(mean.dtype)
    computed = mean.requires_grad or var.requires_grad
    if call.batch_statistics and not computed and sum(call.outputs) > 1:
        return _with_statistics(x, scale, bias, mean, var, epsilon, momentum)
    if call.batch_statistics and not computed:
        return functional.batch_norm(x, mean, var, scale, bias, True, 1 - momentum, epsilon)
    if computed:
        return _by_channel(x, scale, bias, mean, var, epsilon)
    result = functional.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)
    return (result, mean, var, mean, var) if len(call.outputs) > 1 else result


def _by_channel(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    epsilon: float,
) -> torch.Tensor:
    """Normalization by statistics that the graph computes, through which gradients flow."""
    shape = (-1, *[1] * (x.dim() - 2))
    factor = scale * torch.rsqrt(var + epsilon)
    return x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)


def _with_statistics(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    epsilon: float,
    momentum: float,
) -> tuple[torch.Tensor, ...]:
    """The result and ONNX's own new statistics, whose variance is that of the population."""
    axes = [0, *range(2, x.dim())]
    with torch.no_grad():
        batch_var, batch_mean = torch.var_mean(x.to(mean.dtype), axes, correction=0)
        mean.mul_(momentum).add_(batch_mean, alpha=1 - momentum)
        var.mul_(momentum).add_(batch_var, alpha=1 - momentum)
    result = functional.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
    return result, mean.clone(), var.clone(), batch_mean, batch_var


def _every_feature(
    call: Call,
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
) -> torch.Tensor:
    """The old form whose statistics have a value for every feature."""
    shape = x.shape[1:]
    inverse = torch.rsqrt(var.reshape(shape) + call.get("epsilon", 1e-5))
    return (x - mean.reshape(shape)) * inverse * scale.reshape(shape) + bias.reshape(shape)


@operator("InstanceNormalization")
def instance_normalization(
    call: Call, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Normalization of each channel of each sample."""
    axes = list(range(2, x.dim()))
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    shape = (-1, *[1] * len(axes))
    normal = (x - mean) * torch.rsqrt(var + call.get("epsilon", 1e-5))
    return normal * scale.reshape(shape) + bias.reshape(shape)


def _stash(call: Call, x: torch.Tensor) -> torch.dtype:
    """The type in which statistics are computed."""
    if x.dtype == torch.float64:
        return torch.float64
    return TORCH_TYPES[call.get("stash_type", 1)]


@operator("LayerNormalization")
def layer_normalization(
    call: Call, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Normalization over the axes from `axis` on; also their mean and inverse deviation."""
    first = call.get("axis", -1) % x.dim()
    epsilon = call.get("epsilon", 1e-5)
    shape = x.shape[first:]
    fits = scale.shape == shape and (bias is None or bias.shape == shape)
    if len(call.outputs) == 1 and fits and x.dtype == scale.dtype:
        return functional.layer_norm(x, shape, scale, bias, epsilon)
    wide = x.to(_stash(call, x))
    axes = list(range(first, x.dim()))
    var, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
    inverse = torch.rsqrt(var + epsilon)
    result = ((wide - mean) * inverse).to(x.dtype) * scale
    return (result if bias is None else result + bias), mean, inverse


@operator("RMSNormalization")
def rms_normalization(call: Call, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Division by the root of the mean square over the axes from `axis` on."""
    axes = list(range(call.get("axis", -1) % x.dim(), x.dim()))
    wide = x.to(_stash(call, x))
    mean = wide.square().mean(axes, keepdim=True)
    return (wide * torch.rsqrt(mean + call.get("epsilon", 1e-5))).to(x.dtype) * scale


@operator("GroupNormalization")
def group_normalization(
    call: Call, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Normalization over groups of channels; scale and bias per channel, before opset 21 group."""
    groups = call.get("num_groups")
    if call.opset < 21:
        repeats = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return functional.group_norm(x, groups, scale, bias, call.get("epsilon", 1e-5))


@operator("LRN")
def lrn(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Local response normalization across channels."""
    size = call.get("size")
    alpha, beta = call.get("alpha", 1e-4), call.get("beta", 0.75)
    squares = x.square().reshape(x.shape[0], 1, x.shape[1], -1)
    before = (size - 1) // 2
    around = functional.pad(squares, (0, 0, before, size - 1 - before))
    mean = functional.avg_pool2d(around, (size, 1), 1)
    scale = (call.get("bias", 1.0) + alpha * mean).reshape(x.shape)
    result: torch.Tensor = x / scale.pow(beta)
    return result


@operator("LpNormalization")
def lp_normalization(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Division by the L1 or L2 norm along an axis; 0 where the norm is 0."""
    norm = torch.linalg.vector_norm(x, call.get("p", 2), call.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, 1.0, norm))


@operator("MeanVarianceNormalization")
def mean_variance_normalization(call: Call, x: torch.Tensor) -> torch.Tensor:
    """(x - mean) / deviation over some axes."""
    axes = call.get("axes", [0, 2, 3])
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (var.sqrt() + 1e-9)
