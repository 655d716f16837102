"""Reading and writing at indices: Gather, Scatter and what resembles them.

An index counts from the end if negative. Gradients flow through the values, never the indices.
Updates take the type of what they are written into, which lower precision may have set apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnw_onnx_torch.graph.operators._table import Call, numbers, operator

_REDUCE = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}


def _wrapped(indices: Tensor, size: int, device: torch.device) -> Tensor:
    """Indices as int64 from 0, on the device of the data."""
    indices = indices.to(device, torch.int64)
    return torch.where(indices < 0, indices + size, indices)


@operator("Gather")
def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Slices of an axis: (..., *indices.shape, ...)."""
    axis = call.get("axis", 0) % x.dim()
    if indices.dim() == 0 and indices.device.type == "cpu":
        return x.select(axis, int(indices))
    flat = _wrapped(indices.reshape(-1), x.shape[axis], x.device)
    return x.index_select(axis, flat).reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@operator("GatherElements")
def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Single elements along an axis, one for each index."""
    axis = call.get("axis", 0) % x.dim()
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis], x.device))


@operator("GatherND")
def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Slices at index tuples, which are the last axis of `indices`; leading axes may be batches."""
    batch = call.get("batch_dims", 0)
    indices = indices.to(x.device, torch.int64)
    places: list[Tensor] = []
    for axis in range(batch):
        shape = [1] * (indices.dim() - 1)
        shape[axis] = -1
        places.append(torch.arange(x.shape[axis], device=x.device).reshape(shape))
    return x[(*places, *indices.unbind(-1))]


@operator("Scatter", "ScatterElements")
def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with single elements along an axis replaced or reduced."""
    axis = call.get("axis", 0) % x.dim()
    indices = _wrapped(indices, x.shape[axis], x.device)
    updates = updates.to(x.dtype)
    reduction = call.get("reduction", "none")
    if reduction == "none":
        return torch.scatter(x, axis, indices, updates)
    return torch.scatter_reduce(x, axis, indices, updates, _REDUCE[reduction])


@operator("ScatterND")
def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with slices at index tuples replaced or reduced."""
    depth = indices.shape[-1]
    indices = indices.to(x.device, torch.int64)
    updates = updates.to(x.dtype)
    reduction = call.get("reduction", "none")
    if reduction == "none":
        return x.index_put(indices.unbind(-1), updates)
    flat = torch.zeros_like(indices[..., 0])
    for size, column in zip(x.shape[:depth], indices.unbind(-1), strict=True):
        flat = flat * size + _wrapped(column, size, x.device)
    rows = x.reshape(x.shape[:depth].numel(), -1)
    values = updates.reshape(flat.numel(), rows.shape[1])
    places = flat.reshape(-1, 1).expand_as(values)
    return torch.scatter_reduce(rows, 0, places, values, _REDUCE[reduction]).reshape(x.shape)


@operator("NonZero")
def non_zero(call: Call, x: Tensor) -> Tensor:
    """Where a tensor is not zero: (rank, n)."""
    return torch.nonzero(x.reshape(1) if x.dim() == 0 else x).t()


@operator("Compress")
def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    """The slices of an axis, or elements, that a condition chooses."""
    axis = call.get("axis")
    if axis is None:
        x, axis = x.reshape(-1), 0
    return x.index_select(axis, torch.nonzero(condition).reshape(-1).to(x.device))


@operator("OneHot")
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """`values[1]` at each index along a new axis, `values[0]` elsewhere and out of range."""
    axis = call.get("axis", -1)
    size = int(depth)
    axis = axis % (indices.dim() + 1)
    shape = [1] * (indices.dim() + 1)
    shape[axis] = size
    classes = torch.arange(size, device=values.device).reshape(shape)
    hits = _wrapped(indices, size, values.device).unsqueeze(axis) == classes
    off, on = values.unbind()
    return torch.where(hits, on, off)


