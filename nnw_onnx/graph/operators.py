"""What operators compute from constants, in numpy; sizes are bounded before, see `arithmetic`.

Of every operator the node is given and the values of its inputs, None for one that is left out. All
raise ValueError, TypeError or the like for inputs that do not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from nnw_onnx.graph.scopes import attributes, number, numbers, real
from nnw_onnx.graph.tensors import MOST_AXES, numpy_dtype
from nnw_onnx.vocabulary import Array

Shape: TypeAlias = tuple[int, ...]
Inputs: TypeAlias = Sequence[Array | None]
Compute: TypeAlias = Callable[[NodeProto, Inputs], Sequence[Array]]


def one(function: Callable[[Array], Array]) -> Compute:
    """An operator of one operand."""
    return lambda node, values: [function(value(values, 0))]


def two(function: Callable[[Array, Array], Array]) -> Compute:
    """An operator of two operands."""
    return lambda node, values: [function(value(values, 0), value(values, 1))]


def several(function: Callable[[Array, Array], Array]) -> Compute:
    """An operator that joins any number of operands, two at a time."""

    def compute(node: NodeProto, values: Inputs) -> Sequence[Array]:
        result = value(values, 0)
        for other in values[1:]:
            result = function(result, value([other], 0))
        return [result]

    return compute


def reduce(function: Callable[[Array, tuple[int, ...], bool], Array]) -> Compute:
    """An operator that joins numbers along axes, in the type of its operand."""

    def compute(node: NodeProto, values: Inputs) -> Sequence[Array]:
        data = value(values, 0)
        axes, keep = reduced_axes(node, values, data.ndim)
        return [np.asarray(function(data, axes, keep)).astype(data.dtype)]

    return compute


def value(values: Inputs, index: int) -> Array:
    """An input that must be there."""
    found = values[index] if index < len(values) else None
    if found is None:
        raise ValueError("an input that is left out")
    return found


def integers(values: Inputs, index: int) -> tuple[int, ...]:
    """A few sizes or indices."""
    found = value(values, index)
    if found.size > MOST_AXES or found.dtype.kind not in "iu":
        raise ValueError("too many sizes")
    return tuple(int(v) for v in found.reshape(-1))


def listed(node: NodeProto, values: Inputs, index: int, name: str) -> tuple[int, ...] | None:
    """Axes or sizes that are an input or, in old operator sets, an attribute."""
    if index < len(values) and values[index] is not None:
        return integers(values, index)
    found = numbers(node, name)
    return None if found is None else tuple(found)


def reduced_axes(node: NodeProto, values: Inputs, rank: int) -> tuple[tuple[int, ...], bool]:
    """The axes along which an operator reduces, and whether they stay as axes of size 1."""
    axes = listed(node, values, 1, "axes") or ()
    if not axes and not number(node, "noop_with_empty_axes", 0):
        axes = tuple(range(rank))
    return tuple(k % rank for k in axes), bool(number(node, "keepdims", 1))


def cast(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Cast to a type of numbers."""
    to = number(node, "to", 0)
    if to in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise ValueError("no numbers")
    return [value(values, 0).astype(numpy_dtype(to))]


def clip(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Clip, with ends that are inputs or, in old operator sets, attributes."""
    data = value(values, 0)
    for index, name, bound in ((1, "min", np.maximum), (2, "max", np.minimum)):
        limit = values[index] if index < len(values) else None
        if limit is None and any(a.name == name for a in node.attribute):
            limit = np.asarray(real(node, name, 0.0), data.dtype)
        data = data if limit is None else bound(data, limit)
    return [data]


def power(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Pow, in the type of the base."""
    data = value(values, 0)
    return [np.power(data, value(values, 1)).astype(data.dtype)]


def divided(a: Array, b: Array) -> Array:
    """A quotient, of integers towards zero."""
    if a.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)
    return np.asarray(a / b)


def sigmoid(data: Array) -> Array:
    """Of x: 1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-data)), data.dtype)


def transposed(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Transpose."""
    return [np.transpose(value(values, 0), numbers(node, "perm"))]


def reshaped(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Reshape; a 0 keeps the size of an axis."""
    data, target = value(values, 0), listed(node, values, 1, "shape")
    if target is None:
        raise ValueError("no shape")
    if not number(node, "allowzero", 0):
        target = tuple(data.shape[k] if s == 0 else s for k, s in enumerate(target))
    return [data.reshape(target)]


def flattened(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Flatten to two axes."""
    data = value(values, 0)
    axis = number(node, "axis", 1)
    axis += data.ndim * (axis < 0)
    return [data.reshape(math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))]


