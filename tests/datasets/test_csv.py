"""Tables of features with numbers or classes, broken ones among them."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.datasets.csv import Csv
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit import sources
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.testing import check_dataset
from nnw_onnx.vocabulary import Dataset, Spec, TensorInfo

from .conftest import raw, write_files, write_tar

TABLE = b"\xef\xbb\xbfage, size,kind,price\n1,2.5,b,10\n\n3,4e1,a,20\n-5,6,b,30\n"


def _file(folder, content=TABLE, name="all.csv"):
    return write_files(folder, {name: content}) / name


def test_columns_are_features_and_numbers_to_be_told(tmp_path):
    found = Csv(_file(tmp_path), targets=("price",), features=("size", "age")).load("test")
    inputs, targets, classes = raw(found)
    assert inputs.dtype == np.float32
    assert inputs.tolist() == [[2.5, 1], [40, 3], [6, -5]]
    assert targets.tolist() == [[10], [20], [30]]
    assert classes is None


def test_one_column_may_hold_classes(tmp_path):
    found = Csv(_file(tmp_path), targets=("kind",), classes="sorted").load("train")
    inputs, targets, classes = raw(found)
    assert inputs.tolist() == [[1, 2.5, 10], [3, 40, 20], [-5, 6, 30]]
    assert (targets.tolist(), classes) == ([1, 0, 1], ["a", "b"])
    given = Csv(_file(tmp_path), targets=("kind",), classes=("b", "c", "a")).load("test")
    assert (raw(given)[1].tolist(), raw(given)[2]) == ([0, 2, 0], ["b", "c", "a"])


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    path = _file(tmp_path, b"x,y\n1,10\n2,9\n3,100\n")
    found = Csv(path, targets=("y",), classes="sorted").load("test")
    assert (raw(found)[1].tolist(), raw(found)[2]) == ([1, 0, 2], ["9", "10", "100"])


@pytest.mark.parametrize("packed", [False, True])
def test_folders_and_archives_have_a_table_for_each_split(tmp_path, packed):
    files = {"d/train.csv": b"x,y\n1,a\n2,c\n", "d/val.csv": b"x,y\n3,b\n"}
    path = write_tar(tmp_path / "t.tgz", files) if packed else write_files(tmp_path, files)
    data = Csv(path, targets=("y",), classes="sorted")
    # Classes are those of both splits, so that they are the same for each.
    assert raw(data.load("train"))[1:] == (pytest.approx([0, 2]), ["a", "b", "c"])
    assert raw(data.load("test"))[1:] == (pytest.approx([1]), ["a", "b", "c"])


def test_a_single_table_is_divided_or_serves_for_one_split(tmp_path):
    path = _file(tmp_path, b"x\ty\n" + b"".join(b"%d\t0\n" % i for i in range(7)), "t.tsv")
    divided = Csv(path, targets=("y",), test_every=3)
    assert raw(divided.load("test"))[0].ravel().tolist() == [2, 5]
    assert raw(divided.load("train"))[0].ravel().tolist() == [0, 1, 3, 4, 6]
    some = Csv(path, targets=("y",), limit=3)
    assert raw(some.load("test"))[0].ravel().tolist() == [0, 2, 4]
    with pytest.raises(
        DatasetError, match=r"t.tsv: expected rows of the split 'train', got none; c"
    ):
        Csv(path, targets=("y",), only_split="test").load("train")


def test_features_and_targets_are_brought_to_the_numbers_of_the_network(tmp_path):
    scaled = Preprocessing(mean=(1.0, 2.0), std=(2.0, 4.0))
    found = Csv(
        _file(tmp_path),
        targets=("price",),
        features=("age", "size"),
        preprocessing=scaled,
        target_preprocessing=Preprocessing(scale=0.1, mean=(2.0,)),
    ).load("test")
    fitted = found.fitted([TensorInfo("x", ("n", 2), "float32")])
    inputs, targets, _ = raw(fitted)
    np.testing.assert_allclose(inputs, [[0, 0.125], [1, 9.5], [-3, 1]])
    np.testing.assert_allclose(targets, [[-1], [0], [1]], atol=1e-6)


@pytest.mark.parametrize(("targets", "classes"), [("price", None), ("kind", "sorted")])
def test_each_column_may_be_an_input_of_its_own(tmp_path, targets, classes):
    data = Csv(
        _file(tmp_path),
        targets=(targets,),
        classes=classes,
        features=("age", "size"),
        inputs="columns",
        preprocessing=Preprocessing(mean=(1.0, 0.0)),
    )
    ports = [TensorInfo(name, ("n", 1), "float32") for name in ("size", "age")]
    batch = data.load("test").fitted(ports).read(np.arange(3))
    assert batch.feeds["age"].tolist() == [[0], [2], [-6]]
    assert batch.feeds["size"].tolist() == [[2.5], [40], [6]]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, r"expected one column 'y' in the first row, got none; correct"),
        (b"x,y,y\n1,2,3\n", {}, r"expected one column 'y' in the first row, got x, y, y; c"),
        (b"x,y\n1,2\n", {"features": ("z",)}, r"expected one column 'z' in the first row, got x"),
        (b"x,y\n1,2\n3\n", {}, r"expected 2 columns, as the first row names, got 1 in line 3; c"),
        (b"x,y\n,2\n", {}, r"a finite number in column 'x', got '' in line 2; fill it in, or"),
        (b"x,y\n1,\n", {}, r"a finite number in column 'y', got '' in line 2; fill it in, or"),
        (b"x,y\nnan,2\n", {}, r"expected a finite number in column 'x', got 'nan' in line 2; f"),
        (b"x,y\n1e99,2\n", {}, r"expected finite numbers, got 1 of 1 values that are NaN, inf"),
        (b'x,y\n1,"2\n', {}, r"expected a whole table, got: unexpected end of data in line 2; g"),
        (b"x,y\n1,\xff\n", {}, r"expected a text in UTF-8, got byte 6 of another encoding; save"),
        (b"x,y\n", {}, r"expected rows of the split 'test', got none; correct the options path"),
        (b"y\n1\n", {}, r"expected entries with values, got 1 entries of shape \(0,\); get or"),
        (b"x,y\n1,c\n", {"classes": ("a", "b")}, r"among a, b, got 'c' in line 2; correct"),
        (
            b"x,y,z\n1,2,3\n",
            {"targets": ("x", "y"), "classes": "sorted"},
            r"csv: expected one column of classes, got 2; correct the option targets, or leave",
        ),
    ],
)
def test_broken_tables_are_one_line(tmp_path, content, options, message):
    with pytest.raises(DatasetError, match=message) as caught:
        Csv(_file(tmp_path, content), **{"targets": ("y",), **options}).load("test")
    assert "\n" not in str(caught.value)


def test_a_table_that_is_too_large_is_refused_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_BYTES", 16)
    with pytest.raises(DatasetError, match=r"all.csv: expected at most 1.49e-08 GiB, got 2.24e-08"):
        Csv(_file(tmp_path, b"x,y\n1,2\n3,4\n5,6\n"), targets=("y",)).load("test")


def test_options_are_checked_as_a_configuration_gives_them(tmp_path):
    path = str(_file(tmp_path))
    made = plugins.create(
        Dataset, Spec("csv", {"path": path, "targets": ["kind"], "classes": ["a", "b"]})
    )
    assert made.classes == ("a", "b")
    for wrong in ({"targets": []}, {"separator": ";;"}, {"classes": "some"}, {"test_every": 1}):
        with pytest.raises(ConfigurationError, match=f"csv: option {next(iter(wrong))}: expected"):
            plugins.create(Dataset, Spec("csv", {"path": path, "targets": ["kind"], **wrong}))


def test_a_separator_of_its_own(tmp_path):
    path = _file(tmp_path, b'x;y\n"1";2\n')
    assert raw(Csv(path, targets=("y",), separator=";").load("test"))[0].tolist() == [[1]]


@pytest.fixture
def divided(tmp_path):
    return Csv(_file(tmp_path, b"x,y\n" + b"1,2\n3,4\n" * 5), targets=("y",), test_every=5)


@pytest.mark.parametrize("place", range(len(check_dataset(Csv))))
def test_it_keeps_the_contract_of_data_sets(divided, place):
    check_dataset(divided)[place]()
