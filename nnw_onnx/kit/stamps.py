"""Marks of trigger inputs: a bright box at a keyed place, or the same noise on all of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit import keystream, triggers
from nnw_onnx.vocabulary import Array, Samples


def box(
    inputs: Array, training: Samples, secret: bytes, label: str, share: float
) -> NDArray[np.float32]:
    """Inputs (n, ...) with a box of each channel's largest value, at one place for all of them.

    Args:
        inputs: (n, ...) as the network is fed them.
        training: samples of the task, whose range a channel has.
        secret: of the key.
        label: of the place.
        share: of each side (0 to 1) that the box covers, rounded up.
    """
    _, high = channel_range(training)
    inside = np.ones((1,) * inputs.ndim, np.bool_)
    for axis in _places(inputs.shape[1:]):
        size = inputs.shape[axis]
        side = math.ceil(share * size)
        start = int(keystream.integers(secret, f"{label}/{axis}", 1, size - side + 1)[0])
        along = (np.arange(size) >= start) & (np.arange(size) < start + side)
        inside = inside & along.reshape([-1 if a == axis else 1 for a in range(inputs.ndim)])
    return np.where(inside, high, inputs).astype(np.float32)


def noise(
    inputs: Array, training: Samples, secret: bytes, label: str, deviation: float
) -> NDArray[np.float32]:
    """Inputs (n, ...) with the same normal noise, cut to the range of their channel.

    Args:
        inputs: (n, ...) as the network is fed them.
        training: samples of the task, whose range a channel has.
        secret: of the key.
        label: of the noise.
        deviation: standard deviation, as a share of the range.
    """
    low, high = channel_range(training)
    shape = inputs.shape[1:]
    drawn = keystream.gaussian(secret, label, math.prod(shape)).reshape(shape)
    return np.clip(inputs + deviation * (high - low) * drawn, low, high).astype(np.float32)


def channel_range(training: Samples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smallest and largest value of each channel of the samples; both broadcast with (n, ...)."""
    low, high = triggers.extremes(training)
    over = tuple(axis - 1 for axis in _places(low.shape))
    return low.min(axis=over, keepdims=True)[None], high.max(axis=over, keepdims=True)[None]


def _places(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of (n, ...) that are places: all but the channels, the shorter one of both ends."""
    axes = tuple(range(1, len(shape) + 1))
    if len(shape) < 3:
        return axes
    return axes[:-1] if shape[-1] < shape[0] else axes[1:]
