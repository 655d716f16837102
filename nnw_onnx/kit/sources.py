"""Folders, tar and zip archives read alike, as untrusted input.

Nothing is ever extracted to disk. An archive may hold regular files and folders only: links,
devices, sparse files and names that leave the archive are refused, and so is anything larger than
the limits below, before it is read into memory. Links inside a folder are followed where they stay
in it; others only where that is asked for.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit import cache
from nnw_onnx.kit.hubs import own_blob

MAX_BYTES = 8 * 2**30
"""Largest array that may be made of untrusted files, in bytes."""

MAX_FILE_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 64 * 2**30
MAX_FILES = 5_000_000
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")

_LEAST_INDEX = 1 << 16
"""Bytes of a list of members that is kept: a shorter one is read from the archive as fast."""

# Parts of names that leave the archive on some system.
_FOREIGN = frozenset("\\:\0")
_BROKEN = (
    OSError,
    EOFError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    UnicodeError,
    ValueError,
    OverflowError,
)


class Stamp(NamedTuple):
    """What changes whenever a file does.

    Attributes:
        words: names, places, sizes and times. The time of change cannot be set by hand.
        newest: time of the last change, in nanoseconds of the file system's clock.
    """

    words: str
    newest: int


class Source(Protocol):
    """Named files.

    Attributes:
        title: name to show in messages.
        place: path of the folder or archive that was looked at, absolute.
        names: relative names with "/" of all regular files, sorted.
        random_access: whether reading one file does not mean reading those before it.
    """

    title: str
    place: Path
    names: list[str]
    random_access: bool

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, content) of some files, in any order."""
        ...

    def stamp(self, names: Sequence[str]) -> Stamp:
        """What changes whenever one of these files does, told without reading them."""
        ...


def open_source(path: Path, *, follow_links: bool = False) -> Source:
    """The files of a folder or archive.

    Args:
        path: of the folder or archive; it may itself be a link.
        follow_links: whether links in a folder may lead out of it.

    Raises:
        DatasetError: it does not exist, is neither, or breaks a rule above.
    """
    if path.is_dir():
        return FolderSource(path, follow_links=follow_links)
    if not path.is_file():
        raise DatasetError(
            f"{path.absolute()}: expected a folder or an archive, got nothing of this name; "
            "correct the option path"
        )
    if path.name.endswith(".zip"):
        return ZipSource(path)
    if is_archive(path):
        return TarSource(path)
    raise DatasetError(
        f"{path.absolute()}: expected a folder or a file {', '.join(ARCHIVE_SUFFIXES)}; got "
        "neither; correct the option path"
    )


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive that can be read."""
    return path.name.endswith(ARCHIVE_SUFFIXES)


def stamp_of(path: Path) -> Stamp:
    """What changes whenever a file does; raises `DatasetError` where there is none."""
    return _archive_stamp(path, ())


def check_size(source: str, shape: Sequence[int], itemsize: int = 1) -> None:
    """Refuse an array, before it is made, where it would be larger than `MAX_BYTES`."""
    size = itemsize
    for length in shape:
        size *= length
    if size > MAX_BYTES:
        raise DatasetError(
            f"{source}: expected at most {MAX_BYTES / 2**30:.3g} GiB, got {size / 2**30:.3g} GiB; "
            "use fewer or smaller entries (options limit, size)"
        )


class FolderSource:
    """Regular files below a folder; hidden ones are left out."""

    def __init__(self, folder: Path, *, follow_links: bool = False) -> None:
        """List the files; arguments and errors are those of `open_source`."""
        self.title, self.random_access = folder.name or str(folder), True
        self.place = folder.absolute()
        self._folder, self._root, self._follow = folder, folder.resolve(), follow_links
        with _reported(self.title):
            self.names = sorted(self._listed())

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, content) of some files, in the order given."""
        for name in names:
            yield name, _content(f"{self.title}/{name}", self._folder / name)

    def stamp(self, names: Sequence[str]) -> Stamp:
        """See `Source.stamp`."""
        with _reported(self.title):
            return _stamp((name, Path(self._folder, name)) for name in names)

    def _listed(self) -> Iterator[str]:
        # Texts instead of paths: an image takes some microseconds, of a million of them.
        waiting = [""]
        files = 0
        while waiting:
            above = waiting.pop()
            for entry in os.scandir(self._folder / above):
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_symlink():
                    self._check_link(Path(entry.path))
                if entry.is_dir():
                    waiting += [] if _loops(entry) else [f"{above}{entry.name}/"]
                elif entry.is_file():
                    files += 1
                    yield above + entry.name
        _check_totals(self.title, files, 0)

    def _check_link(self, link: Path) -> None:
        target = link.resolve()
        inside = target.is_relative_to(self._root) or own_blob(link) is not None
        if target.exists() and (self._follow or inside):
            return
        got = "one that leads out of the folder" if target.exists() else "one to nothing"
        raise DatasetError(
            f"{self.place}: expected links that stay in the folder, got {got}: "
            f"{link.relative_to(self._folder)} -> {target}; put the files themselves there, or set "
            "the option follow_links for a folder that you trust"
        )


