"""Files and folders known by their content: how they reach other machines, each host once.

A parcel is looked for at its own path first, which may be in a folder that all hosts share, then
in the folder `parcels` among the caches (see `kit.cache`), where it lies below its digest. What is
nowhere comes in pieces, and has its place only once the whole has the digest that was asked for.
What nobody uses goes where there is too much of it (see `kit.parcel_room`).
"""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from filelock import FileLock

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import cache, parcel_room
from nnw_onnx.kit.writing import replacing
from nnw_onnx.vocabulary import Parcel

PIECE = 4 << 20
"""Bytes that travel at once."""
_OPEN_AT_ONCE = 256


class Piece(NamedTuple):
    """A part of a file: its name within the parcel, where the part begins, the part."""

    name: str
    start: int
    content: bytes


def parcel_of(path: Path, beside: Sequence[Path] = ()) -> Parcel:
    """A file or folder as a parcel.

    Args:
        path: the file or folder.
        beside: files that belong to it, in its folder or below.

    Raises:
        ConfigurationError: it cannot be read, or what belongs to it lies elsewhere.
    """
    whole = path.absolute()
    names = tuple(_beside(whole, other.absolute()) for other in beside)
    try:
        return Parcel(str(whole), _digest(whole, names), names)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: expected a file or folder that can be read, got: {error.strerror}; correct "
            "what names it"
        ) from error


def place_of(parcel: Parcel, look: bool) -> str | None:
    """Where a parcel is on this machine, or None; it stays there until `parcel_room.release`.

    Args:
        parcel: what is looked for.
        look: whether its own path is tried first.
    """
    own, place = Path(parcel.path), _folder() / parcel.digest
    if look and _is(own, parcel):
        return str(own)
    kept = place / own.name
    return str(kept) if parcel_room.hold(place) and _is(kept, parcel) else None


def pieces(parcel: Parcel) -> Iterator[tuple[Piece, ...]]:
    """All of a parcel, in portions of about `PIECE` bytes."""
    root, portion, size = Path(parcel.path), list[Piece](), 0
    for name in _names(root, parcel.beside):
        with (root.parent / name).open("rb") as file:
            start, first = 0, True
            while (content := file.read(PIECE - size)) or first:
                portion.append(Piece(name, start, content))
                start, size, first = start + len(content), size + len(content), False
                if size >= PIECE or len(portion) >= _OPEN_AT_ONCE:
                    yield tuple(portion)
                    portion, size = [], 0
    if portion:
        yield tuple(portion)


def receive(parcel: Parcel, portion: Iterable[Piece]) -> None:
    """Put pieces aside; raises `ConfigurationError` for a name that leads elsewhere."""
    aside = _aside(parcel)
    for piece in portion:
        inside = PurePosixPath(piece.name)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            raise ConfigurationError(
                f"parcel: expected names of files within it, got {piece.name!r}; send another"
            )
        target = aside / inside
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.touch(mode=0o600)
        with target.open("r+b") as file:
            file.seek(piece.start)
            file.write(piece.content)


def settle(parcel: Parcel) -> str:
    """Give what was received its place; what is wrong with it, or ""."""
    aside, place = _aside(parcel), _folder() / parcel.digest
    with FileLock(f"{place}.lock"):
        if _is(place / Path(parcel.path).name, parcel):
            shutil.rmtree(aside, ignore_errors=True)
            return ""
        shutil.rmtree(place, ignore_errors=True)
        if not _is(aside / Path(parcel.path).name, parcel):
            shutil.rmtree(aside, ignore_errors=True)
            return "other content than was sent"
        aside.rename(place)
        os.utime(place)
    parcel_room.make(place.parent)
    return ""


def host() -> str:
    """What machines that share their folder of parcels have in common."""
    return f"{platform.node()}:{_folder()}"


def _folder() -> Path:
    """The folder of parcels, which only this user can read."""
    folder = cache.folder("parcels")
    if folder is None:
        folder = Path(tempfile.gettempdir()) / f"nnw-onnx-{getpass.getuser()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not cache.ours(folder.lstat()):
            raise ConfigurationError(
                f"{folder}: expected a folder that only this user can write, got another; set "
                "NNW_CACHE to a folder"
            )
    return folder


def _aside(parcel: Parcel) -> Path:
    return _folder() / f".coming-{parcel.digest}"


def _beside(path: Path, other: Path) -> str:
    if not other.is_relative_to(path.parent):
        raise ConfigurationError(
            f"{path.name}: expected the files of its data in its folder, got {str(other)!r}; move "
            "them there"
        )
    return other.relative_to(path.parent).as_posix()


def _names(path: Path, beside: Sequence[str]) -> list[str]:
    """All files of a parcel, seen from the folder that it lies in."""
    if not path.is_dir():
        return [path.name, *beside]
    inside = sorted(p for p in path.rglob("*") if p.is_file())
    return [*(p.relative_to(path.parent).as_posix() for p in inside), *beside]


def _is(path: Path, parcel: Parcel) -> bool:
    try:
        return _digest(path, parcel.beside) == parcel.digest
    except OSError:
        return False


def _digest(path: Path, beside: Sequence[str]) -> str:
    names = _names(path, beside)
    stamps = [(path.parent / name).stat() for name in names]
    return _of_files(
        path.parent, tuple(names), tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in stamps)
    )


# A run asks for the same files before each of its stages, and a worker for each of its tasks.
@lru_cache(maxsize=4096)
def _of_files(
    folder: Path, names: tuple[str, ...], stamps: tuple[tuple[int, int, int], ...]
) -> str:
    state = hashlib.sha256()
    for name, (size, _, _) in zip(names, stamps, strict=True):
        with (folder / name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        state.update(f"{name}\0{size}\0{content}\n".encode())
    return state.hexdigest()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, and the folders that it needs."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path, private=True) as file:
        file.write(content)


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all plain files below a folder; no link is followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def empty(folder: Path) -> None:
    """Remove all that is in a folder; no link is followed."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
