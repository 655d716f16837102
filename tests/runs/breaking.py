"""A process that dies, or a disk that is full, at the n-th time that a run touches a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Death(BaseException):
    """What ends a process: nothing that it does afterwards reaches a file."""


@dataclass
class Points:
    """The places at which a run can be broken, in their order.

    Attributes:
        at: number of the one at which it is, from 1; 0 for none.
        full: whether the disk is full from there on, instead of the process being dead.
        passed: what was done so far.
    """

    at: int = 0
    full: bool = False
    passed: list[str] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        """Whether the place was reached."""
        return 0 < self.at <= len(self.passed)

    def reach(self, what: str) -> None:
        """Count one more place; raises from the one on at which it breaks."""
        self.passed.append(what)
        if not self.broken:
            return
        if not self.full:
            raise Death
        if what != "unlink":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _File:
    """A file of which a write may be torn."""

    def __init__(self, file: Any, points: Points) -> None:
        self._file, self._points = file, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._file)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        try:
            self._points.reach("write")
        except BaseException:
            self._file.write(bytes(data)[: len(data) // 2])
            self._file.flush()
            raise
        return self._file.write(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)


@contextmanager
def breaking(at: int = 0, *, full: bool = False) -> Iterator[Points]:
    """Break what is done in the block at this place; the points tell whether there was one."""
    points = Points(at, full)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "mkdir", "replace", "unlink", "open"):
            patch.setattr(os, name, _counted(name, getattr(os, name), points))
        fdopen = os.fdopen
        patch.setattr(os, "fdopen", lambda *given, **named: _File(fdopen(*given, **named), points))
        yield points


def _counted(name: str, function: Any, points: Points) -> Any:
    def counted(*given: Any, **named: Any) -> Any:
        flags = given[1] if name == "open" and len(given) > 1 else _WRITING
        if name != "open" or flags & _WRITING:
            points.reach(name)
        return function(*given, **named)

    return counted
