"""Class folders: their order, some of them only, and the numbers that a network gives them."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.datasets.image_folder import ImageFolder
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.tasks.image_classification import ImageClassification
from nnw_onnx.vocabulary import Dataset, Spec

from .conftest import png, raw, write_files

NUMBERS = [str(n) for n in range(12)]


@pytest.fixture
def numbered(tmp_path):
    """Folders 0 to 11, of images that show their number."""
    return _written(tmp_path / "numbered", {name: int(name) for name in NUMBERS})


@pytest.fixture
def named(tmp_path):
    return _written(tmp_path / "named", {"cat": 1, "dog": 2, "emu": 3})


def _written(folder, shades):
    return write_files(
        folder,
        {
            f"{split}/{name}/{i}.png": png(np.full((2, 2, 3), shade, np.uint8))
            for name, shade in shades.items()
            for split in ("train", "test")
            for i in range(2)
        },
    )


def _pairs(dataset, split="test"):
    """(what an image shows, its label), in order."""
    images, labels, _ = raw(dataset.load(split))
    return list(zip(images[:, 0, 0, 0].tolist(), labels.tolist(), strict=True))


def test_whole_numbers_are_in_the_order_of_texts_and_that_is_said(numbered):
    samples = ImageFolder(numbered).load("test")
    assert raw(samples)[2] == ["0", "1", "10", "11", *NUMBERS[2:10]]
    (notice,) = samples.facts["notices"]
    assert "(0, 1, 10, 11, ...)" in notice
    assert "set class_order = 'number'" in notice


def test_whole_numbers_in_their_own_order(numbered):
    dataset = ImageFolder(numbered, class_order="number")
    assert _pairs(dataset) == [(n, n) for n in range(12) for _ in range(2)]
    assert "notices" not in dataset.load("test").facts


def test_numbers_with_zeros_before_them_and_other_names_need_no_notice(tmp_path, named):
    padded = _written(tmp_path / "padded", {f"{n:02}": n for n in range(12)})
    for folder in (named, padded):
        assert "notices" not in ImageFolder(folder).load("test").facts
    mixed = _written(tmp_path / "mixed", {"10": 10, "9": 9, "none": 99})
    assert raw(ImageFolder(mixed, class_order="number").load("test"))[2] == ["9", "10", "none"]


def test_some_classes_in_the_order_of_the_network(named):
    dataset = ImageFolder(named, classes=("emu", "cat"))
    assert _pairs(dataset) == [(3, 0), (3, 0), (1, 1), (1, 1)]
    assert raw(dataset.load("test"))[2] == ["emu", "cat"]


def test_classes_by_their_number_among_those_of_the_network(named):
    dataset = ImageFolder(named, classes={"emu": 5, "cat": 2})
    samples = dataset.load("test")
    assert _pairs(dataset) == [(1, 2), (1, 2), (3, 5), (3, 5)]
    assert raw(samples)[2] == ["0", "1", "cat", "3", "4", "emu"]
    meter = ImageClassification().meter(samples)
    scores = np.zeros((4, 1000), np.float32)
    scores[[0, 1, 2, 3], [2, 5, 5, 700]] = 1
    meter.add({"scores": scores}, raw(samples)[1])
    np.testing.assert_array_equal(meter.result().scores, [1, 0, 1, 0])
    assert meter.result().chance == 0.5
    with pytest.raises(ConfigurationError, match=r"expected scores \(n, 6\) .* got float64 \(4, 5"):
        ImageClassification().meter(samples).add({"s": np.zeros((4, 5))}, raw(samples)[1])


def test_a_network_of_more_classes_is_refused_unless_numbers_are_given(named):
    samples = ImageFolder(named).load("test")
    with pytest.raises(ConfigurationError, match=r"expected scores \(n, 3\)"):
        ImageClassification().meter(samples).add({"s": np.zeros((6, 4))}, raw(samples)[1])


def test_a_limit_spreads_over_the_chosen_classes(named):
    assert _pairs(ImageFolder(named, classes=("emu", "cat"), limit=2)) == [(3, 0), (1, 1)]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (
            ("cat", "cow"),
            r"of the option classes to be a class folder, once, got 'cow'; there",
        ),
        (("cat", "cat"), r"a class folder, once, got one twice; there"),
        ({"cow": 1}, r"got 'cow'; there are cat, dog, emu"),
        ({"cat": 1, "dog": 1}, r"expected a number from 0 to 99999 .* no two of them equal"),
        ({"cat": 10**9}, r"expected a number from 0 to 99999"),
    ],
)
def test_classes_that_cannot_be_are_refused(named, classes, words):
    with pytest.raises(DatasetError, match=words):
        ImageFolder(named, classes=classes).load("test")


def test_options_of_a_configuration_are_read(named):
    for given in (["emu", "cat"], {"emu": 0, "cat": 1}):
        made = plugins.create(Dataset, Spec("image-folder", {"path": str(named), "classes": given}))
        assert _pairs(made) == [(3, 0), (3, 0), (1, 1), (1, 1)]
        assert plugins.create(Dataset, made.spec()).spec() == made.spec()
    with pytest.raises(ConfigurationError, match=r"image-folder: option classes"):
        plugins.create(Dataset, Spec("image-folder", {"path": str(named), "classes": {"a": -1}}))
