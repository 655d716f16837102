"""Validation of external data: nothing outside the model's folder or repository is read."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import TensorProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import pages, sniffing
from nnw_onnx.graph.tensors import External, shown
from nnw_onnx.kit.hubs import own_blob

NOT_WAITING = 0 if sys.platform == "win32" else os.O_NONBLOCK
"""Flag that opens a FIFO without waiting for who writes into it."""

Opened = dict[Path, tuple[memoryview, tuple[int, int]]]
"""Data files of one model that are mapped into memory already, with device and inode."""


def validate(
    proto: TensorProto, nbytes: int, folder: Path | None, opened: Opened, *, hard_links: bool
) -> External:
    """The place of an externally stored tensor of `nbytes` bytes.

    Raises `ModelFileError` unless there is a folder, and the location is relative, stays inside the
    folder after all links are followed (or is a blob of the same repository in a Hugging Face
    cache), is a regular file with one name, and holds exactly the bytes of the shape.
    """
    name = f"tensor {shown(proto.name)}"
    entries = _entries(proto, name)
    location = entries.get("location", "")
    if folder is None:
        raise ModelFileError(
            f"{name}: expected its values inside a network in memory, which has no folder, got the "
            f"location {shown(location)}; give the file that it was read from"
        )
    path = _inside(location, folder, name)
    if path not in opened:
        opened[path] = _open(path, location, name, hard_links=hard_links)
    data, identity = opened[path]
    size = len(data)
    offset = _number(entries.get("offset", "0"), "offset", name)
    length = _number(entries["length"], "length", name) if "length" in entries else nbytes
    if length != nbytes:
        raise ModelFileError(
            f"{name}: expected {nbytes} bytes of external data for its shape, got length {length}; "
            "export the model again"
        )
    if offset + length > size:
        raise ModelFileError(
            f"{name}: expected bytes {offset} to {offset + length} of {shown(location)}, got a "
            f"file of {size} bytes; the data file is truncated, copy it again"
        )
    return External(path, location, offset, length, data, identity)


def _entries(proto: TensorProto, name: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    for entry in proto.external_data:
        if not isinstance(entry.key, str) or not isinstance(entry.value, str):
            raise ModelFileError(
                f"{name}: expected text as the place of external data, got other bytes; do not "
                "use this model"
            )
        if entry.key in entries:
            raise ModelFileError(
                f"{name}: expected one external {shown(entry.key)}, got two; export the model again"
            )
        entries[entry.key] = entry.value
    return entries


def _number(text: str, what: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelFileError(
            f"{name}: expected an external {what} of digits, got {shown(text)}; "
            "export the model again"
        )
    return int(text)


def safe_location(location: str) -> bool:
    """Whether a location is a relative path without `..` or hidden parts, on every platform."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    return bool(
        location
        and "\0" not in location
        and not posix.is_absolute()
        and not windows.drive
        and not windows.root
        and ".." not in windows.parts
        # Of a model in a home folder, `.ssh/id_rsa` would be weights, and be saved as such.
        and not any(part.startswith(".") for part in windows.parts)
    )


def _inside(location: str, folder: Path, name: str) -> Path:
    if not safe_location(location):
        raise ModelFileError(
            f"{name}: expected external data inside the model's folder, got the location "
            f"{shown(location)}; do not use this file, or export it again"
        )
    try:
        resolved = (folder / location).resolve()
        inside = resolved.is_relative_to(folder.resolve()) or own_blob(folder / location)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(
            f"{name}: expected an external data file, got {shown(location)}, which cannot be "
            "followed; copy the data file beside the model"
        ) from error
    if not inside:
        raise ModelFileError(
            f"{name}: expected external data inside the model's folder, got {shown(location)}, a "
            "link to a place outside it; copy the data file itself beside the model"
        )
    return resolved


def _open(
    path: Path, location: str, name: str, *, hard_links: bool
) -> tuple[memoryview, tuple[int, int]]:
    """Map a regular file; a FIFO is never opened for waiting."""
    try:
        _expect_regular(path.stat(), location, name, hard_links=hard_links)
        descriptor = os.open(path, os.O_RDONLY | NOT_WAITING)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{name}: expected its external data file {shown(location)}, got none that can be "
            "read; put it into the model's folder"
        ) from error
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        _expect_regular(found, location, name, hard_links=hard_links)
        _expect_no_key(stream.read(64), location, name)
        data = pages.mapped(descriptor, found.st_size)
    return data, (found.st_dev, found.st_ino)


def _expect_regular(found: os.stat_result, location: str, name: str, *, hard_links: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ModelFileError(
            f"{name}: expected a regular file as external data, got {shown(location)}, which is "
            "none; do not use this model"
        )
    if found.st_nlink > 1 and not hard_links:
        raise ModelFileError(
            f"{name}: expected external data with one name, got {shown(location)} with "
            f"{found.st_nlink} hard links; copy the data file itself beside the model"
        )


def _expect_no_key(start: bytes, location: str, name: str) -> None:
    """Refuse a key file: saved as weights, the secret would leave with the model."""
    if sniffing.is_key_file(start):
        raise ModelFileError(
            f"{name}: expected external data, got {shown(location)}, which is a secret key; move "
            "the key out of the model's folder, and do not use this model"
        )
