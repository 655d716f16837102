"""Temporary folders go with who made them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from nnw_onnx.kit import scratch
from nnw_onnx.kit.scratch import PREFIX, Scratch


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_nobody_holds_is_removed_by_the_next(place):
    held = Scratch()
    (held.path / "file").write_text("x")
    left = place / f"{PREFIX}left"
    shutil.copytree(held.path, left)
    (place / f"{PREFIX}new").mkdir()  # made, and not locked yet
    (place / f"{PREFIX}link").symlink_to(held.path)
    other = Scratch()
    assert not left.exists()
    assert (held.path / "file").exists()
    held.close()
    other.close()
    assert {p.name for p in place.iterdir()} == {f"{PREFIX}new", f"{PREFIX}link"}


def test_a_folder_of_somebody_else_is_left(place, monkeypatch):
    left = Scratch().path
    shutil.copytree(left, place / f"{PREFIX}left")
    monkeypatch.setattr(scratch.os, "geteuid", lambda: 12345)
    scratch.sweep()
    assert (place / f"{PREFIX}left").exists()


def test_a_full_disk_is_told(place, monkeypatch):
    monkeypatch.setattr(scratch, "_taken", lambda lock: False)
    with pytest.raises(OSError, match="No space left on device"):
        Scratch()
    assert list(place.iterdir()) == []


def test_a_folder_that_is_swept_while_it_is_made_is_made_again(place, monkeypatch):
    real, removed = scratch.FileLock.acquire, []

    def late(lock, *given, **named):
        if not removed:
            removed.append(Path(lock.lock_file).parent)
            shutil.rmtree(removed[0])
        return real(lock, *given, **named)

    monkeypatch.setattr(scratch.FileLock, "acquire", late)
    made = Scratch()
    assert made.path != removed[0]
    assert made.path.exists()
    made.close()
