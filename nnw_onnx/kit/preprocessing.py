"""Preprocessing: from the images of a data set to the input of a network.

The order is fixed: resize, channels, scale, mean and std, layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import Scale

Shape = Sequence[int | str | None]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""

MAX_SIDE = 4096
"""Longest side, in pixels, that an image may be resized to."""

MAX_BYTES = 8 * 2**30
"""Largest array that resizing may make, in bytes."""

_WHOLE_BYTE = 255.0


@dataclass(frozen=True)
class Preprocessing:
    """How a sample becomes an input.

    Attributes:
        scale: factor of every value; None: 1/255 for uint8, 1 for everything else. The digits of
            scikit-learn run from 0 to 16 and want 1/16.
        mean: subtracted after scaling: nothing, one number, or one a channel.
        std: divisor after that: nothing, one number, or one a channel.
        layout: "NCHW", "NHWC", "flat" (channel, row, column in one axis) or "auto": the one that
            fits the network's input, NCHW before NHWC.
        resize: (height, width), each 1 to `MAX_SIDE` pixels, bilinear, antialiased when it
            shrinks; None: as it is.
        channels: "RGB" (as the data have it), "BGR" (reversed), "gray" (luma) or "auto": as the
            data have it, but gray where the network takes one channel, and one channel repeated
            where it takes three. Mean and std are in the order after this step.
    """

    # Read by pydantic where a configuration is validated: an unknown key is an error.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["auto", "NCHW", "NHWC", "flat"] = "auto"
    resize: tuple[int, int] | None = None
    channels: Literal["auto", "RGB", "BGR", "gray"] = "auto"

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std, *(() if self.scale is None else (self.scale,)))
        if not all(map(math.isfinite, numbers)) or any(s <= 0 for s in self.std):
            raise ConfigurationError(
                "preprocessing: expected finite numbers and std above 0, got scale "
                f"{self.scale}, mean {self.mean}, std {self.std}; correct them"
            )
        if self.scale == 0 or any(not 1 <= side <= MAX_SIDE for side in self.resize or ()):
            raise ConfigurationError(
                f"preprocessing: expected a scale other than 0 and sizes from 1 to {MAX_SIDE} "
                f"pixels, got scale {self.scale}, resize {self.resize}; correct them"
            )

    def apply(self, images: NDArray[Any], input_shape: Shape) -> NDArray[np.float32]:
        """The input of a network for some samples.

        Args:
            images: (n, height, width, channels), or (n, features) for what is no image.
            input_shape: shape of the network's input, batch first; names and None are free sizes.

        Returns:
            Array that fits `input_shape`, whatever its batch size, contiguous.

        Raises:
            ConfigurationError: the samples cannot be made to fit, or would take more than
                `MAX_BYTES` once resized.
        """
        if images.ndim != 4:
            return self._features(images, input_shape)
        values = images if self.resize is None else resized(images, self.resize)
        values = self._channels(values, input_shape)
        # Arithmetic runs some ten times faster along planes than along three channels.
        planes = self._normalised(values.transpose(0, 3, 1, 2), images.dtype, (-1, 1, 1))
        return np.ascontiguousarray(self._arranged(planes, input_shape))

    @property
    def light(self) -> bool:
        """Whether applying it again costs no more than keeping what it made."""
        return self.resize is None

    def scale_of(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], input_shape: Shape | None
    ) -> Scale | None:
        """The way back from an input to the image in [0, 1] that it stands for.

        Args:
            shape: of the samples, as in `apply`.
            dtype: of the samples. The range of uint8 is 0 to 255; of others, what `scale` brings
                to 0 to 1.
            input_shape: as in `apply`; None for the samples before any preprocessing.

        Returns:
            None for what is no image.
        """
        if len(shape) != 4:
            return None
        scale = self._factor(dtype)
        peak = _WHOLE_BYTE if dtype == np.uint8 else 1 / scale
        if input_shape is None:
            return Scale((1 / peak,), (0.0,), "hwc")
        whole = scale * peak
        mean, std = self.mean or (0.0,), self.std or (1.0,)
        sample = self._sample_shape(shape, dtype, input_shape)
        layout = self._placed(sample, input_shape)
        _, height, width, channels = sample
        flat = (channels, height, width) if layout == "flat" else ()
        factor, offset = tuple(s / whole for s in std), tuple(m / whole for m in mean)
        return Scale(factor, offset, layout, flat)

    def _sample_shape(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], input_shape: Shape
    ) -> tuple[int, ...]:
        size = shape[1:3] if self.resize is None else self.resize
        return self._channels(np.zeros((1, *size, shape[3]), dtype), input_shape).shape

    def _factor(self, dtype: np.dtype[Any]) -> float:
        if self.scale is not None:
            return self.scale
        return 1 / _WHOLE_BYTE if dtype == np.uint8 else 1.0

    def _features(self, samples: NDArray[Any], input_shape: Shape) -> NDArray[np.float32]:
        if self.resize is not None or self.layout not in ("auto", "flat"):
            raise ConfigurationError(
                "preprocessing: expected images (n, height, width, channels) for resize and "
                f"layout, got samples of shape {shape_words(samples.shape)}; leave both out"
            )
        values = self._normalised(samples, samples.dtype, (-1,))
        return np.ascontiguousarray(_reshaped(values, input_shape))

    def _channels(self, images: NDArray[Any], input_shape: Shape) -> NDArray[Any]:
        count = images.shape[3]
        wanted = self.channels
        if wanted == "auto":
            fitting = _channels_of(images.shape, input_shape)
            if count == 3 and fitting == {1}:
                wanted = "gray"
            elif count == 1 and fitting == {3}:
                return np.repeat(images, 3, axis=3)
            else:
                return images
        if wanted == "gray":
            return gray(images)
        if count != 3:
            raise ConfigurationError(
                f"preprocessing: expected images of 3 channels for channels = {wanted!r}, got "
                f"{count}; use channels = 'auto'"
            )
        return images[..., ::-1] if wanted == "BGR" else images

    def _normalised(
        self, values: NDArray[Any], dtype: np.dtype[Any], axes: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """Scaled values less mean, by std; `axes` is the shape of one number a channel."""
        count = values.shape[-len(axes)]
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (0, 1, count):
                raise ConfigurationError(
                    f"preprocessing: expected {name} to have 1 or {count} numbers (one a "
                    f"channel), got {len(numbers)}; correct it"
                )
        result = np.array(values, np.float32, order="C")
        result *= np.float32(self._factor(dtype))
        if self.mean:
            result -= np.asarray(self.mean, np.float32).reshape(axes)
        if self.std:
            result /= np.asarray(self.std, np.float32).reshape(axes)
        return result

    def _arranged(self, planes: NDArray[np.float32], input_shape: Shape) -> NDArray[np.float32]:
        """Planes (n, channels, height, width) as the input has its axes."""
        count, channels, height, width = planes.shape
        layout = self._placed((count, height, width, channels), input_shape)
        if layout == "hwc":
            return planes.transpose(0, 2, 3, 1)
        if layout == "hw":
            return planes[:, 0]
        return planes if layout == "chw" else _reshaped(planes, input_shape)

    def _placed(
        self, shape: tuple[int, ...], input_shape: Shape
    ) -> Literal["chw", "hwc", "hw", "flat"]:
        """Where the axes of images (n, height, width, channels) go."""
        _, height, width, channels = shape
        inner = tuple(input_shape[1:])
        nchw, nhwc = (channels, height, width), (height, width, channels)
        if self.layout in ("auto", "NCHW") and fits_shape(inner, nchw):
            return "chw"
        if self.layout in ("auto", "NHWC") and fits_shape(inner, nhwc):
            return "hwc"
        if self.layout in ("auto", "flat"):
            if channels == 1 and fits_shape(inner, (height, width)):
                return "hw"
            if _flat(inner, math.prod(nchw)):
                return "flat"
        raise ConfigurationError(
            f"preprocessing: expected images that fit the network's input "
            f"{shape_words(input_shape)}, got {height} x {width} pixels with {channels} channels "
            f"for layout {self.layout!r}; {_advice(inner, nchw)}"
        )


def resized(images: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Images (n, height, width, channels) of another (height, width).

    Bilinear through Pillow, antialiased where it shrinks; each channel apart in float, so that
    nothing is rounded.

    Raises:
        ConfigurationError: they would take more than `MAX_BYTES`.
    """
    from PIL import Image

    height, width = size
    if images.shape[1:3] == (height, width):
        return images.astype(np.float32)
    shape = (len(images), height, width, images.shape[3])
    total = math.prod(shape) * np.dtype(np.float32).itemsize
    if total > MAX_BYTES:
        raise ConfigurationError(
            f"preprocessing: expected at most {MAX_BYTES / 2**30:.3g} GiB of resized images, got "
            f"{total / 2**30:.3g} GiB; lower resize or the data set's limit"
        )
    result = np.empty(shape, np.float32)
    for n, image in enumerate(images):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel], np.float32))
            smaller = plane.resize((width, height), Image.Resampling.BILINEAR)
            result[n, ..., channel] = np.asarray(smaller)
    return result


