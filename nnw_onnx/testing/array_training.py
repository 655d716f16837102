"""A network and a trainer in numpy alone: what the checks run methods and Modifications on.

The trainer knows `Additions` and nothing of any method, as every trainer must: it is also the
reference that the doors of the adapters are tested against.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, TrainingError
from nnw_onnx.kit import keystream, trainings
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.testing.array_network import ArrayNetwork
from nnw_onnx.vocabulary import (
    Array,
    Checkpoint,
    Epoch,
    Feeds,
    HiddenAxis,
    Job,
    Loss,
    Moment,
    Network,
    Penalty,
    Samples,
    Strand,
    Targets,
    TensorInfo,
    Trained,
    Trainer,
    Values,
    Weights,
)

LAYERS = ("conv", "middle", "head")
_SHAPES = {"conv": (48, 32, 3, 3), "middle": (40, 48, 1, 1), "head": (10, 40), "bias": (10,)}
_HIDDEN = tuple(
    HiddenAxis(
        _SHAPES[made][0],
        (Strand(made, 0, "out"), Strand(taken, 1, "in")),
        scalings=((1, -1),),
        resizable=True,
    )
    for made, taken in itertools.pairwise(LAYERS)
)
CLASSES = 10
INPUT = (32, 3, 3)

Gradients = dict[str, NDArray[np.float64]]


def secret(label: str) -> bytes:
    """A secret of 32 bytes for a label."""
    return hashlib.sha256(label.encode()).digest()


def small_network(dtype: str = "float32", label: str = "weights") -> ArrayNetwork:
    """Two convolutions and a classifier of ten classes, with keyed weights whose mean is not zero.

    It takes inputs (n, 32, 3, 3), which the first kernel covers, so that it is easily run in numpy:
    relu, relu, scores.
    """
    arrays: dict[str, Array] = {}
    for name, shape in _SHAPES.items():
        values = keystream.gaussian(secret(label), name, int(np.prod(shape)))
        arrays[name] = (0.05 * values + 0.02 * (name == "conv")).reshape(shape).astype(dtype)
    network = ArrayNetwork.of(arrays, (TensorInfo("x", (None, *INPUT), "float32"),))
    return replace(network, hidden_axes=_HIDDEN)


def widened(network: ArrayNetwork, classes: int) -> ArrayNetwork:
    """The small network with so many classes: the score of a new one is the mean of the others."""
    more = classes - len(network.weights["head"]) if "head" in network.weights else 0
    if more <= 0:
        return network
    arrays = {
        name: np.concatenate([values, *[values.mean(axis=0, keepdims=True)] * more])
        if name in ("head", "bias")
        else values
        for name, values in network.weights.items()
    }
    return replace(ArrayNetwork.of(arrays, network.inputs), hidden_axes=network.hidden_axes)


def small_samples(count: int = 200) -> ArraySamples:
    """Inputs of ten classes that the small network can learn to tell apart, from -1 to 3."""
    size = int(np.prod(INPUT))
    noise = keystream.uniform(secret("data"), "noise", count * size).reshape(count, size)
    centres = keystream.uniform(secret("data"), "centres", CLASSES * size).reshape(CLASSES, size)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    values = 4 * (0.4 * noise + 0.6 * centres[labels]) - 1
    return ArraySamples(
        {"x": values.reshape(count, *INPUT).astype(np.float32)},
        labels,
        facts={"classes": [str(n) for n in range(CLASSES)]},
    )


@dataclass(frozen=True)
class Pass:
    """One run of the small network: activations by layer, scores (n, classes)."""

    inputs: NDArray[np.float64]
    activations: dict[str, NDArray[np.float64]]

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores (n, classes)."""
        return self.activations["head"]


def forward(weights: Weights, inputs: Array) -> Pass:
    """Run the network; activations are those before the next relu, as (n, out) or (n, out, 1, 1).

    Raises:
        CarrierNotFoundError: the weights are not those of the small network.
    """
    missing = [name for name in _SHAPES if name not in weights]
    if missing:
        raise CarrierNotFoundError(
            f"network: expected layers {', '.join(_SHAPES)}, got none named {missing[0]!r}; use "
            "nnw_onnx.testing.small_network"
        )
    flat = np.asarray(inputs, np.float64).reshape(len(inputs), -1)
    first = flat @ _matrix(weights, "conv").T
    second = np.maximum(first, 0) @ _matrix(weights, "middle").T
    scores = np.maximum(second, 0) @ _matrix(weights, "head").T + weights["bias"]
    return Pass(
        flat,
        {
            "conv": first.reshape(*first.shape, 1, 1),
            "middle": second.reshape(*second.shape, 1, 1),
            "head": scores,
        },
    )


