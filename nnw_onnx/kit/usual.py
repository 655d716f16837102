"""The usual ways from an image to the input of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.preprocessing import Preprocessing, Shape
from nnw_onnx.vocabulary import Array

Numbers = tuple[float, ...]
Layout = Literal["auto", "NCHW", "NHWC", "flat"]


@dataclass(frozen=True)
class Usual:
    """A way of scaling.

    Attributes:
        name: in words.
        whole: what white becomes before mean and std.
        mean: subtracted then; red, green, blue, or one for all.
        std: divisor after that, likewise.
    """

    name: str
    whole: float = 1.0
    mean: Numbers = ()
    std: Numbers = ()


SCALINGS = (
    Usual("0 to 1"),
    Usual("-1 to 1", 1.0, (0.5,), (0.5,)),
    Usual("mean and std of ImageNet", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    Usual("0 to 255", 255.0),
    Usual("mean and std of CIFAR-10", 1.0, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    Usual(
        "mean of CIFAR-10 and mean std of its images",
        1.0,
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
    Usual("mean and std of CIFAR-100", 1.0, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    Usual("mean and std of MNIST", 1.0, (0.1307,), (0.3081,)),
    Usual("mean of ImageNet from 0 to 255", 255.0, (123.68, 116.779, 103.939)),
    Usual("-0.5 to 0.5", 1.0, (0.5,)),
    Usual("-128 to 127", 255.0, (128.0,)),
    Usual("1 to 0 (inverted)", -1.0, (-1.0,)),
)
"""The commonest first."""


def others(
    configured: Preprocessing,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    wanted: Shape,
    white: float | None = None,
) -> dict[str, Preprocessing]:
    """The usual ways that differ from the configured one and fit the input, the commonest first.

    Resizing, and whatever fixes the axes, stay as configured.

    Args:
        configured: how samples become inputs now.
        shape: of the samples (n, height, width, channels).
        dtype: of the samples.
        wanted: shape of the network's input.
        white: of samples that are no bytes; by default what `configured` scales to 1.
    """
    peak = 255.0 if dtype == np.uint8 else white or 1 / (configured.scale or 1.0)
    ramp = _ramp(np.zeros((1, *shape[1:]), dtype), peak)
    known = [configured.apply(ramp, wanted)]
    found: dict[str, Preprocessing] = {}
    for name, made in _candidates(configured, dtype, peak):
        try:
            fed = made.apply(ramp, wanted)
        except ConfigurationError:
            continue
        if not any(fed.shape == k.shape and np.allclose(fed, k, atol=1e-3) for k in known):
            known.append(fed)
            found[name] = made
    return found


def _candidates(
    configured: Preprocessing, dtype: np.dtype[np.generic], peak: float
) -> Iterator[tuple[str, Preprocessing]]:
    layouts: list[Layout] = [configured.layout, "NHWC", "NCHW"]
    for layout in dict.fromkeys(layouts):
        placed = dataclasses.replace(configured, layout=layout)
        words = "" if layout == configured.layout else f", {layout}"
        swapped = _reversed(placed)
        yield f"as configured{words}", placed
        yield f"as configured, {swapped.channels}{words}", swapped
        plain = dict(_scaled(placed, dtype, peak))
        yield from ((f"{name}{words}", made) for name, made in plain.items())
        yield from ((f"{name}, BGR{words}", _reversed(made)) for name, made in plain.items())


def _scaled(
    placed: Preprocessing, dtype: np.dtype[np.generic], peak: float
) -> Iterator[tuple[str, Preprocessing]]:
    if placed.channels == "BGR":
        placed = dataclasses.replace(placed, channels="auto")
    for usual in SCALINGS:
        plain = dtype == np.uint8 and usual.whole == 1
        scale = None if plain else usual.whole / peak
        yield usual.name, dataclasses.replace(placed, scale=scale, mean=usual.mean, std=usual.std)


def _reversed(made: Preprocessing) -> Preprocessing:
    """The same with the colours in the other order; mean and std go with them."""
    swapped = dataclasses.replace(made, mean=made.mean[::-1], std=made.std[::-1])
    return dataclasses.replace(swapped, channels="RGB" if made.channels == "BGR" else "BGR")


def _ramp(first: Array, peak: float) -> Array:
    """An image in which no two values are alike, as far as its type has so many."""
    count = first.size
    return (np.arange(count) * 7919 % 251 / 250 * peak).astype(first.dtype).reshape(first.shape)