def gray(images: NDArray[Any]) -> NDArray[Any]:
    """Luma (n, height, width, 1) of images, red first; those of one channel as they are."""
    if images.shape[3] == 1:
        return images
    if images.shape[3] != 3:
        raise ConfigurationError(
            "preprocessing: expected images of 1 or 3 channels for channels = 'gray', got "
            f"{images.shape[3]}; use channels = 'auto'"
        )
    red, green, blue = (images[..., c : c + 1].astype(np.float32) for c in range(3))
    luma: NDArray[Any] = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return luma


def _channels_of(shape: tuple[int, ...], input_shape: Shape) -> set[int]:
    """Numbers of channels (1 or 3) with which images of this size fit the input."""
    _, height, width, _ = shape
    inner = tuple(input_shape[1:])
    found = {
        c
        for c in (1, 3)
        if fits_shape(inner, (c, height, width))
        or fits_shape(inner, (height, width, c))
        or _flat(inner, c * height * width)
    }
    return found | {1} if fits_shape(inner, (height, width)) else found


def fits_shape(wanted: Shape, have: tuple[int, ...]) -> bool:
    """Whether sizes are those wanted, of which names and None are free."""
    return len(wanted) == len(have) and all(
        not isinstance(w, int) or w == h for w, h in zip(wanted, have, strict=True)
    )


