"""One stored tensor: where its values lie and how they become an array."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import pages
from nnw_onnx.graph.wire import Address, Buffer
from nnw_onnx.vocabulary import Array

STRING = TensorProto.STRING
_BLOCK = 1 << 18
MOST_AXES = 64
"""Axes that an array of numpy can have."""
DATA_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
STRIP_ABOVE = 1024
"""Values of this many bytes and more are not kept in parsed messages."""
DATA_FIELD_NAMES = (
    "raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data",
    "string_data",
)  # fmt: skip
FLOATING = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if name.startswith("FLOAT") or name in ("DOUBLE", "BFLOAT16")
)
PLAIN = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
)
"""Types in which weights are stored as they are; smaller ones usually have a scale."""
INTEGERS = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if name.startswith(("INT", "UINT")) and not name.endswith("64")
)
_PACKED_BITS = {
    number: int(name.removeprefix("U").removeprefix("INT").removeprefix("FLOAT")[0])
    for name, number in TensorProto.DataType.items()
    if name in ("INT4", "UINT4", "INT2", "UINT2") or name.startswith("FLOAT4")
}


@dataclass(frozen=True, slots=True)
class External:
    """A range of bytes of a data file beside the model.

    Attributes:
        path: the data file.
        location: its name as the model gives it, relative to the model's folder.
        offset: first byte.
        length: number of bytes.
        data: bytes of the whole data file as it was opened, mapped into memory; they stay what
            they are when another file takes its name later.
        identity: device and inode of the data file as it was opened.
    """

    path: Path
    location: str
    offset: int
    length: int
    data: Buffer
    identity: tuple[int, int]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of the file, wherever it is stored.

    Attributes:
        address: its place in the protobuf message.
        name: its name in the file; of a Constant node the name of the output.
        data_type: number of the ONNX data type.
        dims: stored shape.
        buffer: bytes of the model file.
        values: first and last + 1 byte of the values in `buffer`, if they lie there in one piece.
        external: the range of a data file, for external storage.
        proto: the message itself, from which values in typed fields are read.
    """

    address: Address
    name: str
    data_type: int
    dims: tuple[int, ...]
    buffer: Buffer
    values: tuple[int, int] | None
    external: External | None
    proto: TensorProto | onnx.AttributeProto

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes of the values in ONNX's raw layout."""
        return raw_bytes(self.data_type, self.dims)

    @property
    def dtype(self) -> str:
        """Name of the stored type, such as "float32" or "bfloat16"."""
        return dtype_name(self.data_type)

    @property
    def floating(self) -> bool:
        """Whether the values are stored as floating-point numbers."""
        return self.data_type in FLOATING

    @property
    def stripped(self) -> bool:
        """Whether the parsed message lacks the values."""
        return self.values is not None and self.values[1] - self.values[0] >= STRIP_ABOVE

    @property
    def packed(self) -> bool:
        """Whether several elements share a byte."""
        return self.data_type in _PACKED_BITS

    @property
    def is_floats(self) -> bool:
        """Whether this is the attribute `value_floats` of a Constant node."""
        return isinstance(self.proto, onnx.AttributeProto)

    def raw(self) -> Buffer:
        """Values as little-endian bytes (packed where elements are smaller than a byte)."""
        if self.external is not None:
            start, stop = self.external.offset, self.external.offset + self.external.length
            return pages.part(self.external.data, start, stop)
        if self.values is not None:
            return pages.part(self.buffer, *self.values)
        return memoryview(np.ascontiguousarray(self._from_proto()).tobytes())

    def array(self) -> Array:
        """Values in the stored layout and type; read-only, without a copy where possible."""
        if self.external is None and self.values is None:
            array = self._from_proto()
        elif self.packed:
            array = unpack(bytes(self.raw()), self.data_type, self.dims)
        else:
            array = np.frombuffer(self.raw(), numpy_dtype(self.data_type)).reshape(self.dims)
        array.setflags(write=False)
        return array

    def _from_proto(self) -> Array:
        if self.is_floats:
            return np.array(self.proto.floats, np.float32)
        try:
            array: Array = onnx.numpy_helper.to_array(self.proto)
        except (ValueError, TypeError) as error:
            raise ModelFileError(
                f"tensor {shown(self.name)}: expected {self.size} values of type {self.dtype}, "
                f"got data that do not fit ({one_line(error)}); export the model again"
            ) from error
        return array if array.flags.owndata else array.copy()


