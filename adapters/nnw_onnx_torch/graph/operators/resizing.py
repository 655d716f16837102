"""Resize, Upsample and the sampling of images at arbitrary places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nnw_onnx_torch.graph.operators._interpolation import (
    Axis,
    Resampling,
    outside,
    repeats,
    resample,
)
from nnw_onnx_torch.graph.operators._table import Call, numbers, operator


def _floats(tensor: Tensor | None) -> list[float] | None:
    """Numbers of an input; one that is empty counts as left out."""
    return None if tensor is None or tensor.numel() == 0 else tensor.float().reshape(-1).tolist()


def _scaled(size: int, scale: float) -> int:
    """Size times scale, rounded down, in float32 as runtimes compute it."""
    return int(torch.tensor(scale, dtype=torch.float32) * size)


def _kept_aspect(
    sizes: list[int], old: Sequence[int], policy: str
) -> tuple[list[int], list[float]]:
    """New sizes and scales of axes that are asked to become `sizes`."""
    scales = [new / size for new, size in zip(sizes, old, strict=True)]
    if policy == "stretch":
        return sizes, scales
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [math.floor(scale * size + 0.5) for size in old], [scale] * len(sizes)


def _axes(
    call: Call, x: Tensor, roi: Tensor | None, scales: list[float] | None, sizes: Tensor | None
) -> list[Axis]:
    axes = [axis % x.dim() for axis in call.get("axes") or range(x.dim())]
    old = [x.shape[axis] for axis in axes]
    if scales is None:
        assert sizes is not None
        policy = call.get("keep_aspect_ratio_policy", "stretch")
        new, scales = _kept_aspect(numbers(sizes), old, policy)
    else:
        new = [_scaled(size, scale) for size, scale in zip(old, scales, strict=True)]
    regions = _floats(roi) or [0.0] * len(axes) + [1.0] * len(axes)
    pairs = zip(regions[: len(axes)], regions[len(axes) :], strict=True)
    # As onnxruntime has it: a scale of 1 crops nothing, and a shape that stays changes nothing.
    if new == old:
        return []
    return [axis for axis in map(Axis, axes, old, new, scales, pairs) if axis.scale != 1.0]


def _natively(x: Tensor, axes: list[Axis], how: Resampling) -> Tensor | None:
    """The same by torch's own function, or None where that does something else."""
    spatial = list(range(2, x.dim()))
    whole = [axis.number for axis in axes] == spatial and x.is_floating_point()
    if whole and x.dim() in (3, 4, 5) and all(repeats(axis, how) for axis in axes):
        return functional.interpolate(x, [axis.new_size for axis in axes], mode="nearest")
    aligned = how.coordinates == "align_corners"
    smooth = how.mode == "linear" or (how.mode == "cubic" and how.cubic == -0.75)
    if (
        not whole
        or how.antialias
        or how.excludes
        or not (aligned or how.coordinates == "half_pixel")
        or not smooth
        or x.dim() not in ((3, 4, 5) if how.mode == "linear" else (4,))
        or (not aligned and any(axis.new_size != axis.size * axis.scale for axis in axes))
    ):
        return None
    linear = {3: "linear", 4: "bilinear", 5: "trilinear"}
    mode = linear[x.dim()] if how.mode == "linear" else "bicubic"
    return functional.interpolate(
        x, [axis.new_size for axis in axes], mode=mode, align_corners=aligned
    )


def _resized(x: Tensor, axes: list[Axis], how: Resampling) -> Tensor:
    if not axes:
        return x
    result = _natively(x, axes, how)
    if result is not None:
        return result
    exact = x.is_floating_point() or how.mode == "nearest"
    y = x if exact else x.float()
    for axis in axes:
        y = resample(y, axis, how)
    if how.coordinates == "tf_crop_and_resize":
        for axis in axes:
            shape = [1] * x.dim()
            shape[axis.number] = -1
            y = y.masked_fill(outside(axis).to(x.device).reshape(shape), how.extrapolated)
    return y if exact else y.to(x.dtype)


@operator("Resize")
def resize(call: Call, x: Tensor, *inputs: Tensor | None) -> Tensor:
    """A tensor resampled to a size or by a scale, one axis after the other."""
    if call.opset < 11:
        scales = _floats(inputs[0])
        mode = call.get("mode", "nearest")
        how = Resampling(mode, "asymmetric", "simple", -0.75, False, False, 0.0)
        return _resized(x, _axes(call, x, None, scales, None), how)
    roi, scale_input, sizes = (*inputs, None, None, None)[:3]
    how = Resampling(
        call.get("mode", "nearest"),
        call.get("coordinate_transformation_mode", "half_pixel"),
        call.get("nearest_mode", "round_prefer_floor"),
        call.get("cubic_coeff_a", -0.75),
        bool(call.get("exclude_outside", 0)),
        bool(call.get("antialias", 0)),
        call.get("extrapolation_value", 0.0),
    )
    cropped = roi if how.coordinates == "tf_crop_and_resize" else None
    return _resized(x, _axes(call, x, cropped, _floats(scale_input), sizes), how)


