"""Whole numbers for real ones: rounding, ranges, and gradients that pass straight through.

Quantized values are integers. Where a gradient must pass they stay floating numbers that hold
integers, and rounding has the gradient of the identity within the range (Bengio et al. 2013,
arXiv:1308.3432).
"""

from __future__ import annotations

import torch
from torch import Tensor

_BOUNDS = {21: (0, 15), 22: (-8, 7), 25: (0, 3), 26: (-2, 1)}
"""Range of the ONNX types below a byte, which torch holds in bytes."""


def rounded(x: Tensor) -> Tensor:
    """The nearest integers, the even one of two; the gradient is that of the identity."""
    return x + (torch.round(x) - x).detach() if x.requires_grad else torch.round(x)


def bounds(dtype: torch.dtype, onnx_type: int = 0) -> tuple[int, int]:
    """The range of an integer type; types below a byte are told by their ONNX number."""
    if onnx_type in _BOUNDS:
        return _BOUNDS[onnx_type]
    info = torch.iinfo(dtype)
    return info.min, info.max


def saturated(
    scaled: Tensor, zero: Tensor | None, dtype: torch.dtype, limits: tuple[int, int] | None = None
) -> Tensor:
    """round(scaled) + zero within the range of a type; `zero` broadcasts."""
    low, high = bounds(dtype) if limits is None else limits
    if zero is None:
        q = rounded(scaled.clamp(low, high))
    else:
        shift = zero.to(scaled.device, scaled.dtype)
        q = rounded(scaled.clamp(low - shift, high - shift)) + shift
    return q if q.requires_grad else q.to(dtype)


def float8(scaled: Tensor, dtype: torch.dtype, saturates: bool) -> Tensor:
    """The nearest numbers of eight bits; what is too large becomes the largest, or infinite."""
    most = torch.finfo(dtype).max
    held = scaled.clamp(-most, most) if saturates else scaled
    near = held.to(dtype)
    return held + (near.to(held.dtype) - held).detach() if scaled.requires_grad else near


def shifted(x: Tensor, zero: Tensor | None, dtype: torch.dtype = torch.float64) -> Tensor:
    """The difference x - zero, in a type that holds the integers and sums of their products."""
    real = x if x.is_floating_point() and x.element_size() > 1 else x.to(dtype)
    return real if zero is None else real - zero.to(real.device, real.dtype)


def along(values: Tensor, axis: int, rank: int) -> Tensor:
    """Numbers (k,) of an axis, shaped to broadcast over a tensor of a rank; one number is (1,)."""
    if values.numel() == 1:
        return values.reshape(())
    if values.dim() != 1:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def spread(values: Tensor, axis: int, shape: torch.Size, block: int) -> Tensor:
    """Scales or zero points so that they broadcast over a tensor: one, of an axis, or of blocks."""
    axis = axis % max(len(shape), 1)
    if not block or values.dim() != len(shape) or values.numel() == 1:
        return along(values, axis, len(shape))
    return values.repeat_interleave(block, axis).narrow(axis, 0, shape[axis])


def integers(total: Tensor) -> Tensor:
    """Exact sums of products as int32, unless a gradient must pass."""
    return total if total.requires_grad else total.to(torch.int32)


def requantized(total: Tensor, factor: Tensor, zero: Tensor) -> Tensor:
    """Sums of products times a real factor, in the type of the zero point of the output."""
    scaled = total.to(factor.dtype) * factor
    return saturated(scaled, zero.reshape(()) if zero.numel() == 1 else zero, zero.dtype)
