"""Models in a cache of the Hugging Face Hub, whose files are links to blobs beside them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.hubs import own_blob

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")

REVISION = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = np.arange(4096, dtype=np.float32).reshape(64, 64) / 4096


def _model(path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 64])],
        [value("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)


def _cache(folder: Path, sub: str = "") -> Path:
    """A repository as huggingface_hub lays it out; the model's path in its snapshot."""
    repository = folder / "models--org--name"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / REVISION / sub
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    made = folder / "made"
    made.mkdir()
    _model(made / "model.onnx")
    above = "../" * (2 + len(Path(sub).parts))
    for name, blob in (("model.onnx", "a" * 64), ("model.onnx_data", "b" * 64)):
        shutil.move(made / name, blobs / blob)
        (snapshot / name).symlink_to(f"{above}blobs/{blob}")
    return snapshot / "model.onnx"


@pytest.mark.parametrize("sub", ["", "onnx", "onnx/fp32"])
def test_a_model_and_its_data_are_read_through_links_to_their_blobs(tmp_path, sub):
    network = open_network(_cache(tmp_path, sub))
    np.testing.assert_array_equal(network.weights["w"], WEIGHTS.T)
    x = np.ones((2, 64), np.float32)
    told = Session(network.runnable()).predict(x)["y"]
    np.testing.assert_allclose(told, x @ WEIGHTS, rtol=1e-5)


def test_a_link_to_the_whole_cache_is_no_hindrance(tmp_path):
    path = _cache(tmp_path / "there")
    (tmp_path / "hub").symlink_to(tmp_path / "there")
    network = open_network(tmp_path / "hub" / path.relative_to(tmp_path / "there"))
    np.testing.assert_array_equal(network.weights["w"], WEIGHTS.T)


def test_it_is_saved_with_data_of_its_own(tmp_path):
    network = open_network(_cache(tmp_path))
    changed = network.with_weights({"w": 2 * WEIGHTS.T})
    (tmp_path / "out").mkdir()
    changed.save(tmp_path / "out" / "marked.onnx")
    np.testing.assert_array_equal(
        open_network(tmp_path / "out" / "marked.onnx").weights["w"], 2 * WEIGHTS.T
    )
    np.testing.assert_array_equal(network.weights["w"], WEIGHTS.T)


def _other_repository(path: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    shutil.copy(data.resolve(), other / ("b" * 64))
    data.unlink()
    data.symlink_to(other / ("b" * 64))


def _blob_is_a_link(path: Path, data: Path, tmp_path: Path) -> None:
    blob = data.resolve()
    blob.rename(tmp_path / "secret")
    blob.symlink_to(tmp_path / "secret")


def _blobs_are_a_link(path: Path, data: Path, tmp_path: Path) -> None:
    blobs = data.resolve().parent
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")


def _no_hash(path: Path, data: Path, tmp_path: Path) -> None:
    blob = data.resolve()
    blob.rename(blob.parent / "passwd")
    data.unlink()
    data.symlink_to(f"../../blobs/{'passwd'}")


def _no_revision(path: Path, data: Path, tmp_path: Path) -> None:
    path.parent.rename(path.parent.parent / "main")


def _no_repository(path: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "models--org--name").rename(tmp_path / "name")


def _outside(path: Path, data: Path, tmp_path: Path) -> None:
    shutil.copy(data.resolve(), tmp_path / ("c" * 64))
    data.unlink()
    data.symlink_to(tmp_path / ("c" * 64))


@pytest.mark.parametrize(
    "change",
    [
        _other_repository,
        _blob_is_a_link,
        _blobs_are_a_link,
        _no_hash,
        _no_revision,
        _no_repository,
        _outside,
    ],
)
def test_links_to_anything_else_are_refused(tmp_path, change):
    path = _cache(tmp_path)
    change(path, path.with_name("model.onnx_data"), tmp_path)
    found = next(p for p in tmp_path.rglob("model.onnx") if p.is_symlink())
    if change is _blobs_are_a_link:
        found = tmp_path / "models--org--name" / "snapshots" / REVISION / "model.onnx"
    with pytest.raises(ModelFileError, match=r"got \"?'?model.onnx_data'?\"?, a link to a place o"):
        open_network(found)


def test_folders_on_the_way_may_not_be_links(tmp_path):
    path = _cache(tmp_path)
    (path.parent / "sub").symlink_to("..")
    assert own_blob(path) is not None
    assert own_blob(path.parent / "sub" / REVISION / "model.onnx") is None
    assert own_blob(tmp_path / "snapshots" / "x") is None
    assert own_blob(Path("model.onnx")) is None
