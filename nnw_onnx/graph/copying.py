"""Writing a file from new bytes and from ranges of other files, which the kernel copies itself."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self, TypeAlias

from nnw_onnx.graph import pages
from nnw_onnx.graph.external import NOT_WAITING
from nnw_onnx.graph.tensors import External
from nnw_onnx.graph.wire import Buffer

_BLOCK = 1 << 24
_MUCH, _PAUSE = 1 << 28, 0.02
"""Bytes from which on the disk is asked to take them meanwhile, and seconds between."""
_MOST_NAMES = 10_000
_MUST_TELL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What copying otherwise would not mend."""


class Range(NamedTuple):
    """Bytes of a data file that stay what they are."""

    place: External
    start: int
    size: int


Source: TypeAlias = Range | Callable[[], Buffer]


def write(path: Path, pieces: Iterable[tuple[int, Source]]) -> None:
    """Write pieces at their offsets into a file, and wait until the disk has them.

    New bytes are asked for when it is their turn and not kept. Ranges are copied inside the kernel,
    which shares the blocks of the disk where a file system can; a later write to one of the files
    never reaches the other.

    Raises:
        OSError: what the system says, or a data file that is shorter than it was.
    """
    with path.open("r+b", buffering=0) as target, ExitStack() as kept:
        sources: dict[Path, BinaryIO | None] = {}
        with _Draining(target.fileno()) as draining:
            for offset, piece in pieces:
                target.seek(offset)
                if not isinstance(piece, Range):
                    _put(target, piece())
                    continue
                if piece.place.path not in sources:
                    kept.close()
                    sources = {piece.place.path: _opened(piece.place, kept)}
                _copy(sources[piece.place.path], piece, target)
                draining.more(piece.size)
        os.fsync(target.fileno())


class _Draining:
    """Has the disk take what is written while more is written, where there is much.

    The last wait is short then, and the system never stops who writes until it has caught up.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._written = descriptor, 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def more(self, size: int) -> None:
        """So many bytes were written."""
        self._written += size
        if self._thread is None and self._written >= _MUCH:
            self._thread = threading.Thread(target=self._drain, daemon=True)
            self._thread.start()

    def _drain(self) -> None:
        try:
            while not self._done.wait(_PAUSE):
                os.fsync(self._descriptor)
        except OSError as error:
            self._failure = error  # the system tells of it once

    def __exit__(self, kind: object, *rest: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure


def temporary(path: Path, kind: int, unfinished: ExitStack) -> Path:
    """A new empty file in the folder of `path`, removed again unless all goes well."""
    for k in range(_MOST_NAMES):
        found = path.parent / f".{path.name}.{os.getpid()}.{kind}.{k}.tmp"
        try:
            found.open("xb").close()
        except FileExistsError:
            continue
        unfinished.callback(found.unlink, missing_ok=True)
        return found
    raise OSError(0, "a folder full of unfinished files")


def _opened(place: External, kept: ExitStack) -> BinaryIO | None:
    """The data file once more, or None where another one has taken its name."""
    if "copy_file_range" not in vars(os):
        return None
    try:
        descriptor = os.open(place.path, os.O_RDONLY | NOT_WAITING)
    except OSError:
        return None
    stream = kept.enter_context(os.fdopen(descriptor, "rb", buffering=0))
    found = os.fstat(descriptor)
    return stream if (found.st_dev, found.st_ino) == place.identity else None


def _copy(source: BinaryIO | None, piece: Range, target: BinaryIO) -> None:
    done = 0 if source is None else _in_kernel(source, piece, target)
    for start in range(piece.start + done, piece.start + piece.size, _BLOCK):
        stop = min(start + _BLOCK, piece.start + piece.size)
        _put(target, pages.part(piece.place.data, start, stop))


def _in_kernel(source: BinaryIO, piece: Range, target: BinaryIO) -> int:
    """Number of bytes copied: all, or those before the system refused to go on."""
    done = 0
    source.seek(piece.start)
    while done < piece.size:
        try:
            count = os.copy_file_range(source.fileno(), target.fileno(), piece.size - done)
        except OSError as error:
            if error.errno in _MUST_TELL:
                raise
            return done
        if not count:
            # Its mapped pages are gone too: reading them would end the process.
            raise OSError(0, f"{piece.place.path.name!r}, which became shorter")
        done += count
    return done


def _put(target: BinaryIO, values: Buffer) -> None:
    view = memoryview(values).cast("B")
    while len(view):
        view = view[target.write(view[:_BLOCK]) :]
