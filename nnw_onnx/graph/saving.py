"""Saving: the original bytes with the replaced tensors patched in, written atomically.

Values outside the .onnx file go to one data file beside it, whose name is ours and never the
sender's, and which holds what the tensors need and nothing else of the files they were read from.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import copying, wire
from nnw_onnx.graph.files import Limits, ModelFile, open_file
from nnw_onnx.graph.tensors import External, StoredTensor, same_bytes, stored_bytes
from nnw_onnx.graph.wire import Address, Edit
from nnw_onnx.vocabulary import Array

_ALIGNMENT = 4096
_MOST_NAMES = 10_000

Changed = Mapping[Address, Callable[[], wire.Buffer]]
"""What gives the new bytes of the tensors whose values differ from those of the file."""


@dataclass
class Piece:
    """Bytes that go to the data file in one piece, and the tensors that lie in them.

    Attributes:
        start: where the first of them was in its file; they keep their place within a page.
        size: number of bytes.
        source: the new bytes, or the data file where they stay what they were.
        tensors: address -> first byte within the piece.
        offset: first byte in the new file.
    """

    start: int
    size: int
    source: Callable[[], wire.Buffer] | External
    tensors: dict[Address, int]
    offset: int = 0


def data_path(path: Path) -> Path:
    """The data file of a model that is saved at `path`, where it needs one."""
    return path.with_name(f"{path.name}.data")


def save(
    file: ModelFile, replaced: Mapping[Address, Array], path: Path, *, sidecar: bool = False
) -> None:
    """Write the model and its data file; raises `ModelFileError` where that fails.

    Everything is written under temporary names first; a data file that belongs to another model
    is never replaced, and the .onnx file takes its place last. With `sidecar` only changed tensors
    are written, and all others stay in the data files beside `path` that hold them.
    """
    try:
        _save(file, replaced, path, sidecar=sidecar)
    except OSError as error:
        raise ModelFileError(
            f"save: expected a place that can be written, got {error.strerror or error} for "
            f"{str(path)!r}; choose another one"
        ) from error


def _save(file: ModelFile, replaced: Mapping[Address, Array], path: Path, *, sidecar: bool) -> None:
    if path.exists() and not path.is_file():
        raise OSError(0, "a folder, pipe or device")
    outside = {a: t.external for a, t in file.tensors.items() if t.external is not None}
    if any(_is(path, place) for place in outside.values()):
        raise OSError(0, "a data file that the model is read from")
    if sidecar:
        _expect_beside(outside.values(), path)
    changed = _changed(file, replaced)
    pieces = _placed(_pieces(_moving(outside, changed, path, sidecar=sidecar), changed))
    if pieces:
        _expect_free(file, outside.values(), path, sidecar=sidecar)
    edits = _edits(file, changed, pieces, data_path(path).name)
    model = wire.rewrite(file.buffer, file.root, edits)
    _expect_room(path.parent, sum(p.size for p in pieces) + sum(map(len, model)))
    with ExitStack() as unfinished:
        data = _temporary(path, 1, unfinished) if pieces else None
        temporary = _temporary(path, 0, unfinished)
        if data is not None:
            copying.write(data, ((piece.offset, _source(piece)) for piece in pieces))
        copying.write(temporary, _one_after_another(model))
        if data is not None:
            _rename(data, data_path(path), unfinished)
        temporary.replace(path)
        unfinished.pop_all()


def in_one_piece(file: ModelFile, replaced: Mapping[Address, Array]) -> bytes:
    """The bytes of the model with all values inside: of a model without external data as `save`.

    Raises:
        ModelFileError: they are more than protobuf reads.
    """
    changed = _changed(file, replaced)
    edits = {
        address: wire.put_inside(file.messages[address], changed.get(address, tensor.raw)())
        if tensor.external is not None
        else wire.replace_values(file.buffer, file.messages[address], changed[address]())
        for address, tensor in file.tensors.items()
        if tensor.external is not None or address in changed
    }
    pieces = wire.rewrite(file.buffer, file.root, edits)
    size = sum(map(len, pieces))
    if size > Limits.file_bytes:
        raise ModelFileError(
            f"model: expected at most {Limits.file_bytes} bytes with all values inside, got "
            f"{size}; save it to a file, which keeps external data"
        )
    return b"".join(pieces)


def _changed(file: ModelFile, replaced: Mapping[Address, Array]) -> Changed:
    """Which tensors differ; their bytes are made when they are written, one after the other."""

    def made(address: Address) -> wire.Buffer:
        return stored_bytes(replaced[address], file.tensors[address].data_type).data

    return {
        address: partial(made, address)
        for address in replaced
        if not same_bytes(np.frombuffer(made(address), np.uint8), file.tensors[address].raw())
    }


def _moving(
    outside: Mapping[Address, External], changed: Changed, path: Path, *, sidecar: bool
) -> dict[Address, External]:
    """The tensors that cannot stay in the file where they are, seen from the new place."""
    if sidecar:
        return {address: place for address, place in outside.items() if address in changed}
    touched = {place.path for address, place in outside.items() if address in changed}
    stay = {
        place.path
        for place in outside.values()
        if place.path not in touched and _is(path.parent / place.location, place)
    }
    return {address: place for address, place in outside.items() if place.path not in stay}


def _pieces(moving: Mapping[Address, External], changed: Changed) -> list[Piece]:
    """What the data file holds, in the order of the old files; bytes that are shared stay so."""
    shared = _overlapping(moving)
    found: list[Piece] = []
    apart: list[Piece] = []
    source, end = Path(), 0
    for address, place in _in_order(moving):
        values, stop = changed.get(address), place.offset + place.length
        if values is not None:
            # Who shares the old bytes still reads those.
            kept, start = (apart, 0) if address in shared else (found, place.offset)
            kept.append(Piece(start, place.length, values, {address: 0}))
        elif place.path == source and place.offset < end:
            found[-1].tensors[address] = place.offset - found[-1].start
            end = max(stop, end)
            found[-1].size = end - found[-1].start
        else:
            found.append(Piece(place.offset, place.length, place, {address: 0}))
            source, end = place.path, stop
    return found + apart


def _overlapping(places: Mapping[Address, External]) -> set[Address]:
    """Tensors whose bytes are also those of another tensor."""
    shared: set[Address] = set()
    last: tuple[Path, int, Address] | None = None
    for address, place in _in_order(places):
        stop = place.offset + place.length
        if last is not None and last[0] == place.path and place.offset < last[1]:
            shared |= {address, last[2]}
        if last is None or last[0] != place.path or stop > last[1]:
            last = place.path, stop, address
    return shared


def _in_order(places: Mapping[Address, External]) -> list[tuple[Address, External]]:
    return sorted(places.items(), key=lambda item: (str(item[1].path), item[1].offset, item[0]))


def _placed(pieces: list[Piece]) -> list[Piece]:
    """The pieces with their offsets: as far into a page as before, for whoever maps the file."""
    end = 0
    for piece in pieces:
        # Nothing is written for an empty one, so the file may end before an aligned place.
        piece.offset = end + (piece.start - end) % _ALIGNMENT if piece.size else end
        end = piece.offset + piece.size
    return pieces


def _edits(
    file: ModelFile, changed: Changed, pieces: Sequence[Piece], name: str
) -> dict[Address, list[Edit]]:
    offsets = {a: piece.offset + inside for piece in pieces for a, inside in piece.tensors.items()}
    edits: dict[Address, list[Edit]] = {}
    for address, tensor in file.tensors.items():
        message = file.messages[address]
        if address in offsets:
            place = tensor.external
            if place is None or (place.location, place.offset) != (name, offsets[address]):
                edits[address] = wire.replace_external(
                    message, _entries(name, offsets[address], tensor)
                )
        elif address in changed:
            edits[address] = wire.replace_values(file.buffer, message, changed[address]())
    return edits


def _entries(name: str, offset: int, tensor: StoredTensor) -> dict[str, str]:
    # A checksum, which ONNX allows here, would be that of the file as it was.
    return {"location": name, "offset": str(offset), "length": str(tensor.nbytes)}


def _source(piece: Piece) -> copying.Source:
    if isinstance(piece.source, External):
        return copying.Range(piece.source, piece.start, piece.size)
    return piece.source


def _expect_beside(outside: Collection[External], path: Path) -> None:
    """Refuse a sidecar where the other weights do not lie beside it."""
    got = "" if outside else "one in a single file"
    for place in outside:
        if not _is(path.parent / place.location, place):
            got = f"{place.path.name!r} in {str(place.path.parent)!r}"
    if got:
        raise ModelFileError(
            f"sidecar: expected a network whose data files lie where {path.name} is written, got "
            f"{got}; write into the folder of the model, or all of it (without sidecar)"
        )


def _expect_free(
    file: ModelFile, outside: Iterable[External], path: Path, *, sidecar: bool
) -> None:
    """Refuse to write over a data file that is not that of the model which is replaced."""
    target = data_path(path)
    if not os.path.lexists(target):
        return
    got = "one that is not a regular file"
    if target.is_file() and not target.is_symlink():
        in_place = path.exists() and path.samefile(file.path)
        if any(_is(target, place) for place in outside):
            got = "" if in_place and not sidecar else "one that the model is read from"
        else:
            got = "" if _is_data_of(path, target.name) else "a file that is not its own"
    if got:
        raise ModelFileError(
            f"save: expected no file {str(target)!r}, where the weights of {path.name} go, got "
            f"{got}; remove it or choose another name"
        )


def _is_data_of(path: Path, name: str) -> bool:
    """Whether the model at `path` has values in the data file of this name beside it."""
    try:
        there = open_file(path, Limits(hard_links=True))
    except ModelFileError:
        return False
    return any(
        t.external is not None and t.external.location == name for t in there.tensors.values()
    )


def _is(path: Path, place: External) -> bool:
    """Whether the file is still the one that was opened."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == place.identity


def _view(piece: wire.Buffer | bytes) -> wire.Buffer:
    return memoryview(piece)


def _expect_room(folder: Path, size: int) -> None:
    # Of a file with holes, a few kilobytes on the disk may stand for terabytes.
    if size > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _temporary(path: Path, kind: int, unfinished: ExitStack) -> Path:
    """A new empty file in the folder of `path`, removed again unless all goes well."""
    for k in range(_MOST_NAMES):
        temporary = path.parent / f".{path.name}.{os.getpid()}.{kind}.{k}.tmp"
        try:
            temporary.open("xb").close()
        except FileExistsError:
            continue
        unfinished.callback(temporary.unlink, missing_ok=True)
        return temporary
    raise OSError(0, "a folder full of unfinished files")


def _one_after_another(
    pieces: Iterable[wire.Buffer | bytes],
) -> Iterator[tuple[int, copying.Source]]:
    offset = 0
    for piece in pieces:
        yield offset, partial(_view, piece)
        offset += len(piece)


def _rename(old: Path, new: Path, unfinished: ExitStack) -> None:
    existed = new.exists()
    old.replace(new)
    if not existed:
        unfinished.callback(new.unlink, missing_ok=True)
