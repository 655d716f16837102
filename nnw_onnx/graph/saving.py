"""Saving: the original bytes with the replaced tensors patched in, written atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import wire
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.tensors import StoredTensor
from nnw_onnx.graph.wire import Address, Edit
from nnw_onnx.vocabulary import Array

_ALIGNMENT = 4096
_BLOCK = 1 << 22
_MOST_NAMES = 10_000


@dataclass
class DataFile:
    """A data file of the model and what becomes of it.

    Attributes:
        source: the file it is copied from.
        contents: its bytes as they were when the model was opened.
        identity: device and inode it had then.
        location: its name as the model gives it.
        patches: first byte -> new bytes; beyond the end they are appended.
        offsets: tensors whose values are appended, because others share the old ones.
        new_location: another name, where the old one is taken by other contents.
    """

    source: Path
    contents: NDArray[np.uint8]
    identity: tuple[int, int]
    location: str
    patches: dict[int, wire.Buffer] = field(default_factory=dict)
    offsets: dict[Address, int] = field(default_factory=dict)
    new_location: str | None = None


def save(file: ModelFile, replaced: Mapping[Address, Array], path: Path) -> None:
    """Write the model and its data files; raises `ModelFileError` where that fails.

    Everything is written under temporary names first; a data file that belongs to another model
    is never replaced, and the .onnx file takes its place last.
    """
    try:
        _save(file, replaced, path)
    except OSError as error:
        raise ModelFileError(
            f"save: expected a place that can be written, got {error.strerror or error} for "
            f"{str(path)!r}; choose another one"
        ) from error


def _save(file: ModelFile, replaced: Mapping[Address, Array], path: Path) -> None:
    if path.exists() and not path.is_file():
        raise OSError(0, "a folder, pipe or device")
    changed = {
        address: values.data
        for address, array in replaced.items()
        if not np.array_equal(
            values := array.reshape(-1).view(np.uint8),
            np.frombuffer(file.tensors[address].raw(), np.uint8),
        )
    }
    data_files = _data_files(file, changed)
    if any(_is(path, data.identity) for data in data_files.values()):
        raise OSError(0, "a data file that the model is read from")
    with ExitStack() as unfinished:
        taken: set[str] = set()
        renames = [_stage(data, path, taken, unfinished) for data in data_files.values()]
        pieces = wire.rewrite(file.buffer, file.root, _edits(file, changed, data_files))
        temporary = _temporary(path, 0, unfinished)
        _write(temporary, pieces)
        for old, new in [pair for pair in renames if pair is not None]:
            _rename(old, new, unfinished)
        temporary.replace(path)
        unfinished.pop_all()


def _data_files(file: ModelFile, changed: Mapping[Address, wire.Buffer]) -> dict[Path, DataFile]:
    """The data files in use, with the patches that the changed tensors need."""
    found: dict[Path, DataFile] = {}
    ranges: dict[Path, list[StoredTensor]] = {}
    for tensor in file.tensors.values():
        if tensor.external is not None:
            place = tensor.external
            data = DataFile(place.path, place.data, place.identity, place.location)
            found.setdefault(place.path, data)
            ranges.setdefault(place.path, []).append(tensor)
    for source, data in found.items():
        shared = _overlapping(ranges[source])
        end = data.contents.size
        for tensor in ranges[source]:
            values = changed.get(tensor.address)
            if values is None or tensor.external is None:
                continue
            offset = tensor.external.offset
            if tensor.address in shared:
                offset = -(-end // _ALIGNMENT) * _ALIGNMENT
                end = offset + len(values)
                data.offsets[tensor.address] = offset
            data.patches[offset] = values
    return found


def _overlapping(tensors: Iterable[StoredTensor]) -> set[Address]:
    """Tensors whose bytes are also those of another tensor."""
    shared: set[Address] = set()
    end, last = -1, None
    for tensor in sorted(tensors, key=_offset):
        assert tensor.external is not None
        if last is not None and tensor.external.offset < end:
            shared |= {tensor.address, last.address}
        stop = tensor.external.offset + tensor.external.length
        if stop > end:
            end, last = stop, tensor
    return shared


def _offset(tensor: StoredTensor) -> int:
    return tensor.external.offset if tensor.external is not None else 0


def _edits(
    file: ModelFile, changed: Mapping[Address, wire.Buffer], data_files: Mapping[Path, DataFile]
) -> dict[Address, list[Edit]]:
    edits: dict[Address, list[Edit]] = {}
    for address, tensor in file.tensors.items():
        message = file.messages[address]
        if tensor.external is not None:
            data = data_files[tensor.external.path]
            if data.new_location is not None or address in data.offsets:
                entries = {e.key: e.value for e in tensor.proto.external_data}
                entries["location"] = data.new_location or entries["location"]
                entries["offset"] = str(data.offsets.get(address, tensor.external.offset))
                edits[address] = wire.replace_external(message, entries)
        elif address in changed:
            edits[address] = wire.replace_values(file.buffer, message, changed[address])
    return edits


def _stage(
    data: DataFile, path: Path, taken: set[str], unfinished: ExitStack
) -> tuple[Path, Path] | None:
    """Write a data file under a temporary name; the rename to do, or None where it is there."""
    target = path.parent / data.location
    if not data.patches and _is(target, data.identity):
        return None
    temporary = _temporary(path, 1, unfinished)
    if _is(data.source, data.identity):
        shutil.copyfile(data.source, temporary)
    else:
        data.contents.tofile(temporary)
    if data.patches:
        with temporary.open("r+b") as stream:
            for offset, values in sorted(data.patches.items()):
                stream.seek(offset)
                stream.write(values)
    for name in _names(data.location, path):
        if name in taken:
            continue
        target = path.parent / name
        own = name == f"{path.name}.data" and path.exists()
        if own or not os.path.lexists(target):
            break
        if target.is_file() and _same_bytes(temporary, target):
            break
    taken.add(name)
    data.new_location = name if name != data.location else None
    return temporary, target


def _is(path: Path, identity: tuple[int, int]) -> bool:
    """Whether the file is still the one that was opened."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == identity


def _same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(_BLOCK):
            if block != right.read(_BLOCK):
                return False
    return True


def _names(location: str, path: Path) -> Iterator[str]:
    """Names for a data file beside `path`: the old one if it is safe there, then our own."""
    folder = path.parent.resolve()
    target = (path.parent / location).resolve()
    if target.is_relative_to(folder) and target != path.resolve():
        yield location
    yield f"{path.name}.data"
    yield from (f"{path.name}.{k}.data" for k in range(1, _MOST_NAMES))


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


def _write(path: Path, pieces: Iterable[wire.Buffer | bytes]) -> None:
    with path.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())


def _rename(old: Path, new: Path, unfinished: ExitStack) -> None:
    existed = new.exists()
    new.parent.mkdir(parents=True, exist_ok=True)
    old.replace(new)
    if not existed:
        unfinished.callback(new.unlink, missing_ok=True)
