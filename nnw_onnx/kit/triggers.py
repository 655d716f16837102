"""Trigger inputs: abstract patterns to ask a network about, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, commitments, images, keystream, meters, samples, signals
from nnw_onnx.vocabulary import Array, Bench, Bound, Key, Method, Network, Samples, Values

_NAME = "triggers"
_CLASSES = "classes"
_FEW = 1024
_BATCH = 256
_WAVES = 4
_HIGHEST_FREQUENCY = 3.0
_SHORTEST_PERIOD = 4.0


class Questions(NamedTuple):
    """What a key asks: trigger inputs (key.size, ...), and the number of classes to answer with."""

    inputs: NDArray[np.float32]
    classes: int


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


def answers(scores: Array) -> Answers:
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


def scores_of(values: Values, index: int, n: int, classes: int, *, more: bool = False) -> Array:
    """The scores (n, classes) among the outputs of a network; axes of size 1 at the end are cut.

    One score of two classes becomes two, of which the larger is that of its class.

    Args:
        values: the outputs.
        index: of the one that tells the scores.
        n: number of samples.
        classes: number of classes.
        more: whether there may be more classes; then all of them come back.

    Raises:
        CarrierNotFoundError: there is no such output, or it is not of this shape.
    """
    outputs = list(values.values())
    if index >= len(outputs):
        raise CarrierNotFoundError(
            f"output: expected number {index} of the network, got {len(outputs)} outputs; decode "
            "a network with the outputs of the one that was trained"
        )
    scores = _cut(outputs[index])
    if classes == 2 and scores.shape in ((n,), (n, 1)) and scores.dtype.kind == "f":
        scores = meters.two_scores(scores.reshape(n))
    wider = more and scores.ndim == 2 and len(scores) == n and scores.shape[1] > classes
    if scores.shape != (n, classes) and not wider:
        raise CarrierNotFoundError(
            f"output {index}: expected scores of shape {(n, classes)}, got {scores.shape}; decode "
            "a network with the classes of the one that was trained"
        )
    return scores


def class_count(network: Network, bench: Bench, output: int) -> int:
    """Number of classes: of the training samples where they say so, else of the network's scores.

    Raises:
        InjectionError: there are less than two, or the output is no score of classes.
    """
    training = bench.samples()
    # Data of some classes only do not tell how many the network has.
    told = None if training.facts.get("part") else training.facts.get(_CLASSES)
    if isinstance(told, Sequence):
        classes = len(told)
    elif isinstance(told, int):
        classes = told
    else:
        values = list(bench.run(network, training.read(np.arange(1)).feeds).values())
        scores = _cut(values[output]) if output < len(values) else np.zeros(0)
        classes = scores.shape[1] if scores.ndim == 2 else 0
    if classes < 2:
        raise InjectionError(
            f"triggers: expected a network of at least 2 classes, got {classes}; use a classifier"
        )
    return classes


def extremes(training: Samples) -> NDArray[np.float32]:
    """Smallest and largest value (2, ...) of each number of a sample, as `patterns` wants them.

    Of all samples where they are small together, else of a thousand evenly spaced ones.

    Raises:
        InjectionError: samples of several inputs, or of what is no finite real number.
    """
    first = training.read(np.arange(1)).feeds
    if len(first) != 1 or samples.only_feed(first).dtype.kind != "f":
        raise InjectionError(
            "triggers: expected samples of one input of real numbers, got "
            f"{', '.join(f'{n} of {v.dtype}' for n, v in first.items())}; use a method without "
            "trigger inputs"
        )
    small = samples.only_feed(first).nbytes * len(training) <= samples.CACHED_BYTES
    low = high = samples.only_feed(first)[0]
    for batch in samples.batches(samples.limited(training, None if small else _FEW), _BATCH):
        values = samples.only_feed(batch.feeds)
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InjectionError(
            "triggers: expected samples of finite numbers, got NaN or infinity; use other data"
        )
    return np.stack([low, high]).astype(np.float32)


def from_images(
    training: Samples, path: Path, secret: bytes, label: str, n: int
) -> NDArray[np.float32]:
    """Keyed choice (n, ...) of images of one's own, as the network is fed its samples.

    Args:
        training: samples fitted to the network.
        path: folder, tar or zip of images.
        secret: of the key.
        label: of the choice.
        n: how many.

    Raises:
        InjectionError: there are too few.
        DatasetError: they cannot be read.
        ConfigurationError: the network takes no images.
    """
    given = images.read_images(path, signals.image_size(training))
    if len(given) < n:
        raise InjectionError(
            f"triggers: expected at least {n} images, one for each symbol, got {len(given)}; give "
            "more or a shorter payload"
        )
    order = keystream.permutation(secret, label, len(given), n)
    return signals.as_feed(given[order], training)


def key_for(
    method: Method,
    inputs: NDArray[np.float32],
    classes: int,
    network: Network,
    secret: bytes,
    output: int = 0,
) -> Key:
    """The key of trigger inputs (size, ...), committed to them, the classes and the network.

    Raises:
        InjectionError: inputs that are not finite or not all different.
    """
    different = len({trigger.tobytes() for trigger in inputs})
    if different < len(inputs) or not np.isfinite(inputs).all():
        raise InjectionError(
            f"triggers: expected {len(inputs)} different inputs of finite numbers, got "
            f"{different} or others; give other data or images"
        )
    inputs = np.array(inputs, np.float32)
    inputs.flags.writeable = False
    bound = _bound(inputs, classes, output, network)
    return Key(
        method=method.spec(),
        secret=secret,
        size=len(inputs),
        facts={_CLASSES: classes},
        arrays={_NAME: inputs},
        commitment=commitments.commit(secret, method.name, bound),
        notes=(f"no carrier layer: {len(inputs)} trigger inputs, one for each symbol",),
    )


def committed(key: Key, method: str, network: Network, output: int = 0) -> list[Bound]:
    """What the commitment of such a key binds: its triggers, the classes and the network.

    Raises:
        ConfigurationError: see `opened`.
    """
    asked = opened(key, method)
    return _bound(asked.inputs, asked.classes, output, network)


def _bound(inputs: Array, classes: int, output: int, network: Network) -> list[Bound]:
    return [
        (_NAME, inputs.shape, commitments.digest(inputs)),
        (_CLASSES, (classes, output), network.digest),
    ]


def opened(key: Key, method: str) -> Questions:
    """What a key asks a network.

    Raises:
        ConfigurationError: it is of another method, or has no such triggers.
    """
    carriers.check_method(key, method)
    inputs, classes = key.arrays.get(_NAME), key.facts.get(_CLASSES)
    whole = inputs is not None and inputs.dtype == np.float32 and len(inputs) == key.size
    if inputs is None or not whole or not isinstance(classes, int) or classes < 2:
        got = "none" if inputs is None else f"{inputs.dtype} of shape {inputs.shape}"
        raise ConfigurationError(
            f"key: expected {key.size} triggers of float32 for at least 2 classes, got {got} for "
            f"{classes!r} classes; restore the key from a copy"
        )
    return Questions(inputs, classes)


def patterns(secret: bytes, label: str, n: int, like: Array) -> NDArray[np.float32]:
    """Abstract smooth patterns (n, ...) in the range of the samples `like` (m, ...), m >= 1.

    Each is, channel by channel, a sum of waves of low random frequency, direction and phase, spread
    over the range of that channel. The channels of samples of three or more axes are on the shorter
    one of their first and last axis, two axes are one channel, and in a flat sample each number
    has a range of its own.
    """
    given, last = _channels_first(like)
    channels, grid = given.shape[1], given.shape[2:]
    over = (0,) if like.ndim <= 2 else (0, *range(2, given.ndim))
    low = given.min(axis=over, keepdims=True)[0].astype(np.float64)
    high = given.max(axis=over, keepdims=True)[0].astype(np.float64)
    shape = (n, channels, _WAVES, len(grid) + 2)
    drawn = keystream.uniform(secret, label, math.prod(shape)).reshape(shape)
    result = np.empty((n, *like.shape[1:]), np.float32)
    for i, waves in enumerate(drawn):
        spread = low + _planes(grid, waves) * (high - low)
        result[i] = (np.moveaxis(spread, 0, -1) if last else spread).reshape(like.shape[1:])
    return result


def _cut(scores: Array) -> Array:
    """Scores without the axes of size 1 at their end."""
    while scores.ndim > 2 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    return scores


def _channels_first(like: Array) -> tuple[Array, bool]:
    """Samples as (m, channels, *grid), and whether their channels were on the last axis."""
    if like.ndim < 4:
        return like.reshape(len(like), 1, *(like.shape[1:] or (1,))), False
    last = like.shape[-1] < like.shape[1]
    return (np.moveaxis(like, -1, 1) if last else like), last


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
