"""Temporary folders that do not outlive who made them, however that ends.

Whoever makes one holds a lock in it, which the system lets go of when a process ends. The next to
make one removes those of this user that nobody holds any more.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "nnw-scratch-"
_LOCK = ".lock"
_MOST_TRIES = 20


class Scratch:
    """A temporary folder of this process.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        """Make it, and remove what processes that were killed have left.

        Raises:
            OSError: there is no place for temporary files.
        """
        sweep()
        for _ in range(_MOST_TRIES):
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = FileLock(self.path / _LOCK, timeout=0)
            # The lock makes a folder that was swept meanwhile, for all to read.
            if _taken(self._lock) and _is_ours(self.path):
                return
            self._lock.release()
            # Somebody who sweeps was faster, or the disk is full.
            shutil.rmtree(self.path, ignore_errors=True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir())

    def close(self) -> None:
        """Remove it with all that is in it."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep() -> None:
    """Remove the folders of processes that are gone."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = FileLock(path / _LOCK, timeout=0)
        if _is_ours(path) and _taken(lock):
            shutil.rmtree(path, ignore_errors=True)
            lock.release()


def _taken(lock: FileLock) -> bool:
    """Whether this process holds the lock now, in a folder that is still there."""
    try:
        lock.acquire()
    except (Timeout, OSError):
        return False
    if Path(lock.lock_file).exists():
        return True
    lock.release()
    return False


def _is_ours(path: Path) -> bool:
    """Whether it is a folder of this user alone that was held; one that was not is just made."""
    try:
        own, lock = path.lstat(), (path / _LOCK).lstat()
    except OSError:
        return False
    mine = os.name != "posix" or (own.st_uid == os.geteuid() and not own.st_mode & 0o077)
    return mine and stat.S_ISDIR(own.st_mode) and stat.S_ISREG(lock.st_mode)
