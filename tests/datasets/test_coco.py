"""Images with boxes in the form of COCO, broken and hostile ones among them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.datasets.coco import Coco
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit.images import Form
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.testing import check_dataset
from nnw_onnx.vocabulary import Dataset, Spec, TensorInfo

from .conftest import png, raw, write_files, write_tar

SIZES = {"wide.png": (20, 40), "high.png": (30, 10), "none.png": (16, 16)}
BOXES = {"wide.png": [(4, 2, 30, 10, 7, 0), (0, 0, 5, 5, 3, 1)], "high.png": [(1, 3, 8, 20, 3, 0)]}


def _image(name: str) -> np.ndarray:
    """Dark, with its boxes filled in a colour that tells the category."""
    height, width = SIZES[name]
    image = np.zeros((height, width, 3), np.uint8)
    for left, top, wide, high, label, _ in BOXES.get(name, ()):
        image[top : top + high, left : left + wide] = 30 * label
    return image


def _told(names=tuple(SIZES), **changes):
    images = [
        {"id": 10 - i, "file_name": name, "height": SIZES[name][0], "width": SIZES[name][1]}
        for i, name in enumerate(names)
    ]
    ids = {image["file_name"]: image["id"] for image in images}
    annotations = [
        {"id": 1, "image_id": ids[name], "category_id": label, "bbox": box, "iscrowd": crowd}
        for name in names
        for *box, label, crowd in BOXES.get(name, ())
    ]
    categories = [{"id": 7, "name": "cat", "supercategory": "animal"}, {"id": 3, "name": "dog"}]
    whole = {"images": images, "annotations": annotations, "categories": categories, "info": {}}
    return {**whole, **changes}


def _files(told=None, folder=""):
    files = {f"{folder}{name}": png(_image(name)) for name in SIZES}
    return {**files, "annotations.json": json.dumps(_told() if told is None else told).encode()}


@pytest.mark.parametrize("packed", [False, True])
def test_boxes_follow_the_images(tmp_path, packed):
    files = _files(folder="a/b/")
    path = write_tar(tmp_path / "x.tar", files) if packed else write_files(tmp_path, files)
    found = Coco(path, size=(30, 20)).load("test")
    inputs, targets, classes = raw(found)
    # In the order of their ids, which is the reverse.
    assert [len(t) for t in targets] == [0, 1, 2]
    assert inputs.shape == (3, 30, 20, 3)
    assert (classes, found.facts["ids"], found.facts["size"]) == (["dog", "cat"], [3, 7], [30, 20])
    assert targets[1].tolist() == [[2, 3, 18, 23, 0, 0]]
    assert targets[2].tolist() == [[2, 3, 17, 18, 1, 0], [0, 0, 2.5, 7.5, 0, 1]]


@pytest.mark.parametrize("fit", ["stretch", "corner", "middle"])
@pytest.mark.parametrize("size", [(90, 160), (128, 96)])
@pytest.mark.parametrize(("height", "width"), [(120, 200), (200, 60)])
def test_a_box_is_where_its_pixels_are(tmp_path, fit, size, height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[30:90, 10:50] = 200
    told = {
        "images": [{"id": 1, "file_name": "x.png", "height": height, "width": width}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [10, 30, 40, 60]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    files = {"x.png": png(image), "annotations.json": json.dumps(told).encode()}
    found = Coco(write_files(tmp_path, files), size=size, fit=fit, fill=50).load("test")
    (seen,), (boxes,), _ = raw(found)
    rows, columns = np.nonzero(seen[..., 0] > 100)
    lit = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(boxes[0, :4], lit, atol=1)
    place = Form(size, fit=fit).placed(height, width)
    around = np.ones(size, bool)
    around[place.top : place.top + place.height, place.left : place.left + place.width] = False
    assert (seen[around] == 50).all()
    assert around.any() == (fit != "stretch")
    if fit != "stretch":
        assert place.width / place.height == pytest.approx(width / height, rel=0.02)
        assert (place.height == size[0]) or (place.width == size[1])
    assert (place.left + place.top > 0) == (fit == "middle")


def test_a_part_of_the_images_and_the_classes_of_a_network(tmp_path):
    path = write_files(tmp_path, _files())
    some = Coco(path, size=(30, 20), limit=1).load
    with pytest.raises(DatasetError, match=r"expected at least one box, got none; add annotat"):
        some("test")
    named = Coco(path, size=(30, 20), classes=("person", "cat", "dog")).load("test")
    assert raw(named)[1][2][:, 4].tolist() == [1, 2]
    assert named.facts["ids"] == [None, 7, 3]
    with pytest.raises(DatasetError, match=r"expected each category once among cat, got 'dog'; c"):
        Coco(path, size=(30, 20), classes=("cat",)).load("test")
    with pytest.raises(DatasetError, match=r"once among cat, dog, cat, got one twice; correct"):
        Coco(path, size=(30, 20), classes=("cat", "dog", "cat")).load("test")


def test_each_split_has_its_annotations_and_folder(tmp_path):
    files = {f"{split}/{name}": png(_image(name)) for split in ("a", "b") for name in SIZES}
    for split, names in (("a", ("wide.png",)), ("b", ("high.png", "none.png"))):
        files[f"{split}.json"] = json.dumps(_told(names)).encode()
    path = write_files(tmp_path, files)
    data = Coco(path, size=(9, 9), annotations="b.json", train_annotations="a.json", images="a")
    assert [len(data.load(split)) for split in ("train", "test")] == [1, 2]
    with pytest.raises(DatasetError, match=r"expected one image 'none.png', got 2; correct the o"):
        Coco(path, size=(9, 9), annotations="b.json").load("test")
    with pytest.raises(DatasetError, match=r"for the split 'train', got none; set the option trai"):
        Coco(path, size=(9, 9), annotations="b.json").load("train")


def test_a_network_is_fed_the_size(tmp_path):
    found = Coco(write_files(tmp_path, _files()), size=(30, 20)).load("test")
    fitted = found.fitted([TensorInfo("x", ("n", 3, 30, 20), "float32")])
    assert raw(fitted)[0].shape == (3, 3, 30, 20)
    with pytest.raises(DatasetError, match=r"as the option size, which boxes follow, got preproc"):
        Coco(tmp_path, size=(3, 3), preprocessing=Preprocessing(resize=(2, 2))).load("test")
    with pytest.raises(ConfigurationError, match=r"coco: option size: expected a value, got none"):
        plugins.create(Dataset, Spec("coco", {"path": str(tmp_path)}))


def _changed(place: str, number: int, **fields):
    told = _told()
    told[place][number].update(fields)
    return told


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (b"{", r"annotations in the form of COCO, got b'\{' as the file: Invalid JSON: EOF "),
        ([], r"annotations in the form of COCO, got \[\] as the file: expected "),
        ({}, r"annotations in the form of COCO, got nothing as images: Field required; mend"),
        (_told(images=[]), r"got \[\] as images: expected at least 1 item; mend"),
        (_changed("images", 0, width=0), r"got 0 as images.0.width: expected a number greater th"),
        (_changed("images", 0, id=None), r"got None as images.0.id: expected a whole number"),
        (
            _changed("annotations", 0, bbox=[1, 2, 3]),
            r"bbox: expected at least 4 items",
        ),
        (_changed("annotations", 0, bbox=[1, 2, 3, 1e99]), r"expected a number less than or eq"),
        (_changed("annotations", 0, iscrowd=2), r"got 2 as annotations.0.iscrowd: expected 0 or 1"),
        (
            _changed("annotations", 0, category_id=4),
            r"categories that the file names, got the id 4",
        ),
        (_changed("images", 0, id=9), r"images and categories with an id each, got one id twice"),
        (_changed("categories", 0, id=3), r"with an id each, got one id twice; mend the file"),
        (_changed("images", 0, file_name="../x.png"), r"one image '../x.png', got 0; correct"),
        (
            _changed("images", 0, file_name="/etc/passwd"),
            r"one image '/etc/passwd', got 0; correct",
        ),
        (
            _changed("images", 0, file_name="high.png"),
            r"a file for each image, got one file for two",
        ),
        (_changed("images", 0, file_name="annotations.json"), r"expected an image \(JPEG, PNG, "),
        (_told(annotations=[]), r"expected at least one box, got none; add annotations"),
    ],
)
def test_broken_annotations_are_one_line(tmp_path, told, message):
    content = told if isinstance(told, bytes) else json.dumps(told).encode()
    path = write_files(tmp_path, {**_files(), "annotations.json": content})
    with pytest.raises(DatasetError, match=message) as caught:
        Coco(path, size=(9, 9)).load("test")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_deep_files_are_refused(tmp_path):
    path = write_files(tmp_path, {"annotations.json": b'{"a":' + b"[" * 100_000})
    with pytest.raises(DatasetError, match=r"Invalid JSON: recursion limit exceeded"):
        Coco(path, size=(9, 9)).load("test")


@pytest.mark.parametrize("place", range(len(check_dataset(Coco))))
def test_it_keeps_the_contract_of_data_sets(tmp_path, place):
    files = {**_files(), "train.json": json.dumps(_told(("wide.png", "high.png"))).encode()}
    path = write_files(tmp_path, files)
    check_dataset(Coco(path, size=(9, 9), train_annotations="train.json"))[place]()
