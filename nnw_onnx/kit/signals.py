"""There and back between what a network is fed and the image or sound that it stands for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.preprocessing import gray
from nnw_onnx.vocabulary import Array, Samples, Scale

_WHOLE_BYTE = 255.0
_CHANNEL_AXIS = {"chw": 1, "flat": 1, "hwc": 3}


def to_signal(feed: Array, scale: Scale) -> NDArray[np.float32]:
    """Images (n, height, width, channels), or signals (n, ..., t), in about [0, 1].

    Args:
        feed: (n, ...) as a network is fed it, or answers in the same form.
        scale: of the samples.
    """
    values = np.asarray(feed, np.float32)
    if scale.layout == "flat":
        values = values.reshape(len(values), *scale.shape)
    values = values * _along(scale.factor, scale) + _along(scale.offset, scale)
    if scale.layout in ("chw", "flat"):
        return np.moveaxis(values, 1, -1)
    return values[..., np.newaxis] if scale.layout == "hw" else values


def to_feed(signal: Array, scale: Scale, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The way back from `to_signal`.

    Args:
        signal: as `to_signal` gives it.
        scale: of the samples.
        shape: of one sample as it is fed, which tells how a flat image lies.
    """
    values = np.asarray(signal, np.float32)
    if scale.layout in ("chw", "flat"):
        values = np.moveaxis(values, -1, 1)
    elif scale.layout == "hw":
        values = values[..., 0]
    values = _less(values, scale)
    return np.ascontiguousarray(values.reshape(len(values), *shape))


def image_size(samples: Samples) -> tuple[int, int] | None:
    """(height, width) of the images that a network is fed; None where they are none."""
    scale = samples.scale
    if scale is None or scale.layout == "t":
        return None
    if scale.layout == "flat":
        return scale.shape[1], scale.shape[2]
    shape = _first(samples).shape
    return {"chw": shape[2:4], "hwc": shape[1:3], "hw": shape[1:3]}[scale.layout]


def as_feed(images: NDArray[np.uint8], samples: Samples) -> NDArray[np.float32]:
    """Images of one's own as the network is fed those of some samples.

    Args:
        images: (n, height, width, 3), of the size that the network takes; gray where it takes one
            channel.
        samples: fitted to the network.

    Raises:
        ConfigurationError: the samples are no images, or of another size or number of channels.
    """
    size, scale = image_size(samples), samples.scale
    if scale is None or size is None or images.shape[1:3] != size:
        raise ConfigurationError(
            f"images: expected a network that is fed images of {images.shape[1]} x "
            f"{images.shape[2]} pixels, got {'no images' if size is None else size}; give images "
            "of its size"
        )
    first = _first(samples)
    channels = first.size // (size[0] * size[1])
    if channels not in (1, images.shape[3]):
        raise ConfigurationError(
            f"images: expected a network that is fed 1 or {images.shape[3]} channels, got "
            f"{channels}; use images of as many channels"
        )
    # In the order of the preprocessing, so that the bits are the same.
    values = gray(images) if channels == 1 else images
    return to_feed(values.astype(np.float32) * np.float32(1 / _WHOLE_BYTE), scale, first.shape[1:])


def _less(values: NDArray[np.float32], scale: Scale) -> NDArray[np.float32]:
    """(values - offset) / factor, untouched where that changes nothing."""
    if any(scale.offset):
        values = values - _along(scale.offset, scale)
    if any(f != 1 for f in scale.factor):
        values = values / _along(scale.factor, scale)
    return values


def _along(numbers: tuple[float, ...], scale: Scale) -> NDArray[np.float32]:
    """Numbers of channels so that they meet their axis."""
    array = np.asarray(numbers, np.float32)
    axis = _CHANNEL_AXIS.get(scale.layout)
    if axis is None or len(numbers) == 1:
        return array[:1]
    return array.reshape([-1 if a == axis else 1 for a in range(4)])


def _first(samples: Samples) -> Array:
    return next(iter(samples.read(np.arange(1)).feeds.values()))
