"""External data of a hostile model: their names, their sizes, and what they are read from."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import nnw_onnx as nnw
from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import open_network, saving
from nnw_onnx.graph.tensors import stored_bytes

from .handmade import make, node, values


def stored(folder: Path, places: list[tuple[str, int]], size: int = 8) -> Path:
    """A chain of square MatMuls whose weights lie at (location, offset)."""
    folder.mkdir(exist_ok=True, parents=True)
    arrays = {f"w{i}": values(size, size, seed=i) for i in range(len(places))}
    nodes = [node("MatMul", [f"h{i}", f"w{i}"], [f"h{i + 1}"]) for i in range(len(places))]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    model = make(nodes, arrays, (2, size))
    for weight, (location, offset) in zip(model.graph.initializer, places, strict=True):
        target = folder / location
        target.parent.mkdir(exist_ok=True, parents=True)
        with target.open("r+b" if target.exists() else "wb") as file:
            file.seek(offset)
            file.write(weight.raw_data)
        weight.external_data.add(key="location", value=location)
        weight.external_data.add(key="offset", value=str(offset))
        weight.data_location = TensorProto.EXTERNAL
        weight.ClearField("raw_data")
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "location", ["numpy.py", "a/sitecustomize.py", "Makefile", "m.onnx2", "w.data", "CON", "~"]
)
@pytest.mark.parametrize("changed", [True, False])
def test_the_sender_names_no_file(tmp_path: Path, location: str, changed: bool) -> None:
    network = open_network(stored(tmp_path / "from", [(location, 0)]))
    if changed:
        network = network.with_weights({"w0": network.weights["w0"] * np.float32(2)})
    (tmp_path / "to").mkdir()
    network.save(tmp_path / "to" / "out.onnx")
    assert files(tmp_path / "to") == {"out.onnx", "out.onnx.data"}
    again = open_network(tmp_path / "to" / "out.onnx")
    np.testing.assert_array_equal(again.weights["w0"], network.weights["w0"])


@pytest.mark.parametrize(
    "location", [".bashrc", ".ssh/authorized_keys", "a/.git/config", ".ssh/id_rsa", ".\\.x"]
)
def test_hidden_files_are_no_weights(tmp_path: Path, location: str) -> None:
    path = stored(tmp_path / "from", [(location, 0)])
    with pytest.raises(ModelFileError, match="expected external data inside the model's folder"):
        open_network(path)


def test_a_key_is_no_weights(tmp_path: Path) -> None:
    model = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
    made = nnw.inject(model, nnw.Payload.from_text("own"), seed=1)
    path = stored(tmp_path, [("key.npz", 0)])
    (tmp_path / "key.npz").unlink()
    nnw.save_key(made.claim, tmp_path / "key.npz")
    with pytest.raises(ModelFileError, match=r"got 'key\.npz', which is a secret key; move"):
        open_network(path)


class TestPlaces:
    def test_over_what_is_read(self, tmp_path: Path) -> None:
        """The sender calls his data what ours are going to be called."""
        network = open_network(stored(tmp_path, [("out.onnx.data", 0)]))
        changed = network.with_weights({"w0": network.weights["w0"] * np.float32(2)})
        before = (tmp_path / "out.onnx.data").read_bytes()
        with pytest.raises(ModelFileError, match="got one that the model is read from; remove"):
            changed.save(tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx.data").read_bytes() == before
        assert files(tmp_path) == {"m.onnx", "out.onnx.data"}

    @pytest.mark.parametrize("there", [b"a key, or anything", b""])
    def test_over_a_file_of_somebody_else(self, tmp_path: Path, there: bytes) -> None:
        network = open_network(stored(tmp_path / "from", [("w.data", 0)]))
        (tmp_path / "out.onnx.data").write_bytes(there)
        with pytest.raises(ModelFileError, match="got a file that is not its own; remove it or"):
            network.save(tmp_path / "out.onnx")
        (tmp_path / "out.onnx").write_bytes(b"no model")
        with pytest.raises(ModelFileError, match="got a file that is not its own; remove it or"):
            network.save(tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx.data").read_bytes() == there

    @pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
    def test_over_what_is_no_file(self, tmp_path: Path, kind: str) -> None:
        network = open_network(stored(tmp_path / "from", [("w.data", 0)]))
        target = tmp_path / "out.onnx.data"
        (tmp_path / "victim").write_bytes(b"old")
        make_it = {
            "link": lambda: target.symlink_to(tmp_path / "victim"),
            "dangling": lambda: target.symlink_to(tmp_path / "absent"),
            "pipe": lambda: os.mkfifo(target),
            "folder": target.mkdir,
        }
        make_it[kind]()
        with pytest.raises(ModelFileError, match="got one that is not a regular file; remove"):
            network.save(tmp_path / "out.onnx")
        assert (tmp_path / "victim").read_bytes() == b"old"
        assert not (tmp_path / "absent").exists()

    def test_its_own_of_before(self, tmp_path: Path) -> None:
        network = open_network(stored(tmp_path / "from", [("w.data", 0)]))
        for factor in (1, 2, 3):
            now = network.with_weights({"w0": network.weights["w0"] * np.float32(factor)})
            now.save(tmp_path / "out.onnx")
            again = open_network(tmp_path / "out.onnx").weights["w0"]
            np.testing.assert_array_equal(again, network.weights["w0"] * factor)
        assert {p.name for p in tmp_path.iterdir()} == {"from", "out.onnx", "out.onnx.data"}

    def test_in_place(self, tmp_path: Path) -> None:
        path = stored(tmp_path, [("m.onnx.data", 0), ("m.onnx.data", 300)])
        network = open_network(path)
        expected = network.weights["w0"] * 2
        network.with_weights({"w0": expected}).save(path)
        np.testing.assert_array_equal(open_network(path).weights["w0"], expected)
        np.testing.assert_array_equal(open_network(path).weights["w1"], network.weights["w1"])
        assert files(tmp_path) == {"m.onnx", "m.onnx.data"}

    def test_the_files_are_known_before(self, tmp_path: Path) -> None:
        network = open_network(stored(tmp_path / "from", [("a.data", 0), ("b/c.data", 0)]))
        names = [p.relative_to(tmp_path / "from").as_posix() for p in network.sources]
        assert names == ["m.onnx", "a.data", "b/c.data"]
        out = tmp_path / "out.onnx"
        assert network.files_at(out) == (out, tmp_path / "out.onnx.data")
        onnx.save(make([node("MatMul", ["x", "w"], ["y"])], {"w": values(2, 2)}, (1, 2)), out)
        assert open_network(out).files_at(tmp_path / "b.onnx") == (tmp_path / "b.onnx",)


class TestSizes:
    def test_a_file_with_holes_is_not_copied_whole(self, tmp_path: Path) -> None:
        """5 TiB of which the tensors need 512 bytes."""
        far = (5 << 40) - 256
        try:
            path = stored(tmp_path / "from", [("w.data", 0), ("w.data", far)])
        except OSError:
            pytest.skip("this file system has no files of 5 TiB")
        network = open_network(path)
        (tmp_path / "to").mkdir()
        network.save(tmp_path / "to" / "m.onnx")
        assert (tmp_path / "to" / "m.onnx.data").stat().st_size < 3 * 4096
        again = open_network(tmp_path / "to" / "m.onnx")
        for name in ("w0", "w1"):
            np.testing.assert_array_equal(again.weights[name], network.weights[name])

    def test_a_hole_that_a_tensor_needs_must_fit_on_the_disk(self, tmp_path: Path) -> None:
        path = stored(tmp_path / "from", [("w.data", 0)])
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].dims[:] = [1 << 18, 1 << 18]
        path.write_bytes(model.SerializeToString())
        try:
            os.truncate(tmp_path / "from" / "w.data", 1 << 38)
        except OSError:
            pytest.skip("this file system has no files of 256 GiB")
        network = open_network(path)
        (tmp_path / "to").mkdir()

        def little(folder: object) -> object:
            return saving.shutil._ntuple_diskusage(1 << 40, 1 << 39, 1 << 34)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(saving.shutil, "disk_usage", little)
            with pytest.raises(ModelFileError, match="got No space left on device for"):
                network.save(tmp_path / "to" / "m.onnx")
        assert files(tmp_path / "to") == set()

    def test_what_many_share_is_written_once(self, tmp_path: Path) -> None:
        places = [("w.data", offset) for offset in (0, 0, 4, 0, 252, 4096, 4100)]
        (tmp_path / "to").mkdir()
        network = open_network(stored(tmp_path / "from", places))
        network.save(tmp_path / "to" / "m.onnx")
        assert (tmp_path / "to" / "m.onnx.data").stat().st_size == 4100 + 256
        again = open_network(tmp_path / "to" / "m.onnx")
        for name in network.weights:
            np.testing.assert_array_equal(again.weights[name], network.weights[name])

    @pytest.mark.parametrize("seed", range(8))
    def test_any_layout_comes_back(self, tmp_path: Path, seed: int) -> None:
        """Ranges that touch, overlap and lie apart, in several files, some of them replaced."""
        rng = np.random.Generator(np.random.PCG64(seed))
        names = ("a.data", "b.data", "c/d.data")
        places = [
            (names[rng.integers(3)], int(rng.choice([1, 4, 100, 5000])) * int(rng.integers(4)))
            for _ in range(7)
        ]
        network = open_network(stored(tmp_path / "from", places))
        chosen = [f"w{i}" for i in range(7) if rng.random() < 0.4]
        network = network.with_weights({n: values(8, 8, seed=90 + int(n[1])) for n in chosen})
        for target in (tmp_path / "to" / "m.onnx", tmp_path / "from" / "n.onnx"):
            target.parent.mkdir(exist_ok=True)
            network.save(target)
            again = open_network(target)
            for name in network.weights:
                np.testing.assert_array_equal(again.weights[name], network.weights[name])


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1", "INT8", "FLOAT"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_elements_smaller_than_a_byte_are_packed(kind: str, size: int) -> None:
    number = dict(TensorProto.DataType.items()).get(kind)
    if number is None:
        pytest.skip("this version of onnx does not know the type")
    array = np.array([1, 0, 1, 1, 0, 0, 1][:size]).astype(
        onnx.helper.tensor_dtype_to_np_dtype(number)
    )
    if not kind.startswith("U"):
        array = (array.astype(np.float32) * -1).astype(array.dtype)
    assert stored_bytes(array, number).tobytes() == numpy_helper.from_array(array).raw_data


def test_bytes_are_little_endian_whatever_the_layout() -> None:
    big = np.arange(6, dtype=">f4").reshape(2, 3).T
    plain = np.ascontiguousarray(big).astype("<f4").tobytes()
    assert stored_bytes(big, TensorProto.FLOAT).tobytes() == plain
    half = np.arange(4, dtype=ml_dtypes.bfloat16)
    assert stored_bytes(half, TensorProto.BFLOAT16).tobytes() == half.tobytes()
