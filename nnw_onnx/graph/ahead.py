"""A data file that is begun before it is known which of its tensors change.

A mark changes one tensor of gigabytes. The others are copied meanwhile, so that marking a large
network takes little longer than copying it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import disk_usage

from nnw_onnx.graph import copying
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.pieces import Piece, outside, placed, source
from nnw_onnx.graph.tensors import External

LEAST = 1 << 28
"""Bytes of a data file below which nothing is won."""


class Ahead:
    """A copy that is under way under a temporary name; who does not take it leaves nothing."""

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        self._pieces, self._whole = pieces, False
        with ExitStack() as kept:
            self._path = copying.temporary(path, 2, kept)
            self._kept = kept.pop_all()
        self._dropped = threading.Event()
        # The kernel copies without the interpreter's lock.
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def taken(self, pieces: Sequence[Piece]) -> tuple[Path | None, Sequence[Piece]]:
        """The copy, once it is whole, with what has still to be written; None where it is no use.

        Args:
            pieces: of the data file that is wanted.
        """
        places = [[(piece.offset, piece.size) for piece in x] for x in (pieces, self._pieces)]
        if places[0] == places[1]:
            self._thread.join()
        if places[0] != places[1] or not self._whole:
            self.close()
            return None, pieces
        pairs = zip(pieces, self._pieces, strict=True)
        return self._path, [new for new, old in pairs if not _same(new, old)]

    def close(self) -> None:
        """Stop, and remove what was not taken."""
        self._dropped.set()
        self._thread.join()
        self._kept.close()

    def _copy(self) -> None:
        # Where it fails, who saves writes all, and tells what is wrong.
        with suppress(OSError):
            copying.write(self._path, self._wanted())
            self._whole = True

    def _wanted(self) -> Iterator[tuple[int, copying.Source]]:
        for piece in self._pieces:
            if self._dropped.is_set():
                raise OSError(0, "nobody waits for it")
            yield piece.offset, source(piece)


def _same(new: Piece, old: Piece) -> bool:
    """Whether both are the same bytes of the same file."""
    kept = [x.source for x in (new, old) if isinstance(x.source, External)]
    return len(kept) == 2 and new.start == old.start and kept[0].identity == kept[1].identity


@contextmanager
def begun(file: ModelFile, path: Path) -> Iterator[Ahead | None]:
    """Begin the data file of a model that will be saved at `path` with a few tensors changed.

    It is None where little would be won, or not be known: for small data files and for several
    ones, of which some may stay what they are.
    """
    places = outside(file)
    pieces = placed(places, {})
    size = sum(piece.size for piece in pieces)
    found = None
    if size >= LEAST and len({place.path for place in places.values()}) == 1:
        # Who saves meets what is wrong with the folder, and tells of it.
        with suppress(OSError):
            if size < disk_usage(path.parent).free:
                found = Ahead(path, pieces)
    try:
        yield found
    finally:
        if found is not None:
            found.close()