def run(network: Network, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
    """The output "scores", then the outputs of these layers, in single precision.

    Raises:
        CarrierNotFoundError: there is no such layer, or no such network.
    """
    done = forward(network.weights, next(iter(feeds.values())))
    for name in layers:
        if name not in done.activations:
            raise CarrierNotFoundError(
                f"layer: expected one of {', '.join(LAYERS)}, got {name!r}; ask for one of those"
            )
    found = {"scores": done.scores, **{name: done.activations[name] for name in layers}}
    return {name: values.astype(np.float32) for name, values in found.items()}


def backward(weights: Weights, done: Pass, slopes: Mapping[str, Array]) -> Gradients:
    """Gradients by layer, and by the input as "x", given those by activations."""
    by_scores = slopes["head"].reshape(done.scores.shape).astype(np.float64)
    second = done.activations["middle"].reshape(len(done.inputs), -1)
    first = done.activations["conv"].reshape(len(done.inputs), -1)
    by_second = (by_scores @ _matrix(weights, "head")) * (second > 0)
    by_second = by_second + _given(slopes, "middle", second)
    by_first = (by_second @ _matrix(weights, "middle")) * (first > 0)
    by_first = by_first + _given(slopes, "conv", first)
    return {
        "head": by_scores.T @ np.maximum(second, 0),
        "bias": by_scores.sum(axis=0),
        "middle": (by_second.T @ np.maximum(first, 0)).reshape(_SHAPES["middle"]),
        "conv": (by_first.T @ done.inputs).reshape(_SHAPES["conv"]),
        "x": by_first @ _matrix(weights, "conv"),
    }


def cross_entropy(scores: Array, targets: Targets) -> tuple[float, NDArray[np.float64]]:
    """Mean cross-entropy of scores (n, classes), and its gradient by them.

    Targets are classes (n,) or probabilities (n, classes).
    """
    wanted = np.asarray(targets)
    if wanted.ndim == 1:
        wanted = np.eye(scores.shape[1])[wanted]
    shifted = scores - scores.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    value = -float((wanted * logarithms).sum() / len(scores))
    shares = np.exp(logarithms) * wanted.sum(axis=1, keepdims=True)
    return value, (shares - wanted) / len(scores)


@dataclass(frozen=True)
class ArrayTrainer(Trainer):
    """Gradient descent in float64 on `small_network`; the loss is a cross-entropy."""

    name: ClassVar[str] = "array"
    summary: ClassVar[str] = "gradient descent in numpy on the small network of the checks"

    def check(self) -> None:
        """Nothing is missing."""

    def train(
        self,
        network: Network,
        job: Job,
        *,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        on_batch: Callable[[], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Trained:
        """The trained network; see `vocabulary.Trainer`."""
        if job.loss not in ("cross-entropy", "soft-cross-entropy"):
            raise TrainingError(
                f"loss: expected a cross-entropy, got {job.loss}; use another trainer"
            )
        training = _Training(network, job)
        batches = -(-len(job.samples) // job.recipe.batch_size)
        epochs = []
        for number in range(1, max(1, round(job.recipe.epochs)) + 1):
            losses = []
            for index in range(batches):
                losses.append(training.step(number, index))
                if on_batch is not None:
                    on_batch()
            task, penalty = np.mean(losses, axis=0)
            watched = job.watch(training.network()) if job.watch else None
            has_penalty = job.additions is not None and job.additions.penalty is not None
            epochs.append(
                Epoch(number, float(task), float(penalty) if has_penalty else None, watched)
            )
            on_epoch(epochs[-1])
        return Trained(
            training.network(),
            tuple(epochs),
            batches * len(epochs),
            training.state,
            facts={"trained": [*training.learning.trained], "frozen": [*training.learning.frozen]},
        )

    def gradient(
        self, network: Network, feeds: Feeds, targets: Targets, loss: Loss, output: int = 0
    ) -> Feeds:
        """Gradient of the cross-entropy by the input."""
        name, inputs = next(iter(feeds.items()))
        done = forward(network.weights, inputs)
        slopes = cross_entropy(done.scores, targets)[1]
        return {name: backward(network.weights, done, {"head": slopes})["x"].reshape(inputs.shape)}


class _Training:
    """A training under way: weights in float64, the method's own arrays, momentum."""

    def __init__(self, network: Network, job: Job) -> None:
        self._original, self._job, self._additions = network, job, job.additions
        self.learning = trainings.learning(network.layers, job.trainable)
        start = network.with_weights(self._additions.start) if self._additions else network
        self._weights = {n: np.asarray(start.weights[n], np.float64) for n in start.weights}
        self._velocity = {name: np.zeros_like(w) for name, w in self._weights.items()}
        self.state: dict[str, Array] = dict(self._additions.state) if self._additions else {}
        self._steps = self._next_own = 0

    def network(self) -> Network:
        """The network as it is now."""
        stored = {n: self._weights[n] for n in self._original.weights}
        return self._original.with_weights(stored)

    def step(self, epoch: int, index: int) -> tuple[float, float]:
        """One step of momentum; loss of the task and value of the penalty."""
        inputs, targets, own = self._batch(epoch, index)
        done = forward(self._weights, inputs)
        loss, by_scores = cross_entropy(done.scores, targets)
        penalty = self._penalty(done, inputs, targets, own)
        slopes = dict(penalty.activations)
        slopes["head"] = by_scores + slopes.get("head", 0.0)
        gradients = backward(self._weights, done, slopes)
        for name in self._weights:
            total = gradients[name] + penalty.weights.get(name, 0.0)
            self._move(name, total)
        self.state |= penalty.state
        self._steps += 1
        return loss, penalty.value

    def _move(self, name: str, gradient: NDArray[np.float64]) -> None:
        if name not in self.learning.trained:
            return
        recipe, fixed = self._job.recipe, self._additions.fixed if self._additions else {}
        self._velocity[name] = recipe.momentum * self._velocity[name] + gradient
        moved = self._weights[name] - recipe.learning_rate * self._velocity[name]
        stays = fixed.get(name)
        self._weights[name] = (
            moved if stays is None else np.where(stays, self._weights[name], moved)
        )

    def _batch(self, epoch: int, index: int) -> tuple[Array, Array, NDArray[np.bool_]]:
        samples, size = self._job.samples, self._job.recipe.batch_size
        order = keystream.permutation(
            secret(f"order {self._job.seed} {epoch}"), "order", len(samples)
        )
        inputs, targets = _read(samples, order[index * size : (index + 1) * size])
        mine = self._additions.samples if self._additions else None
        if mine is None:
            return inputs, targets, np.zeros(len(inputs), np.bool_)
        count = self._job.recipe.own_per_batch
        chosen = (np.arange(count) + self._next_own) % len(mine)
        self._next_own = int(chosen[-1]) + 1
        more, wanted = _read(mine, chosen)
        own = np.arange(len(inputs) + count) >= len(inputs)
        return np.concatenate([inputs, more]), np.concatenate([targets, wanted]), own

    def _penalty(
        self, done: Pass, inputs: Array, targets: Array, own: NDArray[np.bool_]
    ) -> Penalty:
        additions = self._additions
        if additions is None or additions.penalty is None:
            return Penalty(0.0)

        def task_gradient(weights: Weights) -> Weights:
            changed = {**self._weights, **weights}
            there = forward(changed, inputs)
            by_scores = cross_entropy(there.scores, targets)[1]
            return backward(changed, there, {"head": by_scores})

        activations = {name: done.activations[name] for name in additions.activations}
        moment = Moment(
            self._weights, activations, targets, own, self.state, self._steps, task_gradient
        )
        return additions.penalty(moment)


def _read(samples: Samples, indices: NDArray[np.int64]) -> tuple[Array, Array]:
    batch = samples.read(indices)
    return next(iter(batch.feeds.values())), np.asarray(batch.targets)


def _matrix(weights: Weights, name: str) -> Array:
    return weights[name].reshape(len(weights[name]), -1)


def _given(slopes: Mapping[str, Array], name: str, like: Array) -> Array:
    return slopes[name].reshape(like.shape) if name in slopes else np.zeros_like(like)
