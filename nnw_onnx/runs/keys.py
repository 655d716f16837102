"""Key files: an .npz of plain bytes, written for its owner's eyes only, distrusted when read.

Members, stored without compression, each but the last a one-dimensional uint8 array:
    text.npy          UTF-8 JSON: format, version and everything of the key that is not secret
    secret.npy        32 bytes
    payload.npy       the Symbols, only where the owner keeps the payload with the key
    array-<name>.npy  float32 of any shape, such as trigger inputs; only in version 2
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import stat
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, KeyFileError
from nnw_onnx.runs._key_arrays import (
    LARGEST_ARRAYS,
    PREFIX,
    array_member,
    array_of,
    checked,
    member_name,
)
from nnw_onnx.runs._key_text import MOST_ARRAYS, key_fields, key_text
from nnw_onnx.vocabulary import SECRET_BYTES, Key, Payload

_LARGEST_FILE = LARGEST_ARRAYS + (16 << 20)
_LARGEST_MEMBERS = {"text.npy": 4 << 20, "secret.npy": 1 << 10, "payload.npy": 8 << 20}
_HEADER_ROOM = 1 << 10
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)
_HEADER = re.compile(rb"\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d{1,9}),\), \}\s*")


def save_key(key: Key, path: str | Path, keep_payload: bool = True) -> None:
    """Write a key file that only its owner can read (mode 0600), all of it or nothing.

    An existing file is replaced. Options must be JSON values; a tuple comes back as a list.

    Args:
        key: the key.
        path: the file, by custom with the suffix .npz.
        keep_payload: whether the payload stays with the key, where the key has one.

    Raises:
        KeyFileError: the file cannot be written, or the key has a value that cannot be kept.
    """
    target = Path(path)
    data = _archive(key, keep_payload and key.payload is not None)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        _write_private(temporary, data)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise KeyFileError(
            f"{target}: expected a path where a key can be written, got: {error.strerror}; "
            "choose another path"
        ) from error


def load_key(path: str | Path) -> Key:
    """Read a key file; nothing in it is executed and no size in it is believed.

    A file that others can read gives a `UserWarning`.

    Raises:
        KeyFileError: the file is absent, broken, too large, of another version or not a key.
    """
    source = Path(path)
    data = _read_limited(source)
    try:
        members = _members(data)
        key = _key(members)
    except (KeyFileError, ConfigurationError) as error:
        raise KeyFileError(f"{source}: {error}") from error
    return key


def _archive(key: Key, with_payload: bool) -> bytes:
    arrays = {"text.npy": key_text(key).encode(), "secret.npy": key.secret}
    if with_payload and key.payload is not None:
        if key.payload.alphabet > 256:
            raise KeyFileError(
                f"key: expected a payload alphabet of at most 256, got {key.payload.alphabet}; "
                "save it with keep_payload=False"
            )
        arrays["payload.npy"] = bytes(key.payload.symbols)
    members = {n: array_member(np.frombuffer(c, np.uint8)) for n, c in arrays.items()}
    for name, values in sorted(checked(key.arrays).items()):
        members[member_name(name)] = array_member(values)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _write_private(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read_limited(path: Path) -> bytes:
    advice = "give the file that 'nnw inject' wrote"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path}: expected a key file, got a folder or device; {advice}")
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise KeyFileError(
            f"{path}: expected a key file, got: {error.strerror}; {advice}"
        ) from error
    if len(data) > _LARGEST_FILE:
        raise KeyFileError(
            f"{path}: expected a key file of at most {_LARGEST_FILE >> 20} MiB, got more; {advice}"
        )
    if os.name == "posix" and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.warn(
            f"{path}: expected a key that only its owner can read, got mode "
            f"{stat.S_IMODE(status.st_mode):o}; run 'chmod 600' on it",
            stacklevel=3,
        )
    return data


def _members(data: bytes) -> dict[str, bytes]:
    """Contents of the members of an archive, after every size was checked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            return {e.filename: archive.read(e) for e in entries}
    except _BROKEN_ARCHIVE as error:
        raise KeyFileError(
            "expected a whole .npz key file, got a file that is not one or is cut off; restore it "
            "from a copy"
        ) from error


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    names = sorted(entry.filename for entry in entries)
    arrays = [name for name in names if name.startswith(PREFIX) and name.endswith(".npy")]
    others = [name for name in names if name not in arrays]
    distinct = len(set(arrays)) == len(arrays) <= MOST_ARRAYS
    if not distinct or others not in (["secret.npy", "text.npy"], sorted(_LARGEST_MEMBERS)):
        raise KeyFileError(
            f"expected the members text.npy, secret.npy and maybe payload.npy, got "
            f"{_shown(names)}; give a key file of nnw-onnx"
        )
    for entry in entries:
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        largest = _LARGEST_MEMBERS.get(entry.filename, LARGEST_ARRAYS + _HEADER_ROOM)
        if not stored or entry.file_size > largest:
            raise KeyFileError(
                f"expected a small uncompressed member {_shown([entry.filename])}, got "
                f"{entry.file_size} bytes, compressed or encrypted; give a key file as nnw-onnx "
                "wrote it"
            )
    if sum(entry.file_size for entry in entries) > _LARGEST_FILE:
        raise KeyFileError(
            f"expected members of at most {_LARGEST_FILE >> 20} MiB in all, got more; give a key "
            "file as nnw-onnx wrote it"
        )


def _shown(names: list[str]) -> str:
    """Names of members on one line, whatever characters they have."""
    return ", ".join(names)[:200].encode("unicode_escape").decode() or "none"


def _key(members: dict[str, bytes]) -> Key:
    secret = _bytes_of("secret.npy", members["secret.npy"])
    if len(secret) != SECRET_BYTES:
        raise KeyFileError(
            f"expected a secret of {SECRET_BYTES} bytes, got {len(secret)}; restore it from a copy"
        )
    fields = key_fields(_bytes_of("text.npy", members["text.npy"]))
    payload = _payload(members.get("payload.npy"), fields)
    fields["arrays"] = _arrays(members, fields["arrays"])
    return Key(secret=secret, payload=payload, **fields)


def _arrays(members: dict[str, bytes], names: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    found = {name for name in members if name.startswith(PREFIX)}
    wanted = {member_name(name): name for name in names}
    if found != set(wanted):
        raise KeyFileError(
            f"expected the arrays that its text names ({', '.join(names) or 'none'}), got "
            f"{_shown(sorted(found))}; restore it from a copy"
        )
    return checked({name: array_of(member, members[member]) for member, name in wanted.items()})


def _payload(member: bytes | None, fields: dict[str, Any]) -> Payload | None:
    alphabet = fields.pop("alphabet")
    if member is None:
        return None
    content = _bytes_of("payload.npy", member)
    if len(content) != fields["payload_size"]:
        raise KeyFileError(
            f"expected a payload of {fields['payload_size']} symbols, got {len(content)}; restore "
            "it from a copy"
        )
    return Payload(tuple(content), alphabet)


def _bytes_of(name: str, member: bytes) -> bytes:
    """Content of a .npy member, which must be a one-dimensional array of uint8."""
    length = int.from_bytes(member[8:10], "little")
    header = _HEADER.fullmatch(member[10 : 10 + length])
    content = member[10 + length :]
    whole = member.startswith(b"\x93NUMPY\x01\x00") and header is not None
    if not (whole and header is not None and int(header[1]) == len(content)):
        raise KeyFileError(
            f"expected member {name} to be a whole one-dimensional uint8 array, got another; "
            "give a key file as nnw-onnx wrote it (pickled objects are never loaded)"
        )
    return content
