"""Images with masks of class indices."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nnw_onnx import plugins
from nnw_onnx.datasets.segmentation_folder import SegmentationFolder
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.vocabulary import Dataset, Spec

from .conftest import png, raw, write_files, write_tar


@pytest.fixture
def pictures(rng):
    return {n: rng.integers(0, 256, (4, 6, 3), dtype=np.uint8) for n in "abc"}


@pytest.fixture
def masks(rng):
    return {n: rng.choice([0, 1, 2, 255], (4, 6)).astype(np.uint8) for n in "abc"}


def _files(pictures, masks, form="{split}/{kind}/{name}.png", split="test"):
    kinds = {"images": pictures, "masks": masks}
    return {
        form.format(split=split, kind=kind, name=name): png(image)
        for kind, images in kinds.items()
        for name, image in images.items()
    }


def test_names_may_end_otherwise(tmp_path, pictures, masks):
    """As Cityscapes names its files, whose split test has no labels."""
    files = {
        f"{kind}/{split}/city/{name}_{ending}.png": png(image)
        for split in ("val", "test")
        for kind, ending, found in (
            ("left", "left", pictures),
            ("fine", "fine_ids", masks if split == "val" else {}),
            ("fine", "fine_color", pictures),
        )
        for name, image in found.items()
    }
    options = {"images": "left", "image_ending": "_left", "masks": "fine",
               "mask_ending": "_fine_ids", "test_folder": "val"}  # fmt: skip
    folder = write_files(tmp_path, files)
    images, targets, _ = raw(SegmentationFolder(folder, **options).load("test"))
    np.testing.assert_array_equal(images, np.stack(list(pictures.values())))
    np.testing.assert_array_equal(
        targets, [np.where(m < 255, m.astype(int), -1) for m in masks.values()]
    )
    with pytest.raises(DatasetError, match=r"got no mask for left/test/city/a_left.png; correct"):
        SegmentationFolder(folder, **{**options, "test_folder": ""}).load("test")


@pytest.mark.parametrize(
    "form",
    ["{split}/{kind}/{name}.png", "{kind}/{split}/{name}.png", "top/{kind}/{split}/x/{name}.png"],
)
@pytest.mark.parametrize("split", ["test", "val"])
def test_both_orders_of_folders_are_found(tmp_path, pictures, masks, form, split):
    files = _files(pictures, masks, form, split)
    found = SegmentationFolder(write_files(tmp_path, files)).load("test")
    images, targets, classes = raw(found)
    np.testing.assert_array_equal(images, np.stack(list(pictures.values())))
    stored = np.stack(list(masks.values())).astype(int)
    np.testing.assert_array_equal(targets, np.where(stored == 255, -1, stored))
    assert classes == ["0", "1", "2"]


def test_palette_masks_tar_files_and_other_names_of_folders(tmp_path, pictures, masks):
    palette = Image.fromarray(masks["a"], "P")
    palette.putpalette(bytes(range(255, -1, -1)) * 3)
    palette.save(tmp_path / "m.png")
    files = {
        "train/JPEG/a.jpeg": png(pictures["a"]),
        "train/Class/a.png": (tmp_path / "m.png").read_bytes(),
    }
    path = write_tar(tmp_path / "d.tar.gz", files)
    found = SegmentationFolder(path, images="JPEG", masks="Class").load("train")
    np.testing.assert_array_equal(
        raw(found)[1][0], np.where(masks["a"] == 255, -1, masks["a"].astype(int))
    )


def test_classes_may_begin_elsewhere_and_have_names(tmp_path, pictures, masks):
    folder = write_files(tmp_path, _files(pictures, masks))
    found = SegmentationFolder(folder, first=1, classes=("cat", "dog")).load("test")
    stored = np.stack(list(masks.values())).astype(int)
    expected = np.where((stored == 255) | (stored == 0), -1, stored - 1)
    np.testing.assert_array_equal(raw(found)[1], expected)
    assert raw(found)[2] == ["cat", "dog"]
    assert len(raw(SegmentationFolder(folder, classes=21).load("test"))[2]) == 21
    message = r"expected masks of 2 classes, got the value 2; correct the options classes, first"
    with pytest.raises(DatasetError, match=message):
        SegmentationFolder(folder, classes=2).load("test")
    with pytest.raises(DatasetError, match=r"expected masks of 9 classes, got the value 255"):
        SegmentationFolder(folder, classes=9, ignore=None).load("test")


def test_sizes_limit_and_preprocessing(tmp_path, pictures, masks):
    masks["c"], pictures["c"] = masks["c"][:2], pictures["c"][:2]
    folder = write_files(tmp_path, _files(pictures, masks))
    with pytest.raises(DatasetError, match=r"one size, got 4 x 6 and 2 x 6"):
        SegmentationFolder(folder).load("test")
    options = {"path": str(folder), "size": [8, 12], "limit": 2, "preprocessing": {"scale": 1}}
    found = plugins.create(Dataset, Spec("segmentation-folder", options)).load("test")
    images, targets, _ = raw(found)
    assert (images.shape, targets.shape) == ((2, 8, 12, 3), (2, 8, 12))
    doubled = np.repeat(np.repeat(masks["a"].astype(int), 2, 0), 2, 1)
    np.testing.assert_array_equal(targets[0], np.where(doubled == 255, -1, doubled))


@pytest.mark.parametrize("classes", [1, "cat", [], 100_001])
def test_classes_that_make_no_sense_are_refused(tmp_path, classes):
    options = {"path": str(tmp_path), "classes": classes}
    if classes == []:
        assert plugins.create(Dataset, Spec("segmentation-folder", options)).classes == ()
        return
    with pytest.raises(ConfigurationError, match=r"option classes"):
        plugins.create(Dataset, Spec("segmentation-folder", options))


def test_what_is_missing_is_named(tmp_path, pictures, masks):
    files = _files(pictures, masks)
    del files["test/masks/b.png"]
    folder = write_files(tmp_path / "one", files)
    with pytest.raises(DatasetError, match=r"got no mask for test/images/b.png; correct the opt"):
        SegmentationFolder(folder).load("test")
    with pytest.raises(DatasetError, match=r"files in a folder 'train', got none among 5 files"):
        SegmentationFolder(folder).load("train")
    with pytest.raises(DatasetError, match=r"in a folder 'pics' .* got no such image"):
        SegmentationFolder(folder, images="pics").load("test")
    flat = {n.removeprefix("test/"): c for n, c in _files(pictures, masks).items()}
    folder = write_files(tmp_path / "two", flat)
    assert len(SegmentationFolder(folder, only_split="test").load("test")) == 3
    with pytest.raises(DatasetError, match=r"set the option only_split"):
        SegmentationFolder(folder, only_split="test").load("train")


def test_masks_of_another_size_than_the_images_are_said(tmp_path, pictures, masks):
    small = {n: m[:, :3] for n, m in masks.items()}
    folder = write_files(tmp_path, _files(pictures, small))
    with pytest.raises(DatasetError, match=r"masks of the size of the images, got \(4, 3\) and"):
        SegmentationFolder(folder).load("test")
