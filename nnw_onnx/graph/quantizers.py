"""QuantizeLinear, DequantizeLinear and the quantizers of QONNX on constants, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
from onnx import NodeProto

from nnw_onnx.graph.scopes import attributes, number
from nnw_onnx.graph.tensors import numpy_dtype
from nnw_onnx.vocabulary import Array

Inputs = Sequence[Array | None]


def dequantized(node: NodeProto, values: Inputs) -> Array:
    """(q - zero point) scale, in the type of the scale."""
    data, scale, zero = _read(node, values)
    shifted = data.astype(np.float32) if zero is None else _single(data) - _single(zero)
    to = number(node, "output_dtype", 0)
    return np.asarray((shifted * _single(scale)).astype(numpy_dtype(to) if to else scale.dtype))


def quantized(node: NodeProto, values: Inputs) -> Array:
    """The quotient by the scale rounded to even, plus the zero point, in the type's range."""
    data, scale, zero = _read(node, values)
    to = number(node, "output_dtype", 0)
    dtype = numpy_dtype(to) if to else np.dtype(np.uint8) if zero is None else zero.dtype
    places = _single(data) / _single(scale)
    if dtype.kind == "f" or dtype.name.startswith("float"):
        return places.astype(dtype)
    info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]  # has no types
    places = np.rint(places) + (0 if zero is None else _single(zero))
    return np.asarray(np.clip(places, int(info.min), int(info.max)).astype(dtype))


def fake_quantized(node: NodeProto, values: Inputs) -> Array:
    """What Quant, IntQuant and BipolarQuant of QONNX make of numbers, as numbers again."""
    data, scale = _given(values, 0), _given(values, 1)
    if node.op_type == "BipolarQuant":
        return np.asarray(np.where(data >= 0, scale, -scale).astype(data.dtype))
    zero, bits = _given(values, 2), float(_given(values, 3).reshape(()))
    signed, narrow = number(node, "signed", 1), number(node, "narrow", 0)
    low = -(2.0 ** (bits - 1)) + narrow if signed else 0.0
    high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
    places = np.clip(data / scale + zero, low, high)
    rounded = _ROUNDINGS[str(attributes(node).get("rounding_mode", "ROUND")).upper()](places)
    return np.asarray(((rounded - zero) * scale).astype(data.dtype))


_ROUNDINGS = {"ROUND": np.rint, "CEIL": np.ceil, "FLOOR": np.floor, "ROUND_TO_ZERO": np.trunc}


def _read(node: NodeProto, values: Inputs) -> tuple[Array, Array, Array | None]:
    """Data, and scale and zero point brought to shapes that broadcast with them."""
    data, scale = _given(values, 0), _given(values, 1)
    zero = values[2] if len(values) > 2 else None
    return (
        data,
        _spread(node, scale, data.shape),
        None if zero is None else _spread(node, zero, data.shape),
    )


def _spread(node: NodeProto, values: Array, shape: tuple[int, ...]) -> Array:
    if values.size == 1:
        return values.reshape(())
    axis = number(node, "axis", 1) % len(shape)
    block = number(node, "block_size", 0)
    if block:
        return np.take(values, np.arange(shape[axis]) // block, axis)
    if values.size != shape[axis]:
        raise ValueError("scales that do not fit")
    return values.reshape([-1 if k == axis else 1 for k in range(len(shape))])


def _single(values: Array) -> Array:
    return values.astype(np.float32)


def _given(values: Inputs, index: int) -> Array:
    found = values[index] if index < len(values) else None
    if found is None:
        raise ValueError("an input that is left out")
    return found
