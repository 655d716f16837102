"""Activation functions."""

from __future__ import annotations

import torch
from torch.nn import functional

from nnw_onnx_torch.graph.operators._table import Call, operator


@operator("Relu")
def relu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """max(x, 0)."""
    return torch.relu(x)


@operator("Sigmoid")
def sigmoid(call: Call, x: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@operator("Softplus")
def softplus(call: Call, x: torch.Tensor) -> torch.Tensor:
    """log(1 + exp(x))."""
    return functional.softplus(x)


@operator("Softsign")
def softsign(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The quotient x / (1 + |x|)."""
    return functional.softsign(x)


@operator("LeakyRelu")
def leaky_relu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The values, times alpha where they are negative."""
    return functional.leaky_relu(x, call.get("alpha", 0.01))


@operator("ThresholdedRelu")
def thresholded_relu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The values above alpha, 0 elsewhere."""
    return functional.threshold(x, call.get("alpha", 1.0), 0.0)


@operator("PRelu")
def prelu(call: Call, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """The values, times a slope where they are negative; the slope broadcasts to them."""
    if call.opset < 7 and slope.dim() == 1 and x.dim() > 2:
        slope = slope.reshape(-1, *[1] * (x.dim() - 2))
    return torch.where(x < 0, x * slope, x)


@operator("Elu")
def elu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The values, and alpha (exp(x) - 1) where they are negative."""
    return functional.elu(x, call.get("alpha", 1.0))


@operator("Celu")
def celu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return functional.celu(x, call.get("alpha", 1.0))


@operator("Selu")
def selu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Elu times gamma."""
    alpha = call.get("alpha", 1.6732632423543772)
    gamma: float = call.get("gamma", 1.0507009873554805)
    return functional.elu(x, alpha) * gamma


@operator("HardSigmoid")
def hard_sigmoid(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The line alpha x + beta, limited to [0, 1]."""
    return torch.clamp(call.get("alpha", 0.2) * x + call.get("beta", 0.5), 0, 1)


@operator("HardSwish")
def hard_swish(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The values times x / 6 + 1 / 2 limited to [0, 1]."""
    return functional.hardswish(x)


@operator("Gelu")
def gelu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The values times the normal distribution function, or its approximation by tanh."""
    return functional.gelu(x, approximate=call.get("approximate", "none"))


@operator("Mish")
def mish(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The product x tanh(softplus(x))."""
    return functional.mish(x)


@operator("Swish")
def swish(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The product x sigmoid(alpha x)."""
    alpha = call.get("alpha", 1.0)
    return functional.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


@operator("Shrink")
def shrink(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The values moved by bias towards 0, and 0 between -lambd and lambd."""
    bias, limit = call.get("bias", 0.0), call.get("lambd", 0.5)
    zero = torch.zeros_like(x)
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero)).to(x.dtype)
