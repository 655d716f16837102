"""Links in folders of data: followed inside, refused where they lead out, never in a circle."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.datasets.image_folder import ImageFolder
from nnw_onnx.datasets.mnist import Mnist
from nnw_onnx.datasets.npz import Npz
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.sources import open_source
from nnw_onnx.vocabulary import Dataset, Spec

from .conftest import png, raw, write_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@pytest.fixture
def data(tmp_path: Path, images) -> Path:
    return write_files(tmp_path / "data", {n: png(image) for n, image in images.items()})


def _loaded(path: Path, **options: object) -> np.ndarray:
    return raw(ImageFolder(path, **options).load("test"))[0]


def test_the_folder_that_was_asked_for_may_be_a_link(data, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(data)
    np.testing.assert_array_equal(_loaded(link), _loaded(data))


def test_links_inside_are_followed(data):
    whole = _loaded(data)
    (data / "test").rename(data / "everything")
    (data / "test").symlink_to("everything")
    np.testing.assert_array_equal(_loaded(data), whole)


@pytest.mark.parametrize("what", ["split", "class", "image"])
def test_links_that_lead_out_are_refused_unless_asked_for(data, tmp_path, what):
    whole = _loaded(data)
    name = {"split": "test", "class": "test/cat", "image": "test/cat/0.png"}[what]
    outside = tmp_path / "outside"
    (data / name).rename(outside)
    (data / name).symlink_to(outside)
    with pytest.raises(DatasetError) as caught:
        _loaded(data)
    told = str(caught.value)
    assert told.startswith(
        f"{data}: expected links that stay in the folder, got one that leads out"
    )
    assert (
        f"{name} -> {outside}; put the files themselves there, or set the option follow_l" in told
    )
    np.testing.assert_array_equal(_loaded(data, follow_links=True), whole)


def test_a_link_to_nothing_is_said(data):
    (data / "test/cat/9.png").symlink_to(".git/annex/objects/lost")
    for follow in (False, True):
        with pytest.raises(DatasetError, match=r"got one to nothing: test/cat/9.png -> /"):
            _loaded(data, follow_links=follow)


def test_circles_end(data):
    (data / "test/again").symlink_to("..")
    (data / "test/cat/self").symlink_to(".")
    assert open_source(data).names == sorted(f"{s}/{c}/{i}.png" for s, c, i in _places())
    assert open_source(data, follow_links=True).names == open_source(data).names


def _places():
    return [
        (split, name, i)
        for split, count in (("train", 3), ("test", 2))
        for name in ("cat", "dog")
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("image-folder", {}),
        ("cifar10", {}),
        ("segmentation-folder", {}),
        ("restoration-folder", {}),
        ("text-tokens", {}),
        ("npz", {}),
    ],
)
def test_the_place_that_was_looked_at_is_shown_whole(name, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = plugins.create(Dataset, Spec(name, {"path": "no such", **options}))
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/no such: expected"):
        dataset.load("test")


def test_a_folder_without_the_split_is_shown_whole(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for dataset in (ImageFolder(Path("empty")), Mnist(Path("empty"))):
        with pytest.raises(DatasetError, match=rf"^{tmp_path}/empty: expected"):
            dataset.load("test")
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/empty: expected an .npz file"):
        Npz(Path("empty")).load("test")
