"""MNIST idx files and .npz files, broken and hostile ones among them."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.datasets.mnist import Mnist, read_idx
from nnw_onnx.datasets.npz import Npz
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.vocabulary import Dataset, Spec, TensorInfo

from .conftest import idx, raw


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("separator", ["-", "."])
def test_idx_files_are_read(mnist_folder, zipped, separator):
    folder = mnist_folder(zipped=zipped, separator=separator)
    found = Mnist(folder).load("train")
    rng = np.random.Generator(np.random.PCG64(5))
    expected = rng.integers(0, 256, (6, 3, 2), dtype=np.uint8)
    np.testing.assert_array_equal(raw(found)[0][..., 0], expected)
    assert raw(found)[1].tolist() == list(range(6))
    assert len(Mnist(folder, limit=2).load("test")) == 2


def test_missing_files_are_named(tmp_path):
    message = "expected a file t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz, got none; give"
    with pytest.raises(DatasetError, match=message):
        Mnist(tmp_path).load("test")


def test_labels_of_another_number_are_refused(mnist_folder):
    folder = mnist_folder()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(DatasetError, match=r"as many labels as images, got 3 and 4; get"):
        Mnist(folder).load("test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"\x00\x00\x0d\x01" + bytes(4), "got 00000d01"),
        (b"\x00\x00\x08\x03" + bytes(12), "got 00000803"),
        (b"\x00\x00\x08\x01\x00", "got 00000801"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x02\x00", "expected 2 bytes as its header says, got 1"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01ab", "expected 1 bytes as its header says, got more"),
        (
            gzip.compress(idx(np.zeros(9, np.uint8)), mtime=0)[:-9],
            "expected a whole idx file, got: ",
        ),
        (b"\x1f\x8b nonsense", "expected a whole idx file, got: "),
    ],
)
def test_broken_idx_files_are_one_line(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_idx(tmp_path / "x", 1)
    assert "\n" not in str(caught.value)


def test_an_idx_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"\x00\x00\x08\x03" + b"\xff" * 12)
    with pytest.raises(DatasetError, match=r"x: expected at most 8 GiB"):
        read_idx(tmp_path / "x", 3)


@pytest.mark.parametrize("shape", [(4, 0, 28), (4, 28, 0)])
def test_images_without_pixels_are_refused(mnist_folder, shape):
    folder = mnist_folder()
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros(shape, np.uint8)))
    message = rf"expected entries with values, got 4 entries of shape \({shape[1]}, {shape[2]}, 1\)"
    with pytest.raises(DatasetError, match=message):
        Mnist(folder).load("test")


def _npz(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_the_usual_names_are_read(tmp_path):
    rng = np.random.Generator(np.random.PCG64(1))
    images = rng.integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    labels = np.array([[0], [1], [2], [1], [0]])
    path = _npz(tmp_path / "d.npz", x_test=images, y_test=labels, y_train=np.array([6]))
    found = Npz(path).load("test")
    np.testing.assert_array_equal(raw(found)[0], images)
    assert raw(found)[1].tolist() == [0, 1, 2, 1, 0]
    assert raw(found)[2] == list("0123456")
    assert raw(Npz(path, classes=10).load("test"))[2] == list("0123456789")
    assert raw(Npz(path, limit=2).load("test"))[1].tolist() == [0, 2]


def test_layouts_and_types_of_inputs(tmp_path):
    planes = np.arange(24, dtype=np.float64).reshape(1, 3, 4, 2)
    labels = np.array([1], np.uint8)
    found = Npz(_npz(tmp_path / "a.npz", inputs=planes, labels=labels), layout="NCHW").load("train")
    np.testing.assert_array_equal(raw(found)[0], planes.transpose(0, 2, 3, 1))
    assert raw(found)[0].dtype == np.float32
    gray = np.zeros((1, 4, 2), np.uint8)
    path = _npz(tmp_path / "b.npz", inputs=gray, labels=labels, classes=np.array(["no", "yes"]))
    found = Npz(path).load("test")
    assert raw(found)[0].shape == (1, 4, 2, 1)
    assert raw(found)[2] == ["no", "yes"]
    table = np.zeros((1, 7), np.int16)
    found = Npz(_npz(tmp_path / "c.npz", inputs=table, labels=labels)).load("test")
    assert raw(found)[0].ndim == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros(2)}, "expected arrays x_test and y_test.*got images; rename"),
        ({"inputs": np.zeros((2, 3)), "labels": np.array(["a", "b"])}, "labels to be numbers"),
        ({"inputs": np.zeros((2, 3)), "labels": np.zeros(3, int)}, "one target for each entry"),
        ({"inputs": np.zeros(2), "labels": np.zeros(2, int)}, r"each entry \(n, ...\)"),
        (
            {"inputs": np.array([["a"]]), "labels": np.zeros(1, int)},
            r"inputs to be numbers \(n, ...\)",
        ),
        ({"inputs": np.zeros((1, 1)), "labels": np.array([-1])}, "labels from 0 to 1, got -1"),
        (
            {"inputs": np.array([{}]), "labels": np.zeros(1, int)},
            "inputs: expected numbers or texts, got Python objects, which are never read",
        ),
    ],
)
def test_unfit_npz_files_are_said(tmp_path, arrays, message):
    with pytest.raises(DatasetError, match=message):
        Npz(_npz(tmp_path / "d.npz", **arrays)).load("test")


def test_values_that_are_no_finite_numbers_are_counted(tmp_path):
    inputs = np.zeros((3, 2, 2))
    inputs[0, 0], inputs[2, 1, 1] = (np.nan, -np.inf), 1e300
    labels = np.zeros(3, int)
    path = _npz(tmp_path / "d.npz", x_test=inputs, y_test=labels, x_train=inputs + np.nan)
    message = (
        "d.npz: expected finite numbers, got 3 of 12 values that are NaN, infinite or beyond "
        "float32; remove their entries or correct the values"
    )
    with pytest.raises(DatasetError) as caught:
        Npz(path).load("test")
    assert str(caught.value) == message
    path = _npz(tmp_path / "e.npz", inputs=inputs + np.nan, labels=labels)
    with pytest.raises(DatasetError, match=r"got 12 of 12 values"):
        Npz(path).load("test")


@pytest.mark.parametrize("largest", [100_000, 2**62])
def test_classes_are_limited_before_they_are_named(tmp_path, largest):
    path = _npz(tmp_path / "d.npz", inputs=np.zeros((2, 3)), labels=np.array([0, largest]))
    message = rf"d.npz: expected at most 100000 classes, got {largest + 1}; number the labels from"
    with pytest.raises(DatasetError, match=message):
        Npz(path).load("test")
    with pytest.raises(DatasetError, match=r"expected labels from 0 to 9, got 0 to"):
        Npz(path, classes=10).load("test")
    with pytest.raises(DatasetError, match=r"at most 100000 classes, got 4611686018427387904"):
        Npz(path, classes=2**62).load("test")
    with pytest.raises(ConfigurationError, match=r"option classes.*100000"):
        plugins.create(Dataset, Spec("npz", {"path": str(path), "classes": 100_001}))


def test_named_classes_are_limited_too(tmp_path, monkeypatch):
    monkeypatch.setattr("nnw_onnx.datasets._samples.MAX_CLASSES", 2)
    arrays = {"inputs": np.zeros((1, 3)), "labels": np.zeros(1, int), "classes": np.array([*"abc"])}
    with pytest.raises(DatasetError, match=r"at most 2 classes, got 3"):
        Npz(_npz(tmp_path / "d.npz", **arrays)).load("test")


def test_missing_and_broken_npz_files_are_one_line(tmp_path):
    with pytest.raises(DatasetError, match=r"d.npz: expected an .npz file, got nothing of this na"):
        Npz(tmp_path / "d.npz").load("test")
    path = _npz(tmp_path / "d.npz", inputs=np.zeros((9, 9)), labels=np.zeros(9, int))
    whole = path.read_bytes()
    cuts = [whole[: len(whole) // 2], b"", whole[:60] + bytes(40) + whole[100:]]
    for content in cuts:
        path.write_bytes(content)
        with pytest.raises(
            DatasetError, match=r"d.npz: expected a whole .npz file, got: "
        ) as caught:
            Npz(path).load("test")
        assert "\n" not in str(caught.value)


def _raw_npz(path: Path, header: str, content: bytes = b"", version: int = 1) -> Path:
    text = header.encode() + b"\n"
    npy = b"\x93NUMPY" + bytes((version, 0)) + len(text).to_bytes(2, "little") + text + content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", npy)
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(1, int))
        archive.writestr("labels.npy", buffer.getvalue())
    return path


def _described(shape: str) -> str:
    return f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1048576, 1048576)}",
            "inputs: expected at most 8 GiB, got 8.19e",
        ),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (10, 10)}",
            "expected a whole .npz file, got: .* bytes for an array of shape",
        ),
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
            "got Python objects, which are never read",
        ),
        ("{'descr': __import__('os')}", "expected a whole .npz file, got: "),
        ("{" + " " * 20_000 + "}", "expected a whole .npz file, got: "),
        (_described(f"(0, {2**70})"), f"a header of inputs with lengths beyond 0 to {2**40}; save"),
        (_described("(-1, 3)"), "a header of inputs with lengths beyond"),
        (_described("(1, False)"), "a header of inputs with lengths beyond"),
        (_described("(2, 0)"), "got 2 entries and 1 labels|one target for each entry"),
        (
            _described("(1, 0)"),
            r"d.npz: expected entries with values, got 1 entries of shape \(0,\)",
        ),
        (_described(f"({'9' * 4000},)"), "a header of inputs with lengths beyond"),
        (_described("(0, " + f"{2**39}, " * 8 + ")"), "expected a whole .npz file, got: "),
        (_described("(1,"), "a broken header of inputs "),
        (_described("(1,)").replace("}", ")"), "expected a whole .npz file, got: .*header"),
        ("{" * 900, "expected a whole .npz file, got: .*header"),
        ("(" * 9000, "expected a whole .npz file, got: .*header"),
        ("{[]: 1}", "expected a whole .npz file, got: .*header"),
        ("{1: 2, 'shape': ()}", "expected a whole .npz file, got: .*header"),
        (
            "{'descr': ('<f8', 9999999999999999999999), 'fortran_order': False, 'shape': (1,)}",
            "got: .*header",
        ),
        ("{'descr': (), 'fortran_order': False, 'shape': (1,)}", "expected a whole .npz file"),
        ("{'descr': [3], 'fortran_order': False, 'shape': (1,)}", "expected a whole .npz file"),
        ("", "expected a whole .npz file, got: .*header"),
        ("\x00", "expected a whole .npz file, got: .*header"),
    ],
)
def test_hostile_headers_are_refused_before_anything_is_read(tmp_path, header, message):
    with pytest.raises(DatasetError, match=message) as caught:
        Npz(_raw_npz(tmp_path / "d.npz", header)).load("test")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_a_header_of_python_2_is_read_silently(tmp_path):
    path = _raw_npz(tmp_path / "d.npz", _described("(1L, 3L)"), np.arange(3.0).tobytes())
    np.testing.assert_array_equal(raw(Npz(path).load("test"))[0], [[0, 1, 2]])


def test_an_unknown_version_is_refused(tmp_path):
    path = _raw_npz(tmp_path / "d.npz", "{}", version=9)
    with pytest.raises(DatasetError, match=r"inputs \(version \(9, 0\) of the .npy form\); save"):
        Npz(path).load("test")


def test_an_npz_bomb_is_refused_by_its_size(tmp_path, monkeypatch):
    path = _npz(tmp_path / "d.npz", inputs=np.zeros((2**10, 2**10)), labels=np.zeros(2**10, int))
    assert path.stat().st_size < 2**15
    monkeypatch.setattr("nnw_onnx.kit.sources.MAX_BYTES", 2**20)
    with pytest.raises(
        DatasetError, match=r"d.npz: inputs: expected at most 0.000977 GiB, got 0.0"
    ):
        Npz(path).load("test")


def test_arrays_of_several_inputs_are_fed_as_they_are(tmp_path):
    ids, mask = np.arange(6).reshape(2, 3), np.ones((2, 3), np.int32)
    path = _npz(tmp_path / "d.npz", ids_test=ids, mask=mask, kind_test=[1, 0], kind_train=[4])
    options = {"path": str(path), "feeds": ["ids", "mask"], "targets": "kind"}
    found = plugins.create(Dataset, Spec("npz", options)).load("test")
    batch = found.read(np.array([1]))
    assert {n: v.tolist() for n, v in batch.feeds.items()} == {
        "ids": [[3, 4, 5]],
        "mask": [[1] * 3],
    }
    assert (batch.targets.tolist(), found.facts["classes"]) == ([0], list("01234"))
    with pytest.raises(DatasetError, match=r"those of the options feeds and targets; got ids_test"):
        Npz(path, feeds=("ids", "other")).load("test")
    bad = _npz(tmp_path / "e.npz", x=np.array([[0.0], [np.nan]]), y=[0, 1])
    with pytest.raises(DatasetError, match=r"got 1 of 2 values that are NaN"):
        Npz(bad, feeds=("x",)).load("test")


def test_targets_may_be_numbers_maps_and_images(tmp_path):
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    numbers = _npz(tmp_path / "a.npz", x_test=images, y_test=np.array([[0.5], [1.5]]))
    found = Npz(numbers).load("test")
    assert (raw(found)[1].tolist(), found.facts) == ([[0.5], [1.5]], {})
    maps = np.full((2, 4, 5), -1, np.int16)
    maps[0, 0, 0] = 3
    found = Npz(_npz(tmp_path / "b.npz", x_test=images, y_test=maps), classes=7).load("test")
    np.testing.assert_array_equal(raw(found)[1], maps)
    assert raw(found)[2] == list("0123456")
    found = Npz(_npz(tmp_path / "c.npz", x_test=images, y_test=images[:, ::-1])).load("test")
    fitted = found.fitted([TensorInfo("x", ("n", 3, 4, 5), "float32")])
    batch = fitted.read(np.arange(2))
    np.testing.assert_array_equal(batch.targets, batch.feeds["x"][:, :, ::-1])
