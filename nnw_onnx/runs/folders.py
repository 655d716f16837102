"""Run and work folders as untrusted input: plain files and folders only, no link is followed.

A folder that somebody sent may hold a link where a file is going to be written, or a pipe where one
is going to be read. All of it is looked at before anything in it is opened for writing, and each
file once more when it is opened.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nnw_onnx.errors import RunError
from nnw_onnx.kit.writing import UNFINISHED, settle

MAX_BYTES = 1 << 30
"""Largest file of records."""
_POSIX = 0 if sys.platform == "win32" else os.O_NOFOLLOW | os.O_NONBLOCK


def expect_plain(folder: Path) -> None:
    """Raise `RunError` where a folder holds, at any depth, what is no plain file or folder.

    That is a link, a file with a second name elsewhere (a hard link), a pipe, a socket or a
    device. A folder that is not there is plain.
    """
    unseen = [folder] if folder.is_dir() else []
    while unseen:
        with os.scandir(unseen.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if kind := _not_plain(status):
                    place = Path(entry.path).relative_to(folder)
                    raise RunError(
                        f"{folder}: expected plain files and folders, got {kind} named "
                        f"{str(place)!r}; remove it if you know it, or do not use this folder"
                    )
                if stat.S_ISDIR(status.st_mode):
                    unseen.append(Path(entry.path))


def make(folder: Path, option: str) -> None:
    """Make a folder, with those above it, where there is none.

    Args:
        folder: what is asked for.
        option: of the command line that names it, for messages.

    Raises:
        RunError: something else is there, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{folder}: expected a folder that can be written, got: {error.strerror}; choose "
            f"another with {option}"
        ) from error


def reading(path: Path) -> BinaryIO:
    """A plain file, opened; raises as `content` does."""
    return os.fdopen(_opened(path, os.O_RDONLY), "rb")


def content(path: Path, most: int = MAX_BYTES) -> bytes:
    """All bytes of a plain file.

    Raises:
        RunError: it is no plain file, or has more than `most` bytes.
        OSError: it cannot be read, or there is none.
    """
    with reading(path) as file:
        # As much as it has, because what is asked for is reserved first.
        found = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    if len(found) > most:
        raise _too_large(path, most)
    return found


def lines(path: Path, most: int = MAX_BYTES) -> Iterator[bytes]:
    """The whole lines of a plain file, one after the other; raises as `content` does."""
    with reading(path) as file:
        # Before a line is sought for, which in a file of holes may be longer than memory.
        if os.fstat(file.fileno()).st_size > most:
            raise _too_large(path, most)
        read = 0
        while line := file.readline(most - read + 1):
            read += len(line)
            if read > most:
                raise _too_large(path, most)
            if line.endswith(b"\n"):
                yield line[:-1]


def append(path: Path, data: bytes, most: int = MAX_BYTES) -> None:
    """Append to a plain file, made where there is none, and force it to the disk.

    Raises:
        RunError: it is no plain file, or could not be read any more, being too large.
        OSError: it cannot be written.
    """
    made = not os.path.lexists(path)
    with os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        if (size := os.fstat(file.fileno()).st_size + len(data)) > most:
            raise RunError(
                f"{path.name}: expected at most {most} bytes of records in a run, got {size}; what "
                "is recorded can be reported, do the rest in other runs of fewer trials or samples"
            )
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if made:
        settle(path.parent)


def tidy(folder: Path) -> None:
    """Remove what a process that died was still writing; the folder was seen to be plain."""
    for path in folder.rglob(".*.tmp"):
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def cut(path: Path, size: int) -> None:
    """Leave the first `size` bytes of a plain file."""
    with os.fdopen(_opened(path, os.O_RDWR), "r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _opened(path: Path, flags: int) -> int:
    """A descriptor of a plain file; neither a link is followed nor a pipe waited for."""
    try:
        _expect_file(path, path.lstat())
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    descriptor = os.open(path, flags | _POSIX, 0o666)
    try:
        _expect_file(path, os.fstat(descriptor))
    except RunError:
        os.close(descriptor)
        raise
    return descriptor


def _too_large(path: Path, most: int) -> RunError:
    return RunError(
        f"{path.name}: expected at most {most} bytes, got a larger file; start a new run"
    )


def _expect_file(path: Path, status: os.stat_result) -> None:
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else _not_plain(status)
    if kind:
        raise RunError(f"{path.name}: expected a regular file, got {kind}; start a new run")


def _not_plain(status: os.stat_result) -> str:
    """What something is that is no plain file or folder, or ""."""
    if stat.S_ISLNK(status.st_mode):
        return "a link"
    if stat.S_ISDIR(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "a pipe, socket or device"
    return "a file with another name elsewhere (a hard link)" if status.st_nlink > 1 else ""
