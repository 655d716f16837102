"""Leave to run code of one's own: files that were named for it, and what they held then.

Methods, Modifications and data sets are packages that somebody installed. A file that a
configuration or a key names is not: it runs only where whoever starts the command names it too
(`nnw --allow-code FILE`), and only as it was then. It runs in a process of its own, which is no
sandbox: it may read and write whatever its user may.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar, Token
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import reading

MOST_BYTES = 1 << 22
"""Of a file of code."""


@dataclass(frozen=True)
class Permitted:
    """A file of code that may run.

    Attributes:
        path: the file, resolved.
        sha256: digest (hex) of its content when leave was given.
    """

    path: Path
    sha256: str


_permitted: ContextVar[tuple[Permitted, ...]] = ContextVar("permitted", default=())


def named(files: Iterable[str | Path]) -> tuple[Permitted, ...]:
    """Leave for these files, as they are now.

    Raises:
        ConfigurationError: one of them cannot be read, or is too large for code.
    """
    return tuple(Permitted(Path(file).resolve(), digest_of(Path(file))) for file in files)


def digest_of(file: Path) -> str:
    """SHA-256 (hex) of a file of code; raises `ConfigurationError` as `named` does."""
    try:
        content, _ = reading.content(file, MOST_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"{file}: expected a file of code that may run, got: {error.strerror}; name the file "
            "itself"
        ) from error
    return hashlib.sha256(content).hexdigest()


def permit(files: Iterable[Permitted]) -> Token[tuple[Permitted, ...]]:
    """Let these files run from now on, beside those that may already; what ends that again."""
    return _permitted.set(tuple(dict.fromkeys((*_permitted.get(), *files))))


@contextlib.contextmanager
def permitting(files: Iterable[Permitted]) -> Iterator[None]:
    """Let these files run for a time, beside those that may already."""
    before = permit(files)
    try:
        yield
    finally:
        _permitted.reset(before)


def allow_code(*files: str | Path) -> contextlib.AbstractContextManager[None]:
    """Let these files of your own code run for a time: `with nnw.allow_code("their.py"): ...`.

    Read them first: their code runs in a process of its own, which is no sandbox.

    Args:
        *files: Python files that a configuration or a key names, as they are now.

    Raises:
        ConfigurationError: one of them cannot be read, or is too large for code.
    """
    return permitting(named(files))


def permitted() -> tuple[Permitted, ...]:
    """The files that may run here."""
    return _permitted.get()


def found(file: Path, sha256: str | None = None) -> Permitted:
    """The file as it may run.

    Args:
        file: as a configuration names it, or a key, which keeps no folders.
        sha256: what it has to be, such as the code that a key was made with; None for anything.

    Raises:
        ConfigurationError: nobody gave leave, or only for another content.
    """
    newest = permitted()[::-1]
    own = [p for p in newest if p.path == file.resolve()]
    alike = [p for p in newest if p.sha256 == sha256]
    called = [p for p in newest if sha256 is not None and p.path.name == file.name]
    if not own and not alike and not called:
        raise ConfigurationError(
            f"{file.name}: expected leave to run this code of your own, got none; read it, then "
            f"name the file: nnw --allow-code {file} ..."
        )
    if sha256 is not None and not alike:
        raise ConfigurationError(
            f"{file.name}: expected the code that the key was made with, got another; give leave "
            "to that version of the file"
        )
    return (alike or own)[0]
