"""Images in files: decoded with Pillow, as untrusted input."""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.preprocessing import MAX_SIDE
from nnw_onnx.kit.sources import Source, check_size, open_source

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

D = TypeVar("D", bound=np.generic)

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
MAX_PIXELS = 64 * 2**20
"""Largest image that is decoded, in pixels."""
IN_MEMORY_BYTES = 4 * 2**30
"""Images that are not larger are kept in memory once they were decoded."""
MAX_DECODED_SIDE = 65_535
"""Longest side of an image that is decoded: resizing one axis at a time makes it costly."""

_MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")


def is_image(name: str) -> bool:
    """Whether the name ends like that of an image."""
    return name.lower().endswith(SUFFIXES)


def read_images(path: str | Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """All images (n, height, width, 3) of a folder, tar or zip, in the order of their names.

    Args:
        path: where they are, at any depth.
        size: (height, width) that each is brought to, or None where all have one size.

    Raises:
        DatasetError: there are none, or one is broken or too large.
    """
    source = open_source(Path(path))
    return decoded_images(source, [name for name in source.names if is_image(name)], size)


def decoded_images(
    source: Source, names: Sequence[str], size: tuple[int, int] | None = None
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
    return _stacked(source, names, size, decoded, 3)


class StoredImages:
    """Images (n, height, width, 3) that are decoded each time they are asked for.

    Attributes:
        shape: of all of them; the first tells their size.
        dtype: uint8.
    """

    def __init__(
        self, source: Source, names: Sequence[str], size: tuple[int, int] | None = None
    ) -> None:
        """Decode the first; arguments and errors are those of `decoded_images`."""
        self._source, self._names, self._size = source, list(names), size
        first = decoded_images(source, self._names[:1], size)
        self.shape, self.dtype = (len(self._names), *first.shape[1:]), first.dtype

    @property
    def nbytes(self) -> int:
        """Size of all of them in memory."""
        return math.prod(self.shape)

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """The images at these places; raises `DatasetError` where one is broken."""
        places, inverse = np.unique(indices, return_inverse=True)
        found = decoded_images(self._source, [self._names[i] for i in places], self._size)
        if found.shape[1:] != self.shape[1:]:
            raise DatasetError(
                f"{self._source.title}: expected images of one size, got {_size(self.shape[1:])} "
                f"and {_size(found.shape[1:])} ({self._names[places[0]]}); set the option size"
            )
        return found[inverse]


def images_of(
    source: Source, names: Sequence[str], size: tuple[int, int] | None = None
) -> NDArray[np.uint8] | StoredImages:
    """Images as `decoded_images`; where they are large and lie in the open, read when asked for."""
    if source.random_access and names:
        stored = StoredImages(source, names, size)
        if stored.nbytes > IN_MEMORY_BYTES:
            return stored
    return decoded_images(source, names, size)


def decoded_masks(
    source: Source, names: Sequence[str], size: tuple[int, int] | None = None
) -> NDArray[np.int32]:
    """Masks (n, height, width) of class indices; grey or palette images, resized to the nearest.

    Args and errors are those of `decoded_images`; a mask in colours is an error too.
    """
    return _stacked(source, names, size, decoded_mask, 4)


def _stacked(
    source: Source,
    names: Sequence[str],
    size: tuple[int, int] | None,
    decode: Callable[[str, bytes, tuple[int, int] | None], NDArray[D]],
    pixel_bytes: int,
) -> NDArray[D]:
    if size is not None:
        _check_target(source.title, len(names), size, pixel_bytes)
    position = {name: i for i, name in enumerate(names)}
    result: NDArray[D] | None = None
    for name, content in source.read(names):
        image = decode(f"{source.title}: {name}", content, size)
        if result is None:
            check_size(source.title, (len(names), *image.shape), image.itemsize)
            result = np.empty((len(names), *image.shape), image.dtype)
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

    with _opened(title, content) as image:
        plain = image.convert("RGB")
    if size is not None and plain.size != (size[1], size[0]):
        plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(plain, np.uint8)


def decoded_mask(title: str, content: bytes, size: tuple[int, int] | None) -> NDArray[np.int32]:
    """One mask (height, width): the values of a grey image, the indices of a palette."""
    from PIL import Image

    with _opened(title, content) as image:
        mode = image.mode
        values = np.asarray(image) if mode in _MASK_MODES else None
    if values is None:
        raise DatasetError(
            f"{title}: expected a grey or palette image whose values are classes, got mode "
            f"{mode!r}; save the masks as indices"
        )
    plain = Image.fromarray(values.astype(np.int32))
    if size is not None and plain.size != (size[1], size[0]):
        plain = plain.resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(plain, np.int32)


@contextmanager
def _opened(title: str, content: bytes) -> Iterator[PillowImage]:
    """An image of the allowed forms and size; what fails in it is our error."""
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
                yield image
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


def _check_target(title: str, count: int, size: tuple[int, int], pixel_bytes: int) -> None:
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise DatasetError(
            f"{title}: expected a size of 1 to {MAX_SIDE} pixels a side, got {_size(size)}; "
            "correct the option size"
        )
    check_size(title, (count, *size), pixel_bytes)


def _words(error: Exception, title: str) -> str:
    """The error's text on one line, with the file's name in place of the buffer it was read to."""
    name = title.rpartition("/")[2].rpartition(": ")[2]
    text = re.sub(r"<_io\.\w+ object at \w+>", lambda _: repr(name), str(error))
    return " ".join(text.split())


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
