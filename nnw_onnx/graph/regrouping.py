"""Channels behind an operator that only merges and splits axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from nnw_onnx.graph.labels import (
    MOST_PARTS,
    Axis,
    Labels,
    Part,
    Value,
    fixed,
    is_fixed,
    leaves,
    length,
)

Size: TypeAlias = int | str | None
Dims: TypeAlias = tuple[Size, ...]
"""Sizes of axes; a name where a size is free but equal to others of that name."""
Group = tuple[int, int, int, int]
"""First axis and end before, first axis and end after."""


def dims_of(value: Sequence[Axis], known: Dims | None) -> Dims:
    """Sizes of the axes of a value, from what is known of it."""
    names = known if known is not None and len(known) == len(value) else (None,) * len(value)
    own = [length(axis) for axis in value]
    return tuple(n if d is None else d for d, n in zip(own, names, strict=True))


def flattened(dims: Dims, axis: int) -> Dims:
    """The two sizes that Flatten makes."""
    place = axis % len(dims) if axis < 0 else axis
    return _product(dims[:place]), _product(dims[place:])


def asked(dims: Dims, target: Sequence[Size], known: Dims | None, *, zero_keeps: bool) -> Dims:
    """The sizes that Reshape makes, where 0 keeps a size, -1 is what is left, and None unknown."""
    made = [_one_asked(d, k, dims, zero_keeps=zero_keeps) for k, d in enumerate(target)]
    if -1 in target:
        place = list(target).index(-1)
        made[place] = None
        rest = _left([d for k, d in enumerate(made) if k != place], dims)
        if rest is None and known is not None and len(known) == len(made):
            rest = known[place]
        made[place] = rest
    return tuple(made)


def _one_asked(size: Size, place: int, dims: Dims, *, zero_keeps: bool) -> Size:
    if size == 0 and zero_keeps and place < len(dims):
        return dims[place]
    return None if isinstance(size, int) and size < -1 else size


def _left(others: Sequence[int | str | None], dims: Dims) -> int | str | None:
    """What is left of the sizes once those that are the same on both sides are taken out."""
    rest = list(dims)
    numbers = 1
    for d in others:
        if isinstance(d, int):
            numbers *= d
        elif d is not None and d in rest:
            rest.remove(d)
        else:
            return None
    symbols = [d for d in rest if not isinstance(d, int)]
    product = math.prod(d for d in rest if isinstance(d, int))
    if not symbols:
        return product // numbers if numbers and product % numbers == 0 else None
    return symbols[0] if len(symbols) == 1 and product == numbers else None


def _product(dims: Dims) -> int | str | None:
    symbols = [d for d in dims if not isinstance(d, int)]
    numbers = math.prod(d for d in dims if isinstance(d, int))
    if not symbols:
        return numbers
    return symbols[0] if len(symbols) == 1 and numbers == 1 else None


def regrouped(labels: Labels, value: Sequence[Axis], dims: Dims, target: Dims) -> Value:
    """The value with axes of the sizes of `target`, its entries in their old order.

    Axes are matched from the right and from the left; what lies between is pinned.
    """
    left, right = groups(dims, target)
    starts = (left[-1][1], left[-1][3]) if left else (0, 0)
    ends = (right[0][0], right[0][2]) if right else (len(dims), len(target))
    made: list[Axis] = []
    for a, b, c, d in left:
        made += _one_group(labels, value[a:b], target[c:d])
    for axis in value[starts[0] : ends[0]]:
        labels.pin(axis)
    made += [fixed(d if isinstance(d, int) else None) for d in target[starts[1] : ends[1]]]
    for a, b, c, d in right:
        made += _one_group(labels, value[a:b], target[c:d])
    return tuple(None if axis is None else labels.resolved(axis) for axis in made)


def groups(dims: Dims, target: Dims) -> tuple[list[Group], list[Group]]:
    """Axes before and after of equal products: those matched from the left, and from the right."""
    turned = _matched(dims[::-1], target[::-1])
    right = [
        (len(dims) - b, len(dims) - a, len(target) - d, len(target) - c)
        for a, b, c, d in reversed(turned)
    ]
    ends = (right[0][0], right[0][2]) if right else (len(dims), len(target))
    return _matched(dims[: ends[0]], target[: ends[1]]), right


def _matched(dims: Dims, target: Dims) -> list[Group]:
    """Groups of axes of equal products, the smallest ones, from the first axis on."""
    found: list[Group] = []
    i = j = 0
    while i < len(dims) and j < len(target):
        group = _next_group(dims, target, i, j)
        if group is None:
            break
        found.append(group)
        i, j = group[1], group[3]
    return found


def _next_group(dims: Dims, target: Dims, i: int, j: int) -> Group | None:
    p, q = dims[i], target[j]
    a, b = i + 1, j + 1
    if isinstance(p, str) and p == q:
        return i, a, j, b
    while isinstance(p, int) and isinstance(q, int) and p and q:
        if p == q:
            return i, a, j, b
        if p < q and a < len(dims):
            p, a = _times(p, dims[a]), a + 1
        elif q < p and b < len(target):
            q, b = _times(q, target[b]), b + 1
        else:
            return None
    return None


def _times(size: int, other: int | str | None) -> int | None:
    return size * other if isinstance(other, int) else None


def _one_group(labels: Labels, axes: Sequence[Axis], target: Dims) -> list[Axis]:
    if len(axes) == len(target) == 1:
        return list(axes)
    merged = _merged(labels, axes)
    sizes = [d for d in target if isinstance(d, int)]
    if len(sizes) != len(target):
        labels.pin(merged)
        return [fixed(d if isinstance(d, int) else None) for d in target]
    return _parted(labels, merged, sizes)


def _merged(labels: Labels, axes: Sequence[Axis]) -> Axis:
    """One axis of several; where two have channels, those of the first are heads."""
    sizes = [length(axis) for axis in axes]
    known = [s for s in sizes if s is not None]
    whole = math.prod(known) if len(known) == len(sizes) else None
    if whole is None:
        return _pinned(labels, axes, None)
    inner: tuple[Part, ...] = (Part(1),)
    width = 1
    for axis, size in zip(reversed(axes), reversed(known), strict=True):
        parts = labels.resolved(axis or ())
        if len(parts) * len(inner) > MOST_PARTS:
            return _pinned(labels, axes, whole)
        if not is_fixed(inner):
            for part in leaves(parts):  # of heads only their order is followed
                labels.still(part.action)
        inner = tuple(q for p in parts for q in labels.spread(p, inner, width))
        width *= size
    return labels.resolved(inner)


def _pinned(labels: Labels, axes: Sequence[Axis], size: int | None) -> Axis:
    for axis in axes:
        labels.pin(axis)
    return fixed(size)


def _parted(labels: Labels, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """Several axes of one: the first that is longer than 1 has the blocks of the others."""
    place = next((k for k, d in enumerate(sizes) if d > 1), len(sizes) - 1)
    rest = sizes[place + 1 :]
    if math.prod(rest) == 1:
        return [axis if k == place else fixed(1) for k in range(len(sizes))]
    split = labels.parted(axis, math.prod(rest))
    if split is None:
        labels.pin(axis)
        return [fixed(d) for d in sizes]
    inner = _parted(labels, split[1], rest) if rest else []
    return [*(fixed(1) for _ in range(place)), split[0], *inner]
