"""Writing a file: it is there as a whole or not at all, and never through a link."""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

UNFINISHED = re.compile(r"\.([0-9a-f]{16}|.+\.onnx(\.data)?\.[0-9]+\.[01]\.[0-9]+)\.tmp")
"""Names of files that were being written, by this module or as a network, when a process died."""
_NOT_OF_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}
"""What file systems say that force no folder to the disk."""


@contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = False) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once the block ends without an error.

    A link at `path` is replaced; what it points to is not touched.

    Args:
        path: the file.
        private: whether only its owner may read it (mode 0600); else the umask decides.
        durable: whether it is on the disk when the block has ended, for what cannot be made again
            or what is relied upon by what is written next.

    Raises:
        OSError: it cannot be written.
    """
    # Not made of the name, which may be as long as names can be.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    mode = 0o600 if private else 0o666
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            if durable:
                # Before the new name, or a loss of power leaves the name of an empty file.
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        settle(path.parent)


def settle(folder: Path) -> None:
    """Force to the disk which files a folder holds; their contents are not looked at.

    Raises:
        OSError: the disk fails.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_OF_FOLDERS:
            raise
