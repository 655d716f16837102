"""Small files of others: read whole, where they are files at all and no larger than they may be."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

if sys.platform == "win32":
    _FLAGS = os.O_RDONLY | os.O_BINARY
else:
    # A pipe is opened without waiting for who writes into it.
    _FLAGS = os.O_RDONLY | os.O_NONBLOCK


def content(path: Path, most: int) -> tuple[bytes, int]:
    """All bytes of a regular file, and its mode.

    Args:
        path: the file, or a link to one.
        most: bytes that it may have.

    Raises:
        OSError: it is no regular file, has more bytes, or cannot be read; `strerror` says which.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except ValueError as error:  # a null character in its name
        raise OSError(errno.EINVAL, str(error)) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "a folder or device")
    with os.fdopen(descriptor, "rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"more than {_in_words(most)}")
    return found, mode


def _in_words(size: int) -> str:
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
