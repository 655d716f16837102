"""Class folders: folders, tar and zip files, hostile ones among them."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnw_onnx import plugins
from nnw_onnx.datasets.image_folder import ImageFolder
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit import images as image_kit
from nnw_onnx.kit import sources
from nnw_onnx.kit.images import decoded
from nnw_onnx.vocabulary import Dataset, Spec

from .conftest import image_files, png, raw, write_files, write_tar


def _encoded(images):
    return {name: png(image) for name, image in images.items()}


def _write(tmp_path: Path, form: str, files: dict[str, bytes]) -> Path:
    if form == "folder":
        return write_files(tmp_path / "data", files)
    path = tmp_path / f"data.{form}"
    if form != "zip":
        return write_tar(path, files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "tgz", "zip"])
@pytest.mark.parametrize("prefix", ["", "top/deeper/"])
def test_all_forms_give_the_same_samples(tmp_path, images, form, prefix):
    reversed_files = reversed(_encoded(images).items())
    files = {prefix + name: content for name, content in reversed_files}
    files["README.md"] = b"no image"
    files[f"{prefix}train/cat/._0.png"] = b"hidden"
    found = ImageFolder(_write(tmp_path, form, files)).load("train")
    names = [f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(3)]
    np.testing.assert_array_equal(raw(found)[0], [images[n] for n in names])
    assert raw(found)[0].dtype == np.uint8
    assert raw(found)[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert raw(found)[2] == ["cat", "dog"]


def test_val_serves_as_test(tmp_path, images):
    files = {n.replace("test/", "val/"): c for n, c in _encoded(images).items()}
    assert len(ImageFolder(write_files(tmp_path, files)).load("test")) == 4


def test_a_limit_keeps_the_classes_in_proportion(tmp_path, images):
    folder = write_files(tmp_path, _encoded(images))
    assert raw(ImageFolder(folder, limit=2).load("test"))[1].tolist() == [0, 1]


def test_class_folders_of_one_split(tmp_path, images):
    files = {n.removeprefix("test/"): c for n, c in _encoded(images).items() if "test/" in n}
    folder = write_files(tmp_path, files)
    assert len(ImageFolder(folder, only_split="test").load("test")) == 4
    for dataset in (ImageFolder(folder), ImageFolder(folder, only_split="train")):
        with pytest.raises(
            DatasetError, match=r"expected images as test/<class>/<image>, got none"
        ):
            dataset.load("test")


def test_classes_are_those_of_all_splits(tmp_path, images):
    files = _encoded({n: i for n, i in images.items() if n != "x" and "test/cat" not in n})
    found = ImageFolder(write_files(tmp_path, files)).load("test")
    assert raw(found)[2] == ["cat", "dog"]
    assert raw(found)[1].tolist() == [1, 1]


def test_two_folders_of_one_split_are_refused(tmp_path, images):
    files = _encoded(images)
    both = {f"{top}/{name}": c for top in "ab" for name, c in files.items()}
    with pytest.raises(DatasetError, match=r"expected one folder named 'test', got 2; give"):
        ImageFolder(write_files(tmp_path, both)).load("test")


def test_sizes_must_agree_or_be_set(tmp_path, images):
    files = _encoded(images)
    files["test/dog/1.png"] = png(np.zeros((6, 7, 3), np.uint8))
    folder = write_files(tmp_path, files)
    with pytest.raises(DatasetError, match=r"images of one size, got 4 x 5 and 6 x 7 .*; set the"):
        ImageFolder(folder).load("test")
    found = ImageFolder(folder, size=(2, 3)).load("test")
    assert raw(found)[0].shape == (4, 2, 3, 3)
    pillow = Image.fromarray(images["test/cat/0.png"]).resize((3, 2), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(raw(found)[0][0], np.asarray(pillow))


def test_gray_and_transparent_images_become_rgb(tmp_path):
    gray = np.arange(20, dtype=np.uint8).reshape(4, 5)
    files = {"test/a/0.png": png(gray), "test/a/1.png": png(np.full((4, 5, 4), 9, np.uint8))}
    found = raw(ImageFolder(write_files(tmp_path, files)).load("test"))[0]
    np.testing.assert_array_equal(found[0], np.repeat(gray[..., None], 3, axis=2))
    np.testing.assert_array_equal(found[1], np.full((4, 5, 3), 9))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(9)])
def test_broken_images_are_named(tmp_path, content):
    folder = write_files(tmp_path, {"test/a/0.png": content})
    with pytest.raises(DatasetError, match=r"test/a/0.png: expected an image \(JPEG, .*; remove"):
        ImageFolder(folder).load("test")


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_the_file_and_not_its_buffer_is_named(tmp_path, form):
    path = _write(tmp_path, form, {"test/a/0.png": b"no image"})
    with pytest.raises(DatasetError, match=r"got: cannot identify image file '0.png'; remove"):
        ImageFolder(path).load("test")
    path = _write(tmp_path, form, {"0.png": b"no image"})
    with pytest.raises(DatasetError, match=r"got: cannot identify image file '0.png'; remove"):
        decoded(f"{path.name}: 0.png", b"no image")


def test_a_truncated_image_is_named(tmp_path):
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    folder = write_files(tmp_path, {"test/a/0.png": png(noise)[:2000]})
    with pytest.raises(DatasetError, match=r"0.png: expected an image"):
        ImageFolder(folder).load("test")


def _bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10**6))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9000, 30_000])
def test_image_bombs_are_refused(tmp_path, side):
    folder = write_files(tmp_path, {"test/a/0.png": _bomb(side, side)})
    with pytest.raises(DatasetError, match=r"0.png: expected (at most 67108864 pixels|an image)"):
        ImageFolder(folder).load("test")


@pytest.mark.parametrize("shape", [(1, 70_000), (70_000, 1)])
def test_very_long_images_are_refused(tmp_path, shape):
    folder = write_files(tmp_path, {"test/a/0.png": _bomb(*shape)})
    message = rf"0.png: expected .* 65535 a side, got {shape[0]} x {shape[1]}; make it smaller"
    with pytest.raises(DatasetError, match=message):
        ImageFolder(folder, size=(4, 4)).load("test")


def test_a_size_is_limited_before_anything_is_decoded(tmp_path):
    files = {f"test/a/{i}.png": b"never decoded" for i in range(171)}
    folder = write_tar(tmp_path / "data.tgz", files)
    message = r"expected a size of 1 to 4096 pixels a side, got 4096 x 4097; correct the option"
    with pytest.raises(DatasetError, match=message):
        ImageFolder(folder, size=(4096, 4097)).load("test")
    message = r"expected at most 8 GiB, got 8.02 GiB; use fewer or smaller entries \(options limit"
    with pytest.raises(DatasetError, match=message):
        ImageFolder(folder, size=(4096, 4096)).load("test")
    options = {"path": str(folder), "size": [100_000, 100_000]}
    with pytest.raises(ConfigurationError, match=r"option size.*4096"):
        plugins.create(Dataset, Spec("image-folder", options))


def _hostile_tar(path: Path, change) -> Path:
    with tarfile.open(path, "w") as archive:
        content = png(np.zeros((4, 5, 3), np.uint8))
        member = tarfile.TarInfo("test/a/0.png")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
        bad = tarfile.TarInfo("test/a/1.png")
        change(bad)
        archive.addfile(bad, io.BytesIO(bytes(bad.size)))
    return path


def _set(**attributes):
    def change(member):
        for name, value in attributes.items():
            setattr(member, name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(type=tarfile.SYMTYPE, linkname="/etc/hostname"),
        _set(type=tarfile.LNKTYPE, linkname="test/a/0.png"),
        _set(type=tarfile.CHRTYPE),
        _set(type=tarfile.BLKTYPE),
        _set(type=tarfile.FIFOTYPE),
        _set(name="/test/a/1.png"),
        _set(name="test/../../1.png"),
        _set(name="..\\1.png"),
        _set(name="C:1.png"),
    ],
)
def test_hostile_members_of_a_tar_are_refused(tmp_path, change):
    path = _hostile_tar(tmp_path / "data.tar", change)
    message = "data.tar: expected plain files and folders with names inside the archive, got"
    with pytest.raises(DatasetError, match=message):
        ImageFolder(path).load("test")


@pytest.mark.parametrize("name", ["/abs/a/1.png", "../a/1.png", "C:\\1.png"])
def test_hostile_names_of_a_zip_are_refused(tmp_path, name):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(
        DatasetError, match=r"data.zip: expected plain files and folders with names"
    ):
        ImageFolder(path).load("test")


def test_a_link_in_a_zip_is_refused(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("test/a/1.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/hostname")
    with pytest.raises(DatasetError, match=r"data.zip: expected plain files"):
        ImageFolder(path).load("test")


def _tar_of_claims(path: Path, size: int, kind: bytes) -> Path:
    """A gzipped tar whose header claims a size; the content is zeros that compress well."""
    member = tarfile.TarInfo("test/a/0.png")
    member.size = size
    member.type = kind
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(4):
            file.write(bytes(2**20))
    return path


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_tar_bombs_are_refused_before_they_are_read(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 2**20)
    path = _tar_of_claims(tmp_path / "data.tar.gz", 2**33, kind)
    with pytest.raises(DatasetError, match=r"expected files of at most 1 MiB, got a larger one"):
        ImageFolder(path).load("test")


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test/a/0.png", bytes(2**21))
    with pytest.raises(DatasetError, match=r"0.png: expected files of at most 1 MiB"):
        ImageFolder(path).load("test")


def test_totals_are_limited(tmp_path, images, monkeypatch):
    path = write_tar(tmp_path / "data.tar", _encoded(images))
    monkeypatch.setattr(sources, "MAX_FILES", 5)
    with pytest.raises(
        DatasetError, match=r"data.tar: expected at most 5 files and 64 GiB, got mo"
    ):
        ImageFolder(path).load("test")


def test_a_large_file_in_a_folder_is_refused(tmp_path, images, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 2**20)
    files = {**_encoded(images), "test/dog/1.png": bytes(2**20 + 1)}
    with pytest.raises(DatasetError, match=r"dog/1.png: expected files of at most 1 MiB"):
        ImageFolder(write_files(tmp_path, files)).load("test")


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_cut_and_mislabelled_archives_are_one_line(tmp_path, images, form):
    path = _write(tmp_path, form, _encoded(images))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatasetError, match=rf"data.{form}: .*expected") as caught:
        ImageFolder(path).load("test")
    assert "\n" not in str(caught.value)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DatasetError, match=rf"data.{form}: expected a whole, readable file"):
        ImageFolder(path).load("test")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs on this system")
def test_a_fifo_in_a_folder_does_not_hang(tmp_path, images):
    folder = write_files(tmp_path, _encoded(images))
    os.mkfifo(folder / "test" / "cat" / "2.png")
    assert len(ImageFolder(folder).load("test")) == 4


def test_missing_and_unknown_paths_are_said(tmp_path):
    with pytest.raises(
        DatasetError, match=r"nothing: expected a folder or an archive, got nothing"
    ):
        ImageFolder(tmp_path / "nothing").load("test")
    (tmp_path / "file.7z").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"file.7z: expected a folder or a file .tar, .tar.gz"):
        ImageFolder(tmp_path / "file.7z").load("test")


def test_the_shape_of_all_images_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("nnw_onnx.kit.sources.MAX_BYTES", 100)
    with pytest.raises(DatasetError, match=r"expected at most .* GiB"):
        ImageFolder(write_files(tmp_path, _encoded(image_files()))).load("test")


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_large_sets_are_read_when_they_are_asked_for(tmp_path, images, monkeypatch, form):
    path = _write(tmp_path, form, _encoded(images))
    kept = ImageFolder(path).load("train")
    monkeypatch.setattr(image_kit, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(sources, "MAX_BYTES", 300)
    stored = ImageFolder(path).load("train")
    assert stored.shape == kept.shape
    places = np.array([5, 0, 5, 2])
    np.testing.assert_array_equal(stored.read(places).feeds["image"], raw(kept)[0][places])
    monkeypatch.setattr(sources, "MAX_BYTES", 2**30)
    assert stored.digest == kept.digest


def test_a_compressed_tar_is_kept_in_memory_whatever_its_size(tmp_path, images, monkeypatch):
    path = _write(tmp_path, "tar.gz", _encoded(images))
    monkeypatch.setattr(image_kit, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(sources, "MAX_BYTES", 300)
    with pytest.raises(DatasetError, match=r"expected at most .* GiB"):
        ImageFolder(path).load("train")


def test_a_large_set_of_other_sizes_is_said_when_it_is_read(tmp_path, images, monkeypatch):
    files = _encoded(images)
    files["test/dog/1.png"] = png(np.zeros((6, 7, 3), np.uint8))
    monkeypatch.setattr(image_kit, "IN_MEMORY_BYTES", 100)
    found = ImageFolder(write_files(tmp_path, files)).load("test")
    with pytest.raises(DatasetError, match=r"got 4 x 5 and 6 x 7 \(test/dog/1.png\); set the opt"):
        found.read(np.array([3]))


def test_formats_that_run_other_programs_are_not_opened():
    assert not {"EPS", "PDF", "MPO"} & set(image_kit.FORMATS)
