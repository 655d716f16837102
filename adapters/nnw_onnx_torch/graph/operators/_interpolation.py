"""Resampling an axis: where each output lies in the input, which inputs it weighs, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Resampling:
    """How the axes of a Resize are resampled.

    Attributes:
        mode: "nearest", "linear" or "cubic".
        coordinates: name of the coordinate transformation.
        nearest: how a position is rounded; "simple" is that of opset 10 and before.
        cubic: coefficient a of the cubic kernel.
        excludes: whether only inputs within the tensor have a weight.
        antialias: whether the kernel is stretched when an axis shrinks.
        extrapolated: value outside the region of "tf_crop_and_resize".
    """

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    excludes: bool
    antialias: bool
    extrapolated: float


@dataclass(frozen=True)
class Axis:
    """An axis to resample: its size before and after, the scale, and the region (start, end)."""

    number: int
    size: int
    new_size: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


def positions(axis: Axis, coordinates: str) -> Tensor:
    """Where each output lies along the input (new_size,), float32 as runtimes compute it."""
    x = torch.arange(axis.new_size, dtype=torch.float32)
    scale = torch.tensor(axis.scale, dtype=torch.float32)
    last, new_last = axis.size - 1, max(axis.new_size - 1, 1)
    centred = (x + 0.5) / scale - 0.5
    match coordinates:
        case "half_pixel":
            at = centred
        case "half_pixel_symmetric":
            adjustment = axis.new_size / (axis.scale * axis.size)
            at = axis.size / 2 * (1 - adjustment) + centred
        case "pytorch_half_pixel":
            at = centred if axis.new_size > 1 else 0 * x
        case "align_corners":
            at = x * last / new_last
        case "tf_half_pixel_for_nn":
            at = (x + 0.5) / scale
        case "tf_crop_and_resize":
            start, end = axis.region
            middle = torch.full_like(x, 0.5 * (start + end) * last)
            whole = start * last + x * (end - start) * last / new_last
            at = whole if axis.new_size > 1 else middle
        case _:
            at = x / scale
    return at


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _keys(a: float) -> Callable[[Tensor], Tensor]:
    """The cubic convolution kernel of Keys (1981) with coefficient a."""

    def kernel(distance: Tensor) -> Tensor:
        d = distance.abs()
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))

    return kernel


def _nearest(at: Tensor, how: str, shrinks: bool) -> Tensor:
    match how:
        case "round_prefer_floor":
            return (at - 0.5).ceil()
        case "round_prefer_ceil":
            return (at + 0.5).floor()
        case "ceil":
            return at.ceil()
        case "simple":
            return at.ceil() if shrinks else at.floor()
        case _:
            return at.floor()


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def taps(axis: Axis, how: Resampling) -> tuple[Tensor, Tensor | None]:
    """Inputs that each output weighs (taps, new_size), and their weights, or None for one of 1."""
    at = positions(axis, how.coordinates)
    if how.mode == "nearest":
        index = _nearest(at, how.nearest, axis.scale < 1)
        return index.clamp(0, axis.size - 1).long()[None], None
    stretch = min(axis.scale, 1.0) if how.antialias else 1.0
    radius = 1 if how.mode == "linear" else 2
    reach = -int(-radius // stretch)
    kernel = _triangle if how.mode == "linear" else _keys(how.cubic)
    index = at.floor() + torch.arange(1 - reach, reach + 1)[:, None]
    weights = kernel((index - at) * stretch)
    if how.excludes:
        weights = weights * ((index >= 0) & (index < axis.size))
    if how.excludes or stretch < 1:
        weights = weights / weights.sum(0)
    return index.clamp(0, axis.size - 1).long(), weights


def resample(x: Tensor, axis: Axis, how: Resampling) -> Tensor:
    """A tensor with one axis resampled."""
    index, weights = taps(axis, how)
    index = index.to(x.device)
    if weights is None:
        return x.index_select(axis.number, index[0])
    weights = weights.to(x.device, x.dtype)
    if len(index) > 4:
        # Many taps: one product with a matrix (new_size, size) is cheaper than a pass for each.
        dense = x.new_zeros(axis.new_size, axis.size)
        rows = torch.arange(axis.new_size, device=x.device).expand_as(index)
        dense = dense.index_put((rows, index), weights, accumulate=True)
        return (x.movedim(axis.number, -1) @ dense.t()).movedim(-1, axis.number)
    shape = [1] * x.dim()
    shape[axis.number] = -1
    parts = [
        x.index_select(axis.number, i) * w.reshape(shape)
        for i, w in zip(index, weights, strict=True)
    ]
    return torch.stack(parts).sum(0) if len(parts) > 2 else parts[0] + parts[1]


def repeats(axis: Axis, how: Resampling) -> bool:
    """Whether the nearest input of each output is the one that a whole scale repeats."""
    factor = int(axis.scale)
    if how.mode != "nearest" or factor != axis.scale:
        return False
    index, _ = taps(axis, how)
    return bool((index[0] == torch.arange(axis.new_size) // factor).all())


def outside(axis: Axis) -> Tensor:
    """Which outputs of "tf_crop_and_resize" lie outside the input (new_size,)."""
    at = positions(axis, "tf_crop_and_resize")
    return (at < 0) | (at > axis.size - 1)
