"""Trigger samples among the samples of a training: in arrays, and batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import TrainingError

Triggers = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Inputs (n, ...) and the class (n,) that each must get."""


def extended(
    inputs: NDArray[Any], labels: NDArray[Any], triggers: Triggers, copies: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Samples and labels with every trigger appended `copies` times, in the types they had.

    Labels (n,) or (n, 1) are classes; labels (n, classes) are one-hot.

    Raises:
        TrainingError: inputs of another shape than the triggers', or labels of no such form.
    """
    wanted, classes = triggers
    if np.shape(inputs)[1:] != wanted.shape[1:]:
        raise TrainingError(
            f"triggers: expected inputs of shape {('n', *wanted.shape[1:])}, got "
            f"{np.shape(inputs)}; give what the model takes"
        )
    added = np.tile(wanted, (copies, *[1] * (wanted.ndim - 1))).astype(inputs.dtype)
    answers = as_labels(np.tile(classes, copies), np.shape(labels))
    return np.concatenate([inputs, added]), np.concatenate([labels, answers.astype(labels.dtype)])


def as_labels(classes: NDArray[np.int64], like: tuple[int, ...]) -> NDArray[Any]:
    """Classes (n,) in the form of labels of shape `like`.

    Raises:
        TrainingError: labels of no known form, or of too few classes.
    """
    if len(like) == 1:
        return classes
    if len(like) == 2 and like[1] == 1:
        return classes[:, None]
    if len(like) != 2 or classes.max(initial=0) >= like[1]:
        raise TrainingError(
            f"triggers: expected labels (n,), (n, 1) or one-hot (n, classes) with classes > "
            f"{classes.max(initial=0)}, got shape {tuple(like)}; give the labels of the training"
        )
    return np.eye(like[1])[classes]


class Cycle:
    """The triggers in turn, some at a time, over and over again."""

    def __init__(self, triggers: Triggers, number: int) -> None:
        self._triggers, self.number = triggers, number

    def at(self, step: int) -> Triggers:
        """The triggers of a step (from 0)."""
        inputs, classes = self._triggers
        chosen = np.arange(step * self.number, (step + 1) * self.number) % len(classes)
        return inputs[chosen], classes[chosen]

    def added(self, step: int, batch: Any) -> tuple[Any, ...]:
        """A batch (inputs, labels) or (inputs, labels, weights) with those of a step."""
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise TrainingError(
                "triggers: expected batches (inputs, labels) or (inputs, labels, weights), got "
                f"{type(batch).__name__}; change the data set"
            )
        inputs, labels, *weights = map(_array, batch)
        both = extended(inputs, labels, self.at(step), copies=1)
        return *both, *(np.concatenate([w, np.ones(self.number, w.dtype)]) for w in weights)


# Keras has no types, and may be absent where types are checked.
class TriggeredBatches(keras.utils.PyDataset):  # type: ignore[misc, unused-ignore]
    """A `keras.utils.PyDataset` with some triggers in each of its batches."""

    def __init__(self, batches: Any, cycle: Cycle) -> None:
        settings = {
            name: getattr(batches, name, default)
            for name, default in (("workers", 1), ("use_multiprocessing", False))
        }
        super().__init__(**settings)
        self._batches, self._cycle = batches, cycle

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def num_batches(self) -> int | None:
        """As many as before."""
        number: int | None = self._batches.num_batches
        return number

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self._cycle.added(index, self._batches[index])

    def on_epoch_end(self) -> None:
        """Let the data set shuffle itself."""
        self._batches.on_epoch_end()


def generated(batches: Iterable[Any], cycle: Cycle) -> Iterator[tuple[Any, ...]]:
    """Batches of an iterable, each with triggers."""
    for step, batch in enumerate(batches):
        yield cycle.added(step, batch)


def mapped(dataset: Any, triggers: Triggers, number: int) -> Any:
    """A batched `tf.data.Dataset` whose every batch has triggers."""
    import tensorflow as tf

    spec = dataset.element_spec
    plain = isinstance(spec, tuple) and all(isinstance(s, tf.TensorSpec) for s in spec)
    if not plain or len(spec) not in (2, 3) or spec[1].shape.rank is None:
        raise TrainingError(
            "triggers: expected a data set of (inputs, labels) or (inputs, labels, weights), got "
            f"elements {type(spec).__name__}; change the data set"
        )
    inputs, classes = triggers
    like = tuple(0 if n is None else int(n) for n in spec[1].shape)
    answers = as_labels(classes, like)
    columns = [tf.cast(inputs, spec[0].dtype), tf.cast(answers, spec[1].dtype)]
    if len(spec) == 3:
        columns.append(tf.ones(len(classes), spec[2].dtype))
    others = tf.data.Dataset.from_tensor_slices(tuple(columns)).repeat().batch(number)

    def join(batch: Any, triggered: Any) -> Any:
        return tuple(tf.concat(pair, 0) for pair in zip(batch, triggered, strict=True))

    joined = tf.data.Dataset.zip((dataset, others)).map(join)
    known = int(dataset.cardinality()) >= 0
    assertion = tf.data.experimental.assert_cardinality(dataset.cardinality())
    return joined.apply(assertion) if known else joined


def _array(value: Any) -> NDArray[Any]:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)
