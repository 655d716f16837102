"""A method's own samples among the samples of a training: in arrays, and batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Array, Samples
from nnw_onnx_tensorflow.network import to_numpy


class OwnSamples:
    """Samples of a method's own, in turn, some at a time, over and over again.

    Attributes:
        per_batch: samples that are appended to a batch.
        place: number of samples that were appended so far by `appended`.
    """

    def __init__(self, samples: Samples, per_batch: int) -> None:
        if per_batch < 1:
            raise TrainingError(f"own_per_batch: expected at least 1, got {per_batch}; correct it")
        self._samples, self.per_batch, self.place = samples, per_batch, 0

    def __len__(self) -> int:
        return len(self._samples)

    def at(self, place: int, count: int) -> tuple[Array, Array]:
        """Inputs and targets of so many samples from a place on; one input only."""
        read = self._samples.read(np.arange(place, place + count) % len(self._samples))
        if len(read.feeds) != 1:
            raise TrainingError(
                f"samples: expected a method's own samples of one input, got {len(read.feeds)}; "
                "train the network with 'nnw inject --training'"
            )
        return next(iter(read.feeds.values())), np.asarray(read.targets)

    def appended(self, inputs: Any, targets: Any) -> tuple[Array, Array]:
        """A batch with the next samples behind it; the next batch goes on from there."""
        own = self.at(self.place, self.per_batch)
        self.place += self.per_batch
        return extended(to_numpy(inputs), to_numpy(targets), own)


def extended(inputs: Array, targets: Array, own: tuple[Array, Array]) -> tuple[Array, Array]:
    """Samples and targets with others behind them, in the types they had.

    Targets (n,) or (n, 1) are classes or numbers; targets (n, classes) are one-hot.

    Raises:
        TrainingError: inputs of another shape than the others', or targets of no such form.
    """
    added, told = own
    if inputs.shape[1:] != added.shape[1:]:
        raise TrainingError(
            f"samples: expected inputs of shape {('n', *added.shape[1:])}, got {inputs.shape}; "
            "give what the model takes"
        )
    answers = like(told, targets.shape)
    return (
        np.concatenate([inputs, added.astype(inputs.dtype)]),
        np.concatenate([targets, answers.astype(targets.dtype)]),
    )


def like(told: Array, shape: tuple[int, ...]) -> Array:
    """Targets in the form of others, of this shape.

    Raises:
        TrainingError: a form that is not known, or too few classes.
    """
    if told.shape[1:] == tuple(shape[1:]):
        return told
    if told.ndim == 1 and tuple(shape[1:]) == (1,):
        return told[:, np.newaxis]
    is_class = told.ndim == 1 and told.dtype.kind in "iu"
    if not is_class or len(shape) != 2 or told.max(initial=0) >= shape[1]:
        raise TrainingError(
            f"samples: expected targets (n,), (n, 1) or one-hot (n, classes) with classes > "
            f"{told.max(initial=0)}, got shape {tuple(shape)}; give the targets of the training"
        )
    return np.eye(shape[1])[told]


def repeated(inputs: Any, targets: Any, own: OwnSamples, repeats: int) -> tuple[Array, Array]:
    """Arrays with every own sample behind them, so often; `fit` must shuffle (its default)."""
    return extended(to_numpy(inputs), to_numpy(targets), own.at(0, repeats * len(own)))


# Keras has no types, and may be absent where types are checked.
class ExtendedBatches(keras.utils.PyDataset):  # type: ignore[misc, unused-ignore]
    """A `keras.utils.PyDataset` with some own samples in each of its batches."""

    def __init__(self, batches: keras.utils.PyDataset, own: OwnSamples) -> None:
        super().__init__(workers=batches.workers, use_multiprocessing=batches.use_multiprocessing)
        self._batches, self._own = batches, own

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def num_batches(self) -> int | None:
        """As many as before."""
        number: int | None = self._batches.num_batches
        return number

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        return _grown(self._batches[index], self._own, index)

    def on_epoch_end(self) -> None:
        """Let the data set shuffle itself."""
        self._batches.on_epoch_end()


def generated(batches: Iterable[Any], own: OwnSamples) -> Iterator[tuple[Array, ...]]:
    """Batches of an iterable, each with own samples."""
    for step, batch in enumerate(batches):
        yield _grown(batch, own, step)


def mapped(dataset: Any, own: OwnSamples) -> Any:
    """A batched `tf.data.Dataset` whose every batch has own samples."""
    import tensorflow as tf

    spec = dataset.element_spec
    plain = isinstance(spec, tuple) and all(isinstance(s, tf.TensorSpec) for s in spec)
    if not plain or len(spec) not in (2, 3) or spec[1].shape.rank is None:
        raise TrainingError(
            "samples: expected a data set of (inputs, targets) or (inputs, targets, weights), got "
            f"elements {type(spec).__name__}; change the data set"
        )
    inputs, told = own.at(0, len(own))
    shape = tuple(0 if n is None else int(n) for n in spec[1].shape)
    columns = [tf.cast(inputs, spec[0].dtype), tf.cast(like(told, shape), spec[1].dtype)]
    if len(spec) == 3:
        columns.append(tf.ones(len(told), spec[2].dtype))
    others = tf.data.Dataset.from_tensor_slices(tuple(columns)).repeat().batch(own.per_batch)

    def join(batch: Any, more: Any) -> Any:
        return tuple(tf.concat(pair, 0) for pair in zip(batch, more, strict=True))

    joined = tf.data.Dataset.zip((dataset, others)).map(join)
    known = int(dataset.cardinality()) >= 0
    assertion = tf.data.experimental.assert_cardinality(dataset.cardinality())
    return joined.apply(assertion) if known else joined


def _grown(batch: Any, own: OwnSamples, step: int) -> tuple[Array, ...]:
    """A batch (inputs, targets) or (inputs, targets, weights) with the own samples of a step."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise TrainingError(
            "samples: expected batches (inputs, targets) or (inputs, targets, weights), got "
            f"{type(batch).__name__}; change the data set"
        )
    inputs, targets, *weights = map(to_numpy, batch)
    both = extended(inputs, targets, own.at(step * own.per_batch, own.per_batch))
    return *both, *(np.concatenate([w, np.ones(own.per_batch, w.dtype)]) for w in weights)
