"""Networks larger than memory: what is held of them, and sidecars that hold what was changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import (
    OnnxNetwork,
    copying,
    description,
    open_network,
    pages,
    saving,
    tensors,
)
from nnw_onnx.graph.tensors import finite

from .large_models import Decoder, feeds, language_model, products

CHANGED = "w1"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    return products(tmp_path / "a" / "m.onnx", 3, 64)


def _marked(model: Path) -> OnnxNetwork:
    network = open_network(model)
    return network.with_weights({CHANGED: network.weights[CHANGED] * np.float32(1.5)})


def _same_weights(one: Path, other: OnnxNetwork) -> None:
    read = open_network(one)
    for name, values in other.weights.items():
        np.testing.assert_array_equal(read.weights[name], values)


def test_a_sidecar_holds_the_changed_tensors_alone(model: Path) -> None:
    before = model.with_name("m.onnx.data").read_bytes()
    marked, path = _marked(model), model.with_name("marked.onnx")
    marked.save(path, sidecar=True)
    _same_weights(path, marked)
    assert model.with_name("marked.onnx.data").stat().st_size == 4 * 64 * 64
    assert model.with_name("m.onnx.data").read_bytes() == before
    x = np.ones((1, 64), np.float32)
    whole = model.parent.parent / "whole.onnx"
    marked.save(whole)
    told = [
        ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for p in (path, whole)
    ]
    np.testing.assert_array_equal(*told)


def test_a_sidecar_without_the_original_is_refused(model: Path) -> None:
    path = model.with_name("marked.onnx")
    _marked(model).save(path, sidecar=True)
    model.with_name("m.onnx.data").unlink()
    with pytest.raises(ModelFileError, match="external data file 'm.onnx.data', got none"):
        open_network(path)


def test_a_sidecar_lies_beside_the_data(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelFileError, match="data files lie where marked.onnx is written, got 'm.onnx.data' in"
    ):
        _marked(model).save(tmp_path / "marked.onnx", sidecar=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_a_sidecar_needs_data_outside(model: Path, tmp_path: Path) -> None:
    single = tmp_path / "single.onnx"
    single.write_bytes(_marked(model).to_bytes())
    with pytest.raises(ModelFileError, match="got one in a single file; write into the folder"):
        open_network(single).save(tmp_path / "other.onnx", sidecar=True)


def test_a_sidecar_never_replaces_the_data_that_it_needs(model: Path) -> None:
    before = {p.name: p.read_bytes() for p in model.parent.iterdir()}
    with pytest.raises(ModelFileError, match="got one that the model is read from; remove it"):
        _marked(model).save(model, sidecar=True)
    assert {p.name: p.read_bytes() for p in model.parent.iterdir()} == before


def test_a_sidecar_of_a_sidecar_refers_to_both(model: Path) -> None:
    first, second = model.with_name("one.onnx"), model.with_name("two.onnx")
    _marked(model).save(first, sidecar=True)
    once = open_network(first)
    twice = once.with_weights({"w2": once.weights["w2"] * np.float32(2)})
    twice.save(second, sidecar=True)
    _same_weights(second, twice)
    found = {path.name for path in open_network(second).sources}
    assert found == {"two.onnx", "m.onnx.data", "one.onnx.data", "two.onnx.data"}


@pytest.mark.parametrize("refusal", [None, 18], ids=["no-such-call", "two-file-systems"])
def test_copies_are_the_same_where_the_kernel_makes_none(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None
) -> None:
    _marked(model).save(tmp_path / "kernel.onnx")

    def refuse(*_: object) -> int:
        raise OSError(refusal, "Invalid cross-device link")

    if refusal is None:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    else:
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    _marked(model).save(tmp_path / "own.onnx")
    data = [(tmp_path / f"{name}.onnx.data").read_bytes() for name in ("kernel", "own")]
    assert data[0] == data[1]


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="this system has no such call")
@pytest.mark.parametrize(
    ("answer", "message"),
    [(OSError(28, "No space left on device"), "No space left"), (0, "m.onnx.data', which became")],
    ids=["full", "shorter"],
)
def test_what_the_kernel_says_while_it_copies(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, message: str
) -> None:
    def tell(*_: object) -> int:
        if isinstance(answer, OSError):
            raise answer
        return 0

    monkeypatch.setattr(os, "copy_file_range", tell)
    with pytest.raises(ModelFileError, match=message):
        _marked(model).save(tmp_path / "full.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_data_of_another_file_of_the_same_name_are_not_copied(model: Path, tmp_path: Path) -> None:
    marked = _marked(model)
    data = model.with_name("m.onnx.data")
    size = data.stat().st_size
    data.unlink()
    data.write_bytes(bytes(size))
    marked.save(tmp_path / "kept.onnx")
    _same_weights(tmp_path / "kept.onnx", marked)


def test_new_bytes_are_made_one_tensor_after_the_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = open_network(model)
    marked = network.with_weights({n: w * np.float32(2) for n, w in network.weights.items()})
    asked: list[int] = []
    written: list[tuple[int, int]] = []
    original, put = saving.stored_bytes, copying._put

    def counted(array, data_type):
        asked.append(array.nbytes)
        return original(array, data_type)

    def told(target, values):
        written.append((len(values), len(asked)))
        return put(target, values)

    monkeypatch.setattr(saving, "stored_bytes", counted)
    monkeypatch.setattr(copying, "_put", told)
    marked.save(tmp_path / "all.onnx")
    # Three to compare, then one each time that a tensor is written.
    assert [count for size, count in written if size == 4 * 64 * 64] == [4, 5, 6]


def test_pages_that_were_read_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 64)
    given: list[int] = []
    monkeypatch.setattr(pages, "_HELD", 8192)
    monkeypatch.setattr(pages, "_READ", set())
    original = pages.Pages.give_back

    def told(self: pages.Pages) -> None:
        given.append(self.held)
        original(self)

    monkeypatch.setattr(pages.Pages, "give_back", told)
    with path.open("rb") as stream:
        whole, other = (pages.mapped(stream.fileno(), path.stat().st_size) for _ in range(2))
    assert bytes(pages.part(whole, 1, 5000)[:3]) == b"\1\2\3"
    assert given == []
    pages.part(other, 5000, 9000)
    assert given == [4999]
    assert bytes(pages.part(whole, 1, 5000)[:3]) == b"\1\2\3"
    assert given == [4999, 4000]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_found(dtype: type, value: float) -> None:
    values = np.full((3, 100_000), np.finfo(dtype).max, dtype)
    assert finite(values)
    assert finite(values.T)
    values[2, 99_999] = value
    assert not finite(values)
    assert not finite(values.T)


@pytest.mark.parametrize("most", [3 * 64**2, 3 * 64**2 - 1])
def test_of_many_weights_every_other_block_is_looked_at(
    model: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "_BLOCK", 1000)
    monkeypatch.setattr(description, "LOOKED_AT", most)
    data, told = model.with_name("m.onnx.data"), []
    usual = data.read_bytes()
    for place in (0, 999, 1000, 2999, 3000, 4095):
        with data.open("r+b") as stream:
            stream.seek(4096 * 4 + 4 * place)
            stream.write(np.float32(np.nan).tobytes())
        if open_network(model).warnings == (f"layer '{CHANGED}': NaN or infinite weights",):
            told.append(place)
        data.write_bytes(usual)
    every = most == 3 * 64**2
    assert told == ([0, 999, 1000, 2999, 3000, 4095] if every else [0, 999, 2999, 4095])


_PEAK = """
import json, re, sys
import nnw_onnx as nnw
network = nnw.open(sys.argv[1])
assert not network.warnings
injection = nnw.inject(network, "mine", method=sys.argv[3])
injection.network.save(sys.argv[2], sidecar=True)
found = nnw.detect(sys.argv[2], injection.claim)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
print(json.dumps([bool(found), peak]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells no peak of memory")
@pytest.mark.parametrize("method", ["uchida", "block-spread"])
def test_memory_is_bounded_by_the_largest_tensor(tmp_path: Path, method: str) -> None:
    # 24 x 18 MB, of which a process that held the network would hold 423 MB and more.
    model = products(tmp_path / "m.onnx", 24, 2100, holes=23)
    told = subprocess.run(
        [sys.executable, "-c", _PEAK, str(model), str(tmp_path / "k.onnx"), method],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found, peak = json.loads(told.stdout)
    assert found
    assert peak < 1.5 * 4 * 2100**2 + 300e6


def test_a_language_model_of_int4_is_marked_and_still_runs(tmp_path: Path) -> None:
    import nnw_onnx as nnw

    of = Decoder()
    model = language_model(tmp_path / "lm.onnx", of)
    feed = feeds(of, [[1, 5, 2, 7], [3, 3, 1, 0]])
    injection = nnw.inject(model, "mine", method="block-spread", layer="lm_head.weight_Q4", seed=1)
    path = tmp_path / "marked.onnx"
    injection.network.save(path, sidecar=True)
    assert nnw.detect(path, injection.claim)
    assert not nnw.detect(model, injection.claim)
    told = [
        ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for p in (model, path)
    ]
    assert np.isfinite(told[1]).all()
    assert 0 < np.abs(told[1] - told[0]).max() < np.abs(told[0]).max()
