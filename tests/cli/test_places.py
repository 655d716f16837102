"""Where commands write: never over what they read, data files of models included."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from .conftest import MODELS, Nnw


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A function of a folder: the digits network with its weights in `key.npz` beside it."""
    model = onnx.load(MODELS / "cnn-0.onnx")
    onnx.save(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="key.npz",
        size_threshold=0,
    )
    return tmp_path / "m.onnx"


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize(
    ("out", "key"),
    [
        ("out.onnx", "key.npz"),
        ("key.npz", "k.npz"),
        ("m.onnx", "k.npz"),
        ("out.onnx", "m.onnx"),
        ("out.onnx", "out.onnx.data"),
        ("out.onnx", "out.onnx"),
        ("./out.onnx", "a/../out.onnx.data"),
    ],
)
def test_inject_writes_over_nothing_that_it_reads_or_writes(
    outside: Path, nnw: Nnw, force: tuple[str, ...], out: str, key: str
) -> None:
    folder = outside.parent
    (folder / "a").mkdir()
    before = files(folder)
    answer = nnw(
        "inject", outside, "-o", folder / out, "--key-out", folder / key, "--payload", "x", *force
    )
    assert answer.status == 2
    assert "expected a file of its own, got" in answer.err or "expected a new file" in answer.err
    assert files(folder) == before


@pytest.mark.parametrize("out", ["key.npz", "m.onnx"])
def test_modify_writes_over_nothing_that_it_reads(outside: Path, nnw: Nnw, out: str) -> None:
    before = files(outside.parent)
    words = ["--modification", "l1-pruning", "--intensity", "10", "--force"]
    answer = nnw("modify", outside, "-o", outside.parent / out, *words)
    assert answer.status == 2
    assert "expected a file of its own, got" in answer.err
    assert files(outside.parent) == before


def test_a_data_file_that_is_there_needs_force_and_is_never_anothers(
    outside: Path, nnw: Nnw
) -> None:
    folder = outside.parent
    (folder / "out.onnx.data").write_bytes(b"mine")
    out, key = folder / "out.onnx", folder / "k.npz"
    words = ["inject", outside, "-o", out, "--key-out", key, "--payload", "x"]
    first, second = nnw(*words), nnw(*words, "--force")
    assert "--out (weights in out.onnx.data): expected a new file, got existing" in first.err
    assert "got a file that is not its own; remove it or choose another name" in second.err
    assert (first.status, second.status) == (2, 2)
    assert set(files(folder)) == {"m.onnx", "key.npz", "out.onnx.data"}
    assert (folder / "out.onnx.data").read_bytes() == b"mine"
    (folder / "out.onnx.data").unlink()
    assert nnw(*words).status == 0
    assert nnw(*words, "--force").status == 0
    assert set(files(folder)) == {"m.onnx", "key.npz", "out.onnx", "out.onnx.data", "k.npz"}
    assert nnw("decode", folder / "out.onnx", "--key", folder / "k.npz").status == 0


def test_a_key_replaces_no_other_file(model: Path, tmp_path: Path, nnw: Nnw) -> None:
    (tmp_path / "weights.bin").write_bytes(b"of another model")
    answer = nnw(
        "inject", model, "-o", tmp_path / "o.onnx", "--key-out", tmp_path / "weights.bin",
        "--payload", "x", "--force",
    )  # fmt: skip
    assert answer.status == 2
    assert "expected a new file or an older key to replace, got a file that is no key" in answer.err
    assert files(tmp_path) == {"weights.bin": b"of another model"}


def test_a_run_folder_lies_apart_from_what_is_read(outside: Path, nnw: Nnw) -> None:
    folder = outside.parent
    (folder / "data").mkdir()
    text = (
        'networks = ["m.onnx"]\npayloads = 1\npayload_sizes = [16]\n'
        '[[methods]]\nname = "block-spread"\n[dataset]\nname = "digits"\n'
        "preprocessing = { scale = 0.0625 }\n"
    )
    (folder / "e.toml").write_text(text)
    answer = nnw("evaluate", folder / "e.toml", "--run-folder", folder)
    assert answer.status == 2
    assert "expected a run folder apart from what is read" in answer.err
    images = text.replace('name = "digits"', 'name = "image-folder"\npath = "data"')
    (folder / "e.toml").write_text(images)
    before = files(folder)
    answer = nnw("evaluate", folder / "e.toml", "--run-folder", folder / "data" / "run")
    assert answer.status == 2
    assert "expected a run folder apart from what is read" in answer.err
    assert files(folder) == before
    assert not list((folder / "data").iterdir())
