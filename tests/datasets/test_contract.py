"""What every data set keeps: the contract, evenly spaced entries, the fingerprint."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nnw_onnx import plugins
from nnw_onnx.datasets._samples import labelled
from nnw_onnx.datasets.digits import Digits
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit import sources
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import evenly, fingerprint
from nnw_onnx.kit.sources import check_size
from nnw_onnx.vocabulary import Dataset, Spec

from .conftest import raw

NAMES = [
    "cifar10",
    "coco",
    "csv",
    "digits",
    "image-folder",
    "mnist",
    "npz",
    "restoration-folder",
    "segmentation-folder",
    "text-tokens",
]
REQUIRED = {"coco": {"size": [8, 8]}, "csv": {"targets": ["y"]}}


def test_the_built_in_data_sets():
    assert [n for n in plugins.names("datasets") if n in NAMES] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_data_set_with_a_limit(name, tmp_path):
    options = {"limit": 3} if name == "digits" else {"limit": 3, "path": str(tmp_path)}
    options |= REQUIRED.get(name, {})
    made = plugins.create(Dataset, Spec(name, options))
    assert isinstance(made, Dataset)
    with pytest.raises(
        DatasetError, match=rf"{name}: expected the split 'train' or 'test', got 'x"
    ):
        made.load("x")
    with pytest.raises(ConfigurationError, match=r"option limit"):
        plugins.create(Dataset, Spec(name, {**options, "limit": 0}))


@pytest.mark.parametrize(("split", "first", "count"), [("train", 0, 899), ("test", 1, 898)])
def test_digits_are_divided_by_index(split, first, count):
    found = Digits().load(split)
    bunch = load_digits()
    assert len(found) == count
    assert raw(found)[0].shape == (count, 8, 8, 1)
    assert raw(found)[0].dtype == np.float32
    assert (raw(found)[0].min(), raw(found)[0].max()) == (0, 16)
    np.testing.assert_array_equal(raw(found)[0][..., 0], bunch.images[first::2])
    np.testing.assert_array_equal(raw(found)[1], bunch.target[first::2])
    assert raw(found)[2] == list("0123456789")


def test_a_limit_takes_evenly_spaced_entries():
    everything, some = Digits().load("test"), Digits(limit=100).load("test")
    positions = [i * 898 // 100 for i in range(100)]
    np.testing.assert_array_equal(raw(some)[0], raw(everything)[0][positions])
    np.testing.assert_array_equal(raw(some)[1], raw(everything)[1][positions])
    assert some.digest != everything.digest
    assert len(Digits(limit=10**6).load("test")) == 898


@pytest.mark.parametrize(
    ("total", "limit", "expected"),
    [(5, None, [0, 1, 2, 3, 4]), (10, 3, [0, 3, 6]), (2, 5, [0, 1]), (0, 3, []), (7, 1, [0])],
)
def test_positions(total, limit, expected):
    assert evenly(total, limit).tolist() == expected


def test_the_fingerprint_is_of_values_types_and_shapes():
    inputs = np.arange(4, dtype=np.float32).reshape(2, 2)
    labels = np.array([0, 1])
    plain = b"<f4 (2, 2);" + inputs.tobytes() + b"<i8 (2,);" + labels.tobytes()
    expected = hashlib.sha256(plain).hexdigest()
    assert fingerprint(inputs, labels) == expected
    assert fingerprint(inputs.astype(">f4"), labels) == expected
    others = [(inputs.reshape(2, 2, 1), labels), (inputs + 1, labels), (inputs, labels[::-1])]
    assert all(fingerprint(*other) != expected for other in others)


def test_labels_and_entries_are_checked():
    inputs = np.zeros((2, 3))
    with pytest.raises(DatasetError, match=r"got 2 entries and 1 labels; check the files"):
        labelled(inputs, np.array([0]), "ab", "source", Preprocessing())
    with pytest.raises(DatasetError, match=r"source: expected one label .* got 0 entries"):
        labelled(inputs[:0], np.array([]), "ab", "source", Preprocessing())
    with pytest.raises(DatasetError, match=r"expected labels from 0 to 1, got 0 to 2; check"):
        labelled(inputs, np.array([0, 2]), "ab", "source", Preprocessing())


def test_sizes_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(sources, "MAX_BYTES", 2**30)
    check_size("source", (2**15, 2**15))
    with pytest.raises(
        DatasetError, match=r"source: expected at most 1 GiB, got 1.02e\+03 GiB; use"
    ):
        check_size("source", (2**20, 2**20))
