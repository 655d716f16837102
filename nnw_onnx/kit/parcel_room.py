"""Room for parcels: which of those on a machine are in use, and which go where there are too many.

A process that reads a parcel holds a file of its own locked, `.used/<parcel>-<number>`, whose lock
goes with the process, however that ends. Parcels that nobody holds and that were not used lately go
first that were not used for the longest time, until all together are no larger than `MOST_BYTES`.
What a run needs is never refused for being larger: it goes once nobody uses it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nnw_onnx.kit import cache

MOST_BYTES = cache.MOST_BYTES
"""Size of all parcels of a folder together."""
LATELY_NS = 3600 * 10**9
"""Nanoseconds after its last use for which a parcel stays: what has come waits for its task."""
_LOCK = ".lock"
_MARKS = ".used"
_HELD: dict[Path, FileLock] = {}
_OWN = threading.Lock()


def hold(place: Path) -> bool:
    """Whether a parcel is there; it then stays until `release`.

    Args:
        place: its folder, in that of all parcels.
    """
    try:
        with _OWN, _only_one(place.parent):
            if not place.is_dir():
                return False
            os.utime(place)
            if place not in _HELD:
                _HELD[place] = _mark(place)
            return True
    except OSError:  # without a mark, it stays for having been used lately
        return place.is_dir()


def release() -> None:
    """Hold nothing any more."""
    with _OWN:
        for place, lock in _HELD.items():
            with suppress(OSError), _only_one(place.parent):
                lock.release()
                Path(lock.lock_file).unlink(missing_ok=True)
        _HELD.clear()


def make(folder: Path) -> None:
    """Remove what nobody uses from a folder of parcels, as long as all is too large."""
    with suppress(OSError):
        found = sorted((*_told(place), place) for place in _parcels(folder))
        total = sum(size for _, size, _ in found)
        with _only_one(folder):
            (folder / _LOCK).touch()
            now = (folder / _LOCK).stat().st_mtime_ns
            for last, size, place in found:
                if total <= MOST_BYTES or now - last < LATELY_NS:
                    break
                if not _in_use(place):
                    shutil.rmtree(place, ignore_errors=True)
                    total -= size


def _only_one(folder: Path) -> FileLock:
    """A lock for as long as it is looked at who uses what."""
    return FileLock(folder / _LOCK)


def _mark(place: Path) -> FileLock:
    marks = place.parent / _MARKS
    marks.mkdir(mode=0o700, exist_ok=True)
    # Threads hold it together, and another one than took it gives it back.
    lock = FileLock(marks / f"{place.name}-{secrets.token_hex(8)}", thread_local=False)
    lock.acquire(timeout=0)
    return lock


def _parcels(folder: Path) -> list[Path]:
    """Those that are there, and those that are coming or were left half way."""
    return [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and p.name != _MARKS]


def _told(place: Path) -> tuple[int, int]:
    """When a parcel was used last, in nanoseconds, and its size in bytes."""
    inside = [p.lstat() for p in place.rglob("*")]
    coming = place.name.startswith(".")
    times = [told.st_mtime_ns for told in inside] if coming else []
    return max([place.lstat().st_mtime_ns, *times]), sum(told.st_size for told in inside)


def _in_use(place: Path) -> bool:
    """Whether a process holds it; marks of those that died are removed."""
    for mark in (place.parent / _MARKS).glob(f"{place.name}-*"):
        lock = FileLock(mark, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        mark.unlink(missing_ok=True)
    return False
