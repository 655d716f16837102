"""Writing a file: it is there as a whole or not at all, and never through a link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once the block ends without an error.

    A link at `path` is replaced; what it points to is not touched.

    Args:
        path: the file.
        private: whether only its owner may read it (mode 0600); else the umask decides.

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
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
