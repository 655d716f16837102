"""How integers in a file are weights: where each operator keeps scales and zero points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from nnw_onnx.graph.scopes import Scope, Use, attributes, number
from nnw_onnx.graph.tensors import PLAIN, StoredTensor, numpy_dtype

Axes = tuple[tuple[int, ...], ...]
_SINGLE = np.dtype(np.float32)
_MOST_FOLLOWED = 64
_DEEPEST_FACTOR = 6


UNKNOWN_BITS = -1
_PACKED = (1, 2, 4, 8)


@dataclass(frozen=True)
class Dequantization:
    """How a stored tensor of integers, or of small floating-point numbers, becomes weights.

    Attributes:
        kind: operator that does it, such as "DequantizeLinear" or "MatMulNBits".
        scale: its scales, or None where they are not constants.
        zero: its zero points, or None for zero (or the middle of the range for packed bits).
        along: for each axis of the scales the axis of the stored tensor; empty for one scale.
        axis: the stored axis along which weights share scales in blocks or groups, if any.
        block: weights of such a block.
        groups: the block of each weight along `axis`, where they do not simply follow each other.
        shape: (out, in) of weights in rows of bytes, else None.
        bits: bits per weight where they are packed into bytes; `UNKNOWN_BITS` where the graph says
            a number that no runtime packs.
        result: type in which the weights are computed.
    """

    kind: str
    scale: StoredTensor | None
    zero: StoredTensor | None
    along: tuple[int, ...] = ()
    axis: int | None = None
    block: int = 0
    groups: StoredTensor | None = None
    shape: tuple[int, int] | None = None
    bits: int = 0
    result: np.dtype[Any] = _SINGLE

    @property
    def obstacle(self) -> str | None:
        """Why its weights can be neither read nor replaced, or None where they can."""
        if self.scale is None:
            return "its scales are computed while the network runs"
        if self.scale.size > 1 and not self.along:
            return "its scales lie along an axis that is not known"
        if self.bits == UNKNOWN_BITS:
            return "its bits per weight are none of 1, 2, 4 and 8"
        return None

    def sizes(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the weights of a tensor with these stored sizes, unpacked.

        (0, 0) where the graph tells more rows and columns than are stored.
        """
        if self.shape is not None:
            held = math.prod(dims) * 8 // max(self.bits, 1)
            return self.shape if min(self.shape) > 0 and math.prod(self.shape) <= held else (0, 0)
        return (*dims[:-1], dims[-1] * 8 // self.bits) if self.bits > 0 else dims


@dataclass(frozen=True)
class _Inputs:
    """Inputs that hold scale and zero point, and the axes along which there may be several."""

    scale: int | None
    zero: int
    axes: tuple[int, ...]


_OPERATORS: Mapping[tuple[str, int], _Inputs] = {
    ("QLinearConv", 3): _Inputs(4, 5, (0,)),
    ("QLinearMatMul", 0): _Inputs(1, 2, (-2,)),
    ("QLinearMatMul", 3): _Inputs(4, 5, (-1,)),
    ("QGemm", 0): _Inputs(1, 2, ()),
    ("QGemm", 3): _Inputs(4, 5, (-1,)),
    ("ConvInteger", 1): _Inputs(None, 3, (0,)),
    ("MatMulInteger", 0): _Inputs(None, 2, (-2,)),
    ("MatMulInteger", 1): _Inputs(None, 3, (-1,)),
    ("DynamicQuantizeMatMul", 1): _Inputs(2, 3, (-1,)),
    ("MatMulIntegerToFloat", 1): _Inputs(3, 5, (-1,)),
    ("QAttention", 1): _Inputs(4, 7, (-1,)),
    ("DynamicQuantizeLSTM", 1): _Inputs(8, 9, (0, 2)),
    ("DynamicQuantizeLSTM", 2): _Inputs(10, 11, (0, 2)),
    **{("QEmbedLayerNormalization", k): _Inputs(k + 6, k + 11, ()) for k in range(2, 7)},
}


_EXPERTS = {2: 11, 5: 12, 8: 13}
"""Inputs of QMoE that are weights -> their zero points; their scales follow them."""


def _input(use: Use, index: int | None) -> StoredTensor | None:
    if index is None or index >= len(use.node.input) or not use.node.input[index]:
        return None
    return use.scope.constant(use.node.input[index])


def from_dequantize_linear(use: Use, axes: Axes | None) -> Dequantization:
    """What a DequantizeLinear does with a value whose axes come from `axes`."""
    scale, zero = _input(use, 1), _input(use, 2)
    block, axis = number(use.node, "block_size", 0), number(use.node, "axis", 1)
    along: tuple[int, ...] = ()
    if scale is not None and scale.size > 1 and axes is not None:
        along = _stored_axes(axes, tuple(range(len(axes))) if block else (axis,))
    shared = along[axis % len(along)] if block and along else None
    result = number(use.node, "output_dtype", 0) or (scale.data_type if scale is not None else 0)
    return Dequantization(
        "DequantizeLinear", scale, zero, along, shared, block,
        result=numpy_dtype(result) if result in PLAIN else _SINGLE,
    )  # fmt: skip


def from_consumer(use: Use, axes: Axes | None) -> Dequantization | None:
    """What an operator that computes with integers does with its weights, or None."""
    special = _SPECIAL.get((use.node.op_type, use.index))
    if special is not None:
        return special(use)
    known = _OPERATORS.get((use.node.op_type, use.index))
    return None if known is None else _from_inputs(use, known, axes)


def _from_inputs(use: Use, known: _Inputs, axes: Axes | None) -> Dequantization:
    """Scale and zero point at these inputs, one for all weights or one for each index of axes."""
    operator = use.node.op_type
    scale = _input(use, known.scale) if known.scale is not None else _scale_after(use)
    several = known.axes
    if operator == "QGemm" and use.index == 3 and number(use.node, "transB", 0):
        several = (0,)
    # A scale of fewer axes varies along the first of them only.
    several = several[: len(scale.dims)] if scale is not None and len(several) > 1 else several
    along = _stored_axes(axes, several) if scale is not None and scale.size > 1 else ()
    return Dequantization(operator, scale, _input(use, known.zero), along)


def _stored_axes(axes: Axes | None, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The stored axes of some axes of a value; empty where one of them is none or several."""
    if axes is None or any(not -len(axes) <= k < len(axes) for k in wanted):
        return ()
    found = [axes[k] for k in wanted]
    return tuple(a[0] for a in found) if all(len(a) == 1 for a in found) else ()


def _rows_of_bits(use: Use) -> Dequantization:
    rows, columns = number(use.node, "N", 0), number(use.node, "K", 0)
    zero, groups = _input(use, 3), _input(use, 4)
    if groups is not None and zero is not None and not zero.floating:
        # With g_idx onnxruntime (1.31) does not look at zero points that are packed into bytes.
        zero = None
    return Dequantization(
        "MatMulNBits", _input(use, 2), zero, (0, 1), 1, number(use.node, "block_size", 32), groups,
        (rows, columns), _bits(use, "bits", 4),
    )  # fmt: skip


def _gather_blocks(use: Use) -> Dequantization:
    tensor, scale = _input(use, 0), _input(use, 2)
    rank = len(tensor.dims) if tensor is not None else 1
    block = number(use.node, "block_size", 128)
    return Dequantization(
        "GatherBlockQuantized", scale, _input(use, 3), tuple(range(rank)),
        number(use.node, "quantize_axis", 1) % rank if block else None, block,
        bits=_bits(use, "bits", 4) if _is_bytes(tensor) else 0,
        result=numpy_dtype(scale.data_type) if scale is not None and scale.floating else _SINGLE,
    )  # fmt: skip


def _experts(use: Use) -> Dequantization | None:
    """The weights (expert, out, in) of one of the layers, with a scale a row or a block of it."""
    if attributes(use.node).get("quant_type", "int") != "int":
        return None
    scale, block = _input(use, use.index + 1), number(use.node, "block_size", 0)
    own = f"fc{use.index // 3 + 1}_expert_weight_bits"
    bits = _bits(use, own, number(use.node, "expert_weight_bits", 4))
    rank = len(scale.dims) if scale is not None else 0
    return Dequantization(
        "QMoE", scale, _input(use, _EXPERTS[use.index]), tuple(range(rank)),
        2 if rank == 3 else None, block, bits=bits,
    )  # fmt: skip


def _bits(use: Use, name: str, usual: int) -> int:
    bits = number(use.node, name, usual)
    return bits if bits in _PACKED else UNKNOWN_BITS


def _is_bytes(tensor: StoredTensor | None) -> bool:
    return tensor is not None and tensor.data_type == TensorProto.UINT8


def _after_gather(use: Use) -> Dequantization | None:
    """Rows that are looked up as integers and dequantized afterwards with one scale."""
    for later in _following(use):
        if later.node.op_type == "DequantizeLinear" and later.index == 0:
            scale = _input(later, 1)
            if scale is not None and scale.size == 1:
                return from_dequantize_linear(later, None)
    return None


_SPECIAL: Mapping[tuple[str, int], Callable[[Use], Dequantization | None]] = {
    ("MatMulNBits", 1): _rows_of_bits,
    ("GatherBlockQuantized", 0): _gather_blocks,
    ("Gather", 0): _after_gather,
    **{("QMoE", index): _experts for index in _EXPERTS},
}


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
