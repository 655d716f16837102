"""Named arrays in an .npz file of a run or work folder, written whole and read as untrusted input.

    names.npy   JSON as bytes: what the arrays are of, and their names in order
    w0.npy ...  the arrays, stored without compression

No header is believed: an array is read only where its member is as long as its header says, and a
file in which members overlap, or are compressed, is refused before anything is read.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from nnw_onnx.errors import RunError
from nnw_onnx.kit.writing import replacing
from nnw_onnx.runs import folders
from nnw_onnx.vocabulary import Array

_MOST_NAMES_BYTES = 1 << 26
_MOST_HEADER = 10_000
_KINDS = "biuf"
_BROKEN = (
    OSError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)
"""What zipfile, json and numpy's reader of headers raise for files that are broken."""


def write_arrays(
    path: Path, arrays: Mapping[str, Array], of: str = "", *, private: bool = False
) -> None:
    """Write named arrays: the file is on the disk as a whole, or not at all.

    Args:
        path: the file.
        arrays: numbers of any shape.
        of: what they are of; `read_arrays` wants the same.
        private: whether only their owner may read them.
    """
    names = sorted(arrays)
    text = np.frombuffer(json.dumps({"of": of, "names": names}).encode(), np.uint8)
    # A record that names them is written next.
    writing = replacing(path, private=private, durable=True)
    with writing as file, zipfile.ZipFile(file, "w") as archive:
        for name, values in {"names": text, **_numbered([arrays[n] for n in names])}.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)


def read_arrays(path: Path, most: int, of: str = "") -> dict[str, Array]:
    """Named arrays of a file.

    Args:
        path: the file.
        most: bytes that they may have in all.
        of: what they must be of.

    Raises:
        RunError: it is not whole, holds more, or is of something else.
    """
    try:
        with folders.reading(path) as file, zipfile.ZipFile(file) as archive:
            _expect_small(archive, min(most + _MOST_NAMES_BYTES, file.seek(0, io.SEEK_END)))
            return _arrays(archive, of)
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{path.name}: expected the arrays that a run keeps, got: {reason[:200]}; start the "
            "run again in a new folder"
        ) from error


def _arrays(archive: zipfile.ZipFile, of: str) -> dict[str, Array]:
    members = {entry.filename: entry for entry in archive.infolist()}
    with archive.open("names.npy") as file:
        text = json.loads(_array(file, members["names.npy"].file_size).tobytes())
    if not isinstance(text, dict):
        raise ValueError("those of another version")
    names = text["names"]
    if text["of"] != of:
        raise ValueError("those of something else")
    if len(set(names)) != len(names) or len(archive.infolist()) != len(names) + 1:
        raise ValueError(f"{len(archive.infolist())} members for {len(names)} names")
    found = {}
    for index, name in enumerate(names):
        with archive.open(f"w{index}.npy") as file:
            found[str(name)] = _array(file, members[f"w{index}.npy"].file_size)
    return found


def _expect_small(archive: zipfile.ZipFile, most: int) -> None:
    """Refuse what would be more in memory than it is in the file, or than is wanted."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("a compressed member")
    size = sum(entry.file_size for entry in entries)
    if size > most:
        raise ValueError(f"{size} bytes where at most {most} can be")


def _array(file: IO[bytes], size: int) -> Array:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("a member of another form")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_MOST_HEADER)
    if dtype.kind not in _KINDS or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array of {dtype}")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size} bytes for an array of shape {shape}")
    values = np.frombuffer(bytearray(file.read()), dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _numbered(arrays: list[Array]) -> dict[str, Array]:
    return {f"w{index}": values for index, values in enumerate(arrays)}
