"""A watermark that a training with Keras puts in."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.kit import matching
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import (
    Array,
    Claim,
    Decoding,
    Json,
    Key,
    Payload,
    Samples,
    Suspect,
    Weights,
)
from nnw_onnx_tensorflow import reading_back
from nnw_onnx_tensorflow.additions import Addition, TaskGradient, no_task_gradient
from nnw_onnx_tensorflow.hearing import hearing
from nnw_onnx_tensorflow.network import Entry, KerasNetwork, to_numpy

_SHARE = 16
"""Samples of the data set for each own one, as in a batch of 128 with 8 of them."""
_BACKENDS = ("tensorflow", "torch")


class Watermark:
    """What a method adds to the training of a built Keras model, and how far the watermark is in.

    In `fit` the callback does everything:

        mark = Watermark(model, Payload.from_text("mine"))
        model.fit(x, y, callbacks=[mark.callback()])
        mark.save_key("key.npz")

    A method with samples of its own ("adi") wants them among the data:

        mark = Watermark(model, payload, method="adi", inputs=x[:256], classes=10)
        x, y = mark.extend_dataset((x, y))

    In a training step of your own, add `mark.penalty(targets)` to the loss, within
    `mark.listening()` for a method that looks at activations, and call `mark.after_step()`.

    Export the object on which the mark was made, after a look at `symbol_error_rate`: a copy, an
    average or an earlier checkpoint may not hold the mark. `save_key` and `export` look too, and
    warn.

    It knows no method: whatever a method adds is in `vocabulary.Additions`. The loss is the one
    that the model was compiled with.

    Attributes:
        model: the model; its weights change only by training.
        method: the plug-in.
        payload: the bits, before code and alphabet.
        network: the model as the method sees it.
    """

    def __init__(
        self,
        model: Any,
        payload: Payload | str | None = None,
        method: str = "uchida",
        *,
        layer: str | None = None,
        options: Mapping[str, Json] | None = None,
        code: str | None = None,
        code_options: Mapping[str, Json] | None = None,
        seed: int | None = None,
        claim: Claim | None = None,
        inputs: Array | Mapping[str, Array] | Samples | None = None,
        targets: Array | None = None,
        classes: int | None = None,
        own_per_batch: int = 8,
    ) -> None:
        """Make the key, or take one; the model is not changed.

        Args:
            model: a built `keras.Model`, compiled or not, trained or not.
            payload: a text or bits; None for a method that only says that it is there, or with a
                claim.
            method: name of a method that training puts in, such as "uchida" or "adi".
            layer: path of the carrier's variable, such as "conv2d_1/kernel", its end, or the name
                of its Keras layer; chosen by the method if None.
            options: options of the method, see `nnw list methods`.
            code: error-correcting code between payload and Symbols, see `nnw list codes`.
            code_options: options of the code.
            seed: makes the key repeatable, and only as secret as the seed; None draws a fresh one.
            claim: of an earlier watermark, to go on with it (`nnw_onnx.load_key`).
            inputs: some samples (n, ...) of the training as the model takes them, for methods that
                ask for data: an array, one for each input by its name, or `Samples`.
            targets: what is right for them; 0 for each if None.
            classes: number of classes; asked of the model if None.
            own_per_batch: samples of the method's own that `extend` adds.

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
            ConfigurationError: an option is wrong, or a method that asks for samples got none.
            TrainingError: a backend of Keras that cannot train it.
        """
        from nnw_onnx_tensorflow.own_samples import OwnSamples

        self.network, self.model = KerasNetwork(model), model
        if claim is not None:
            named = matching.renamed(claim, self.network)
            self._mark = nnw_onnx.continue_mark(self.network, named, payload)
        else:
            self._mark = nnw_onnx.make_mark(
                self.network,
                payload or Payload(),
                method=method,
                options=options,
                code=code,
                code_options=code_options,
                layer=None if layer is None else self.network.named(layer),
                seed=seed,
                samples=None if inputs is None else _samples(inputs, targets, classes),
                run=self.network.run,
            )
        self.method, self.payload = self._mark.method, self._mark.payload
        additions = self._mark.additions
        self._addition = Addition(additions, self.network)
        own = additions.samples
        self._own = None if own is None else OwnSamples(own, own_per_batch)
        self._targets: Array | None = None
        self._heard: dict[str, Any] = {}
        self._wrong: int | None = None
        reading_back.made(self)

    def __repr__(self) -> str:
        return f"Watermark({self.method.name!r}, {len(self.payload)} bits, {self.key.layers})"

    @property
    def claim(self) -> Claim:
        """Secret: key and Symbols, with what the method has learnt so far."""
        return self._mark.learnt(self.state)

    @property
    def key(self) -> Key:
        """Secret: what finds the watermark again.

        It names layers by their path in the model; see `rekey` for the exported file.
        """
        return self.claim.key

    @property
    def state(self) -> Weights:
        """The method's own arrays as the last step left them."""
        return self._addition.state

    def callback(self, name: str = "watermark") -> Any:
        """A `keras.callbacks.Callback` for `model.fit`.

        While the model trains it adds the penalty to the loss (`loss` and `val_loss` contain it).
        At the end of each epoch it puts `watermark_symbol_error_rate` and, for a penalty,
        `watermark_penalty`, that of the last step, in the logs (or with another first word,
        `name`); place it before callbacks that use them. The model is trained without
        `jit_compile`, which cannot run the penalty.
        """
        from nnw_onnx_tensorflow.callback import WatermarkCallback

        return WatermarkCallback(self, name)

    def extend(self, inputs: Any, targets: Any) -> tuple[Array, Array]:
        """The batch with the method's own samples appended; itself for a method without any.

        Args:
            inputs: samples (n, ...).
            targets: what is right for them: (n,) or (n, 1), or one-hot (n, classes).

        Raises:
            TrainingError: samples or targets of another form.
        """
        if self._own is None:
            both = to_numpy(inputs), to_numpy(targets)
        else:
            both = self._own.appended(inputs, targets)
        self._targets = both[1]
        return both

    def extend_dataset(self, dataset: Any, *, repeats: int | None = None) -> Any:
        """A data set with the method's own samples; itself for a method without any.

        Args:
            dataset: a pair of arrays (inputs, targets), which gets every sample `repeats` times; or
                batches, each of which gets `own_per_batch` of them in turn: a batched
                `tf.data.Dataset` or a `keras.utils.PyDataset` (one of that kind comes back), or any
                iterable. Batches are (inputs, targets) or (inputs, targets, weights).
            repeats: as many as make one in seventeen if None.

        Raises:
            TrainingError: samples of another form.
        """
        import keras

        from nnw_onnx_tensorflow import own_samples

        own = self._own
        if own is None:
            return dataset
        if isinstance(dataset, tuple):
            inputs, targets = dataset
            if repeats is None:
                repeats = max(1, round(len(targets) / (_SHARE * len(own))))
            return own_samples.repeated(inputs, targets, own, repeats)
        if isinstance(dataset, keras.utils.PyDataset):
            return own_samples.ExtendedBatches(dataset, own)
        if _is_of_tensorflow(dataset):
            return own_samples.mapped(dataset, own)
        return own_samples.generated(dataset, own)

    def penalty(self, targets: Any | None = None) -> Any:
        """The scalar to add to the loss, with the method's own gradient; 0 where there is none.

        Each call is one step of the method: its own arrays go on.

        Args:
            targets: of the batch that the model has just seen; those given to `extend` if None.

        Raises:
            TrainingError: the method looks at activations, and no `listening` is under way.
        """
        told = self._targets if targets is None else targets
        return self.term(None, told, training=True) if self.has_penalty else 0.0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While it lasts, the model tells what the layers answer that the method looks at."""
        names = self._addition.additions.activations
        entries = [self.network.entry(name) for name in names]
        with hearing(self.model, entries, self._heard):
            yield

    def term(
        self,
        inputs: Any,
        targets: Any,
        *,
        training: bool,
        tell: Callable[[float], None] = lambda value: None,
    ) -> Any:
        """The penalty of a batch that the model has just seen, for the callback.

        Args:
            inputs: of the batch, or None where nobody told.
            targets: likewise.
            training: whether it is a step of the training, or one of its validation.
            tell: is told the value of each step of the training.
        """
        names = self._addition.additions.activations
        missing = [name for name in names if name not in self._heard]
        if missing:
            raise TrainingError(
                f"{self.method.name}: expected what layer {missing[0]!r} answers, got none; run "
                "the model within Watermark.listening() first"
            )
        tensors = [entry.variable for entry in self._addition.entries]
        tensors += [self._heard[name] for name in names]
        batch = [part for part in (targets, inputs) if part is not None]

        def compute(arrays: Sequence[Array], told: Sequence[Array]) -> tuple[float, list[Array]]:
            # As arrays, because what is a tensor in a traced function cannot be used outside.
            task = self._task_gradient(told[1], told[0]) if len(told) > 1 else no_task_gradient
            wanted = told[0] if told else None
            value, gradients = self._addition.compute(arrays, wanted, task, advance=training)
            if training:
                tell(value)
            return value, gradients

        return _backend().term(compute, tensors, batch)

    def begin(self) -> None:
        """Set the weights that training starts from; the callback does it."""
        self._addition.begin()

    def after_step(self) -> None:
        """Put weights back that the method keeps as they are; call it after each step."""
        self._addition.enforce()

    def decode(self) -> Decoding:
        """The Symbols as they are read from the model now; raises `ConfigurationError` if none."""
        return self._decoded(self.network)

    def symbol_error_rate(self) -> float:
        """Share (0 to 1) of the Symbols that are read wrongly from the model now."""
        self._wrong = self.wrong_in(self.network)
        return self._wrong / len(self._mark.claim.payload or Payload())

    def wrong_in(self, network: Suspect) -> int:
        """Symbols that are read wrongly from another network with the layers of the model."""
        claimed = self._mark.claim.payload or Payload()
        return claimed.errors(self._decoded(network).payload)

    def check(self) -> str | None:
        """Read the watermark back, and warn where the model as it is now does not hold it.

        The callback does it at the end of a training, and `save_key` and `export` do it too: a
        callback may have put the weights of an earlier epoch back, or an average of weights.

        Returns:
            What was warned of, or None.
        """
        if not self.reads_symbols:
            return None
        before = self._wrong
        self.symbol_error_rate()
        words = self._mark.complaint(self._wrong or 0, before)
        if words is not None:
            warnings.warn(words, stacklevel=3)
        return words

    def save_key(self, path: str | Path) -> None:
        """Write the key of the Keras model; `save_key(rekey(...))` is for the exported file.

        See `nnw_onnx.save_key`, and `check`.
        """
        nnw_onnx.save_key(self.claim, path)
        self.check()

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint must hold, so that a training that goes on ends the same."""
        place = 0 if self._own is None else self._own.place
        arrays = {name: np.array(values) for name, values in self.state.items()}
        return {"state": arrays, "step": self._addition.step, "place": place}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take up what `state_dict` gave; raises `TrainingError` for anything else."""
        arrays, step, place = state.get("state"), state.get("step"), state.get("place")
        if not (isinstance(arrays, Mapping) and isinstance(step, int) and isinstance(place, int)):
            raise TrainingError(
                "checkpoint: expected the state of a watermark, got another; give what "
                "Watermark.state_dict returned"
            )
        self._addition.state |= {name: np.array(values) for name, values in arrays.items()}
        self._addition.step = step
        if self._own is not None:
            self._own.place = place

    def _decoded(self, network: Suspect) -> Decoding:
        reader = plugins.decodes(self.method)
        if reader is None:
            raise ConfigurationError(
                f"{self.method.name}: expected a method that reads symbols, got one that only says "
                "that it is there; use nnw_onnx.detect on the exported model"
            )
        return reader.decode(network, self.key)

    @property
    def has_own_samples(self) -> bool:
        """Whether `extend` adds something to a batch."""
        return self._own is not None

    @property
    def own_samples(self) -> Samples | None:
        """All samples of the method's own, or None."""
        return self._addition.additions.samples

    @property
    def has_penalty(self) -> bool:
        """Whether something is added to the loss."""
        return self._addition.additions.penalty is not None

    @property
    def reads_symbols(self) -> bool:
        """Whether there is a Symbol Error Rate."""
        return plugins.decodes(self.method) is not None and self._mark.claim.key.size > 0

    @property
    def learning(self) -> Sequence[Entry]:
        """The variables that must learn, so that the watermark can be put in."""
        return self._addition.learning

    def _task_gradient(self, inputs: Any, targets: Any) -> TaskGradient:
        model, network = self.model, self.network

        def task_gradient(weights: Weights) -> Weights:
            entries = [network.entry(name) for name in weights]
            places = {id(v): i for i, v in enumerate(model.trainable_variables)}
            shapes = [tuple(entry.variable.shape) for entry in entries]
            given = [
                e.layout.stored(np.asarray(weights[e.layer.name]), shape)
                for e, shape in zip(entries, shapes, strict=True)
            ]

            def loss(tensors: Sequence[Any]) -> Any:
                values = [v.value for v in model.trainable_variables]
                for entry, tensor in zip(entries, tensors, strict=True):
                    values[places[id(entry.variable)]] = tensor
                others = [v.value for v in model.non_trainable_variables]
                told, _ = model.stateless_call(values, others, inputs, training=True)
                return model.loss(targets, told) if callable(model.loss) else _no_loss()

            found = _backend().gradients(loss, given)
            return {
                e.layer.name: e.layout.canonical(g) for e, g in zip(entries, found, strict=True)
            }

        return task_gradient


