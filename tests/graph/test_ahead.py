"""Data files that are begun before it is known what changes: the same bytes, or nothing of them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.cli.main import main
from nnw_onnx.graph import ahead, copying, open_network, pieces

from .large_models import products


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ahead, "LEAST", 1)
    return products(tmp_path / "m.onnx", 4, 30)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def changed(network):
    return network.with_weights({"w1": 2 * network.weights["w1"]})


@pytest.mark.parametrize("where", ["", "elsewhere"])
def test_what_is_written_is_the_same(model: Path, where: str) -> None:
    network, folder = open_network(model), model.parent / where
    (model.parent / "usual").mkdir()
    folder.mkdir(exist_ok=True)
    usual, path = model.parent / "usual" / "k.onnx", folder / "k.onnx"
    changed(network).save(usual)
    with network.begun(path) as begun:
        assert begun is not None
        changed(network).save(path, ahead=begun)
    assert path.read_bytes() == usual.read_bytes()
    assert (folder / "k.onnx.data").read_bytes() == (usual.parent / "k.onnx.data").read_bytes()
    assert not list(folder.glob(".*"))


def test_only_what_changed_is_written_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, path, written = open_network(model), model.parent / "k.onnx", []
    write = copying.write

    def noted(target: Path, pieces: object) -> None:
        kept = list(pieces)
        written.extend(source for _, source in kept)
        write(target, kept)

    with network.begun(path) as begun:
        assert begun is not None
        begun._thread.join()
        monkeypatch.setattr(copying, "write", noted)
        changed(network).save(path, ahead=begun)
    assert written
    assert not any(isinstance(source, copying.Range) for source in written)


def test_a_copy_that_fits_nothing_is_dropped(model: Path) -> None:
    network, path = open_network(model), model.parent / "k.onnx"
    with network.begun(path) as begun:
        network.save(path, ahead=begun)
    assert sorted(files(model.parent)) == ["k.onnx", "m.onnx", "m.onnx.data"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [OSError(5, "a broken disk"), MemoryError(), RuntimeError()])
def test_a_copy_that_fails_is_written_anew(
    error: Exception, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path = open_network(model), model.parent / "k.onnx"

    def failing(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(copying, "write", failing)
        ahead_of_it = network.begun(path)
        begun = ahead_of_it.__enter__()
        assert begun is not None
        begun._thread.join()
    with contextlib.closing(begun):
        changed(network).save(path, ahead=begun)
    found = open_network(path).weights
    for name, values in changed(network).weights.items():
        np.testing.assert_array_equal(found[name], values)
    assert not list(model.parent.glob(".*"))


def test_nothing_is_left_where_nobody_saves(model: Path) -> None:
    before = files(model.parent)
    with open_network(model).begun(model.parent / "k.onnx") as begun:
        assert begun is not None
    assert files(model.parent) == before


def test_small_data_several_files_and_full_disks_are_not_begun(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path = open_network(model), model.parent / "k.onnx"
    with network.begun(model.parent / "missing" / "k.onnx") as begun:
        assert begun is None
    monkeypatch.setattr(ahead, "disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    with network.begun(path) as begun:
        assert begun is None
    monkeypatch.undo()
    with network.begun(path) as begun:
        assert begun is None
    assert sorted(files(model.parent)) == ["m.onnx", "m.onnx.data"]


def test_a_mark_that_is_refused_leaves_nothing(model: Path) -> None:
    words = ["inject", str(model), "-o", str(model.parent / "k.onnx"), "--key-out"]
    words.append(str(model.parent / "k.npz"))
    assert main([*words, "--layer", "w9"]) == 2
    assert sorted(files(model.parent)) == ["m.onnx", "m.onnx.data"]
    assert main([*words, "--payload-bits", "16"]) == 0
    wanted = ["k.npz", "k.onnx", "k.onnx.data", "m.onnx", "m.onnx.data"]
    assert sorted(files(model.parent)) == wanted


@pytest.mark.parametrize("broken", [False, True])
def test_the_disk_is_asked_meanwhile(
    broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, fsync = threading.Semaphore(0), os.fsync

    def noted(descriptor: int) -> None:
        asked.release()
        if broken and threading.current_thread() is not threading.main_thread():
            raise OSError(5, "a broken disk")
        fsync(descriptor)

    monkeypatch.setattr(copying, "_MUCH", 1)
    monkeypatch.setattr(copying, "_PAUSE", 0.001)
    path = products(tmp_path / "m.onnx", 4, 30)
    network = open_network(path)
    place = next(iter(pieces.outside(network._file).values()))

    def some() -> Iterator[tuple[int, copying.Source]]:
        yield 0, copying.Range(place, place.offset, 40)
        assert asked.acquire(timeout=60)  # while the second one is still to come
        yield 40, copying.Range(place, place.offset, 40)

    (tmp_path / "c").touch()
    monkeypatch.setattr(os, "fsync", noted)
    if broken:
        with pytest.raises(OSError, match="broken disk"):
            copying.write(tmp_path / "c", some())
    else:
        copying.write(tmp_path / "c", some())
        assert (tmp_path / "c").read_bytes() == 2 * bytes(place.data[:40])
