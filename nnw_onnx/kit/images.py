"""Images in files: decoded with Pillow, as untrusted input."""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit import cache
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

_MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
# Forms whose gray values of more than 8 bits Pillow gives as 0 to 65535.
_WHOLE_16_BITS = ("PNG", "PPM")
_WHITE_16 = 65_535.0
_DEPTH = re.compile(r"\b[A-Z]+;16")


Fit = Literal["stretch", "corner", "middle"]


class Place(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Form:
    """How image files become images of one form.

    Attributes:
        size: (height, width), each 1 to `MAX_SIDE` pixels, that each image is brought to
            (bilinear), or None where all have one size.
        white: value of white in gray images of more than 8 bits; None: 65,535 where they have 16
            bits and 1 where they are floats, of which larger ones are refused.
        upright: whether images are turned as their EXIF orientation says.
        fit: how an image of other proportions is brought to the size: "stretch", or kept in its
            proportions in the upper left "corner" or in the "middle" of a plain image.
        fill: value of the pixels around it there.
        crop: (height, width) of the middle of each image that is used, before all of that; a
            smaller one is refused.
    """

    size: tuple[int, int] | None = None
    white: float | None = None
    upright: bool = False
    fit: Fit = "stretch"
    fill: int = 0
    crop: tuple[int, int] | None = None

    def placed(self, height: int, width: int) -> Place:
        """Where an image of this size lies in the one that it becomes."""
        if self.size is None:
            return Place(0, 0, height, width)
        whole_height, whole_width = self.size
        if self.fit == "stretch":
            return Place(0, 0, whole_height, whole_width)
        scale = min(whole_height / height, whole_width / width)
        own_height, own_width = (max(1, round(side * scale)) for side in (height, width))
        if self.fit == "corner":
            return Place(0, 0, own_height, own_width)
        top, left = (whole_height - own_height) // 2, (whole_width - own_width) // 2
        return Place(top, left, own_height, own_width)


AS_STORED = Form()
"""Images of one size, as the files have them."""


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
    return decoded_images(source, [name for name in source.names if is_image(name)], Form(size))


def decoded_images(
    source: Source, names: Sequence[str], form: Form = AS_STORED
) -> NDArray[np.uint8]:
    """Images (n, height, width, 3) in the order of `names`.

    Args:
        source: where the files are.
        names: at least one name, without repetition.
        form: how they are read.

    Raises:
        DatasetError: a file is no image, is too large, has another size than the first, or values
            of an unknown range; or all together would be larger than the limit, which is found
            before any is decoded where a size is given.
    """
    return _kept(source, names, form, 3, np.uint8, lambda: _images(source, names, form))


def _images(source: Source, names: Sequence[str], form: Form) -> NDArray[np.uint8]:
    return _stacked(source, names, form, decoded, 3)


def _kept(
    source: Source,
    names: Sequence[str],
    form: Form,
    axes: int,
    dtype: type[D],
    make: Callable[[], NDArray[D]],
) -> NDArray[D]:
    """Decoded files, which are decoded once for all commands and processes."""
    from PIL import __version__ as pillow

    stamp = source.stamp(names)
    what = f"decoded by Pillow {pillow} as {form}\n{stamp.words}"
    shape = (len(names), *(form.size or (None, None)), *((3,) if axes == 3 else ()))
    return cache.kept(what, shape, dtype, make, stamp.newest)


class StoredImages:
    """Images (n, height, width, 3) that are decoded each time they are asked for.

    Attributes:
        shape: of all of them; the first tells their size.
        dtype: uint8.
    """

    def __init__(self, source: Source, names: Sequence[str], form: Form = AS_STORED) -> None:
        """Decode the first; arguments and errors are those of `decoded_images`."""
        self._source, self._names, self._form = source, list(names), form
        first = _images(source, self._names[:1], form)
        self.shape, self.dtype = (len(self._names), *first.shape[1:]), first.dtype

    @property
    def nbytes(self) -> int:
        """Size of all of them in memory."""
        return math.prod(self.shape)

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """The images at these places; raises `DatasetError` where one is broken."""
        places, inverse = np.unique(indices, return_inverse=True)
        found = _images(self._source, [self._names[i] for i in places], self._form)
        if found.shape[1:] != self.shape[1:]:
            raise DatasetError(
                f"{self._source.title}: expected images of one size, got {_size(self.shape[1:])} "
                f"and {_size(found.shape[1:])} ({self._names[places[0]]}); set the option size"
            )
        return found[inverse]


def images_of(
    source: Source, names: Sequence[str], form: Form = AS_STORED
) -> NDArray[np.uint8] | StoredImages:
    """Images as `decoded_images`; where they are large and lie in the open, read when asked for."""
    if source.random_access and names:
        stored = StoredImages(source, names, form)
        if stored.nbytes > IN_MEMORY_BYTES:
            return stored
    return decoded_images(source, names, form)


def decoded_masks(
    source: Source, names: Sequence[str], form: Form = AS_STORED
) -> NDArray[np.int32]:
    """Masks (n, height, width) of class indices; grey or palette images, resized to the nearest.

    Args and errors are those of `decoded_images`; a mask in colours is an error too. Of the form
    only the size counts.
    """
    form = Form(form.size)

    def make() -> NDArray[np.int32]:
        return _stacked(source, names, form, decoded_mask, 4)

    return _kept(source, names, form, 2, np.int32, make)


def _stacked(
    source: Source,
    names: Sequence[str],
    form: Form,
    decode: Callable[[str, bytes, Form], NDArray[D]],
    pixel_bytes: int,
) -> NDArray[D]:
    if form.size is not None:
        _check_target(source.title, len(names), form.size, pixel_bytes)
    position = {name: i for i, name in enumerate(names)}
    result: NDArray[D] | None = None
    for name, content in source.read(names):
        image = decode(f"{source.title}: {name}", content, form)
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


def decoded(title: str, content: bytes, form: Form = AS_STORED) -> NDArray[np.uint8]:
    """One image (height, width, 3), red first.

    As is usual where networks are trained, transparency is left out, gray is repeated and the
    first frame counts. Values of more than 8 bits are scaled to 0 to 255 and rounded.

    Raises:
        DatasetError: it is no image or too large, or its values have no known range.
    """
    from PIL import ImageOps

    with _opened(title, content) as image:
        _check_white(title, image, form)
        turned = ImageOps.exif_transpose(image) if form.upright else image
        plain = _eight_bits(title, turned, image.format, form.white)
    return np.asarray(_sized(_cropped(title, plain, form.crop), form), np.uint8)


def _cropped(title: str, image: PillowImage, crop: tuple[int, int] | None) -> PillowImage:
    """The middle of an image, or all of it."""
    if crop is None:
        return image
    height, width = crop
    if image.height < height or image.width < width:
        raise DatasetError(
            f"{title}: expected an image of at least {height} x {width} pixels, got "
            f"{image.height} x {image.width}; lower the option crop"
        )
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


def _sized(image: PillowImage, form: Form) -> PillowImage:
    from PIL import Image

    place = form.placed(image.height, image.width)
    if image.size != (place.width, place.height):
        image = image.resize((place.width, place.height), Image.Resampling.BILINEAR)
    if form.size is None or (place.height, place.width) == form.size:
        return image
    whole = Image.new(image.mode, form.size[::-1], (form.fill,) * 3)
    whole.paste(image, (place.left, place.top))
    return whole


def _check_white(title: str, image: PillowImage, form: Form) -> None:
    """Refuse a white that would not be applied: Pillow cuts colours of 16 bits to 8 at once."""
    from PIL.ImageFile import ImageFile

    if form.white is None or image.mode in _DEEP_MODES or not isinstance(image, ImageFile):
        return
    if _DEPTH.search(str(image.tile)):
        raise DatasetError(
            f"{title}: expected gray images for the option white, got colours of 16 bits "
            f"(mode {image.mode!r}); save them with 8 bits a colour"
        )


def _eight_bits(
    title: str, image: PillowImage, kind: str | None, white: float | None
) -> PillowImage:
    """The image in RGB; converting deep ones with Pillow would cut them off at 255."""
    from PIL import Image

    if image.mode not in _DEEP_MODES:
        return image.convert("RGB")
    values = np.asarray(image, np.float64)
    known = _WHITE_16 if image.mode.startswith("I;16") or kind in _WHOLE_16_BITS else None
    peak = white or (1.0 if image.mode == "F" else known)
    low, high = float(values.min()), float(values.max())
    if peak is None or not 0 <= low <= high <= peak:
        wanted = "a known white" if peak is None else f"values from 0 to {peak:g}"
        raise DatasetError(
            f"{title}: expected {wanted} for an image of {_depth(image.mode)}, got values from "
            f"{low:g} to {high:g}; set the option white to the value that stands for white"
        )
    return Image.fromarray(np.rint(values * (255 / peak)).astype(np.uint8)).convert("RGB")


def _depth(mode: str) -> str:
    return {"F": "floats", "I": "whole numbers of 32 bits"}.get(mode, "16 bits")


def decoded_mask(title: str, content: bytes, form: Form = AS_STORED) -> NDArray[np.int32]:
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
    plain, size = Image.fromarray(values.astype(np.int32)), form.size
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