@operator("Unique")
def unique(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distinct values, where each first is, which one each element is, and how often they are."""
    axis = call.get("axis")
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True, dim=axis)
    flat = inverse.reshape(-1)
    order = torch.arange(flat.numel(), device=x.device)
    first = torch.full_like(counts, flat.numel()).scatter_reduce(0, flat, order, "amin")
    if not call.get("sorted", 1):
        ranks = torch.argsort(first)
        values = values.index_select(axis or 0, ranks)
        first, counts, flat = first[ranks], counts[ranks], torch.argsort(ranks)[flat]
    return values, first, flat, counts


@operator("ReverseSequence")
def reverse_sequence(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    """A copy with the first `lengths[n]` steps of each sample n in reverse."""
    batch_axis, time_axis = call.get("batch_axis", 1), call.get("time_axis", 0)
    rows = x.movedim((batch_axis, time_axis), (0, 1))
    steps = torch.arange(rows.shape[1], device=x.device)
    ends = lengths.to(x.device, torch.int64)[:, None]
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    samples = torch.arange(rows.shape[0], device=x.device)[:, None]
    return rows[samples, places].movedim((0, 1), (batch_axis, time_axis))


@operator("TensorScatter")
def tensor_scatter(call: Call, x: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor:
    """A cache with `update` written along an axis, from a start of each sample's own."""
    axis = call.get("axis", -2) % x.dim()
    places = torch.arange(update.shape[axis], device=x.device)[None, :]
    if starts is not None:
        places = places + starts.to(x.device, torch.int64)[:, None]
    places = places % x.shape[axis] if call.get("mode", "linear") == "circular" else places
    samples = torch.arange(x.shape[0], device=x.device)[:, None]
    rows, values = x.movedim(axis, 1), update.movedim(axis, 1).to(x.dtype)
    return rows.index_put((samples, places.expand(x.shape[0], -1)), values).movedim(1, axis)


@operator("NonMaxSuppression")
def non_max_suppression(
    call: Call,
    boxes: Tensor,
    scores: Tensor,
    limit: Tensor | None = None,
    overlap: Tensor | None = None,
    threshold: Tensor | None = None,
) -> Tensor:
    """Rows (sample, class, box) of the best boxes that do not overlap a better one too much."""
    most = 0 if limit is None else numbers(limit)[0]
    # Each choice depends on the last: on the CPU an accelerator is waited for once.
    device, boxes, scores = boxes.device, boxes.detach().cpu(), scores.detach().cpu()
    share = 0.0 if overlap is None else float(overlap)
    corners = _corners(boxes, bool(call.get("center_point_box", 0)))
    chosen: list[tuple[int, int, int]] = []
    for sample in range(scores.shape[0]):
        shares = _overlaps(corners[sample])
        for label in range(scores.shape[1]):
            order = torch.argsort(scores[sample, label], descending=True, stable=True)
            if threshold is not None:
                order = order[scores[sample, label][order] > threshold.reshape(()).to(order.device)]
            kept: list[int] = []
            for box in order.tolist():
                if len(kept) >= most:
                    break
                if not bool((shares[box, kept] > share).any()):
                    kept.append(box)
            chosen += [(sample, label, box) for box in kept]
    return torch.tensor(chosen, dtype=torch.int64, device=device).reshape(-1, 3)


def _corners(boxes: Tensor, centered: bool) -> Tensor:
    """Boxes as (..., low y, low x, high y, high x); of two corners either may come first."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if centered:
        return torch.cat([first - second / 2, first + second / 2], -1)
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)


def _overlaps(boxes: Tensor) -> Tensor:
    """Intersection over union (n, n) of boxes (n, 4)."""
    low, high = boxes[:, :2], boxes[:, 2:]
    common = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0)
    areas = (high - low).prod(-1)
    intersection = common.prod(-1)
    union = areas[:, None] + areas - intersection
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))
