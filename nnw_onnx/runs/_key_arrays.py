"""Arrays in a key file: .npy members of numbers, whose headers are matched and never evaluated."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping

import numpy as np

from nnw_onnx.errors import KeyFileError
from nnw_onnx.runs._key_text import ARRAY_NAME, MOST_ARRAYS
from nnw_onnx.vocabulary import Array

LARGEST_ARRAYS = 64 << 20
"""Bytes of all arrays of a key."""

PREFIX = "array-"
_MOST_AXES = 8
_MAGIC = b"\x93NUMPY\x01\x00"
_TYPES = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
_HEADER = re.compile(
    rb"\{'descr': '([|<][buif][1248])', 'fortran_order': False, "
    rb"'shape': \(((?:[1-9]\d{0,8}, )*[1-9]\d{0,8},?|)\), \}\s*"
)


def member_name(name: str) -> str:
    """Name of the member that holds an array."""
    return f"{PREFIX}{name}.npy"


def array_member(values: Array) -> bytes:
    """A .npy member of an array, in C order and little-endian."""
    member = io.BytesIO()
    little = values.astype(values.dtype.newbyteorder("<"), order="C", copy=False)
    np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)
    return member.getvalue()


def array_of(name: str, member: bytes) -> Array:
    """The array of a .npy member, read-only.

    Raises:
        KeyFileError: it is anything but a whole array of numbers in C order.
    """
    length = int.from_bytes(member[8:10], "little")
    header = _HEADER.fullmatch(member[10 : 10 + length])
    kind = header[1].decode() if header else ""
    shape = tuple(map(int, re.findall(rb"\d+", header[2]))) if header else ()
    content = memoryview(member)[10 + length :]
    whole = member.startswith(_MAGIC) and kind in _TYPES and len(shape) <= _MOST_AXES
    if not whole or int(kind[2]) * math.prod(shape) != len(content):
        raise KeyFileError(
            f"expected member {name} to be a whole array of numbers of at most {_MOST_AXES} axes, "
            "got another; give a key file as nnw-onnx wrote it (pickled objects are never loaded)"
        )
    stored = np.frombuffer(content, kind).reshape(shape)
    array = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def checked(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays that a key file can hold.

    Raises:
        KeyFileError: a name, type or number of axes that it cannot hold, or too many bytes.
    """
    for name, values in arrays.items():
        fits = re.fullmatch(ARRAY_NAME, name) is not None and values.size > 0
        kind = values.dtype.newbyteorder("<").str
        if not fits or kind not in _TYPES or values.ndim > _MOST_AXES:
            raise KeyFileError(
                f"key: expected arrays of numbers with at most {_MOST_AXES} axes, not empty, named "
                f"in letters, digits and '_.-', got {name[:40]!r} of {values.dtype} "
                f"{values.shape}; change the method"
            )
    total = sum(values.nbytes for values in arrays.values())
    if total > LARGEST_ARRAYS or len(arrays) > MOST_ARRAYS:
        raise KeyFileError(
            f"key: expected at most {MOST_ARRAYS} arrays of {LARGEST_ARRAYS >> 20} MiB in all, got "
            f"{len(arrays)} of {total / (1 << 20):.1f} MiB; use fewer or smaller triggers"
        )
    return dict(arrays)
