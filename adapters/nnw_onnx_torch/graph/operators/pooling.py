"""Pooling over windows or over all positions, and its inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from nnw_onnx_torch.graph.operators._table import Call, numbers, operator
from nnw_onnx_torch.graph.operators._windows import Windows, padded, windows

_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEANS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _slide(call: Call, x: torch.Tensor) -> Windows:
    return windows(call, x.shape[2:], call.get("kernel_shape"))


def _ends(call: Call, size: Sequence[int], slide: Windows) -> list[tuple[int, int]]:
    """Padding with which each axis ends with its last window.

    With `ceil_mode` the last window may reach beyond the padding, but may not start there.
    """
    ends = []
    for i, (before, after) in enumerate(slide.pads):
        reach = (slide.kernel[i] - 1) * slide.dilations[i] + 1
        room = size[i] + before + after - reach
        count = room // slide.strides[i] + 1
        if call.get("ceil_mode", 0):
            count = -(-room // slide.strides[i]) + 1
            if (count - 1) * slide.strides[i] >= size[i] + before:
                count -= 1
        ends.append((before, (count - 1) * slide.strides[i] + reach - size[i] - before))
    return ends


@operator("MaxPool")
def max_pool(call: Call, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Largest value of each window; on request also where it is in the flattened input."""
    slide = _slide(call, x)
    n = len(slide.kernel)
    if len(call.outputs) > 1 and call.outputs[1]:
        return _max_pool_with_indices(call, x, slide)
    if not x.is_floating_point():
        return _integer_max_pool(call, x, slide)
    simple = not call.get("ceil_mode", 0) and all(
        before == after and 2 * before <= k
        for (before, after), k in zip(slide.pads, slide.kernel, strict=True)
    )
    padding: int | tuple[int, ...] = 0
    if simple:
        padding = tuple(before for before, _ in slide.pads)
    else:
        x = padded(x, _ends(call, x.shape[2:], slide), -math.inf)
    return _MAXIMA[n](x, slide.kernel, slide.strides, padding, slide.dilations)


def _integer_max_pool(call: Call, x: torch.Tensor, slide: Windows) -> torch.Tensor:
    """Pooling of small integers, which float32 holds exactly."""
    wide = padded(x.float(), _ends(call, x.shape[2:], slide), -math.inf)
    pooled = _MAXIMA[len(slide.kernel)](wide, slide.kernel, slide.strides, 0, slide.dilations)
    return pooled.to(x.dtype)


def _max_pool_with_indices(call: Call, x: torch.Tensor, slide: Windows) -> tuple[torch.Tensor, ...]:
    ends = _ends(call, x.shape[2:], slide)
    wide = x if x.is_floating_point() else x.float()
    pooled, at = _MAXIMA[len(slide.kernel)](
        padded(wide, ends, -math.inf), slide.kernel, slide.strides, 0, slide.dilations, False, True
    )
    size = list(x.shape[2:])
    outer = [s + before + after for s, (before, after) in zip(size, ends, strict=True)]
    places = []
    for extent, (before, _) in reversed(list(zip(outer, ends, strict=True))):
        places.append(at % extent - before)
        at = at // extent
    places.reverse()
    axes = list(range(len(size)))
    order = list(reversed(axes)) if call.get("storage_order", 0) else axes
    index = torch.zeros_like(at)
    for axis in order:
        index = index * size[axis] + places[axis]
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device)
    planes = planes.reshape(*x.shape[:2], *[1] * len(size))
    return pooled.to(x.dtype), index + planes * math.prod(size)


@operator("AveragePool")
def average_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Mean of each window, with or without the padding."""
    slide = _slide(call, x)
    if any(d != 1 for d in slide.dilations):
        return _dilated_mean(call, x, slide)
    n = len(slide.kernel)
    include = bool(call.get("count_include_pad", 0))
    if not call.get("ceil_mode", 0) and all(
        before == after and 2 * before <= k
        for (before, after), k in zip(slide.pads, slide.kernel, strict=True)
    ):
        padding = tuple(before for before, _ in slide.pads)
        result: torch.Tensor = _MEANS[n](x, slide.kernel, slide.strides, padding, False, include)
        return result
    ends = _ends(call, x.shape[2:], slide)
    mean = _MEANS[n](padded(x, ends), slide.kernel, slide.strides)
    return mean / _MEANS[n](_counted(call, x, slide, ends), slide.kernel, slide.strides)


def _counted(
    call: Call, x: torch.Tensor, slide: Windows, ends: Sequence[tuple[int, int]]
) -> torch.Tensor:
    """1 where a value counts in a mean, 0 elsewhere."""
    ones = x.new_ones((1, 1, *x.shape[2:]))
    if not call.get("count_include_pad", 0):
        return padded(ones, ends)
    inner = [(b, min(a, e)) for (b, a), (_, e) in zip(slide.pads, ends, strict=True)]
    rest = [(0, e - a) for (_, a), (_, e) in zip(inner, ends, strict=True)]
    return padded(padded(ones, inner, 1.0), rest)


def _dilated_mean(call: Call, x: torch.Tensor, slide: Windows) -> torch.Tensor:
    """A convolution with ones, which knows dilations."""
    ends = _ends(call, x.shape[2:], slide)
    return _sums(padded(x, ends), slide) / _sums(_counted(call, x, slide, ends), slide)


def _sums(x: torch.Tensor, slide: Windows) -> torch.Tensor:
    """Sum over each window of a tensor that is padded already."""
    n = len(slide.kernel)
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[n]
    planes = x.reshape(-1, 1, *x.shape[2:])
    ones = x.new_ones((1, 1, *slide.kernel))
    result = convolve(planes, ones, None, slide.strides, 0, slide.dilations)
    return result.reshape(*x.shape[:2], *result.shape[2:])


@operator("LpPool")
def lp_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """p-th root of the sum of p-th powers of each window."""
    slide, p = _slide(call, x), call.get("p", 2)
    powers = padded(x.abs().pow(p), _ends(call, x.shape[2:], slide))
    return _sums(powers, slide).pow(1.0 / p)


@operator("GlobalAveragePool")
def global_average_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Mean over all positions."""
    return x.mean(list(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Largest value over all positions."""
    return x.amax(list(range(2, x.dim())), keepdim=True)


@operator("GlobalLpPool")
def global_lp_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """p-norm over all positions."""
    axes = list(range(2, x.dim()))
    norm: torch.Tensor = torch.linalg.vector_norm(x, call.get("p", 2), axes, keepdim=True)
    return norm


@operator("MaxUnpool")
def max_unpool(
    call: Call, x: torch.Tensor, indices: torch.Tensor, shape: torch.Tensor | None = None
) -> torch.Tensor:
    """Values put back to where MaxPool found them, 0 elsewhere."""
    kernel = call.get("kernel_shape")
    n = len(kernel)
    strides, pads = call.get("strides") or [1] * n, call.get("pads") or [0] * (2 * n)
    natural = [
        (x.shape[2 + i] - 1) * strides[i] + kernel[i] - pads[i] - pads[i + n] for i in range(n)
    ]
    size = [*x.shape[:2], *natural]
    flat = x.new_zeros(math.prod(size)).scatter(0, indices.reshape(-1), x.reshape(-1))
    result = flat.reshape(size)
    if shape is None:
        return result
    wanted = numbers(shape)[-n:]
    # Indices count in the natural size; a larger result has its room at the end of each axis.
    return padded(result, [(0, w - s) for w, s in zip(wanted, natural, strict=True)])
