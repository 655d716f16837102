"""Saving: the original bytes with the replaced tensors patched in, written atomically.

Values outside the .onnx file go to one data file beside it, whose name is ours and never the
sender's, and which holds what the tensors need and nothing else of the files they were read from.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import copying, pieces, wire
from nnw_onnx.graph.ahead import Ahead
from nnw_onnx.graph.files import Limits, ModelFile, open_file
from nnw_onnx.graph.pieces import Changed, Piece
from nnw_onnx.graph.tensors import External, StoredTensor, same_bytes, stored_bytes
from nnw_onnx.graph.wire import Address, Edit
from nnw_onnx.vocabulary import Array


def data_path(path: Path) -> Path:
    """The data file of a model that is saved at `path`, where it needs one."""
    return path.with_name(f"{path.name}.data")


def save(
    file: ModelFile,
    replaced: Mapping[Address, Array],
    path: Path,
    *,
    sidecar: bool = False,
    ahead: Ahead | None = None,
) -> None:
    """Write the model and its data file; raises `ModelFileError` where that fails.

    Everything is written under temporary names first; a data file that belongs to another model
    is never replaced, and the .onnx file takes its place last. With `sidecar` only changed tensors
    are written, and all others stay in the data files beside `path` that hold them. What was begun
    `ahead` is used where it suits.
    """
    try:
        _save(file, replaced, path, sidecar=sidecar, ahead=ahead)
    except OSError as error:
        raise ModelFileError(
            f"save: expected a place that can be written, got {error.strerror or error} for "
            f"{str(path)!r}; choose another one"
        ) from error


def _save(
    file: ModelFile,
    replaced: Mapping[Address, Array],
    path: Path,
    *,
    sidecar: bool,
    ahead: Ahead | None,
) -> None:
    if path.exists() and not path.is_file():
        raise OSError(0, "a folder, pipe or device")
    outside = pieces.outside(file)
    if any(_is(path, place) for place in outside.values()):
        raise OSError(0, "a data file that the model is read from")
    if sidecar:
        _expect_beside(outside.values(), path)
    changed = _changed(file, replaced)
    placed = pieces.placed(_moving(outside, changed, path, sidecar=sidecar), changed)
    if placed:
        _expect_free(file, outside.values(), path, sidecar=sidecar)
    edits = _edits(file, changed, placed, data_path(path).name)
    model = wire.rewrite(file.buffer, file.root, edits)
    with ExitStack() as unfinished:
        data, missing = ahead.taken(placed) if ahead is not None else (None, placed)
        _expect_room(path.parent, sum(p.size for p in missing) + sum(map(len, model)))
        if data is None and placed:
            data = copying.temporary(path, 1, unfinished)
        temporary = copying.temporary(path, 0, unfinished)
        if data is not None:
            copying.write(data, ((piece.offset, pieces.source(piece)) for piece in missing))
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


def _edits(
    file: ModelFile, changed: Changed, placed: Sequence[Piece], name: str
) -> dict[Address, list[Edit]]:
    offsets = {a: piece.offset + inside for piece in placed for a, inside in piece.tensors.items()}
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