class FileSource:
    """One file as a source of that one."""

    def __init__(self, path: Path) -> None:
        """Find the file.

        Raises:
            DatasetError: it does not exist.
        """
        if not path.is_file():
            raise DatasetError(
                f"{path.absolute()}: expected a file, got nothing of this name; correct the path"
            )
        self.title, self.names, self.random_access = path.name, [path.name], True
        self.place, self._path = path.absolute(), path

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, content) of the file, if it is asked for."""
        for name in names:
            yield name, _content(self.title, self._path)

    def stamp(self, names: Sequence[str]) -> Stamp:
        """See `Source.stamp`."""
        return _archive_stamp(self._path, names)


class TarSource:
    """Members of a tar archive, compressed with gzip or not."""

    def __init__(self, path: Path) -> None:
        """List the members, which reads the archive once for all commands and processes."""
        self.title, self.place = path.name, path.absolute()
        self._path = path
        stamp = _archive_stamp(path, ())
        packed = cache.kept(
            f"members of a tar archive\n{self.place}\n{stamp.words}", (None,), np.uint8,
            lambda: _packed(self._members()), stamp.newest, _LEAST_INDEX,
        )  # fmt: skip
        found = _unpacked(packed)
        # Name -> place and length of the content.
        self._places = self._members() if found is None else found
        self.names = sorted(filter(_shown, self._places))
        self.random_access = not _is_gzip(path)

    def _members(self) -> dict[str, tuple[int, int]]:
        """Every regular file; of equal names the last one counts."""
        places: dict[str, tuple[int, int]] = {}
        total = 0
        with self._opened() as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                _check_member(self.title, member)
                total += member.size
                _check_totals(self.title, len(places), total)
                if member.isfile():
                    places[_plain(member.name)] = (member.offset_data, member.size)
            # tarfile takes a cut or damaged archive for one that ends there.
            if file.last != bytes(tarfile.BLOCKSIZE):
                raise EOFError("it ends in the middle")
        return places

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, content) of some members, in the order of the archive."""
        wanted = sorted(names, key=lambda name: self._places[name][0])
        with self._opened() as file:
            for name in wanted:
                offset, size = self._places[name]
                file.seek(offset)
                content = file.read(size)
                _check_complete(f"{self.title}: {name}", len(content), size)
                yield name, content

    def stamp(self, names: Sequence[str]) -> Stamp:
        """See `Source.stamp`."""
        return _archive_stamp(self._path, names)

    @contextmanager
    def _opened(self) -> Iterator[_Bounded]:
        with _reported(self.title), self._path.open("rb") as raw:
            plain: Any = gzip.GzipFile(fileobj=raw) if _is_gzip(self._path) else raw
            yield _Bounded(plain, self.title)


