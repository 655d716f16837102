"""Opening a model file as untrusted input."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from google.protobuf.message import Message as Parsed
from onnx import ModelProto, TensorProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import calling, external, pages, sniffing, wire
from nnw_onnx.graph.external import NOT_WAITING
from nnw_onnx.graph.tensors import (
    DATA_FIELD_NAMES,
    DATA_TYPES,
    MOST_AXES,
    STRING,
    STRIP_ABOVE,
    StoredTensor,
    one_line,
    raw_bytes,
    shown,
)
from nnw_onnx.graph.wire import Address, Buffer, Message

MAP_ABOVE = 1 << 24
_COUNTS: Mapping[int, tuple[str, int]] = {
    TensorProto.COMPLEX64: ("float_data", 2),
    TensorProto.COMPLEX128: ("double_data", 2),
    TensorProto.FLOAT: ("float_data", 1),
    TensorProto.DOUBLE: ("double_data", 1),
    TensorProto.INT64: ("int64_data", 1),
    TensorProto.UINT64: ("uint64_data", 1),
    TensorProto.UINT32: ("uint64_data", 1),
    TensorProto.STRING: ("string_data", 1),
}


@dataclass(frozen=True)
class Limits:
    """What a model file may ask for at most.

    Attributes:
        file_bytes: size of the .onnx file; protobuf itself ends at 2 GiB.
        elements: elements of one tensor.
        tensors: number of tensors.
        nodes: number of nodes.
        fields: number of protobuf fields; runs of numbers in attributes count once in 4096.
        depth: levels of graphs inside graphs.
        calls: levels of functions that call functions.
        written_out: nodes with every call of a function written out.
        hard_links: accept external data files with more than one name.
    """

    file_bytes: int = 2**31 - 1
    elements: int = 2**36
    tensors: int = 100_000
    nodes: int = 100_000
    fields: int = 1_500_000
    depth: int = 24
    calls: int = 100
    written_out: int = 300_000
    hard_links: bool = False


@dataclass(frozen=True)
class ModelFile:
    """A validated model file.

    Attributes:
        path: as given.
        folder: the only folder from which data are read; None of a network in memory.
        buffer: bytes of the file.
        root: where its tensors lie.
        proto: the parsed message, without values of `STRIP_ABOVE` bytes and more.
        tensors: every tensor by address.
        keep: what must live as long as this.
    """

    path: Path
    folder: Path | None
    buffer: Buffer
    root: Message
    proto: ModelProto
    tensors: Mapping[Address, StoredTensor]
    keep: object = None

    @cached_property
    def messages(self) -> dict[Address, Message]:
        """The place of each tensor in the bytes of the file."""
        return {m.address: m for m in self.root.walk()}

    @cached_property
    def skeletons(self) -> dict[object, Any]:
        """What `runnable` has made of it; it is kept there."""
        return {}

    @cached_property
    def sources(self) -> tuple[Path, ...]:
        """The file itself, then the files of its external data; none of a network in memory."""
        if self.folder is None:
            return ()
        outside = (t.external.path for t in self.tensors.values() if t.external is not None)
        return (self.path, *dict.fromkeys(outside))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the file followed by the bytes of every external tensor."""
        digest = hashlib.sha256()
        for start in range(0, len(self.buffer), MAP_ABOVE):
            digest.update(pages.part(self.buffer, start, min(start + MAP_ABOVE, len(self.buffer))))
        for tensor in self.tensors.values():
            if tensor.external is not None:
                digest.update(tensor.raw())
        return digest.hexdigest()


def open_file(path: Path, limits: Limits) -> ModelFile:
    """Read and validate; raises `ModelFileError` with one line for whatever is wrong."""
    return from_bytes(path, path.parent, _read(path, limits), limits)


def from_bytes(path: Path, folder: Path | None, buffer: Buffer, limits: Limits) -> ModelFile:
    """Validate the bytes of a model; raises as `open_file`.

    Args:
        path: of the file that they are said to be of.
        folder: where its external data are looked for; None allows no such data.
        buffer: the bytes.
        limits: see `open_file`.
    """
    sniffing.refuse_known_formats(path, bytes(buffer[:1024]))
    try:
        root = wire.locate(
            buffer, wire.WireLimits(limits.fields, limits.nodes, limits.tensors, limits.depth)
        )
        edits = wire.strip_values(buffer, root, STRIP_ABOVE)
        proto = onnx.ModelProto.FromString(b"".join(wire.rewrite(buffer, root, edits)))
        for value in (*proto.graph.input, *proto.graph.output):
            wire.expect_name(str(value.name), len(str(value.name).encode()))
        calling.expect_finite(proto, limits.written_out, limits.calls)
    except wire.LimitError as error:
        raise sniffing.beyond_limit(path, bytes(buffer[:1024]), str(error)) from error
    except (wire.WireError, DecodeError, RecursionError) as error:
        raise sniffing.not_onnx(path, bytes(buffer[:1024]), one_line(error)) from error
    if not proto.HasField("graph") or not (proto.ir_version or proto.opset_import):
        raise sniffing.not_onnx(path, bytes(buffer[:1024]), "no graph inside")
    tensors = {
        t.address: t for t in _tensors(buffer, root, proto, folder, hard_links=limits.hard_links)
    }
    for tensor in tensors.values():
        _validate(tensor, limits)
    return ModelFile(path, folder, buffer, root, proto, tensors)


