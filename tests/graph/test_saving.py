"""Saving: identical where nothing changed, atomic, never over the data of another model."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, copying, open_network

from .handmade import make, node, run_path, run_runnable, values

FEED = {"x": values(2, 64, seed=5)}


def _store(folder: Path, places: dict[str, tuple[str, int]], name: str = "m.onnx") -> Path:
    """Two Gemm layers whose weights lie at (location, offset); 7 bytes belong to nobody."""
    nodes = [
        node("Gemm", ["x", "w1"], ["h"], transB=1),
        node("Gemm", ["h", "w2"], ["y"], transB=1),
    ]
    arrays = {"w1": values(64, 64, seed=1), "w2": values(64, 64, seed=2)}
    model = make(nodes, arrays, (2, 64))
    folder.mkdir(exist_ok=True, parents=True)
    for weight in model.graph.initializer:
        location, offset = places[weight.name]
        target = folder / location
        target.parent.mkdir(exist_ok=True)
        data = target.read_bytes() if target.exists() else b""
        data = data.ljust(offset, b"\x11")
        stop = offset + len(weight.raw_data)
        target.write_bytes(data[:offset] + weight.raw_data + data[stop:].ljust(7, b"\x22"))
        for key, value in (("location", location), ("offset", str(offset))):
            weight.external_data.add(key=key, value=value)
        weight.data_location = TensorProto.EXTERNAL
        weight.ClearField("raw_data")
    (folder / name).write_bytes(model.SerializeToString())
    return folder / name


ONE = {"w1": ("w.data", 0), "w2": ("w.data", 16391)}
TWO = {"w1": ("a/one.data", 0), "w2": ("two.data", 64)}
SHARED = {"w1": ("w.data", 0), "w2": ("w.data", 0)}
LAYOUTS = {"one file": ONE, "two files": TWO, "same bytes": SHARED}


@pytest.fixture(params=LAYOUTS, ids=lambda n: n.replace(" ", "-"))
def network(request: pytest.FixtureRequest, tmp_path: Path) -> OnnxNetwork:
    return open_network(_store(tmp_path / "from", LAYOUTS[request.param]))


def _changed(network: OnnxNetwork, factor: float = 2.0) -> OnnxNetwork:
    return network.with_weights({"w1": network.weights["w1"] * np.float32(factor)})


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_unchanged_elsewhere(network: OnnxNetwork, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    network.save(tmp_path / "to" / "m.onnx")
    assert sorted(_files(tmp_path / "to")) == ["m.onnx", "m.onnx.data"]
    again = open_network(tmp_path / "to" / "m.onnx")
    for name in ("w1", "w2"):
        np.testing.assert_array_equal(again.weights[name], network.weights[name])


def test_unchanged_elsewhere_under_its_own_name_is_byte_identical(tmp_path: Path) -> None:
    places = {name: ("m.onnx.data", offset) for name, (_, offset) in ONE.items()}
    network = open_network(_store(tmp_path / "from", places))
    (tmp_path / "to").mkdir()
    network.save(tmp_path / "to" / "m.onnx")
    before, after = _files(tmp_path / "from"), _files(tmp_path / "to")
    stored = onnx.load(tmp_path / "to" / "m.onnx", load_external_data=False).graph.initializer
    places_now = [{e.key: e.value for e in t.external_data} for t in stored]
    assert [(p["location"], p["offset"]) for p in places_now] == [
        ("m.onnx.data", "0"),
        ("m.onnx.data", "16391"),
    ]
    assert after["m.onnx"] == before["m.onnx"]


def test_unchanged_beside(network: OnnxNetwork, tmp_path: Path) -> None:
    before = _files(tmp_path / "from")
    network.save(tmp_path / "from" / "n.onnx")
    after = _files(tmp_path / "from")
    assert after.pop("n.onnx") == after["m.onnx"]
    assert after == before


@pytest.mark.parametrize("place", ["to/m.onnx", "from/n.onnx", "from/m.onnx"])
def test_changed(network: OnnxNetwork, place: str, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    old = {name: np.array(w) for name, w in network.weights.items()}
    before = _files(tmp_path / "from")
    changed = _changed(network)
    changed.save(tmp_path / place)
    again = open_network(tmp_path / place)
    np.testing.assert_array_equal(again.weights["w1"], old["w1"] * 2)
    np.testing.assert_array_equal(again.weights["w2"], old["w2"])
    np.testing.assert_array_equal(network.weights["w1"], old["w1"])
    np.testing.assert_array_equal(changed.weights["w1"], old["w1"] * 2)
    assert not list(tmp_path.rglob("*.tmp"))
    if place != "from/m.onnx":
        after = _files(tmp_path / "from")
        assert {name: after[name] for name in before} == before
    one = run_path(tmp_path / place, FEED)
    assert np.array_equal(one[0], run_runnable(changed.runnable(), FEED)[0])


def test_changed_elsewhere_differs_only_there(tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", ONE))
    (tmp_path / "to").mkdir()
    _changed(network).save(tmp_path / "to" / "m.onnx")
    before, after = _files(tmp_path / "from"), _files(tmp_path / "to")
    size, second = 64 * 64 * 4, ONE["w2"][1]
    assert after["m.onnx.data"][second:] == before["w.data"][second : second + size]
    assert after["m.onnx.data"][:size] == (values(64, 64, seed=1) * 2).tobytes()
    # What belongs to no tensor is not passed on.
    assert not any(after["m.onnx.data"][size:second])


def test_data_of_another_model_stays(tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", ONE))
    other = _store(tmp_path / "to", ONE, "other.onnx")
    before = _files(tmp_path / "to")
    _changed(network).save(tmp_path / "to" / "m.onnx")
    after = _files(tmp_path / "to")
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"m.onnx", "m.onnx.data"}
    np.testing.assert_array_equal(open_network(other).weights["w1"], values(64, 64, seed=1))


def test_saving_again_replaces_our_own_data(tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", TWO))
    target = tmp_path / "from" / "n.onnx"
    for factor in (2.0, 3.0, 4.0):
        _changed(network, factor).save(target)
        expected = values(64, 64, seed=1) * np.float32(factor)
        np.testing.assert_array_equal(open_network(target).weights["w1"], expected)
    names = set(_files(tmp_path / "from"))
    assert names == {"m.onnx", "a/one.data", "two.data", "n.onnx", "n.onnx.data"}


def test_all_data_files_change(tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", TWO))
    zeros = {name: np.zeros((64, 64)) for name in ("w1", "w2")}
    network.with_weights(zeros).save(tmp_path / "from" / "n.onnx")
    again = open_network(tmp_path / "from" / "n.onnx")
    assert not again.weights["w1"].any()
    assert not again.weights["w2"].any()
    names = set(_files(tmp_path / "from"))
    assert names == {"m.onnx", "a/one.data", "two.data", "n.onnx", "n.onnx.data"}


def test_reads_what_was_opened(tmp_path: Path) -> None:
    """A network keeps its weights when its data file is replaced under it."""
    path = _store(tmp_path / "from", ONE)
    network = open_network(path)
    expected = np.array(network.weights["w1"])
    other = tmp_path / "from" / "new"
    other.write_bytes(bytes((tmp_path / "from" / "w.data").stat().st_size))
    other.replace(tmp_path / "from" / "w.data")
    np.testing.assert_array_equal(network.weights["w1"], expected)
    (tmp_path / "to").mkdir()
    network.save(tmp_path / "to" / "m.onnx")
    np.testing.assert_array_equal(open_network(tmp_path / "to" / "m.onnx").weights["w1"], expected)


def test_not_over_its_own_data(tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", ONE))
    before = _files(tmp_path / "from")
    with pytest.raises(ModelFileError) as error:
        network.save(tmp_path / "from" / "w.data")
    assert str(error.value) == (
        "save: expected a place that can be written, got a data file that the model is read from "
        f"for {str(tmp_path / 'from' / 'w.data')!r}; choose another one"
    )
    assert _files(tmp_path / "from") == before


def test_linked_folder_is_not_followed_out(tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", TWO))
    (tmp_path / "to").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "to" / "a").symlink_to(tmp_path / "outside")
    network.save(tmp_path / "to" / "m.onnx")
    assert not list((tmp_path / "outside").iterdir())
    np.testing.assert_array_equal(
        open_network(tmp_path / "to" / "m.onnx").weights["w1"], values(64, 64, seed=1)
    )


def test_failure_leaves_nothing(
    network: OnnxNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "m.onnx").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copying, "write", full)
    with pytest.raises(ModelFileError, match="got No space left on device for"):
        _changed(network).save(tmp_path / "to" / "m.onnx")
    assert _files(tmp_path / "to") == {"m.onnx": b"old"}


def test_failure_of_the_last_step_leaves_nothing(
    network: OnnxNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "to").mkdir()
    original = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target.name == "m.onnx":
            raise PermissionError(13, "Permission denied")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ModelFileError, match="got Permission denied for"):
        _changed(network).save(tmp_path / "to" / "m.onnx")
    assert _files(tmp_path / "to") == {}


@pytest.mark.parametrize("kind", ["folder", "missing"])
def test_places_that_cannot_be_written(kind: str, tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", ONE))
    target = tmp_path if kind == "folder" else tmp_path / "absent" / "m.onnx"
    got = "a folder, pipe or device" if kind == "folder" else "No such file or directory"
    with pytest.raises(ModelFileError) as error:
        network.save(target)
    assert str(error.value) == (
        f"save: expected a place that can be written, got {got} for {str(target)!r}; choose "
        "another one"
    )


def test_permissions_are_those_of_a_new_file(tmp_path: Path) -> None:
    network = open_network(_store(tmp_path / "from", ONE))
    (tmp_path / "to").mkdir()
    (tmp_path / "plain").touch()
    network.save(tmp_path / "to" / "m.onnx")
    for name in ("m.onnx", "m.onnx.data"):
        assert (tmp_path / "to" / name).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_sha256_covers_external_data(tmp_path: Path) -> None:
    path = _store(tmp_path / "from", ONE)
    parts = (path.read_bytes(), values(64, 64, seed=1).tobytes(), values(64, 64, seed=2).tobytes())
    assert open_network(path).sha256 == hashlib.sha256(b"".join(parts)).hexdigest()


def test_weights_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    """A sparse file of 64 GiB opens, lists and reads a slice in a moment."""
    path = tmp_path / "m.onnx"
    model = make([node("MatMul", ["x", "w"], ["y"])], {"w": values(2, 2)}, (1, 2))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.dims[:] = [2**17, 2**17]
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="w.data")
    path.write_bytes(model.SerializeToString())
    with (tmp_path / "w.data").open("wb") as stream:
        os.truncate(stream.fileno(), 2**36)
    network = open_network(path)
    assert network.weights["w"][0, :5].tolist() == [0.0] * 5
    assert network.weight_count == 2**34


def test_embedded_bytes_above_the_mapping_size(tmp_path: Path) -> None:
    array = values(2100, 2100)
    onnx.save(make([node("MatMul", ["x", "w"], ["y"])], {"w": array}, (1, 2100)),
              tmp_path / "m.onnx")  # fmt: skip
    network = open_network(tmp_path / "m.onnx")
    network.with_weights({"w": array.T + 1}).save(tmp_path / "m.onnx")
    np.testing.assert_array_equal(network.weights["w"], array.T)
    np.testing.assert_array_equal(open_network(tmp_path / "m.onnx").weights["w"], array.T + 1)
