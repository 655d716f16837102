"""Images and masks of class indices in files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.images import decoded_mask, decoded_masks, read_images
from nnw_onnx.kit.sources import FileSource, open_source


def _saved(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def values(rng):
    return rng.integers(0, 22, (6, 8)).astype(np.uint8)


def test_grey_and_palette_masks_are_their_values(values):
    palette = Image.fromarray(values, "P")
    palette.putpalette(bytes(range(255, -1, -1)) * 3)
    deep = Image.fromarray(values.astype(np.int32) + 300)
    for content, expected in [
        (_saved(Image.fromarray(values)), values),
        (_saved(palette), values),
        (_saved(deep, "TIFF"), values.astype(int) + 300),
        (_saved(Image.fromarray(values.astype(np.uint16) * 3000)), values.astype(int) * 3000),
        (_saved(Image.fromarray(values > 9)), values > 9),
    ]:
        made = decoded_mask("m.png", content, None)
        assert made.dtype == np.int32
        np.testing.assert_array_equal(made, expected)


def test_masks_are_resized_to_the_nearest(values):
    large = decoded_mask("m.png", _saved(Image.fromarray(values)), (12, 16))
    np.testing.assert_array_equal(large, np.repeat(np.repeat(values, 2, 0), 2, 1))
    small = decoded_mask("m.png", _saved(Image.fromarray(values)), (2, 2))
    assert set(small.ravel()) <= set(values.ravel())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_masks_in_colours_are_refused(values, mode):
    content = _saved(Image.fromarray(values).convert(mode))
    with pytest.raises(
        DatasetError, match=rf"m.png: expected a grey or palette .* got mode '{mode}'"
    ):
        decoded_mask("m.png", content, None)


def test_broken_masks_and_other_sizes_are_said(tmp_path, values):
    (tmp_path / "a.png").write_bytes(_saved(Image.fromarray(values)))
    (tmp_path / "b.png").write_bytes(_saved(Image.fromarray(values[:3])))
    (tmp_path / "c.png").write_bytes(b"no image")
    source = open_source(tmp_path)
    with pytest.raises(DatasetError, match=r"one size, got 6 x 8 and 3 x 8 \(b.png\)"):
        decoded_masks(source, ["a.png", "b.png"])
    assert decoded_masks(source, ["b.png", "a.png"], (2, 2)).shape == (2, 2, 2)
    with pytest.raises(DatasetError, match=r"c.png: expected an image"):
        decoded_masks(source, ["c.png"])


def test_all_images_of_a_folder_are_read_by_name(tmp_path, rng):
    images = rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    for name, image in zip(("b", "a/c", "a/b"), images, strict=True):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_saved(Image.fromarray(image)))
    (tmp_path / "notes.txt").write_text("none", encoding="utf-8")
    np.testing.assert_array_equal(read_images(tmp_path), images[[2, 1, 0]])
    assert read_images(str(tmp_path), (2, 3)).shape == (3, 2, 3, 3)
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match=r"none: expected images, got none"):
        read_images(tmp_path / "none")


def test_one_file_is_a_source_of_its_own(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    source = FileSource(path)
    assert (source.title, dict(source.read(source.names))) == ("a.txt", {"a.txt": b"12345"})
    with pytest.raises(DatasetError, match=r"b.txt: expected a file, got nothing of this name"):
        FileSource(tmp_path / "b.txt")
    monkeypatch.setattr("nnw_onnx.kit.sources.MAX_FILE_BYTES", 4)
    with pytest.raises(DatasetError, match=r"a.txt: expected files of at most 0 MiB, got a larger"):
        list(source.read(source.names))