def _flat(inner: Shape, size: int) -> bool:
    """Whether the axes are one long axis of this size (or a free one) among axes of size 1."""
    long = [s for s in inner if s != 1]
    return len(long) == 1 and (long[0] == size or not isinstance(long[0], int))


def _reshaped(values: NDArray[np.float32], input_shape: Shape) -> NDArray[np.float32]:
    inner = input_shape[1:]
    size = math.prod(values.shape[1:])
    fixed = math.prod(s for s in inner if isinstance(s, int))
    free = sum(not isinstance(s, int) for s in inner)
    if fits_shape(inner, values.shape[1:]):
        return values
    if free > 1 or fixed == 0 or size % fixed or (free == 0 and fixed != size):
        raise ConfigurationError(
            "preprocessing: expected samples that fit the network's input "
            f"{shape_words(input_shape)}, got {size} values in shape {shape_words(values.shape)}; "
            "choose the data set that the network was made for"
        )
    return values.reshape(len(values), *(s if isinstance(s, int) else -1 for s in inner))


def _advice(inner: Shape, nchw: tuple[int, int, int]) -> str:
    counts = (1, 3, nchw[0])
    if len(inner) == 3 and (inner[0] in counts or inner[2] in counts):
        size = inner[1:] if inner[0] in counts else inner[:2]
        if all(isinstance(s, int) for s in size) and tuple(size) != nchw[1:]:
            return f"set resize = [{size[0]}, {size[1]}]"
    return "set layout, resize and channels, or choose the data set the network was made for"


def shape_words(shape: Shape) -> str:
    """(batch, 3, 32, 32) as words; a free size without a name is "?"."""
    return "(" + ", ".join("?" if s is None else str(s) for s in shape) + ")"
