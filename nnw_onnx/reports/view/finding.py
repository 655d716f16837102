"""Where the runs of a folder are, and whether one is still as it was read."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.errors import RunError
from nnw_onnx.runs.store import RECORDS, SINGLE
from nnw_onnx.text import harmless

MOST_RUNS = 1000
"""Of them the last written are read, the others only named."""
_DEEPEST = 4
_MOST_FOLDERS = 20_000
_PLAN = "plan.json"
_FILES = (*SINGLE.values(), *RECORDS.values())
_ADDRESS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Place:
    """A run folder.

    Attributes:
        key: its name in addresses; follows from the path below the folder alone.
        name: path below the folder that is looked at, harmless.
        folder: where it is.
        stamp: (file, time of its last change in ns, bytes) of each of its files.
    """

    key: str
    name: str
    folder: Path
    stamp: tuple[tuple[str, int, int], ...]

    @property
    def changed(self) -> int:
        """When it was written last, in seconds since 1970."""
        return max((time for _, time, _ in self.stamp), default=0) // 10**9

    @property
    def size(self) -> int:
        """Bytes of its records."""
        return sum(size for *_, size in self.stamp)

    @property
    def version(self) -> str:
        """Another one where any of its files is."""
        return hashlib.sha256(repr(self.stamp).encode()).hexdigest()[:12]


def find(folder: Path) -> tuple[Place, ...]:
    """The runs in a folder, at most four levels below it, the last written first.

    No link is followed.

    Raises:
        RunError: there is no such folder, no run is in it, or it is too large to be looked through.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder}: expected a folder with runs, got none; give the folder that 'nnw evaluate' "
            "wrote its run folders into"
        )
    found = [_place(folder, path) for path in _runs(folder)]
    if not found:
        raise RunError(
            f"{folder}: expected a folder with runs, got no {_PLAN} in it or up to {_DEEPEST} "
            "levels below; give the folder that 'nnw evaluate' wrote its run folders into"
        )
    return tuple(sorted(found, key=lambda place: (-place.changed, place.name)))


def _runs(folder: Path) -> Iterator[Path]:
    unseen, seen = [(folder, 0)], 0
    while unseen:
        where, depth = unseen.pop()
        if os.path.lexists(where / _PLAN):
            yield where
            continue
        inside = _folders(where) if depth < _DEEPEST else []
        seen += len(inside)
        if seen > _MOST_FOLDERS:
            raise RunError(
                f"{folder}: expected at most {_MOST_FOLDERS} folders to look through, got more; "
                "give the folder with the runs alone"
            )
        unseen += [(path, depth + 1) for path in inside]


def _folders(where: Path) -> list[Path]:
    try:
        with os.scandir(where) as entries:
            return [
                Path(e.path)
                for e in entries
                if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []  # somebody else's: no run that can be read


def _place(folder: Path, path: Path) -> Place:
    below = path.relative_to(folder).as_posix()
    name = harmless(path.resolve().name if below == "." else below)
    words = _ADDRESS.sub("-", name.lower()).strip("-")[:40].strip("-")
    # Of the name as the file system has it: two names may look the same once they are harmless.
    digest = hashlib.sha256(os.fsencode(path.resolve().name if below == "." else below))
    key = f"{words}-{digest.hexdigest()[:8]}".lstrip("-")
    return Place(key, name, path, tuple(_stamp(path)))


def _stamp(path: Path) -> Iterator[tuple[str, int, int]]:
    for name in _FILES:
        try:
            status = (path / name).lstat()
        except OSError:
            continue
        yield name, status.st_mtime_ns, status.st_size