@operator("Upsample")
def upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Resize of old: scales are an input, an attribute, or one of height and one of width."""
    if scales is not None:
        factors = _floats(scales)
    elif "scales" in call.attributes:
        factors = list(call.attributes["scales"])
    else:
        factors = [1.0, 1.0, call.get("height_scale", 1.0), call.get("width_scale", 1.0)]
    mode = {"bilinear": "linear"}.get(call.get("mode", "nearest"), call.get("mode", "nearest"))
    how = Resampling(mode, "asymmetric", "simple", -0.75, False, False, 0.0)
    return _resized(x, _axes(call, x, None, factors, None), how)


@operator("GridSample")
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    """Values at places of a grid (n, *out, axes) in [-1, 1], the last axis first."""
    names = {"linear": "bilinear", "cubic": "bicubic"}
    mode = call.get("mode", "linear")
    flat = x.dim() == 3
    if flat:
        x, grid = x.unsqueeze(2), functional.pad(grid, (0, 1)).unsqueeze(1)
    y = functional.grid_sample(
        x,
        grid.to(x.dtype),
        mode=names.get(mode, mode),
        padding_mode=call.get("padding_mode", "zeros"),
        align_corners=bool(call.get("align_corners", 0)),
    )
    return y.squeeze(2) if flat else y


@operator("AffineGrid")
def affine_grid(call: Call, theta: Tensor, size: Tensor) -> Tensor:
    """The grid (n, *out, axes) that samples an image moved by `theta` (n, axes, axes + 1)."""
    return functional.affine_grid(
        theta, numbers(size), align_corners=bool(call.get("align_corners", 0))
    )


@operator("CenterCropPad")
def center_crop_pad(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    """A tensor cut or padded with zeros about its centre."""
    axes = call.get("axes") or range(x.dim())
    for axis, size in zip(axes, numbers(shape), strict=True):
        missing = size - x.shape[axis]
        if missing > 0:
            widths = [0] * (2 * x.dim())
            place = 2 * (x.dim() - 1 - axis % x.dim())
            widths[place : place + 2] = [missing // 2, missing - missing // 2]
            x = functional.pad(x, widths)
        else:
            x = x.narrow(axis, -missing // 2, size)
    return x


@operator("Col2Im")
def col2im(call: Call, x: Tensor, image_shape: Tensor, block_shape: Tensor) -> Tensor:
    """Columns (n, c * block, blocks) added up into images (n, c, *image_shape)."""
    image, block = numbers(image_shape), numbers(block_shape)
    rank = len(image)
    dilations = call.get("dilations") or [1] * rank
    strides = call.get("strides") or [1] * rank
    pads = call.get("pads") or [0] * 2 * rank
    padded = [image[d] + pads[d] + pads[d + rank] for d in range(rank)]
    flat = torch.zeros(1, 1, dtype=torch.int64, device=x.device)
    for d in range(rank):
        blocks = (padded[d] - dilations[d] * (block[d] - 1) - 1) // strides[d] + 1
        inside = torch.arange(block[d], device=x.device) * dilations[d]
        starts = torch.arange(blocks, device=x.device) * strides[d]
        place = inside[:, None] + starts
        flat = (flat[:, None, :, None] * padded[d] + place[:, None]).reshape(
            flat.shape[0] * block[d], -1
        )
    columns = x.reshape(x.shape[0], -1, flat.numel())
    summed = columns.new_zeros(*columns.shape[:2], math.prod(padded))
    summed = summed.index_add(2, flat.reshape(-1), columns)
    y = summed.reshape(*columns.shape[:2], *padded)
    for d in range(rank):
        y = y.narrow(d + 2, pads[d], image[d])
    return y


@operator("RoiAlign")
def roi_align(call: Call, x: Tensor, rois: Tensor, batch_indices: Tensor) -> Tensor:
    """Pooled regions (r, c, h, w) of images, by bilinear samples (He et al. 2017, Mask R-CNN)."""
    default = "half_pixel" if call.opset >= 16 else "output_half_pixel"
    half = call.get("coordinate_transformation_mode", default) == "half_pixel"
    boxes = (rois * call.get("spatial_scale", 1.0) - (0.5 if half else 0.0)).tolist()
    size = call.get("output_height", 1), call.get("output_width", 1)
    pooled = [
        _roi(call, x[sample], box, size, half)
        for box, sample in zip(boxes, numbers(batch_indices), strict=True)
    ]
    return torch.stack(pooled) if pooled else x.new_zeros(0, x.shape[1], *size)


def _roi(call: Call, image: Tensor, box: list[float], size: tuple[int, int], half: bool) -> Tensor:
    """One region (c, h, w) of an image (c, h, w)."""
    low, high = (box[1], box[0]), (box[3], box[2])
    axes: list[tuple[Tensor, Tensor, int]] = []
    for d in range(2):
        extent = high[d] - low[d]
        extent = extent if half else max(extent, 1.0)
        step = extent / size[d]
        count = call.get("sampling_ratio", 0) or max(math.ceil(step), 1)
        at = low[d] + (torch.arange(size[d] * count, device=image.device) + 0.5) * step / count
        axes.append((*_corner_weights(at, image.shape[1 + d]), count))
    (rows, row_weights, high_count), (columns, column_weights, wide_count) = axes
    corners = image[:, rows[:, None, :, None], columns[None, :, None, :]]
    weights = row_weights[:, None, :, None] * column_weights[None, :, None, :]
    weighted = corners * weights.to(image.dtype)
    # The runtimes take the largest weighted corner where the paper takes the largest sample.
    average = call.get("mode", "avg") == "avg"
    samples = weighted.sum((1, 2)) if average else weighted.amax((1, 2))
    bins = samples.reshape(-1, size[0], high_count, size[1], wide_count)
    return bins.mean((2, 4)) if average else bins.amax((2, 4))


def _corner_weights(at: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Both neighbours of places along an axis and their weights, each (2, places)."""
    within = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor().clamp(max=size - 1)
    index = torch.stack([low, (low + 1).clamp(max=size - 1)]).long()
    part = at - low
    return index, torch.stack([1 - part, part]) * within
