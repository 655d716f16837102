"""Operators that arrange values without computing with them."""

from __future__ import annotations

import math

import torch

from nnw_onnx_torch.graph.dtypes import TORCH_TYPES
from nnw_onnx_torch.graph.operators._table import Call, numbers, operator


@operator("Reshape")
def reshape(call: Call, x: torch.Tensor, shape: torch.Tensor | None = None) -> torch.Tensor:
    """The values in another shape; 0 keeps a size, -1 takes what is left."""
    sizes = call.get("shape") if shape is None else numbers(shape)
    if not call.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten")
def flatten(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Two axes: those before `axis`, and the others."""
    axis = call.get("axis", 1)
    if axis == 1 and x.dim() > 1 and x.numel():
        return x.flatten(1)
    rows = math.prod(x.shape[: axis if axis >= 0 else axis + x.dim()])
    return x.reshape(rows, x.numel() // rows if rows else 0)


@operator("Transpose")
def transpose(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The axes in another order, by default reversed."""
    return x.permute(call.get("perm") or list(range(x.dim()))[::-1])


@operator("Concat")
def concat(call: Call, *inputs: torch.Tensor) -> torch.Tensor:
    """The inputs one after another along an axis."""
    return torch.cat(inputs, call.get("axis", 1))


@operator("Split")
def split(
    call: Call, x: torch.Tensor, sizes: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """Parts along an axis: of given sizes, or equal ones with a smaller last."""
    axis = call.get("axis", 0)
    if sizes is not None:
        return torch.split(x, numbers(sizes), axis)
    if call.get("split") is not None:
        return torch.split(x, call.get("split"), axis)
    count = call.get("num_outputs") or len(call.outputs)
    each = -(-x.shape[axis] // count)
    ends = [min((k + 1) * each, x.shape[axis]) for k in range(count)]
    return torch.split(x, [e - s for s, e in zip([0, *ends[:-1]], ends, strict=True)], axis)


@operator("Slice")
def slice_(
    call: Call,
    x: torch.Tensor,
    starts: torch.Tensor | None = None,
    ends: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
    steps: torch.Tensor | None = None,
) -> torch.Tensor:
    """A range of each of some axes; a negative step goes backwards."""
    first = call.get("starts") if starts is None else numbers(starts)
    last = call.get("ends") if ends is None else numbers(ends)
    along = call.get("axes") if axes is None else numbers(axes)
    strides = [1] * len(first) if steps is None else numbers(steps)
    for start, end, axis, step in zip(
        first, last, along or range(len(first)), strides, strict=True
    ):
        x = _sliced(x, start, end, axis, step)
    return x


def _sliced(x: torch.Tensor, start: int, end: int, axis: int, step: int) -> torch.Tensor:
    size = x.shape[axis]
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        start, end = min(max(start, 0), size), min(max(end, 0), size)
        if step == 1:
            return x.narrow(axis, start, max(end - start, 0))
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, max(end, start), step)
        return x[tuple(index)]
    start, end = min(max(start, -1), size - 1), min(max(end, -1), size - 1)
    if start <= end:
        return x.narrow(axis, 0, 0)
    index = [slice(None)] * x.dim()
    low = start - (start - end - 1) // -step * -step
    index[axis] = slice(low, start + 1, -step)
    return x[tuple(index)].flip(axis)


@operator("Squeeze")
def squeeze(call: Call, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    """Without axes of size 1: those given, or all."""
    along = call.get("axes") if axes is None else numbers(axes)
    return x.squeeze() if along is None else x.squeeze(tuple(along))


@operator("Unsqueeze")
def unsqueeze(call: Call, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    """With axes of size 1 at the given places of the result."""
    along = call.get("axes") if axes is None else numbers(axes)
    rank = x.dim() + len(along)
    for axis in sorted(a % rank for a in along):
        x = x.unsqueeze(axis)
    return x


@operator("Expand")
def expand(call: Call, x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """The values broadcast with a shape."""
    sizes = numbers(shape)
    fits = [1] * (len(sizes) - x.dim()) + list(x.shape)
    whole = [1] * (x.dim() - len(sizes)) + sizes
    return x.expand([n if n != 1 else w for n, w in zip(fits, whole, strict=True)])


@operator("Tile")
def tile(
    call: Call, x: torch.Tensor, repeats: torch.Tensor, axis: torch.Tensor | None = None
) -> torch.Tensor:
    """The values repeated along each axis; in opset 1 along one."""
    if axis is None:
        return x.repeat(numbers(repeats))
    counts = [1] * x.dim()
    counts[int(axis)] = int(repeats)
    return x.repeat(counts)


@operator("Shape")
def shape_(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The sizes, or those of a range of axes; on the CPU."""
    return torch.tensor(x.shape[call.get("start", 0) : call.get("end")], dtype=torch.int64)


@operator("Size")
def size(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The number of elements; on the CPU."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("ConstantOfShape")
def constant_of_shape(call: Call, shape: torch.Tensor) -> torch.Tensor:
    """One value in a shape; on the device of the shape."""
    value = call.get("value")
    if value is None:
        return torch.zeros(numbers(shape), dtype=torch.float32, device=shape.device)
    result: torch.Tensor = value.reshape(()).to(shape.device).expand(numbers(shape)).clone()
    return result


@operator("Range")
def range_(
    call: Call, start: torch.Tensor, limit: torch.Tensor, delta: torch.Tensor
) -> torch.Tensor:
    """start, start + delta, ... before limit."""
    first, last, step = start.item(), limit.item(), delta.item()
    count = max(0, math.ceil((last - first) / step))
    index = torch.arange(count, device=start.device)
    return torch.mul(index, step).add(first).to(start.dtype)


@operator("EyeLike")
def eye_like(call: Call, x: torch.Tensor) -> torch.Tensor:
    """1 on the k-th diagonal, 0 elsewhere."""
    dtype = TORCH_TYPES[call.get("dtype")] if call.get("dtype") is not None else x.dtype
    rows = torch.arange(x.shape[0], device=x.device).reshape(-1, 1)
    columns = torch.arange(x.shape[1], device=x.device)
    return torch.eq(columns - rows, call.get("k", 0)).to(dtype)


@operator("Trilu")
def trilu(call: Call, x: torch.Tensor, k: torch.Tensor | None = None) -> torch.Tensor:
    """The upper or lower triangle of matrices, 0 elsewhere."""
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if call.get("upper", 1) else torch.tril(x, diagonal)


@operator("DepthToSpace")
def depth_to_space(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Channels spread over blocks of pixels."""
    block = call.get("blocksize")
    n, channels, height, width = x.shape
    deep = channels // block**2
    if call.get("mode", "DCR") == "DCR":
        parts = x.reshape(n, block, block, deep, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, deep, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, deep, height * block, width * block)


@operator("SpaceToDepth")
def space_to_depth(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Blocks of pixels gathered into channels."""
    block = call.get("blocksize")
    n, channels, height, width = x.shape
    parts = x.reshape(n, channels, height // block, block, width // block, block)
    order = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    deep = channels * block**2
    return parts.permute(order).reshape(n, deep, height // block, width // block)


@operator("Pad")
def pad(
    call: Call,
    x: torch.Tensor,
    pads: torch.Tensor | None = None,
    value: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
) -> torch.Tensor:
    """The values with something around them: a constant, or values mirrored or repeated."""
    given = (call.get("pads") or call.get("paddings")) if pads is None else numbers(pads)
    along = list(range(x.dim())) if axes is None else [a % x.dim() for a in numbers(axes)]
    count = len(along)
    sides = {axis: (given[k], given[k + count]) for k, axis in enumerate(along)}
    mode = call.get("mode", "constant")
    if mode != "constant":
        for axis, (before, after) in sides.items():
            x = _extended(x, axis, before, after, mode)
        return x
    fill = call.get("value", 0.0) if value is None else value.item()
    flat = [side for axis in reversed(range(x.dim())) for side in sides.get(axis, (0, 0))]
    if x.dtype == torch.bool:
        return torch.nn.functional.pad(x.to(torch.uint8), flat, value=int(fill)).bool()
    return torch.nn.functional.pad(x, flat, value=fill)


def _extended(x: torch.Tensor, axis: int, before: int, after: int, mode: str) -> torch.Tensor:
    """The values of an axis picked so that it continues by its own values; may also crop."""
    size = x.shape[axis]
    if not (before or after):
        return x
    places = torch.arange(-before, size + after)
    if mode == "edge":
        places = places.clamp(0, size - 1)
    elif mode == "wrap":
        places = places % size
    elif size > 1:
        period = 2 * (size - 1)
        places = places % period
        places = torch.where(places < size, places, period - places)
    else:
        places = torch.zeros_like(places)
    return x.index_select(axis, places.to(x.device))