def unpack(data: bytes, data_type: int, dims: tuple[int, ...]) -> Array:
    """Elements smaller than a byte, one per array element (ml_dtypes types)."""
    proto = TensorProto(dims=dims, data_type=data_type, raw_data=data)
    array: Array = onnx.numpy_helper.to_array(proto)
    return array


def stored_bytes(array: Array, data_type: int) -> NDArray[np.uint8]:
    """The bytes that a file keeps of values in stored layout, little-endian.

    Elements smaller than a byte are packed, the first of them in the lowest bits, and a last byte
    that they do not fill ends in zeros (as `TensorProto.raw_data` has it).
    """
    flat = np.ascontiguousarray(array).reshape(-1)
    bits = _PACKED_BITS.get(data_type)
    if bits is None:
        return flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(np.uint8)
    each = 8 // bits
    numbers = np.zeros(-(-flat.size // each) * each, np.uint8)
    # What is no multiple of a byte lies in the low bits of one; its sign may fill the others.
    numbers[: flat.size] = flat.view(np.uint8) & np.uint8((1 << bits) - 1)
    shifted = numbers.reshape(-1, each) << np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray(np.bitwise_or.reduce(shifted, axis=1), np.uint8)


def same_bytes(one: NDArray[np.uint8], other: Buffer) -> bool:
    """Whether bytes are equal; compared block by block, so that no mask of all of them is made."""
    step, there = _BLOCK << 2, np.frombuffer(other, np.uint8)
    return one.size == there.size and all(
        np.array_equal(one[i : i + step], there[i : i + step]) for i in range(0, one.size, step)
    )


@functools.cache
def numpy_dtype(data_type: int) -> np.dtype[Any]:
    """The numpy type of an ONNX data type; raises `ModelFileError` for an unknown one."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFileError(
            f"data type: expected one of ONNX, got number {data_type}; export the model again"
        ) from error


@functools.cache
def dtype_name(data_type: int) -> str:
    """Name of an ONNX data type in numpy's spelling; "string" for text."""
    return "string" if data_type == STRING else numpy_dtype(data_type).name


def raw_bytes(data_type: int, dims: tuple[int, ...]) -> int:
    """Bytes of a tensor in ONNX's raw layout."""
    size = math.prod(dims)
    bits = _PACKED_BITS.get(data_type)
    if bits is not None:
        return -(-size * bits // 8)
    return size * numpy_dtype(data_type).itemsize


def finite(array: Array, every: int = 1) -> bool:
    """Whether no value is NaN or infinite, also for the types of ml_dtypes.

    Args:
        array: of any shape; it is looked at block by block.
        every: one block of so many is looked at, evenly spread.
    """
    flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel(order="K")
    return all(_finite(flat[i : i + _BLOCK]) for i in range(0, flat.size, every * _BLOCK))


def _finite(block: Array) -> bool:
    if block.dtype.kind not in "fc":
        block = block.astype(np.float32)
    if block.dtype not in (np.float32, np.float64):
        return bool(np.isfinite(block).all())
    # A product with zero is zero unless a value is none or infinite: one pass at the speed of
    # memory, where asking each value takes several times as long.
    with np.errstate(invalid="ignore"):
        return bool(np.dot(block, _zeros(block.dtype)[: block.size]) == 0)


@functools.cache
def _zeros(dtype: np.dtype[Any]) -> Array:
    return np.zeros(_BLOCK, dtype)


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether values of this type are real numbers (numpy's or those of ml_dtypes)."""
    return dtype.kind in "fiu" or dtype.name in vars(ml_dtypes)


def shown(name: str) -> str:
    """A name out of a file, safe to print on one line."""
    return ascii(name if len(name) <= 80 else name[:77] + "...")


def one_line(error: BaseException | str) -> str:
    """A message on one line, cut to a readable length and safe to print."""
    text = " ".join(str(error).split()) or type(error).__name__
    return ascii(text if len(text) <= 300 else text[:297] + "...")[1:-1]