def _no_loss() -> Any:
    raise TrainingError(
        "loss: expected a model compiled with one loss object, whose gradient the method asks for, "
        "got another; compile it with a keras.losses.Loss"
    )


def _backend() -> Any:
    import keras

    backend = str(keras.backend.backend())
    if backend not in _BACKENDS:
        raise TrainingError(
            f"backend: expected {' or '.join(_BACKENDS)}, got {backend}; set KERAS_BACKEND before "
            "Keras is imported"
        )
    return importlib.import_module(f"nnw_onnx_tensorflow._gradient_{backend}")


def _is_of_tensorflow(dataset: object) -> bool:
    """Whether it is a `tf.data.Dataset`; TensorFlow is not imported for anything else."""
    if not type(dataset).__module__.startswith("tensorflow"):
        return False
    import tensorflow as tf

    return isinstance(dataset, tf.data.Dataset)


def _samples(
    inputs: Array | Mapping[str, Array] | Samples, targets: Array | None, classes: int | None
) -> Samples:
    if isinstance(inputs, Samples):
        return inputs
    named = inputs if isinstance(inputs, Mapping) else {"inputs": inputs}
    feeds = {name: np.asarray(values) for name, values in named.items()}
    count = len(next(iter(feeds.values())))
    told = np.zeros(count, np.int64) if targets is None else np.asarray(targets)
    return ArraySamples(feeds, told, {} if classes is None else {"classes": classes})
