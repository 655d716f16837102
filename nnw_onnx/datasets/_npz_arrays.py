"""Arrays of an .npz file, read as untrusted input: sizes are checked before anything is loaded."""

from __future__ import annotations

import math
import re
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit import cache
from nnw_onnx.kit.sources import check_size, stamp_of

_SUFFIX = ".npy"
_MAX_HEADER = 10_000
_MAX_LENGTH = 2**40
# What parsing a header as Python's literals can raise.
_UNPARSED = (
    ValueError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)


class NpzArrays:
    """Arrays by name.

    Attributes:
        names: names of the arrays, in the order of the file.
    """

    def __init__(self, path: Path) -> None:
        """List the arrays.

        Raises:
            DatasetError: the file is missing or is no .npz file.
        """
        self._path = path
        if not path.is_file():
            raise DatasetError(
                f"{path.absolute()}: expected an .npz file, got nothing of this name; correct "
                "the option path"
            )
        with self._opened() as archive:
            stored = archive.namelist()
        self.names = [n.removesuffix(_SUFFIX) for n in stored if n.endswith(_SUFFIX)]

    def read(self, name: str) -> NDArray[Any]:
        """One array; object arrays are refused, since only unpickling could read them.

        Raises:
            DatasetError: it is broken, larger than the limit, or an array of objects.
        """
        title = f"{self._path.name}: {name}"
        with self._opened() as archive, warnings.catch_warnings():
            # numpy warns of headers that Python 2 wrote, which are as good as any.
            warnings.simplefilter("ignore")
            with archive.open(name + _SUFFIX) as file:
                shape, dtype = _header(name, file)
            if dtype.hasobject:
                raise DatasetError(
                    f"{title}: expected numbers or texts, got Python objects, which "
                    "are never read; save it as a plain array"
                )
            check_size(title, shape, max(dtype.itemsize, 1))
            size = archive.getinfo(name + _SUFFIX).file_size
            if size < math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{size} bytes for an array of shape {shape}")
            # Decompressed once for all commands and processes, which map it.
            stamp = stamp_of(self._path)
            what = f"array {name} of {self._path.absolute()}\n{stamp.words}"
            return cache.kept(
                what, shape, dtype, lambda: _content(archive, name + _SUFFIX), stamp.newest
            )

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                yield archive
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            NotImplementedError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise DatasetError(
                f"{self._path.name}: expected a whole .npz file, got: "
                f"{' '.join(str(error).split())}; save it again"
            ) from error


def _content(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as file:
        array: NDArray[Any] = np.lib.format.read_array(
            file, allow_pickle=False, max_header_size=_MAX_HEADER
        )
    return array


def _header(name: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        shape, dtype = _parsed(file)
    except _UNPARSED as error:
        text = re.sub(r" at 0x\w+", "", str(error)) or type(error).__name__
        raise ValueError(f"a broken header of {name} ({text[:100]})") from error
    if not all(type(length) is int and 0 <= length <= _MAX_LENGTH for length in shape):
        raise ValueError(f"a header of {name} with lengths beyond 0 to {_MAX_LENGTH}")
    return shape, dtype


def _parsed(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the .npy form")
    shape, _, dtype = readers[version](file, max_header_size=_MAX_HEADER)
    return tuple(shape), dtype
