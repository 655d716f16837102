"""Files that are mapped into memory, of which no more is held than what is being read.

Every page of a mapped file that was looked at counts as memory of the process until it is given
back. That is always safe: the file has it, and whoever looks again gets the same bytes.
"""

from __future__ import annotations

import mmap
from threading import Lock
from weakref import WeakSet

_HELD = 1 << 26
_GIVE_BACK: int | None = vars(mmap).get("MADV_DONTNEED")


class Pages(mmap.mmap):
    """A mapped file that gives back what was read before, where the system has a call for that."""

    held = 0
    """Bytes that were asked for since pages were last given back."""

    def make_room(self, size: int) -> None:
        """Give back what was read before, of any file, if with `size` more it would be much."""
        with _LOCK:
            if sum(pages.held for pages in _READ) + size > _HELD:
                for pages in list(_READ):
                    pages.give_back()
            self.held += size
            _READ.add(self)

    def give_back(self) -> None:
        """Give all pages back."""
        if _GIVE_BACK is not None:
            self.madvise(_GIVE_BACK)
        self.held = 0
        _READ.discard(self)


_LOCK = Lock()
_READ: WeakSet[Pages] = WeakSet()
"""Files of which something is held: a sidecar and the data that it belongs to are two."""


def mapped(descriptor: int, size: int) -> memoryview:
    """The bytes of a regular file as they were when it was opened; an empty one maps to nothing."""
    return memoryview(Pages(descriptor, size, access=mmap.ACCESS_READ) if size else b"")


def part(whole: memoryview, start: int, stop: int) -> memoryview:
    """Bytes of a buffer; in a mapped one, pages that were read before may be given back."""
    if isinstance(whole.obj, Pages):
        whole.obj.make_room(stop - start)
    return whole[start:stop]
