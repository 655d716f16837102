"""Quantized weights as numbers, and back: (q - zero point) * scale, and the nearest q."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.quantized import UNKNOWN_BITS, Dequantization
from nnw_onnx.graph.tensors import StoredTensor, numpy_dtype, shown
from nnw_onnx.vocabulary import Array

_BLOCK = 1 << 18
"""Weights that are unpacked at a time."""


@dataclass(frozen=True)
class Grid:
    """The values that a stored tensor can stand for.

    "Weights" are float32 in the stored layout, one for each number: (out, in) for MatMulNBits, and
    bytes unpacked along their last axis elsewhere. "Stored" is what the tensor holds: integers, or
    small floating-point numbers that have a scale as well.

    Attributes:
        tensor: the tensor of the file.
        how: what its numbers mean.
    """

    tensor: StoredTensor
    how: Dequantization

    def weights(self, stored: Array) -> NDArray[np.float32]:
        """What stored numbers stand for, as the runtime computes it.

        Raises:
            ModelFileError: scales that are computed while the network runs, or that do not fit.
        """
        with self._fitting():
            if self.how.shape is not None and self._index is not None:
                return self._weights_by_rows(self._rows(stored), self._index)
            return self._weights(self._numbers(stored))

    def nearest(self, weights: Array, stored: Array) -> Array:
        """The stored numbers that stand for the values nearest to some weights.

        A half goes to the even number, and what lies beyond the type's range to its end. A weight
        that asks for what `stored` stands for already keeps its number, and so do the unused bits
        of bytes and a weight whose scale is 0.

        Args:
            weights: any finite real values, in the layout of `weights()`.
            stored: what is stored now.
        """
        with self._fitting():
            before = self._numbers(stored)
            asked = np.asarray(weights, np.float64)
            scale, zero = self._spread
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                # Minus zero is a number of its own among small floating-point ones; + 0 loses it.
                places = asked / scale.astype(np.float64) + (zero if np.any(zero) else -0.0)
            keeps = (self._weights(before) == asked.astype(np.float32)) | ~np.isfinite(places)
            return self._stored(np.where(keeps, before, self._rounded(places)), stored)

    def shifted(self, stored: Array, by: int) -> Array:
        """The stored numbers so many steps further, within the range of the type."""
        with self._fitting():
            numbers = self._numbers(stored)
            if not self.how.bits:
                return next_numbers(numbers, numpy_dtype(self.tensor.data_type), by)
            top = (1 << self.how.bits) - 1
            return self._stored(np.clip(numbers.astype(np.int64) + by, 0, top), stored)

    def _weights_by_rows(self, rows: Array, index: Array) -> NDArray[np.float32]:
        """The same for rows of bytes, some at a time: those that follow stay in the cache."""
        scale, zero = self._few
        result = np.empty(self._shape, np.float32)
        step = max(1, _BLOCK // max(1, self._shape[-1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            real = self._of_weights(unpacked(rows[part], self.how.bits)).astype(np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                real -= zero if zero.ndim == 0 else np.take(zero[part], index, axis=1)
                real *= np.take(scale[part], index, axis=1)
            result[part] = real.astype(self.how.result)
        return result

    def _weights(self, numbers: Array) -> NDArray[np.float32]:
        scale, zero = self._spread
        with np.errstate(over="ignore", invalid="ignore"):
            real = (numbers.astype(np.float32) - zero) * scale
            return np.asarray(real.astype(self.how.result), np.float32)

    def _rounded(self, places: NDArray[np.float64]) -> Array:
        """The nearest numbers of the stored type, which are clipped to its range."""
        if self.how.bits:
            with np.errstate(invalid="ignore"):  # what is not finite keeps its number
                return np.clip(np.rint(places), 0, (1 << self.how.bits) - 1).astype(np.uint8)
        return rounded(places, numpy_dtype(self.tensor.data_type))

    @cached_property
    def _spread(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scales and zero points, which broadcast with the weights."""
        scale, zero = self._few
        return self._along(scale), self._along(zero)

    @cached_property
    def _few(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scales and zero points as they are arranged, one for each block."""
        if self.how.scale is None:
            raise ModelFileError(
                f"layer {shown(self.tensor.name)}: expected constant scales for {self.how.kind}, "
                "got computed ones; these weights cannot be read"
            )
        scale = self._arranged(self.how.scale.array().astype(np.float32))
        return scale, self._zeros(scale.shape)

    def _zeros(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Zero points in the arrangement of the scales; none is the middle of packed bits."""
        zero, bits = self.how.zero, self.how.bits
        if zero is None:
            return np.full((), 1 << (bits - 1) if bits else 0, np.float32)
        values = zero.array()
        if bits and not zero.floating:
            # Each row of packed zero points ends with a byte of its own.
            values = unpacked(values.reshape(*shape[:-1], -1), bits)[..., : shape[-1]]
        values = values.astype(np.float32)
        return values.reshape(()) if values.size == 1 else self._arranged(values).reshape(shape)

    def _arranged(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scales or zero points with an axis for each stored axis they vary along, in its order."""
        along = self.how.along
        if self.how.shape is not None:
            return values.reshape(self.how.shape[0], -1)
        if len(along) < 2:
            return values.reshape((-1,) * len(along))
        return np.transpose(values, np.argsort(along))

    def _along(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Arranged scales or zero points that broadcast with the weights."""
        if values.size == 1:
            return values.reshape(())
        how, shape = self.how, self._shape
        aligned = [1] * len(shape)
        for axis, size in zip(sorted(how.along), values.shape, strict=True):
            aligned[axis] = size
        whole = values.reshape(aligned)
        if how.axis is None:
            return whole
        return whole if self._index is None else np.take(whole, self._index, axis=how.axis)

    @cached_property
    def _index(self) -> Array | None:
        """The block of each weight along the axis of blocks; None without blocks."""
        how = self.how
        if how.axis is None:
            return None
        size = self._shape[how.axis]
        if how.groups is not None:
            return how.groups.array().reshape(-1)[:size]
        return np.arange(size) // how.block if how.block else None

    @property
    def _shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return self.how.sizes(self.tensor.dims)

    def _numbers(self, stored: Array) -> Array:
        """One number for each weight."""
        if not self.how.bits:
            return stored
        return self._of_weights(unpacked(self._rows(stored), self.how.bits))

    def _stored(self, numbers: Array, before: Array) -> Array:
        """Numbers as they are stored, with the unused bits that were there before."""
        if not self.how.bits:
            return np.ascontiguousarray(numbers, numpy_dtype(self.tensor.data_type))
        every = unpacked(self._rows(before), self.how.bits)
        self._of_weights(every)[...] = numbers
        return packed(every, self.how.bits).reshape(before.shape)

    def _rows(self, stored: Array) -> Array:
        """Bytes in rows whose first numbers are weights and whose last ones may be none."""
        if self.how.bits == UNKNOWN_BITS:
            raise ModelFileError(
                f"layer {shown(self.tensor.name)}: expected 1, 2, 4 or 8 bits per weight for "
                f"{self.how.kind}, got another number; quantize the model again"
            )
        return stored if self.how.shape is None else stored.reshape(self.how.shape[0], -1)

    def _of_weights(self, every: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The numbers that are weights, a view."""
        return every[..., : self._shape[-1]]

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        # A file says what it likes of shapes and types; what fits is what numpy can compute with.
        try:
            yield
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise ModelFileError(
                f"layer {shown(self.tensor.name)}: expected numbers, scales and zero points that "
                f"fit the shape {list(self.tensor.dims)} for {self.how.kind}, got others; quantize "
                "the model again"
            ) from error


def rounded(values: Array, dtype: np.dtype[np.generic]) -> Array:
    """Finite values as the nearest ones of an integer or small floating type, within its range."""
    held = np.clip(np.asarray(values, np.float64), *_range(dtype))
    return held.astype(dtype) if _floats(dtype) else np.rint(held).astype(dtype)


def next_numbers(stored: Array, dtype: np.dtype[np.generic], by: int) -> Array:
    """The numbers so many steps further in an integer or small floating type, within its range."""
    if _floats(dtype):
        words = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
        known = words.view(dtype).astype(np.float32)
        ladder = np.unique(known[np.isfinite(known)])
        place = np.searchsorted(ladder, stored.astype(np.float32))
        return np.asarray(ladder[np.clip(place + by, 0, len(ladder) - 1)].astype(dtype))
    low, high = _range(dtype)
    return np.clip(stored.astype(np.int64) + by, int(low), int(high)).astype(dtype)


def _floats(dtype: np.dtype[np.generic]) -> bool:
    return dtype.name.startswith(("float", "bfloat"))


def _range(dtype: np.dtype[np.generic]) -> tuple[float, float]:
    limits: Any = ml_dtypes.finfo if _floats(dtype) else ml_dtypes.iinfo
    return float(limits(dtype).min), float(limits(dtype).max)


def unpacked(packed_bytes: Array, bits: int) -> NDArray[np.uint8]:
    """Bytes (..., n) to the (..., n * 8 / bits) numbers inside, lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = packed_bytes[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return np.asarray(parts, np.uint8).reshape(*packed_bytes.shape[:-1], -1)


def packed(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The inverse of `unpacked`."""
    parts = numbers.reshape(*numbers.shape[:-1], -1, 8 // bits)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray(np.bitwise_or.reduce(parts << shifts, axis=-1), np.uint8)
