# Places are texts here, as events tell them, and links in them must not be lost.
# ruff: noqa: PTH100, PTH115, PTH118
"""Whoever reads a hostile file touches nothing but the folder that is given to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = {
    "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "os.truncate": ((0, None),), "os.utime": ((0, 3),),
    "os.rename": ((0, 2), (1, 3)), "os.link": ((1, 3),), "os.symlink": ((1, 2),),
}  # fmt: skip
"""Events of `sys.audit` that change files -> arguments that are a place, and its open folder."""
STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")


class Watch:
    """What the process has done to files outside some folders, and which programs it started.

    An audit hook stays as long as the process does, so there is one, and it is asked while it is
    switched on.

    Attributes:
        allowed: folders inside which anything may be written.
        seen: one line for each thing that was done elsewhere.
    """

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.seen: list[str] = []
        self._on = False
        sys.addaudithook(self._heard)

    @contextmanager
    def within(self, *folders: Path) -> Iterator[list[str]]:
        """Listen; the list fills with what happened outside these folders."""
        self.allowed = (*(os.path.realpath(f) for f in folders), os.devnull)
        self.seen, self._on = [], True
        try:
            yield self.seen
        finally:
            self._on = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING:
                self._place(event, path)
        elif event in CHANGING:
            for place, folder in CHANGING[event]:
                self._place(event, arguments[place], -1 if folder is None else arguments[folder])
        elif event in STARTING:
            self.seen.append(event)

    def _place(self, event: str, path: object, beside: int = -1) -> None:
        if isinstance(path, int):
            return  # a file that was opened before
        text = os.fsdecode(path) if isinstance(path, bytes | str | os.PathLike) else repr(path)
        if beside >= 0:
            text = os.path.join(os.readlink(f"/proc/self/fd/{beside}"), text)
        # The last part is not followed: what is removed or renamed is the link itself.
        folder, name = os.path.split(os.path.abspath(text))
        where = os.path.join(os.path.realpath(folder), name)
        if event == "open":
            where = os.path.realpath(where)
        if not any(where == a or where.startswith(a + os.sep) for a in self.allowed):
            self.seen.append(f"{event} {where!a}")
