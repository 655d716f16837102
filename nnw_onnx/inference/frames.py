"""Messages between two processes: a head in JSON and arrays of numbers, never a pickle.

A frame is 8 little-endian bytes with the length of a JSON text, the text {"head": ..., "arrays":
[[name, dtype, shape], ...]}, and the bytes of each array in turn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO

import numpy as np

from nnw_onnx.errors import InferenceError
from nnw_onnx.vocabulary import Array, Json

MOST_TEXT = 1 << 24
"""Bytes of the text of a frame."""
_TYPES = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
_MOST_AXES = 16
_NUMBERS = {"b", "u", "i", "f"}


class BrokenFrameError(InferenceError):
    """What came is no frame: the other process ended, or wrote something of its own."""


def write(file: IO[bytes], head: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
    """Write one frame; raises `BrokenFrameError` for an array that is not of plain numbers."""
    plain = {name: _little(name, values) for name, values in arrays.items()}
    listed = [[name, values.dtype.str, list(values.shape)] for name, values in plain.items()]
    text = json.dumps({"head": dict(head), "arrays": listed}).encode()
    file.write(len(text).to_bytes(8, "little") + text)
    for values in plain.values():
        file.write(values.tobytes())
    file.flush()


def read(file: IO[bytes], most: int) -> tuple[dict[str, Json], dict[str, Array]]:
    """Head and arrays of the next frame.

    Args:
        file: it comes from there.
        most: bytes that all arrays may have together.

    Raises:
        BrokenFrameError: it is none, or too large.
    """
    text = _exactly(file, _length(file))
    try:
        told = json.loads(text)
        head, listed = dict(told["head"]), [_described(entry) for entry in told["arrays"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _broken("something else") from error
    sizes = [np.dtype(kind).itemsize * math.prod(shape) for _, kind, shape in listed]
    if sum(sizes) > most:
        raise _broken(f"arrays of {sum(sizes)} bytes, where {most} are allowed")
    arrays = {
        name: np.frombuffer(_exactly(file, size), kind).reshape(shape)
        for (name, kind, shape), size in zip(listed, sizes, strict=True)
    }
    return head, arrays


def _length(file: IO[bytes]) -> int:
    length = int.from_bytes(_exactly(file, 8), "little")
    if length > MOST_TEXT:
        raise _broken("something else")
    return length


def _exactly(file: IO[bytes], size: int) -> bytes:
    parts, left = [], size
    while left:
        part = file.read(min(left, 1 << 20))
        if not part:
            raise _broken("its end")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _described(entry: object) -> tuple[str, str, tuple[int, ...]]:
    if not isinstance(entry, list):
        raise TypeError("array")
    name, kind, shape = entry
    whole = isinstance(shape, list) and len(shape) <= _MOST_AXES
    sizes = whole and all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
    if not isinstance(name, str) or kind not in _TYPES or not sizes:
        raise ValueError("array")
    return name, kind, tuple(shape)


def _little(name: str, values: Array) -> Array:
    if values.dtype.kind not in _NUMBERS or values.ndim > _MOST_AXES:
        raise BrokenFrameError(
            f"array {name}: expected plain numbers, got {values.dtype} of {values.ndim} axes; "
            "convert it"
        )
    return np.asarray(values, values.dtype.newbyteorder("<"), order="C")


def _broken(got: str) -> BrokenFrameError:
    return BrokenFrameError(
        f"message: expected one of the other process, got {got}; see that nothing in it writes to "
        "its channels, or ends it"
    )
