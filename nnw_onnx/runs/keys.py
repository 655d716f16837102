"""Key files: a claim as an .npz of plain bytes, for its owner's eyes only, distrusted when read.

Members, stored without compression; the first two are one-dimensional uint8 arrays:
    text.npy          UTF-8 JSON: format, version and everything of the claim that is not secret
    secret.npy        32 bytes
    payload.npy       the Symbols, each in as few little-endian bytes as hold its alphabet; only
                      where the owner keeps the payload with the key
    array-<name>.npy  numbers of any shape, such as trigger inputs
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnw_onnx.errors import ConfigurationError, KeyFileError
from nnw_onnx.graph import sniffing
from nnw_onnx.kit import reading
from nnw_onnx.kit.writing import replacing
from nnw_onnx.runs._key_arrays import (
    LARGEST_ARRAYS,
    PREFIX,
    array_member,
    array_of,
    checked,
    member_name,
)
from nnw_onnx.runs._key_text import MOST_ARRAYS, KeyText, key_text, parsed
from nnw_onnx.vocabulary import SECRET_BYTES, Array, Claim, Key, Payload

_LARGEST_FILE = LARGEST_ARRAYS + (16 << 20)
_LARGEST_MEMBERS = {"text.npy": 4 << 20, "secret.npy": 1 << 10, "payload.npy": 64 << 20}
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
_OTHERS = {
    b"nnw-onnx master seed": "a master seed; make the key of a label with 'nnw inject --seed-file'",
    b"\x93NUMPY": "a numpy array; make a key of a matrix of others with 'nnw key import'",
}
"""How other files begin that may be taken for a key, and what they are for."""
_HEADER = re.compile(rb"\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d{1,9}),\), \}\s*")


def save_key(claim: Claim | Key, path: str | Path, keep_payload: bool = True) -> None:
    """Write a key file that only its owner can read (mode 0600), all of it or nothing.

    An existing key file is replaced, any other file is not: it could be the weights of a model.
    Options and facts must be JSON values; a tuple comes back as a list.

    Args:
        claim: key and payload; or a key alone.
        path: the file, by custom with the suffix .npz.
        keep_payload: whether the payload stays with the key, where there is one.

    Raises:
        KeyFileError: the file cannot be written, another one is there, or the key has a value that
            cannot be kept.
    """
    target = Path(path)
    whole = Claim(claim) if isinstance(claim, Key) else claim
    data = _archive(whole if keep_payload else replace(whole, payload=None))
    check_key_path(target)
    try:
        with replacing(target, private=True, durable=True) as file:
            file.write(data)
    except OSError as error:
        raise KeyFileError(
            f"{target}: expected a path where a key can be written, got: {error.strerror}; "
            "choose another path"
        ) from error


def load_key(path: str | Path) -> Claim:
    """The claim of a key file; nothing in it is executed and no size in it is believed.

    Files of all versions are read. One that others can read gives a `UserWarning`.

    Raises:
        KeyFileError: the file is absent, broken, too large, of another version or not a key.
    """
    source = Path(path)
    data, mode = _read_limited(source)
    try:
        claim = _claim(_members(data))
    except (KeyFileError, ConfigurationError) as error:
        raise KeyFileError(f"{source}: {error}") from error
    # Only now: that others can read a file which is no key is nobody's affair.
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.warn(
            f"{source}: expected a key that only its owner can read, got mode "
            f"{stat.S_IMODE(mode):o}; run 'chmod 600' on it",
            stacklevel=2,
        )
    return claim


def claim_digest(claim: Claim) -> str:
    """SHA-256 (hex) of everything in a claim, as a key file would hold it."""
    return hashlib.sha256(_archive(claim)).hexdigest()


def check_key_path(path: Path) -> None:
    """Raise `KeyFileError` where a file lies that is no key, which a key must not replace."""
    try:
        other = path.is_file() and not path.is_symlink() and not is_key(path)
    except OSError:
        return  # whoever writes there says why that cannot be
    if other:
        raise KeyFileError(
            f"{path}: expected a new file or an older key to replace, got a file that is no key; "
            "choose another path"
        )


def is_key(path: Path) -> bool:
    """Whether a file begins as key files do; raises `OSError` where it cannot be read."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return sniffing.is_key_file(file.read(64))


def _archive(claim: Claim) -> bytes:
    key = claim.key
    arrays = {"text.npy": key_text(claim), "secret.npy": key.secret}
    if claim.payload is not None:
        arrays["payload.npy"] = _symbol_bytes(claim.payload)
    members = {n: array_member(np.frombuffer(c, np.uint8)) for n, c in arrays.items()}
    for name, values in sorted(checked(key.arrays).items()):
        members[member_name(name)] = array_member(values)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _read_limited(path: Path) -> tuple[bytes, int]:
    """Content and mode of a file."""
    try:
        return reading.content(path, _LARGEST_FILE)
    except OSError as error:
        raise KeyFileError(
            f"{path}: expected a key file, got: {error.strerror}; give the file that 'nnw inject' "
            "wrote"
        ) from error


def _members(data: bytes) -> dict[str, bytes]:
    """Contents of the members of an archive, after every size was checked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            return {e.filename: archive.read(e) for e in entries}
    except _BROKEN_ARCHIVE as error:
        for start, words in _OTHERS.items():
            if data.startswith(start):
                raise KeyFileError(f"expected a whole .npz key file, got {words}") from error
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


def _claim(members: Mapping[str, bytes]) -> Claim:
    secret = _bytes_of("secret.npy", members["secret.npy"])
    if len(secret) != SECRET_BYTES:
        raise KeyFileError(
            f"expected a secret of {SECRET_BYTES} bytes, got {len(secret)}; restore it from a copy"
        )
    text = parsed(_bytes_of("text.npy", members["text.npy"]))
    key = Key(
        method=text.method.spec,
        secret=secret,
        size=text.size,
        code=None if text.code is None else text.code.spec,
        carries=text.carries,
        layers=text.layers,
        shapes=text.shapes,
        facts=text.facts,
        arrays=_arrays(members, text.arrays),
        commitment=text.commitment,
        notes=text.notes,
        opening=text.opening,
    )
    return Claim(key, _payload(members.get("payload.npy"), text), text.of)


def _arrays(members: Mapping[str, bytes], names: tuple[str, ...]) -> dict[str, Array]:
    found = {name for name in members if name.startswith(PREFIX)}
    wanted = {member_name(name): name for name in names}
    if found != set(wanted):
        raise KeyFileError(
            f"expected the arrays that its text names ({', '.join(names) or 'none'}), got "
            f"{_shown(sorted(found))}; restore it from a copy"
        )
    return checked({name: array_of(member, members[member]) for member, name in wanted.items()})


def _payload(member: bytes | None, text: KeyText) -> Payload | None:
    if member is None:
        return None
    content = _bytes_of("payload.npy", member)
    width = _symbol_width(text.alphabet)
    if len(content) != width * text.size:
        raise KeyFileError(
            f"expected a payload of {text.size} symbols, got {len(content) // width}; restore it "
            "from a copy"
        )
    cut = range(0, len(content), width)
    return Payload(
        tuple(int.from_bytes(content[i : i + width], "little") for i in cut), text.alphabet
    )


def _symbol_bytes(payload: Payload) -> bytes:
    width = _symbol_width(payload.alphabet)
    return b"".join(symbol.to_bytes(width, "little") for symbol in payload.symbols)


def _symbol_width(alphabet: int) -> int:
    """Bytes of a Symbol: one for an alphabet of at most 256."""
    return max(1, ((alphabet - 1).bit_length() + 7) // 8)


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
