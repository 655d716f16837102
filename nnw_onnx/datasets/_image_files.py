"""Images in files: decoded with Pillow, as untrusted input."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays.preprocessing import MAX_SIDE
from nnw_onnx.datasets._samples import check_size
from nnw_onnx.datasets._sources import Source
from nnw_onnx.errors import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
MAX_PIXELS = 64 * 2**20
"""Largest image that is decoded, in pixels."""
MAX_DECODED_SIDE = 65_535
"""Longest side of an image that is decoded: resizing one axis at a time makes it costly."""


def is_image(name: str) -> bool:
    """Whether the name ends like that of an image."""
    return name.lower().endswith(SUFFIXES)


def decoded_images(
    source: Source, names: Sequence[str], size: tuple[int, int] | None
) -> NDArray[np.uint8]:
    """Images (n, height, width, 3) in the order of `names`.

    Args:
        source: where the files are.
        names: at least one name, without repetition.
        size: (height, width), each 1 to `MAX_SIDE` pixels, that each image is brought to
            (bilinear), or None: all must have one size.

    Raises:
        DatasetError: a file is no image, is too large, or has another size than the first; or
            all together would be larger than the limit, which is found before any is decoded
            where `size` is given.
    """
    if size is not None:
        _check_target(source.title, len(names), size)
    position = {name: i for i, name in enumerate(names)}
    result: NDArray[np.uint8] | None = None
    for name, content in source.read(names):
        image = decoded(f"{source.title}: {name}", content, size)
        if result is None:
            check_size(source.title, (len(names), *image.shape))
            result = np.empty((len(names), *image.shape), np.uint8)
        if image.shape != result.shape[1:]:
            raise DatasetError(
                f"{source.title}: expected images of one size, got {_size(result.shape[1:])} and "
                f"{_size(image.shape)} ({name}); set the option size"
            )
        result[position[name]] = image
    if result is None:
        raise DatasetError(f"{source.title}: expected images, got none; correct the option path")
    return result


def decoded(title: str, content: bytes, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image (height, width, 3), red first."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS or max(width, height) > MAX_DECODED_SIDE:
                    raise DatasetError(
                        f"{title}: expected at most {MAX_PIXELS} pixels and {MAX_DECODED_SIDE} a "
                        f"side, got {width} x {height}; make it smaller"
                    )
                plain = image.convert("RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        IndexError,
        TypeError,
        EOFError,
        OverflowError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise DatasetError(
            f"{title}: expected an image ({', '.join(FORMATS)}), got: "
            f"{_words(error, title)}; remove the file or get it again"
        ) from error
    if size is not None and plain.size != (size[1], size[0]):
        plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(plain, np.uint8)


def _check_target(title: str, count: int, size: tuple[int, int]) -> None:
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise DatasetError(
            f"{title}: expected a size of 1 to {MAX_SIDE} pixels a side, got {_size(size)}; "
            "correct the option size"
        )
    check_size(title, (count, *size, 3))


def _words(error: Exception, title: str) -> str:
    """The error's text on one line, with the file's name in place of the buffer it was read to."""
    name = title.rpartition("/")[2].rpartition(": ")[2]
    text = re.sub(r"<_io\.\w+ object at \w+>", lambda _: repr(name), str(error))
    return " ".join(text.split())


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