def _read(path: Path, limits: Limits) -> Buffer:
    try:
        before = path.stat()
        _expect_file(path, before.st_mode, before.st_size, limits)
        # A file exchanged for a FIFO in between must not block.
        descriptor = os.open(path, os.O_RDONLY | NOT_WAITING)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise ModelFileError(
            f"model: expected a readable .onnx file, got {reason} for {str(path)!r}; check the path"
        ) from error
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        _expect_file(path, found.st_mode, found.st_size, limits)
        if found.st_size > MAP_ABOVE:
            return pages.mapped(descriptor, found.st_size)
        # Not up to the limit: that many bytes would be reserved first.
        return memoryview(stream.read(found.st_size))


def _expect_file(path: Path, mode: int, size: int, limits: Limits) -> None:
    got = None
    if stat.S_ISDIR(mode):
        got = "a folder"
    elif not stat.S_ISREG(mode):
        got = "a pipe or device"
    elif size == 0:
        got = "an empty file"
    elif size > limits.file_bytes:
        got = f"{size} bytes, more than {limits.file_bytes}"
    if got is not None:
        raise ModelFileError(
            f"model: expected an .onnx file, got {got} at {str(path)!r}; "
            "give the path of the .onnx file"
        )


def _tensors(
    buffer: Buffer, root: Message, proto: ModelProto, folder: Path | None, *, hard_links: bool
) -> Iterator[StoredTensor]:
    opened: external.Opened = {}
    for message in root.walk():
        if message.kind == "tensor" or message.fields:
            found = resolve(proto, message.address)
            yield _stored(buffer, message, found, folder, opened, hard_links=hard_links)


def resolve(proto: Any, address: Address) -> Any:
    """The message at an address of a parsed model."""
    for name, index in address:
        value = attrgetter(name)(proto)
        proto = value if isinstance(value, Parsed) else value[index]
    return proto


def _stored(
    buffer: Buffer,
    message: Message,
    proto: Any,
    folder: Path | None,
    opened: external.Opened,
    *,
    hard_links: bool,
) -> StoredTensor:
    if message.kind == "attribute":
        dims: tuple[int, ...] = (len(proto.floats),)
        return StoredTensor(message.address, "", TensorProto.FLOAT, dims, buffer, None, None, proto)
    dims = tuple(proto.dims)
    _expect_type(proto, dims)
    place = None
    if proto.data_location == TensorProto.EXTERNAL:
        _expect_external(proto)
        nbytes = raw_bytes(proto.data_type, dims)
        place = external.validate(proto, nbytes, folder, opened, hard_links=hard_links)
    field = wire.payload(buffer, message)
    values = None if field is None else (field.start, field.stop)
    return StoredTensor(
        message.address, proto.name, proto.data_type, dims, buffer, values, place, proto
    )


def _expect_type(proto: TensorProto, dims: tuple[int, ...]) -> None:
    name = f"tensor {shown(proto.name)}"
    if len(dims) > MOST_AXES:
        raise ModelFileError(
            f"{name}: expected at most {MOST_AXES} dimensions, got {len(dims)}; "
            "export the model again"
        )
    if proto.data_type not in DATA_TYPES:
        raise ModelFileError(
            f"{name}: expected a data type of ONNX, got number {proto.data_type}; "
            "export the model again, or update the package onnx"
        )
    if any(d < 0 for d in dims):
        raise ModelFileError(
            f"{name}: expected dimensions >= 0, got {list(dims)}; export the model again"
        )
    if proto.HasField("segment"):
        raise ModelFileError(
            f"{name}: expected a whole tensor, got a segment of one; export the model again"
        )


def _expect_external(proto: TensorProto) -> None:
    if proto.data_type == STRING:
        raise ModelFileError(
            f"tensor {shown(proto.name)}: expected text inside the model, got external data; "
            "export the model again"
        )


def _validate(tensor: StoredTensor, limits: Limits) -> None:
    name = f"tensor {shown(tensor.name)}"
    if tensor.size > limits.elements:
        raise ModelFileError(
            f"{name}: expected at most {limits.elements} elements, got shape {list(tensor.dims)}; "
            "do not use this model"
        )
    if tensor.external is not None or tensor.is_floats:
        return
    if tensor.values is not None:
        got, expected, unit = tensor.values[1] - tensor.values[0], tensor.nbytes, "bytes"
    elif sum(bool(len(attrgetter(field)(tensor.proto))) for field in DATA_FIELD_NAMES) > 1:
        raise ModelFileError(
            f"{name}: expected its values in one field, got several; export the model again"
        )
    elif tensor.proto.HasField("raw_data"):
        got, expected, unit = len(tensor.proto.raw_data), tensor.nbytes, "bytes"
    else:
        got, expected, unit = _typed_values(tensor)
    if got != expected:
        raise ModelFileError(
            f"{name}: expected {expected} {unit} for shape {list(tensor.dims)}, got {got}; "
            "the file is damaged, export it again"
        )


def _typed_values(tensor: StoredTensor) -> tuple[int, int, str]:
    field, factor = _COUNTS.get(int(tensor.data_type), ("int32_data", 1))
    got = len(attrgetter(field)(tensor.proto))
    if field == "int32_data" and tensor.nbytes < tensor.size:
        return got, tensor.nbytes, "packed values"
    return got, tensor.size * factor, "values"
