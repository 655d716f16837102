"""Files of master seeds: one line of text that only their owner can read."""

from __future__ import annotations

import os
import re
import secrets
import stat
import warnings
from pathlib import Path

from nnw_onnx.errors import KeyFileError
from nnw_onnx.kit import derivation
from nnw_onnx.kit.writing import replacing
from nnw_onnx.vocabulary import SECRET_BYTES

_FORM = "nnw-onnx master seed 1"
_LINE = re.compile(rf"(?:{_FORM} )?([0-9a-fA-F]+)\s*")
_LARGEST = 4096


def new_seed(path: Path) -> None:
    """Write a seed of 32 bytes from the operating system; never over another file.

    Raises:
        KeyFileError: a file is there already, or none can be written.
    """
    if os.path.lexists(path):
        raise KeyFileError(
            f"{path}: expected a new file, got one that is there: what was made from a seed is "
            "lost without it; give another name"
        )
    try:
        with replacing(path, private=True) as file:
            file.write(f"{_FORM} {secrets.token_hex(SECRET_BYTES)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(
            f"{path}: expected a path where a seed can be written, got: {error.strerror}; choose "
            "another path"
        ) from error


def read_seed(path: str | Path) -> bytes:
    """The seed of a file that `new_seed` wrote, or of one line of hexadecimal digits.

    One that others can read gives a `UserWarning`.

    Raises:
        KeyFileError: it is absent, too short, or anything else.
    """
    source = Path(path)
    try:
        with source.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(_LARGEST + 1)
    except OSError as error:
        raise KeyFileError(
            f"{source}: expected a file with a master seed, got: {error.strerror}; make one with "
            "'nnw key seed'"
        ) from error
    found = _LINE.fullmatch(content.decode("ascii", "replace"))
    if found is None or len(found[1]) % 2 or len(found[1]) < 2 * derivation.LEAST_SEED:
        raise KeyFileError(
            f"{source}: expected one line of at least {2 * derivation.LEAST_SEED} hexadecimal "
            "digits, got something else; make one with 'nnw key seed'"
        )
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.warn(
            f"{source}: expected a seed that only its owner can read, got mode "
            f"{stat.S_IMODE(mode):o}; run 'chmod 600' on it",
            stacklevel=2,
        )
    return bytes.fromhex(found[1])
