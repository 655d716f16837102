"""Hostile models on every way into the tool: one line and status 2, whatever was asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from ..graph.handmade import CASES  # noqa: TID252 - shared by two rooms' tests
from ..graph.test_written_out import calling  # noqa: TID252
from .conftest import MODELS, Nnw


def outside(location: str, **entries: str) -> onnx.ModelProto:
    """A model whose weights lie in a file."""
    model = CASES["matmul"]().model
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=value)
    return model


def pipe(folder: Path) -> onnx.ModelProto:
    os.mkfifo(folder / "w.bin")
    return outside("w.bin")


def hard_link(folder: Path) -> onnx.ModelProto:
    (folder / "secret").write_bytes(bytes(80))
    os.link(folder / "secret", folder / "w.bin")
    return outside("w.bin")


def linked_folder(folder: Path) -> onnx.ModelProto:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "w.bin").write_bytes(bytes(80))
    (folder / "m" / "sub").symlink_to(folder / "elsewhere")
    return outside("sub/w.bin")


def sparse(folder: Path) -> onnx.ModelProto:
    with (folder / "m" / "w.bin").open("wb") as file:
        file.truncate(1 << 40)
    return outside("w.bin", length=str(1 << 40))


def beyond(folder: Path) -> onnx.ModelProto:
    (folder / "m" / "w.bin").write_bytes(bytes(80))
    return outside("w.bin", offset="18446744073709551615")


def overflow(folder: Path) -> onnx.ModelProto:
    model = CASES["matmul"]().model
    model.graph.initializer[0].dims[:] = [1 << 32, 1 << 32]
    return model


def packed(folder: Path) -> onnx.ModelProto:
    model = CASES["matmul"]().model
    model.graph.initializer[0].data_type = TensorProto.INT4
    return model


def twice(folder: Path) -> onnx.ModelProto:
    model = CASES["matmul"]().model
    model.graph.initializer.append(model.graph.initializer[0])
    return model


def nested(folder: Path) -> onnx.ModelProto:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(25):
        inside = helper.make_node("If", ["c"], ["y"], then_branch=graph)
        graph = helper.make_graph([inside], "g", [], [])
    return helper.make_model(graph)


ROWS: tuple[Callable[[Path], onnx.ModelProto], ...] = (
    lambda folder: outside("../w.bin"),
    lambda folder: outside("/dev/zero"),
    lambda folder: pipe(folder / "m"),
    lambda folder: hard_link(folder / "m"),
    linked_folder, sparse, beyond, overflow, packed, twice, nested,
    lambda folder: calling(1, last="f0"),
    lambda folder: calling(20, times=2),
)  # fmt: skip


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_every_way_in_is_one_line(row: int, tmp_path: Path, nnw: Nnw, marked: object) -> None:
    _, key = marked  # type: ignore[misc]
    (tmp_path / "m").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(80))
    model, out = tmp_path / "m" / "m.onnx", tmp_path / "out"
    model.write_bytes(ROWS[row](tmp_path).SerializeToString())
    out.mkdir()
    named = out / "o.onnx"
    ways = [
        ("layers", model),
        ("inject", model, "-o", named, "--key-out", out / "k.npz"),
        ("detect", model, "--key", key),
        ("detect", MODELS / "cnn-0.onnx", "--key", key, "--reference", model),
        ("decode", model, "--key", key),
        ("modify", model, "-o", named, "--modification", "graph-optimization"),
        ("modify", model, "-o", named, "--modification", "averaging", "--copy", model),
        ("verify-commitment", key, model),
        ("integrity", "seal", model, "-o", out / "s.json"),
        ("new-evaluation", model, "-o", out / "e.toml"),
    ]
    for words in ways:
        answer = nnw(*words)
        errors = [line for line in answer.err.splitlines() if line.startswith("nnw: error: ")]
        assert answer.status == 2, words
        assert len(errors) == 1, (words, answer.err)
        assert answer.err.replace("\n", "").isprintable()
    assert list(out.iterdir()) == []