class ZipSource:
    """Members of a zip archive."""

    def __init__(self, path: Path) -> None:
        """List the members from the archive's directory."""
        self.title, self.place = path.name, path.absolute()
        self._path = path
        with _reported(self.title), zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        _check_totals(self.title, len(members), sum(m.file_size for m in members))
        for member in members:
            _check_zip_member(self.title, member)
        files = (m.filename for m in members if not m.is_dir())
        self.names = sorted(_plain(name) for name in files if _shown(_plain(name)))
        self.random_access = True

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, content) of some members, in the order of the archive."""
        wanted = set(names)
        with _reported(self.title), zipfile.ZipFile(self._path) as archive:
            for member in archive.infolist():
                if member.is_dir() or _plain(member.filename) not in wanted:
                    continue
                with archive.open(member) as file:
                    content = file.read(member.file_size)
                _check_complete(f"{self.title}: {member.filename}", len(content), member.file_size)
                yield _plain(member.filename), content

    def stamp(self, names: Sequence[str]) -> Stamp:
        """See `Source.stamp`."""
        return _archive_stamp(self._path, names)


class _Bounded(io.RawIOBase):
    """A file that refuses single reads above the limit, whatever a header asks for.

    Attributes:
        last: what was read last.
    """

    def __init__(self, file: IO[bytes], title: str) -> None:
        self._file = file
        self._title = title
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        _check_bytes(self._title, MAX_FILE_BYTES + 1 if size < 0 else size)
        self.last = self._file.read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _content(title: str, path: Path) -> bytes:
    with _reported(title), path.open("rb") as file:
        # What is asked for is reserved first, for each of many small files.
        size = min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES)
        content = file.read(size + 1)
    _check_bytes(title, len(content))
    return content


@contextmanager
def _reported(title: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{title}: expected a whole, readable file, got: {text}; get it again"
        ) from error


def _check_member(title: str, member: tarfile.TarInfo) -> None:
    regular = (member.isfile() or member.isdir()) and not member.issparse()
    _check_name(title, member.name, regular)
    _check_bytes(f"{title}: {member.name}", member.size)


def _check_zip_member(title: str, member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    regular = not mode or stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
    _check_name(title, member.filename, regular and not member.flag_bits & 1)
    _check_bytes(f"{title}: {member.filename}", member.file_size)


def _check_name(title: str, name: str, regular: bool) -> None:
    inside = not name.startswith("/") and ".." not in name.split("/")
    if not (regular and inside) or set(name) & _FOREIGN:
        raise DatasetError(
            f"{title}: expected plain files and folders with names inside the archive, got "
            f"{name[:80]!r}; use an archive from a source you trust"
        )


def _check_bytes(what: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise DatasetError(
            f"{what}: expected files of at most {MAX_FILE_BYTES // 2**20} MiB, got a larger one; "
            "remove it"
        )


def _check_totals(title: str, files: int, total: int) -> None:
    if files > MAX_FILES or total > MAX_TOTAL_BYTES:
        raise DatasetError(
            f"{title}: expected at most {MAX_FILES} files and {MAX_TOTAL_BYTES // 2**30} GiB, got "
            "more; use a smaller archive"
        )


def _check_complete(what: str, have: int, expected: int) -> None:
    if have != expected:
        raise DatasetError(f"{what}: expected {expected} bytes, got {have}; get the file again")


def _loops(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to a folder that it lies in."""
    return entry.is_symlink() and Path(entry.path).parent.resolve().is_relative_to(
        Path(entry.path).resolve()
    )


def _packed(places: Mapping[str, tuple[int, int]]) -> NDArray[np.uint8]:
    """Members of an archive as bytes, that `_unpacked` reads."""
    content = json.dumps([[name, *place] for name, place in places.items()]).encode()
    return np.frombuffer(content, np.uint8)


def _unpacked(packed: NDArray[Any]) -> dict[str, tuple[int, int]] | None:
    """The members again; None where these bytes are none, whoever wrote them."""
    try:
        rows = json.loads(packed.tobytes())
        found = {name: (offset, size) for name, offset, size in rows}
    except (ValueError, TypeError, RecursionError):
        return None
    fine = len(found) <= MAX_FILES and all(
        isinstance(name, str) and type(offset) is type(size) is int
        and 0 <= offset < 2**60 and 0 <= size <= MAX_FILE_BYTES
        for name, (offset, size) in found.items()
    )  # fmt: skip
    return found if fine else None


def _archive_stamp(path: Path, names: Sequence[str]) -> Stamp:
    with _reported(path.name):
        words, newest = _stamp([(path.name, path)])
    return Stamp("\n".join([words, *names]), newest)


def _stamp(files: Iterable[tuple[str, Path]]) -> Stamp:
    lines, newest = [], 0
    for name, path in files:
        found = path.stat()
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        numbers = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        lines.append(f"{name}\0{' '.join(map(str, numbers))}")
    return Stamp("\n".join(lines), newest)


def _plain(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _shown(name: str) -> bool:
    return not (name.startswith(".") or "/." in name or "__MACOSX/" in name)