def squeezed(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Squeeze."""
    return [np.squeeze(value(values, 0), listed(node, values, 1, "axes"))]


def unsqueezed(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Unsqueeze."""
    axes = listed(node, values, 1, "axes")
    if axes is None:
        raise ValueError("no axes")
    return [np.expand_dims(value(values, 0), axes)]


def expanded(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Expand, without memory of its own."""
    data = value(values, 0)
    return [np.broadcast_to(data, np.broadcast_shapes(data.shape, integers(values, 1)))]


def slices(node: NodeProto, values: Inputs, rank: int) -> tuple[slice, ...]:
    """What a Slice takes of each axis."""
    starts, ends = listed(node, values, 1, "starts"), listed(node, values, 2, "ends")
    if starts is None or ends is None:
        raise ValueError("no range")
    axes = listed(node, values, 3, "axes") or tuple(range(len(starts)))
    steps = integers(values, 4) if len(values) > 4 and values[4] is not None else ()
    found = [slice(None)] * rank
    for k, (axis, start, end) in enumerate(zip(axes, starts, ends, strict=True)):
        step = steps[k] if steps else 1
        # Beyond the first index, counted backwards, ends an interval before it.
        stop = None if step < 0 and end < -(1 << 31) else end
        found[axis % rank] = slice(start, stop, step)
    return tuple(found)


def sliced(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Slice."""
    data = value(values, 0)
    return [data[slices(node, values, data.ndim)]]


def split(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Split into the parts that are given, or as many as there are outputs."""
    data = value(values, 0)
    axis = number(node, "axis", 0) % data.ndim
    parts = listed(node, values, 1, "split")
    if parts is None:
        count = len(node.output)
        size = -(-data.shape[axis] // count)
        parts = (*[size] * (count - 1), data.shape[axis] - size * (count - 1))
    if min(parts) < 0 or sum(parts) != data.shape[axis]:
        raise ValueError("parts that do not add up")
    return np.split(data, np.cumsum(parts)[:-1], axis)


def concat(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Concat."""
    parts = [value(values, k) for k in range(len(values))]
    return [np.concatenate(parts, number(node, "axis", 0))]


def gather(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Gather."""
    return [np.take(value(values, 0), value(values, 1), number(node, "axis", 0))]


def where(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Where."""
    return [np.where(value(values, 0).astype(bool), value(values, 1), value(values, 2))]


def constant_of_shape(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """ConstantOfShape, without memory of its own."""
    given = [numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"]
    fill = given[0].reshape(()) if given else np.zeros((), np.float32)
    return [np.broadcast_to(fill, integers(values, 0))]


def shape_of(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Shape, or a range of it."""
    shape = value(values, 0).shape
    end = attributes(node).get("end")
    return [np.array(shape[number(node, "start", 0) : end if isinstance(end, int) else None])]


def tile(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Tile."""
    return [np.tile(value(values, 0), integers(values, 1))]


def pads(node: NodeProto, values: Inputs, shape: Shape) -> list[tuple[int, int]]:
    """Numbers before and after each axis; only of constant padding along all axes."""
    pads = listed(node, values, 1, "pads")
    mode = attributes(node).get("mode", "constant")
    if pads is None or mode != "constant" or len(values) > 3 or len(pads) != 2 * len(shape):
        raise ValueError("another kind of padding")
    if min(pads) < 0:
        raise ValueError("padding that cuts")
    return list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))


def pad(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Pad with a constant."""
    data = value(values, 0)
    fill = values[2] if len(values) > 2 and values[2] is not None else real(node, "value", 0.0)
    around = pads(node, values, data.shape)
    return [np.pad(data, around, constant_values=np.asarray(fill, data.dtype).reshape(()))]


def gemm(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Gemm."""
    a, b = value(values, 0), value(values, 1)
    a = a.T if number(node, "transA", 0) else a
    b = b.T if number(node, "transB", 0) else b
    result = (a @ b) * a.dtype.type(real(node, "alpha", 1.0))
    third = values[2] if len(values) > 2 else None
    if third is not None:
        result = result + third * a.dtype.type(real(node, "beta", 1.0))
    return [result]


def einsum_terms(node: NodeProto) -> tuple[list[str], str]:
    """Letters of each operand and of the result."""
    equation = str(attributes(node).get("equation", "")).replace(" ", "")
    left, arrow, result = equation.partition("->")
    if not arrow or "." in equation:
        raise ValueError("an equation without letters for its result")
    return left.split(","), result


def einsum(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Einsum."""
    terms, result = einsum_terms(node)
    parts = [value(values, k) for k in range(len(values))]
    return [np.einsum(f"{','.join(terms)}->{result}", *parts, optimize=True)]


def normalized(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """LpNormalization; what has no length stays zero."""
    data, axis = value(values, 0), number(node, "axis", -1)
    if number(node, "p", 2) == 1:
        norm = np.sum(np.abs(data), axis, keepdims=True)
    else:
        norm = np.sqrt(np.sum(data * data, axis, keepdims=True))
    return [np.where(norm == 0, 0, data / np.where(norm == 0, 1, norm)).astype(data.dtype)]


def first(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """The first input as it is."""
    return [value(values, 0)]


def cast_like(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """Cast to the type of the second input."""
    return [value(values, 0).astype(value(values, 1).dtype)]
