"""Mutants of files, and what every answer about them must be: fine, or one line, and soon.

`NNW_FUZZ` in the environment is the number of seconds that each kind is tried; without it each is
tried a few times, always the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nnw_onnx.errors import NnwError

LONG = float(os.environ.get("NNW_FUZZ", "0"))
SLOWEST = 30.0
"""Seconds of CPU that an answer may take."""


def rounds(few: int, seed: int) -> Iterator[np.random.Generator]:
    """A generator for each mutant."""
    stop = time.monotonic() + LONG
    number = 0
    while number < few or time.monotonic() < stop:
        yield np.random.Generator(np.random.PCG64([seed, number]))
        number += 1


def answered(ask: Callable[[], object]) -> bool:
    """Whether it works; if not it is refused in one harmless line. Raises for anything else."""
    began, said = time.process_time(), None
    try:
        ask()
    except NnwError as error:
        said = str(error)
    assert time.process_time() - began < SLOWEST
    assert said is None or (said and said.isprintable()), ascii(said)
    return said is None


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with a few of them changed, cut out, repeated or put elsewhere, or cut off."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at, size = int(rng.integers(len(found) + 1)), int(rng.integers(1, 64))
        match rng.integers(6):
            case 0:
                found[at : at + size] = rng.bytes(len(found[at : at + size]))
            case 1:
                del found[at : at + size]
            case 2:
                found[at:at] = found[at : at + size] * int(rng.integers(1, 20))
            case 3:
                found[at:at] = rng.choice([b"\0", b"\xff", b"\xff\xff\xff\x7f", b"\n", b"{", b"PK"])
            case 4:
                found[at : at + 1] = (
                    bytes([(found[at] ^ 1 << rng.integers(8))]) if at < len(found) else b""
                )
            case _:
                found = found[: max(1, at)] if rng.random() < 0.3 else found
    return bytes(found)


def other_kind(path: Path, rng: np.random.Generator) -> str:
    """Something else in the place of a file or folder: a link, a pipe, a folder, nothing."""
    kind = str(rng.choice(["link", "dangling", "pipe", "folder", "empty", "gone", "holes"]))
    if path.is_dir() and not path.is_symlink():
        path = path / "more"
    path.unlink(missing_ok=True)
    match kind:
        case "link":
            path.symlink_to("/etc/hostname")
        case "dangling":
            path.symlink_to(path.parent / "absent")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "holes":
            path.touch()
            os.truncate(path, 1 << 36)
    return kind
