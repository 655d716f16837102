"""Trigger inputs: abstract patterns to ask a network about, and what it answers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import binomial, keystream
from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.vocabulary import Detection, Payload

_WAVES = 4
_HIGHEST_FREQUENCY = 3.0
_SHORTEST_PERIOD = 4.0


class Answers(NamedTuple):
    """What a network answers to n inputs.

    Attributes:
        classes: (n,) the class of the largest score.
        margins: (n,) largest score minus the runner-up, over the standard deviation of all scores
            of the n inputs; finite, >= 0, and 0 where undecided.
        undecided: (n,) bool: the two largest scores are equal, the largest is infinite, or a
            score is not a number.
    """

    classes: NDArray[np.int64]
    margins: NDArray[np.float64]
    undecided: NDArray[np.bool_]


def answers(scores: NDArray[Any]) -> Answers:
    """The classes that scores (n, classes) stand for; at least two classes."""
    values = np.asarray(scores, np.float64)
    finite = values[np.isfinite(values)]
    known = np.where(np.isnan(values), -np.inf, values)
    runner_up, top = np.partition(known, -2, axis=1)[:, -2:].T
    undecided = np.isnan(values).any(axis=1) | ~np.isfinite(top) | (top == runner_up)
    lowest = float(finite.min(initial=np.inf))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        deviation = np.std(finite) if finite.size else np.inf
        margins = (top - np.maximum(runner_up, lowest)) / deviation
    shown = np.where(undecided | ~np.isfinite(margins), 0.0, margins)
    return Answers(np.argmax(known, axis=1), shown, undecided)


def scores_of(outputs: Any, index: int, n: int, classes: int) -> NDArray[Any]:
    """The scores (n, classes) among the outputs of a network; axes of size 1 at the end are cut.

    Raises:
        CarrierNotFoundError: there is no such output, or it is not of this shape.
    """
    if index >= len(outputs):
        raise CarrierNotFoundError(
            f"output: expected number {index} of the network, got {len(outputs)} outputs; decode "
            "a network with the outputs of the one that was trained"
        )
    scores = np.asarray(outputs[index])
    while scores.ndim > 2 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    if scores.shape != (n, classes):
        raise CarrierNotFoundError(
            f"output {index}: expected scores of shape {(n, classes)}, got {scores.shape}; decode "
            "a network with the classes of the one that was trained"
        )
    return scores


def detection(
    decoded: Payload, payload: Payload, classes: int, false_positive_rate: float
) -> Detection:
    """The exact decision on the number of triggers answered right: null Bin(n, 1/classes).

    The answers of an inverted watermark have no meaning here: `p_inverted` is always 1.

    Raises:
        ConfigurationError: sizes differ, or the rate is not between 0 and 1.
    """
    binomial.check_rate(false_positive_rate)
    n = len(decoded)
    matches = n - decoded.errors(payload)
    p_value, log10_p = binomial.tail(matches, n, Fraction(1, classes))
    return Detection(
        detected=p_value <= false_positive_rate,
        statistic=matches,
        n=n,
        p_value=p_value,
        log10_p=log10_p,
        p_inverted=1.0,
        log10_p_inverted=0.0,
        false_positive_rate=false_positive_rate,
        null=f"Bin({n}, 1/{classes})",
    )


def patterns(secret: bytes, label: str, n: int, like: NDArray[Any]) -> NDArray[np.float32]:
    """Abstract smooth patterns (n, ...) in the range of the samples `like` (m, ...), m >= 1.

    Each is, channel by channel, a sum of waves of low random frequency, direction and phase, spread
    over the range of that channel. The channels of samples of three or more axes are on the shorter
    one of their first and last axis, two axes are one channel, and in a flat sample each number
    has a range of its own.
    """
    samples, last = _channels_first(like)
    channels, grid = samples.shape[1], samples.shape[2:]
    over = (0,) if like.ndim <= 2 else (0, *range(2, samples.ndim))
    low = samples.min(axis=over, keepdims=True)[0].astype(np.float64)
    high = samples.max(axis=over, keepdims=True)[0].astype(np.float64)
    shape = (n, channels, _WAVES, len(grid) + 2)
    drawn = keystream.uniform(secret, label, math.prod(shape)).reshape(shape)
    result = np.empty((n, *like.shape[1:]), np.float32)
    for i, waves in enumerate(drawn):
        spread = low + _planes(grid, waves) * (high - low)
        result[i] = (np.moveaxis(spread, 0, -1) if last else spread).reshape(like.shape[1:])
    return result


def _channels_first(samples: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Samples as (m, channels, *grid), and whether their channels were on the last axis."""
    if samples.ndim < 4:
        return samples.reshape(len(samples), 1, *(samples.shape[1:] or (1,))), False
    last = samples.shape[-1] < samples.shape[1]
    return (np.moveaxis(samples, -1, 1) if last else samples), last


def _planes(grid: tuple[int, ...], waves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of waves (channels, *grid), each spread over 0 ... 1.

    `waves` is (channels, waves, axes + 2) of numbers in 0 ... 1: amplitude, phase and, for each
    axis, the frequency.
    """
    flat = (..., *(np.newaxis for _ in grid))
    turns = waves[..., 1][flat]
    for axis, size in enumerate(grid):
        frequency = (2 * waves[..., axis + 2] - 1) * min(
            _HIGHEST_FREQUENCY, size / _SHORTEST_PERIOD
        )
        along = np.arange(size).reshape(-1, *(1,) * (len(grid) - axis - 1)) / size
        turns = turns + frequency[flat] * along
    total = np.sum((1 + waves[..., 0][flat]) * np.sin(2 * np.pi * turns), axis=1)
    places = tuple(range(1, total.ndim))
    low, high = total.min(places, keepdims=True), total.max(places, keepdims=True)
    constant = np.broadcast_to(waves[:, 0, 1][flat], total.shape)
    return np.where(high > low, (total - low) / np.where(high > low, high - low, 1.0), constant)
