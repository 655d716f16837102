"""Large arrays that took long to make, kept in files that all processes map.

A file holds one array; its name is the digest of what the array follows from. It is written beside
and renamed, so that no reader ever sees half of one, and what is read is checked as if a stranger
had written it. Nothing here can fail a command: without a folder, space or permission an array is
simply made again.

The folder is `arrays` in `NNW_CACHE`, or in `nnw-onnx` among the caches of the user
(`XDG_CACHE_HOME`, else `~/.cache`); with `NNW_CACHE=off` there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from nnw_onnx.vocabulary import Array

Shape = tuple[int | None, ...]

LEAST_BYTES = 8 * 2**20
"""Smaller arrays are not kept: they are made as fast as they are found."""

MOST_BYTES = 16 * 2**30
"""Size of all kept arrays together; those that were not used for the longest time go first."""

_VARIABLE = "NNW_CACHE"
_OFF = "off"
_HEAD = 4096
_FORM = "nnw-onnx array 1"
_OWN_NAME = re.compile(r"[0-9a-f]{64}|\.writing-\w+")
_DTYPE = re.compile(r"\|[ui]1|<[uif][248]")
# A source that changed so shortly before may have changed again within one step of its clock.
_SETTLED_NS = 2 * 10**9
_NOT_WAITING = 0 if sys.platform == "win32" else os.O_NOFOLLOW | os.O_NONBLOCK


def kept(
    what: str,
    shape: Shape,
    dtype: DTypeLike,
    make: Callable[[], Array],
    changed: int = 0,
    least: int | None = None,
) -> Array:
    """An array that is made, or mapped read-only where it was made before.

    Args:
        what: everything that it follows from, in words that differ where the arrays do.
        shape: its own, with None for sizes that only making it tells.
        dtype: its element type.
        make: makes it.
        changed: when the newest of its sources changed, in nanoseconds; 0 where `what` tells their
            contents.
        least: bytes from which on it is kept; None: `LEAST_BYTES`.
    """
    there = found(what, shape, dtype)
    return stored(what, make(), changed, least) if there is None else there


def found(what: str, shape: Shape, dtype: DTypeLike) -> Array | None:
    """An array that was kept, or None; see `kept`."""
    folder = _folder()
    return None if folder is None else _mapped(folder / _named(what, dtype), shape, dtype)


def stored(what: str, array: Array, changed: int = 0, least: int | None = None) -> Array:
    """The array, mapped from a file where it is large and can be kept; see `kept`."""
    folder = _folder()
    enough = LEAST_BYTES if least is None else least
    if folder is None or not enough <= array.nbytes <= MOST_BYTES:
        return array
    return _stored(folder / _named(what, array.dtype), array, changed)


def shared(array: Array, digest: str) -> Array:
    """The same array, mapped from a file that other processes map too, where it is large."""
    if array.nbytes < LEAST_BYTES:
        return array
    return kept(f"array {digest}", array.shape, array.dtype, lambda: array)


def _named(what: str, dtype: DTypeLike) -> str:
    return hashlib.sha256(f"{np.dtype(dtype).str} {what}".encode()).hexdigest()


def place() -> Path | None:
    """The folder of kept arrays; None where there is none that only this user can write."""
    return _folder()


def _folder() -> Path | None:
    return folder("arrays")


def folder(kind: str) -> Path | None:
    """A folder among the caches, made where it is missing; None where none is only ours."""
    given = os.environ.get(_VARIABLE, "")
    if given == _OFF:
        return None
    try:
        place = (Path(given) if given else _usual()) / kind
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = place.lstat()
    except (OSError, RuntimeError, ValueError):
        return None
    return place if stat.S_ISDIR(told.st_mode) and ours(told) else None


def _usual() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given else Path.home() / ".cache") / "nnw-onnx"


def ours(told: os.stat_result) -> bool:
    """Whether nobody else could have written it."""
    if sys.platform == "win32":
        return True
    return told.st_uid == os.geteuid() and not told.st_mode & 0o022


def _mapped(path: Path, wanted: Shape, dtype: DTypeLike) -> Array | None:
    """The array of a file; None where there is none, or it is not what it should be."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NOT_WAITING)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        told = os.fstat(file.fileno())
        if not stat.S_ISREG(told.st_mode) or not ours(told) or told.st_nlink != 1:
            return None
        try:
            shape = _shape(file.read(_HEAD), path.name, np.dtype(dtype))
        except (OSError, ValueError, RecursionError):
            return None
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not _fits(shape, wanted) or told.st_size != _HEAD + size:
            return None
        values = np.memmap(file, dtype, "r", _HEAD, shape)
    with contextlib.suppress(OSError):
        os.utime(path)
    return np.asarray(values)


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(
        w in (None, s) for s, w in zip(shape, wanted, strict=True)
    )


def _shape(head: bytes, name: str, dtype: np.dtype[np.generic]) -> tuple[int, ...]:
    """The shape that the head of a file tells; raises `ValueError` where it is no such head."""
    told = json.loads(head)
    shape = told.get("shape") if isinstance(told, dict) else None
    wanted = {"form": _FORM, "name": name, "dtype": dtype.str, "shape": shape}
    lengths = isinstance(shape, list) and all(type(n) is int and 0 < n < 2**40 for n in shape)
    if told != wanted or not lengths or not shape or not _DTYPE.fullmatch(dtype.str):
        raise ValueError(name)
    return tuple(shape)


def _stored(path: Path, array: Array, changed: int) -> Array:
    """The array, mapped from the file that it was written to where that went well."""
    told = {"form": _FORM, "name": path.name, "dtype": array.dtype.str, "shape": array.shape}
    head = json.dumps(told).encode().ljust(_HEAD)
    if len(head) != _HEAD or not _DTYPE.fullmatch(array.dtype.str):
        return array
    try:
        _make_room(path.parent, array.nbytes)
        written = _write(path, head, array, changed)
    except OSError:
        return array
    mapped = _mapped(path, array.shape, array.dtype) if written else None
    return array if mapped is None else mapped


def _write(path: Path, head: bytes, array: Array, changed: int) -> bool:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if os.fstat(file.fileno()).st_mtime_ns - changed <= _SETTLED_NS:
                return False
            file.write(head)
            file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())  # else a loss of power leaves the name of a file of zeros
        Path(temporary).replace(path)
    finally:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
    return True


def _make_room(folder: Path, size: int) -> None:
    """Remove what was not used for the longest time; raises `OSError` where the disk is full."""
    ours = ((p, p.lstat()) for p in folder.iterdir() if _OWN_NAME.fullmatch(p.name))
    files = sorted((told.st_mtime_ns, told.st_size, path) for path, told in ours)
    total = size + sum(length for _, length, _ in files)
    for _, length, path in files:
        if total <= MOST_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= length
    if shutil.disk_usage(folder).free < 2 * size:
        raise OSError(f"{folder}: too little space")
