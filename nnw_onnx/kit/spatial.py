"""Images moved, resized and mirrored at random, and random patterns put on them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit import signals
from nnw_onnx.vocabulary import Array, Scale

_LARGEST_BOX = 0.4
_STRONGEST_NOISE = 0.3


class Form(NamedTuple):
    """How a network is fed images: their scale, where it is known, and the shape of one."""

    scale: Scale | None
    shape: tuple[int, ...]

    def images(self, feed: Array) -> NDArray[np.float64] | None:
        """Images (n, height, width, channels) of what is fed (n, ...); None where it is none."""
        if self.scale is not None:
            if self.scale.layout == "t":
                return None
            return np.asarray(signals.to_signal(feed, self.scale), np.float64)
        if feed.ndim != 4:
            return None
        values = np.asarray(feed, np.float64)
        return values if self._last() else np.moveaxis(values, 1, -1)

    def feed(self, images: NDArray[np.float64]) -> NDArray[np.float32]:
        """The way back from `images`."""
        if self.scale is not None:
            return signals.to_feed(images, self.scale, self.shape)
        values = images if self._last() else np.moveaxis(images, -1, 1)
        return np.ascontiguousarray(values, np.float32)

    def _last(self) -> bool:
        """Whether channels come last: the shorter one of both ends."""
        return self.shape[-1] < self.shape[0]


def moved(
    image: NDArray[np.float64], reach: float, rng: np.random.Generator, *, mirror: bool
) -> NDArray[np.float64]:
    """An image (height, width, channels) stretched and shifted at random, bilinearly.

    Args:
        image: it is not changed.
        reach: it is stretched by a factor from 1 - reach to 1 + reach, and shifted along each axis
            by at most reach / 2 of its size (0 to 1).
        rng: draws both.
        mirror: whether every other image is mirrored.

    Returns:
        An image of the same size; what lies outside of the given one has the nearest pixel.
    """
    from scipy.ndimage import affine_transform

    factor = 1 + reach * rng.uniform(-1, 1)
    sides = np.array(image.shape[:2], np.float64)
    centre, shift = (sides - 1) / 2, reach / 2 * sides * rng.uniform(-1, 1, 2)
    offset = [*(centre - (centre + shift) / factor), 0.0]
    # Out of place x comes from (x - centre - shift) / factor + centre.
    found = affine_transform(
        image, np.array([1 / factor, 1 / factor, 1.0]), offset, order=1, mode="nearest"
    )
    turned: NDArray[np.float64] = found[:, ::-1] if mirror and rng.integers(2) else found
    return turned


def patterned(
    image: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """An image (height, width, channels) with a box of one colour, or noise, or both.

    Args:
        image: it is not changed.
        low: smallest value of each channel.
        high: largest one.
        rng: draws which, the place, size and colour of the box, and the noise.
    """
    changed, kind = image.copy(), int(rng.integers(3))
    if kind != 0:
        inside = tuple(_side(size, rng) for size in image.shape[:2])
        changed[inside] = low + (high - low) * rng.integers(0, 3, len(low)) / 2
    if kind != 1:
        strength = _STRONGEST_NOISE * rng.uniform() * (high - low)
        changed = np.clip(changed + strength * rng.standard_normal(image.shape), low, high)
    return changed


def _side(size: int, rng: np.random.Generator) -> slice:
    """A random part of one side, up to 40 % of it."""
    length = math.ceil(_LARGEST_BOX * rng.uniform() * size)
    start = int(rng.integers(size - length + 1))
    return slice(start, start + length)
