"""Arrays that are kept in files: mapped when they are found, never trusted, never in the way."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.inference import IsolatedPool, unwrap
from nnw_onnx.kit import cache

SHAPE = (5, None, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NNW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LEAST_BYTES", 1)
    return tmp_path / "cache" / "arrays"


def values(seed: int = 0) -> np.ndarray:
    return np.arange(60, dtype=np.uint8).reshape(5, 4, 3) + np.uint8(seed)


def kept(what: str = "a", made: np.ndarray | None = None, shape=SHAPE, **rest) -> np.ndarray:
    return cache.kept(what, shape, np.uint8, lambda: values() if made is None else made, **rest)


def fails() -> np.ndarray:
    raise AssertionError("made again")


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def is_mapped(array: np.ndarray) -> bool:
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def test_what_was_made_is_found_and_mapped_read_only(folder):
    first = kept()
    again = cache.kept("a", SHAPE, np.uint8, fails)
    for found in (first, again):
        np.testing.assert_array_equal(found, values())
        assert is_mapped(found)
        assert not found.flags.writeable
    assert stat.S_IMODE(only_file(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_other_words_types_and_shapes_are_other_arrays():
    kept()
    assert kept("b", values(1))[0, 0, 0] == 1
    floats = cache.kept("a", SHAPE, np.float32, lambda: values().astype(np.float32))
    assert floats.dtype == np.float32
    for shape in ((6, None, 3), (5, 4), (5, 4, 3, 1), (5, 5, None)):
        assert cache.found("a", shape, np.uint8) is None


@pytest.mark.parametrize("kind", ["<f4", "<f8", "<i8", "<u2", "|i1", "<i4"])
def test_element_types_come_back(kind):
    made = np.arange(30).astype(kind).reshape(5, 6)
    found = cache.stored("a", made)
    assert (found.dtype, is_mapped(found)) == (made.dtype, True)
    np.testing.assert_array_equal(found, made)


def test_python_objects_and_small_arrays_are_not_kept(folder, monkeypatch):
    made = np.array([None] * 5)
    assert cache.stored("a", made) is made
    monkeypatch.setattr(cache, "LEAST_BYTES", 61)
    assert kept().flags.writeable
    assert not list(folder.iterdir())


def test_it_can_be_switched_off(folder, monkeypatch):
    monkeypatch.setenv("NNW_CACHE", "off")
    assert not is_mapped(kept())
    assert not folder.exists()


def test_the_usual_folder_is_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("NNW_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    kept()
    assert len(list((tmp_path / "xdg/nnw-onnx/arrays").iterdir())) == 1


@pytest.mark.parametrize("kind", ["file", "link"])
def test_without_a_folder_of_our_own_nothing_is_kept(tmp_path, monkeypatch, kind):
    place = tmp_path / "place"
    (tmp_path / "other").mkdir()
    place.mkdir()
    if kind == "file":
        (place / "arrays").write_text("no folder")
    else:
        (place / "arrays").symlink_to(tmp_path / "other")
    monkeypatch.setenv("NNW_CACHE", str(place))
    np.testing.assert_array_equal(kept(), values())
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_or_file_that_others_may_write_is_not_read(folder):
    kept()
    path = only_file(folder)
    path.chmod(0o622)
    assert cache.found("a", SHAPE, np.uint8) is None
    path.chmod(0o600)
    assert cache.found("a", SHAPE, np.uint8) is not None
    folder.chmod(0o777)
    assert cache.found("a", SHAPE, np.uint8) is None


def _head(path: Path, **changed: object) -> bytes:
    told = json.loads(path.read_bytes()[:4096])
    return json.dumps({**told, **changed}).encode().ljust(4096)


@pytest.mark.parametrize(
    "broken",
    [
        lambda p: p.read_bytes()[:-1],
        lambda p: p.read_bytes() + b"\0",
        lambda p: b"",
        lambda p: b"{" * 4096 + p.read_bytes()[4096:],
        lambda p: b"[" * 100_000,
        lambda p: bytes(range(256)) * 20,
        lambda p: _head(p, shape=[5, 4, 3, 1]) + bytes(60),
        lambda p: _head(p, shape=[5, 2**50, 3]) + bytes(60),
        lambda p: _head(p, shape=[5, -4, -3]) + bytes(60),
        lambda p: _head(p, shape=[5, 4.0, 3]) + bytes(60),
        lambda p: _head(p, shape=[]) + bytes(60),
        lambda p: _head(p, shape="543") + bytes(60),
        lambda p: _head(p, dtype="|O") + bytes(60),
        lambda p: _head(p, name="another") + bytes(60),
        lambda p: _head(p, form="nnw-onnx array 0") + bytes(60),
        lambda p: _head(p, more=1) + bytes(60),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_made_again(folder, broken):
    kept()
    path = only_file(folder)
    path.write_bytes(broken(path))
    assert cache.found("a", SHAPE, np.uint8) is None
    np.testing.assert_array_equal(kept(), values())
    np.testing.assert_array_equal(cache.kept("a", SHAPE, np.uint8, fails), values())


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
def test_links_and_pipes_are_not_opened(folder, tmp_path):
    kept()
    path = only_file(folder)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert cache.found("a", SHAPE, np.uint8) is None
    path.unlink()
    os.link(tmp_path / "moved", path)
    assert cache.found("a", SHAPE, np.uint8) is None
    path.unlink()
    os.mkfifo(path)
    assert cache.found("a", SHAPE, np.uint8) is None


def test_a_source_that_changed_a_moment_ago_is_not_kept(folder):
    """Its clock may not tell the next change; git calls such files racy."""
    (folder.parent).mkdir()
    (folder.parent / "x").touch()
    now = (folder.parent / "x").stat().st_mtime_ns
    assert not is_mapped(kept(changed=now))
    assert not list(folder.iterdir())
    assert is_mapped(kept(changed=now - 10**10))


def test_what_was_not_used_for_the_longest_time_goes_first(folder, monkeypatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 2 * (4096 + 60))
    kept("a")
    first = only_file(folder)
    kept("b", values(1))
    for age, path in enumerate(sorted(folder.iterdir(), key=lambda p: p == first)):
        os.utime(path, ns=(age, age))
    (folder / "a file of the user").write_bytes(bytes(10_000))
    os.utime(folder / "a file of the user", ns=(0, 0))
    kept("c", values(2))
    assert cache.found("a", SHAPE, np.uint8) is not None
    assert cache.found("b", SHAPE, np.uint8) is None
    assert (folder / "a file of the user").exists()


def test_arrays_beyond_the_bound_or_the_disk_are_not_kept(folder, monkeypatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 59)
    assert not is_mapped(kept())
    monkeypatch.setattr(cache, "MOST_BYTES", 2**62)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda p: type("Usage", (), {"free": 119}))
    assert not is_mapped(kept())
    assert not list(folder.iterdir())


def test_a_disk_that_fills_up_costs_nothing_but_the_file(folder, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    np.testing.assert_array_equal(kept(), values())
    assert not list(folder.iterdir())


def test_an_error_of_who_makes_it_goes_through(folder):
    with pytest.raises(AssertionError, match="made again"):
        cache.kept("a", SHAPE, np.uint8, fails)
    assert not list(folder.iterdir())


def test_many_at_once_find_whole_arrays_only():
    made = np.arange(3 * 10**6, dtype=np.uint8).reshape(5, -1, 3)
    wrong = []

    def work() -> None:
        for _ in range(5):
            found = cache.kept("big", SHAPE, np.uint8, lambda: made)
            if not np.array_equal(found, made):
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def private_bytes(words: str) -> tuple[int, int]:
    """What a process needs of its own for an array that others have made; and its sum."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    before = next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
    found = cache.kept(words, (64, None), np.uint8, fails)
    total = int(found.sum(dtype=np.int64))
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    after = next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
    return (after - before) << 10, total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_share_one_copy():
    made = np.full((64, 2**20), 3, np.uint8)
    cache.kept("shared", (64, None), np.uint8, lambda: made)
    with IsolatedPool(2) as pool:
        told = [unwrap(o) for o in pool.map(private_bytes, ["shared"] * 2)]
    assert all(total == 3 * made.size for _, total in told)
    assert max(extra for extra, _ in told) < made.nbytes / 8
