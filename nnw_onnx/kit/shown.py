"""What a network is shown, changed as the image or signal that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit.signals import to_feed, to_signal
from nnw_onnx.vocabulary import Array, Feeds, Scale

Signal: TypeAlias = NDArray[np.float32]
"""An image (height, width, channels) or a signal (..., t), in about [0, 1]."""


def with_signal(sample: Feeds, scale: Scale, change: Callable[[Signal], Array]) -> Feeds:
    """One sample with its first input changed: preprocessing undone before, and done again after.

    Args:
        sample: graph input -> one sample, without a batch axis.
        scale: of the samples.
        change: gives another signal of the same shape.
    """
    name, feed = next(iter(sample.items()))
    (signal,) = to_signal(feed[np.newaxis], scale)
    (changed,) = to_feed(change(signal)[np.newaxis], scale, feed.shape)
    return {**sample, name: changed.astype(feed.dtype, copy=False)}


def of_signals(scale: Scale | None, who: str) -> Scale:
    """The scale, of images or signals; raises `NotApplicableError` where they are neither."""
    if scale is None:
        raise NotApplicableError(
            f"{who}: expected images or signals whose preprocessing can be undone, got others; "
            "leave it out for these data"
        )
    return scale


def of_images(scale: Scale | None, who: str) -> Scale:
    """The scale, of images; raises `NotApplicableError` where they are none."""
    if scale is None or scale.layout == "t":
        raise NotApplicableError(
            f"{who}: expected images whose preprocessing can be undone, got others; leave it out "
            "for these data"
        )
    return scale


def by_axis(scale: Scale, signal: Signal, value: float) -> tuple[float, ...]:
    """A number for each axis of a signal along which there are places, and 0 for the others."""
    if scale.layout == "t":
        return (*[0.0] * (signal.ndim - 1), value)
    return value, value, 0.0
