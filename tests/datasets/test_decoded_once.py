"""Images are decoded once for all commands, and large arrays are one copy for all processes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.datasets import _npz_arrays as npz_arrays
from nnw_onnx.datasets.image_folder import ImageFolder
from nnw_onnx.datasets.npz import Npz
from nnw_onnx.datasets.segmentation_folder import SegmentationFolder
from nnw_onnx.kit import cache
from nnw_onnx.kit import images as image_kit
from nnw_onnx.kit import sources as source_kit
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ImageSamples
from nnw_onnx.vocabulary import TensorInfo

from .conftest import png, raw, write_files, write_tar

OLD = 1_000_000_000


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch) -> Path:
    """The folder of kept arrays; every array is large enough, and any age of a source is old."""
    monkeypatch.setenv("NNW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LEAST_BYTES", 1)
    monkeypatch.setattr(cache, "_SETTLED_NS", -(10**18))
    return tmp_path / "cache" / "arrays"


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
    """Titles of the images that were decoded."""
    titles: list[str] = []
    decode = image_kit.decoded

    def watched(title, content, form):
        titles.append(title)
        return decode(title, content, form)

    monkeypatch.setattr(image_kit, "decoded", watched)
    return titles


def _written(place: Path, images, form: str) -> Path:
    files = {name: png(image) for name, image in images.items()}
    if form == "folder":
        return write_files(place / "data", files)
    return write_tar(place / f"data.{form}", files)


def _whole(dataset) -> np.ndarray:
    return raw(dataset.load("test"))[0]


@pytest.mark.parametrize("form", ["folder", "tar", "tgz"])
def test_images_are_decoded_once(tmp_path, images, decodings, form):
    dataset = ImageFolder(_written(tmp_path, images, form))
    first = _whole(dataset)
    count = len(decodings)
    np.testing.assert_array_equal(_whole(dataset), first)
    # What is read in any order may be larger than memory: the first image tells the size of all.
    assert len(decodings) - count == (0 if form == "tgz" else 1)


def test_other_options_are_other_arrays(tmp_path, images):
    folder = _written(tmp_path, images, "folder")
    assert _whole(ImageFolder(folder)).shape == (4, 4, 5, 3)
    assert _whole(ImageFolder(folder, size=(2, 2))).shape == (4, 2, 2, 3)
    assert _whole(ImageFolder(folder, limit=1)).shape == (1, 4, 5, 3)
    assert len(_whole(ImageFolder(folder, classes=("dog",)))) == 2


@pytest.mark.parametrize("how", ["written", "replaced", "same size and time"])
def test_a_file_that_changed_is_decoded_again(tmp_path, images, how):
    dataset = ImageFolder(_written(tmp_path, images, "folder"))
    before = _whole(dataset)
    path = tmp_path / "data/test/cat/0.png"
    times = path.stat()
    content = png(255 - images["test/cat/0.png"])
    if how == "replaced":
        (tmp_path / "new.png").write_bytes(content)
        (tmp_path / "new.png").replace(path)
    else:
        path.write_bytes(content)
    if how == "same size and time":
        # Whoever sets the time of writing back still moves the time of change.
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.stat().st_mtime_ns == times.st_mtime_ns
    after = _whole(dataset)
    np.testing.assert_array_equal(after[0], 255 - before[0])
    np.testing.assert_array_equal(after[1:], before[1:])


def test_a_kept_array_of_another_shape_is_not_taken(tmp_path, images, kept):
    dataset = ImageFolder(_written(tmp_path, images, "folder"), size=(4, 5))
    before = _whole(dataset)
    for path in kept.iterdir():
        head = path.read_bytes()[:4096].replace(b"[4, 4, 5, 3]", b"[4, 5, 4, 3]")
        path.write_bytes(head + path.read_bytes()[4096:])
    np.testing.assert_array_equal(_whole(dataset), before)


def test_masks_are_kept_as_what_they_are(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    names = {"test/images/a.png": np.repeat(values[..., None], 3, 2), "test/masks/a.png": values}
    folder = write_files(tmp_path / "d", {n: png(image) for n, image in names.items()})
    for _ in range(2):
        samples = SegmentationFolder(folder, ignore=None).load("test")
        np.testing.assert_array_equal(raw(samples)[1][0], values)


def _is_mapped(array: np.ndarray) -> bool:
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def test_arrays_of_a_file_are_one_copy(tmp_path, rng):
    x, y = rng.integers(0, 256, (6, 4, 4, 3)).astype(np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "d.npz", x_test=x, y_test=y)
    samples = Npz(tmp_path / "d.npz").load("test")
    assert _is_mapped(samples._images)
    np.testing.assert_array_equal(raw(samples)[0], x)


def test_what_was_resized_is_mapped_once_it_is_whole(rng):
    images = rng.integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)
    port = TensorInfo("x", (None, 3, 8, 8), "float32")
    scaled = Preprocessing(resize=(8, 8))
    expected = scaled.apply(images, port.shape)

    def fitted() -> ImageSamples:
        return ImageSamples(images, np.arange(6), scaled).fitted([port])

    samples = fitted()
    for places in ([0, 3], [3, 1, 0], [2, 4, 5], [5, 0]):
        found = samples.read(np.array(places)).feeds["x"]
        np.testing.assert_array_equal(found, expected[places])
    assert _is_mapped(fitted()._kept[(None, 3, 8, 8)]._whole)
    np.testing.assert_array_equal(fitted().read(np.arange(6)).feeds["x"], expected)
    other = ImageSamples(255 - images, np.arange(6), scaled).fitted([port])
    assert not np.array_equal(other.read(np.arange(6)).feeds["x"], expected)


@pytest.fixture
def listings(monkeypatch) -> list[str]:
    """Archives whose members were read."""
    monkeypatch.setattr(source_kit, "_LEAST_INDEX", 1)
    titles: list[str] = []
    members = source_kit.TarSource._members

    def watched(self):
        titles.append(self.title)
        return members(self)

    monkeypatch.setattr(source_kit.TarSource, "_members", watched)
    return titles


def test_an_archive_is_listed_once(tmp_path, images, listings):
    path = _written(tmp_path, images, "tgz")
    first, second = (source_kit.open_source(path) for _ in range(2))
    assert first.names == second.names == sorted(images)
    assert dict(first.read(first.names)) == dict(second.read(first.names))
    assert listings == ["data.tgz"]


@pytest.mark.parametrize(
    "told", [b"[", b"7", b'[["a", 0]]', b'[["a", -1, 2]]', b'[["a", 0, 1e9]]', b'[[7, 0, 1]]']
)  # fmt: skip
def test_a_list_of_members_that_is_none_is_read_again(tmp_path, images, kept, listings, told):
    path = _written(tmp_path, images, "tar")
    names = source_kit.open_source(path).names
    (stored,) = kept.iterdir()
    size = stored.stat().st_size - 4096
    stored.write_bytes(stored.read_bytes()[:4096] + told.ljust(size))
    assert source_kit.open_source(path).names == names
    assert listings == ["data.tar"] * 2


def test_arrays_of_a_file_are_decompressed_once(tmp_path, monkeypatch):
    path, rng = tmp_path / "d.npz", np.random.Generator(np.random.PCG64(0))
    images, read = rng.integers(0, 256, (9, 4, 5, 3), np.uint8), []
    np.savez_compressed(path, x_test=images, y_test=np.arange(9) % 2)
    content = npz_arrays._content
    monkeypatch.setattr(npz_arrays, "_content", lambda *a: read.append(a[1]) or content(*a))
    for _ in range(2):
        np.testing.assert_array_equal(_whole(Npz(path)), images)
    assert sorted(read) == ["x_test.npy", "y_test.npy"]
