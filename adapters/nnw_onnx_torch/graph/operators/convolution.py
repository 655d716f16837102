"""Convolutions of one to three axes, and transposed and deformable ones."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch.nn import functional

from nnw_onnx_torch.graph.operators._table import Call, operator
from nnw_onnx_torch.graph.operators._windows import padded, windows

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@operator("Conv")
def conv(
    call: Call, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolution of x (n, c, *size) with weight (out, c / group, *kernel)."""
    n = weight.dim() - 2
    slide = windows(call, x.shape[2:], weight.shape[2:])
    padding: tuple[int, ...] = (0,) * n
    if slide.symmetric and all(before >= 0 for before, _ in slide.pads):
        padding = tuple(before for before, _ in slide.pads)
    else:
        x = padded(x, slide.pads)
    result: torch.Tensor = _CONVOLUTIONS[n](
        x, weight, bias, slide.strides, padding, slide.dilations, call.get("group", 1)
    )
    return result


@operator("ConvTranspose")
def conv_transpose(
    call: Call, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Transposed convolution of x (n, c, *size) with weight (c, out / group, *kernel)."""
    n = weight.dim() - 2
    strides = tuple(call.get("strides") or [1] * n)
    dilations = tuple(call.get("dilations") or [1] * n)
    extra = list(call.get("output_padding") or [0] * n)
    full = [
        (x.shape[2 + i] - 1) * strides[i] + (weight.shape[2 + i] - 1) * dilations[i] + 1
        for i in range(n)
    ]
    pads = _transposed_pads(call, x, full, strides, extra)
    if all(before == after >= 0 for before, after in pads) and all(
        e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)
    ):
        padding = tuple(before for before, _ in pads)
        result: torch.Tensor = _TRANSPOSED[n](
            x, weight, bias, strides, padding, tuple(extra), call.get("group", 1), dilations
        )
        return result
    whole = _TRANSPOSED[n](x, weight, None, strides, 0, 0, call.get("group", 1), dilations)
    sides = [(-before, e - after) for (before, after), e in zip(pads, extra, strict=True)]
    cut = padded(whole, sides)
    return cut if bias is None else cut + bias.reshape(-1, *[1] * n)


def _transposed_pads(
    call: Call, x: torch.Tensor, full: list[int], strides: tuple[int, ...], extra: list[int]
) -> list[tuple[int, int]]:
    """What is cut off (before, after) of each axis of the full result."""
    n = len(full)
    auto, shape = call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if shape is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        shape = [x.shape[2 + i] * strides[i] for i in range(n)]
    if shape is None:
        given = call.get("pads") if auto != "VALID" else None
        given = given or [0] * (2 * n)
        return [(given[i], given[i + n]) for i in range(n)]
    pads = []
    for i, size in enumerate(shape[-n:]):
        total = full[i] + extra[i] - size
        small = total // 2
        pads.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
    return pads


@operator("DeformConv")
def deform_conv(
    call: Call,
    x: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convolution of images whose sampling points are moved by offset (n, 2 g k, *size)."""
    kernel = tuple(weight.shape[2:])
    slide = windows(call, x.shape[2:], kernel)
    groups, moved = call.get("group", 1), call.get("offset_group", 1)
    n, height, width = x.shape[0], offset.shape[2], offset.shape[3]
    shifts = offset.reshape(n, moved, math.prod(kernel), 2, height, width)
    columns = []
    for k, (i, j) in enumerate(product(range(kernel[0]), range(kernel[1]))):
        rows = torch.arange(height, device=x.device) * slide.strides[0] + i * slide.dilations[0]
        cols = torch.arange(width, device=x.device) * slide.strides[1] + j * slide.dilations[1]
        y_at = shifts[:, :, k, 0] + (rows - slide.pads[0][0]).reshape(-1, 1)
        x_at = shifts[:, :, k, 1] + (cols - slide.pads[1][0])
        sampled = _bilinear(x, y_at, x_at)
        if mask is not None:
            weights = mask.reshape(n, moved, -1, height, width)[:, :, k]
            sampled = sampled * weights.repeat_interleave(x.shape[1] // moved, 1)
        columns.append(sampled)
    taps = torch.stack(columns, 2).reshape(n, groups, -1, height * width)
    kernels = weight.reshape(groups, weight.shape[0] // groups, -1)
    result = torch.matmul(kernels, taps).reshape(n, weight.shape[0], height, width)
    return result if bias is None else result + bias.reshape(-1, 1, 1)


def _bilinear(x: torch.Tensor, y_at: torch.Tensor, x_at: torch.Tensor) -> torch.Tensor:
    """Samples (n, c, h, w) of x at points (n, groups, h, w) in pixels; 0 outside."""
    n, channels = x.shape[:2]
    groups = y_at.shape[1]
    height, width = x.shape[2:]
    flat = x.reshape(n, groups, channels // groups, height * width)
    top, left = y_at.floor(), x_at.floor()
    total = torch.zeros_like(flat[..., :1])
    for dy, dx in product((0, 1), (0, 1)):
        row, column = top + dy, left + dx
        weight = (1 - (y_at - row).abs()) * (1 - (x_at - column).abs())
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        at = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        index = at.reshape(n, groups, 1, -1).expand(-1, -1, channels // groups, -1)
        taken = torch.gather(flat, 3, index)
        total = total + taken * (weight * inside).reshape(n, groups, 1, -1)
    return total.reshape(n, channels, *y_at.shape[2:])
