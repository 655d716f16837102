"""Images and masks of class indices in files."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.images import Form, decoded, decoded_mask, decoded_masks, read_images
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
        made = decoded_mask("m.png", content)
        assert made.dtype == np.int32
        np.testing.assert_array_equal(made, expected)


def test_masks_are_resized_to_the_nearest(values):
    large = decoded_mask("m.png", _saved(Image.fromarray(values)), Form((12, 16)))
    np.testing.assert_array_equal(large, np.repeat(np.repeat(values, 2, 0), 2, 1))
    small = decoded_mask("m.png", _saved(Image.fromarray(values)), Form((2, 2)))
    assert set(small.ravel()) <= set(values.ravel())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_masks_in_colours_are_refused(values, mode):
    content = _saved(Image.fromarray(values).convert(mode))
    with pytest.raises(
        DatasetError, match=rf"m.png: expected a grey or palette .* got mode '{mode}'"
    ):
        decoded_mask("m.png", content)


def test_broken_masks_and_other_sizes_are_said(tmp_path, values):
    (tmp_path / "a.png").write_bytes(_saved(Image.fromarray(values)))
    (tmp_path / "b.png").write_bytes(_saved(Image.fromarray(values[:3])))
    (tmp_path / "c.png").write_bytes(b"no image")
    source = open_source(tmp_path)
    with pytest.raises(DatasetError, match=r"one size, got 6 x 8 and 3 x 8 \(b.png\)"):
        decoded_masks(source, ["a.png", "b.png"])
    assert decoded_masks(source, ["b.png", "a.png"], Form((2, 2))).shape == (2, 2, 2)
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


def _deep(form: str, values, **rest) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form, **rest)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_gray_of_16_bits_is_scaled_and_not_cut(form):
    """Reference: a whole byte is 257 steps of 16 bits."""
    values = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)
    expected = np.rint(values / 257).astype(np.uint8)[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(decoded("a", _deep(form, values)), expected)


def test_16_bits_in_either_order_of_bytes():
    values = np.array([[0, 257, 513], [32896, 65278, 65535]], ">u2")
    buffer = io.BytesIO()
    Image.frombytes("I;16B", (3, 2), values.tobytes()).save(buffer, "TIFF")
    np.testing.assert_array_equal(
        decoded("a", buffer.getvalue())[..., 0], [[0, 1, 2], [128, 254, 255]]
    )


def test_white_tells_the_range_that_16_bits_do_not_fill():
    """A camera of 12 bits: 4095 is white, and 65535 would make it nearly black."""
    values = np.array([[0, 2048], [4094, 4095]], np.uint16)
    made = decoded("a", _deep("PNG", values), Form(white=4095))
    np.testing.assert_array_equal(made[..., 1], np.rint(values * (255 / 4095)))
    with pytest.raises(DatasetError, match=r"a: expected values from 0 to 1000 .* 16 bits, got"):
        decoded("a", _deep("PNG", values), Form(white=1000))


def test_floats_of_0_to_1_are_scaled_and_others_refused_unless_white_is_known():
    values = np.array([[0, 0.25], [0.5, 1]], np.float32)
    made = decoded("a", _deep("TIFF", values))
    np.testing.assert_array_equal(made[..., 2], [[0, 64], [128, 255]])
    large = _deep("TIFF", values * 255)
    with pytest.raises(DatasetError, match=r"b.tif: expected values from 0 to 1 .* floats, got"):
        decoded("b.tif", large)
    np.testing.assert_array_equal(decoded("b.tif", large, Form(white=255)), made)


@pytest.mark.parametrize("values", [[[0, np.nan]], [[0, np.inf]], [[-0.1, 0.5]]])
def test_values_that_are_none_of_an_image_are_refused(values):
    with pytest.raises(DatasetError, match=r"a: expected values from 0 to 1 for an image of fl"):
        decoded("a", _deep("TIFF", np.array(values, np.float32)))


def test_whole_numbers_of_32_bits_need_a_white():
    values = np.array([[0, 70_000], [140_000, 35_000]], np.int32)
    with pytest.raises(DatasetError, match=r"expected a known white .* of 32 bits, got .* 140000"):
        decoded("a", _deep("TIFF", values))
    made = decoded("a", _deep("TIFF", values), Form(white=140_000))
    np.testing.assert_array_equal(made[..., 0], [[0, 128], [255, 64]])


def _png_16_bits(values) -> bytes:
    """A PNG of colours of 16 bits, which Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_cut_to_8_within_one_level(rng, channels):
    values = rng.integers(0, 65536, (4, 5, channels))
    made = decoded("a", _png_16_bits(values)).astype(int)
    assert np.abs(made - np.rint(values[..., :3] / 257)).max() <= 1
    with pytest.raises(DatasetError, match=r"a: expected gray images for the option white, got c"):
        decoded("a", _png_16_bits(values), Form(white=4095))


def test_images_of_other_modes_become_red_green_blue(rng):
    """Palettes, one bit, transparency and printers' colours, against Pillow's own conversion."""
    colours = Image.fromarray(rng.integers(0, 256, (6, 8, 4), dtype=np.uint8))
    for mode, form in [
        ("1", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "TIFF"),
        ("YCbCr", "JPEG"), ("L", "JPEG"), ("RGBA", "WEBP"),
    ]:  # fmt: skip
        buffer = io.BytesIO()
        colours.convert("RGB").convert(mode).save(buffer, form)
        again = np.asarray(Image.open(buffer).convert("RGB"))
        np.testing.assert_array_equal(decoded("a", buffer.getvalue()), again)


def test_transparency_is_left_out_as_where_networks_are_trained():
    pixels = np.full((2, 2, 4), 200, np.uint8)
    pixels[0, :, 3] = 0
    assert (decoded("a", _deep("PNG", pixels)) == 200).all()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(form):
    frames = [Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (10, 200)]
    buffer = io.BytesIO()
    rest = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:], **rest)
    assert (decoded("a", buffer.getvalue()) == 10).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_where_that_is_asked_for(orientation):
    """Reference: the table of the EXIF standard, written as turns and mirrors of the array."""
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = _deep("PNG", pixels, exif=exif)
    np.testing.assert_array_equal(decoded("a", content), pixels)
    np.testing.assert_array_equal(decoded("a", content, Form(upright=True)), turned)


def test_broken_exif_is_no_crash(rng):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "JPEG", exif=exif)
    whole = bytearray(buffer.getvalue())
    place = whole.index(b"Exif\0\0")
    for _ in range(200):
        broken = bytearray(whole)
        broken[place + 6 + int(rng.integers(0, 24))] = int(rng.integers(0, 256))
        with contextlib.suppress(DatasetError):
            assert decoded("a", bytes(broken), Form(upright=True)).shape == (4, 4, 3)
