"""Integer weights as numbers: (q - zero point) * scale in each of the forms that exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.scopes import Scope, Use, number
from nnw_onnx.graph.tensors import StoredTensor, shown
from nnw_onnx.vocabulary import Array

Axes = tuple[tuple[int, ...], ...]
_MOST_FOLLOWED = 64
_DEEPEST_FACTOR = 6


@dataclass(frozen=True)
class Dequantization:
    """How a stored integer tensor becomes weights.

    Attributes:
        kind: operator that does it, such as "DequantizeLinear" or "MatMulNBits".
        scale: its scales, or None where they are not constants.
        zero: its zero points, or None for zero (or the middle of the range for packed bits).
        axis: axis of the stored tensor along which scales lie; None for one scale.
        block: weights that share a scale along `axis`; 0 for a scale per index.
        order: for blocked scales, the stored axis of each axis of `scale`.
        shape: (out, in) of weights packed into bytes, else None.
        bits: bits per weight where they are packed into bytes.
    """

    kind: str
    scale: StoredTensor | None
    zero: StoredTensor | None
    axis: int | None = None
    block: int = 0
    order: tuple[int, ...] | None = None
    shape: tuple[int, int] | None = None
    bits: int = 0


@dataclass(frozen=True)
class _Inputs:
    """Numbers of the inputs of an operator that hold scale and zero point; output axis."""

    scale: int | None
    zero: int
    axis: int


_OPERATORS: Mapping[tuple[str, int], _Inputs] = {
    ("QLinearConv", 3): _Inputs(4, 5, 0),
    ("QLinearMatMul", 0): _Inputs(1, 2, -2),
    ("QLinearMatMul", 3): _Inputs(4, 5, -1),
    ("QGemm", 3): _Inputs(4, 5, -1),
    ("ConvInteger", 1): _Inputs(None, 3, 0),
    ("MatMulInteger", 1): _Inputs(None, 3, -1),
    ("DynamicQuantizeMatMul", 1): _Inputs(2, 3, -1),
    ("MatMulIntegerToFloat", 1): _Inputs(3, 5, -1),
    ("QAttention", 1): _Inputs(3, 7, -1),
}


def _input(use: Use, index: int | None) -> StoredTensor | None:
    if index is None or index >= len(use.node.input) or not use.node.input[index]:
        return None
    return use.scope.constant(use.node.input[index])


def from_dequantize_linear(use: Use, axes: Axes | None) -> Dequantization:
    """What a DequantizeLinear does with a value whose axes come from `axes`."""
    scale, zero = _input(use, 1), _input(use, 2)
    block = number(use.node, "block_size", 0)
    rank = len(axes) if axes is not None else 0
    axis = None
    if scale is not None and scale.size > 1 and axes and all(len(a) == 1 for a in axes):
        axis = axes[number(use.node, "axis", 1) % rank][0]
    order = tuple(a[0] for a in axes) if block and axis is not None and axes else None
    return Dequantization("DequantizeLinear", scale, zero, axis, block, order)


def from_consumer(use: Use, axes: Axes | None) -> Dequantization | None:
    """What an operator that computes with integers does with its weights, or None."""
    operator = use.node.op_type
    if operator == "MatMulNBits" and use.index == 1:
        return _packed_bits(use)
    if operator == "GatherBlockQuantized" and use.index == 0:
        return _gather_blocks(use)
    if operator == "Gather" and use.index == 0:
        return _after_gather(use)
    known = _OPERATORS.get((operator, use.index))
    if known is None:
        return None
    scale = _input(use, known.scale) if known.scale is not None else _scale_after(use)
    axis = known.axis
    if operator == "QGemm" and number(use.node, "transB", 0):
        axis = 0
    stored = axes[axis][0] if axes and len(axes[axis]) == 1 else None
    per_channel = scale is not None and scale.size > 1
    return Dequantization(operator, scale, _input(use, known.zero), stored if per_channel else None)


def _packed_bits(use: Use) -> Dequantization:
    shape = (number(use.node, "N", 0), number(use.node, "K", 0))
    return Dequantization(
        "MatMulNBits", _input(use, 2), _input(use, 3), block=number(use.node, "block_size", 32),
        shape=shape, bits=number(use.node, "bits", 4),
    )  # fmt: skip


def _gather_blocks(use: Use) -> Dequantization:
    tensor = _input(use, 0)
    rank = len(tensor.dims) if tensor is not None else 1
    packed = tensor is not None and tensor.data_type == TensorProto.UINT8
    return Dequantization(
        "GatherBlockQuantized", _input(use, 2), _input(use, 3),
        axis=number(use.node, "quantize_axis", 1) % rank,
        block=number(use.node, "block_size", 128), order=tuple(range(rank)),
        bits=number(use.node, "bits", 4) if packed else 0,
    )  # fmt: skip


def _after_gather(use: Use) -> Dequantization | None:
    """Rows that are looked up as integers and dequantized afterwards with one scale."""
    for later in _following(use):
        if later.node.op_type == "DequantizeLinear" and later.index == 0:
            scale = _input(later, 1)
            if scale is not None and scale.size == 1:
                return Dequantization("DequantizeLinear", scale, _input(later, 2))
    return None


def _scale_after(use: Use) -> StoredTensor | None:
    """The weight scale of an integer product: output -> Cast -> Mul(., Mul(x scale, w scale))."""
    following = _following(use)
    for _ in range(4):
        for later in following:
            if later.node.op_type == "Mul" and len(later.node.input) == 2:
                return _constant_factor(later.node.input[1 - later.index], use.scope)
        moved = [u for u in following if u.node.op_type in ("Cast", "Reshape")]
        following = [u for use in moved for u in _following(use)][:_MOST_FOLLOWED]
    return None


def _following(use: Use) -> Sequence[Use]:
    """Who uses the first output of this node, not all where there are very many."""
    outputs = use.node.output
    return use.scope.uses.get(outputs[0], ())[:_MOST_FOLLOWED] if outputs else ()


def _constant_factor(name: str, scope: Scope, depth: int = 0) -> StoredTensor | None:
    direct = scope.constant(name)
    producer = scope.producers.get(name)
    if direct is not None or producer is None or producer.op_type not in ("Mul", "Reshape"):
        return direct
    if depth == _DEEPEST_FACTOR:
        return None
    found = (_constant_factor(i, scope, depth + 1) for i in producer.input[:2])
    return next((f for f in found if f is not None and f.floating), None)


def dequantize(tensor: StoredTensor, how: Dequantization) -> NDArray[np.float32]:
    """Weights in the stored layout, float32; (out, in) for MatMulNBits.

    Raises `ModelFileError` where the scales are not constants of the model or do not fit.
    """
    if how.scale is None:
        raise ModelFileError(
            f"layer {shown(tensor.name)}: expected constant scales for {how.kind}, got computed "
            "ones; these weights cannot be read"
        )
    try:
        if how.shape is not None:
            return _read_packed(tensor, how, how.shape)
        return _read_linear(tensor, how)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise ModelFileError(
            f"layer {shown(tensor.name)}: expected scales and zero points that fit the shape "
            f"{list(tensor.dims)} for {how.kind}, got others; quantize the model again"
        ) from error


def _read_linear(tensor: StoredTensor, how: Dequantization) -> NDArray[np.float32]:
    assert how.scale is not None
    values = _unpacked(tensor.array(), how.bits) if how.bits else tensor.array()
    integers = values.astype(np.float32)
    scale = _spread(how.scale.array().astype(np.float32), integers.shape, how)
    if how.zero is None:
        middle = np.float32(1 << (how.bits - 1)) if how.bits else np.float32(0)
        return np.asarray((integers - middle) * scale, np.float32)
    zeros = _unpacked(how.zero.array(), how.bits) if how.bits else how.zero.array()
    return np.asarray(
        (integers - _spread(zeros.astype(np.float32), integers.shape, how)) * scale, np.float32
    )


def _spread(
    values: NDArray[np.float32], shape: tuple[int, ...], how: Dequantization
) -> NDArray[np.float32]:
    """Scales or zero points brought to a shape that broadcasts with the weights."""
    if values.size == 1:
        return values.reshape(())
    if how.axis is None:
        raise ValueError("more than one scale but no axis")
    if how.block and how.order is not None:
        stored = np.transpose(values, np.argsort(how.order))
        repeated = np.repeat(stored, how.block, axis=how.axis)
        return np.take(repeated, range(shape[how.axis]), axis=how.axis)
    aligned = [1] * len(shape)
    aligned[how.axis] = -1
    return values.reshape(aligned)


def _unpacked(packed: Array, bits: int) -> NDArray[np.uint8]:
    """Bytes (..., n) to the (..., n * 8 / bits) numbers inside, lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = packed[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return np.asarray(parts, np.uint8).reshape(*packed.shape[:-1], -1)


def _read_packed(
    tensor: StoredTensor, how: Dequantization, shape: tuple[int, int]
) -> NDArray[np.float32]:
    assert how.scale is not None
    out, inner = shape
    blocks = -(-inner // how.block)
    packed = tensor.array().reshape(out, blocks, -1)
    numbers = _unpacked(packed, how.bits)[..., : how.block].astype(np.float32)
    scale = how.scale.array().astype(np.float32).reshape(out, blocks, 1)
    zero = np.full((out, blocks), 1 << (how.bits - 1), np.float32)
    if how.zero is not None and how.zero.floating:
        zero = how.zero.array().astype(np.float32).reshape(out, blocks)
    elif how.zero is not None:
        rows = how.zero.array().reshape(out, -1)
        zero = _unpacked(rows, how.bits)[:, :blocks].astype(np.float32)
    weights = ((numbers - zero[..., None]) * scale).reshape(out, -1)[:, :inner]
    return np.ascontiguousarray(weights, np.float32)
