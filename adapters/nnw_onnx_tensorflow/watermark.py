"""A watermark that a training with Keras puts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnw_onnx
from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Mark, Payload, TrainingData
from nnw_onnx_tensorflow.network import Entry, KerasNetwork

_SHARE = 16


class Watermark:
    """What it takes to train a built Keras model so that it carries a payload.

    A method that penalises weights ("uchida"):

        mark = Watermark(model, Payload.from_text("mine"))
        model.fit(x, y, callbacks=[mark.callback()])
        mark.save_key("key.npz")

    A trigger set ("adi") adds samples instead:

        mark = Watermark(model, payload, method="adi", inputs=x[:256], classes=10)
        x, y = mark.extend(x, y)          # or: data = mark.triggered(data)
        model.fit(x, y, callbacks=[mark.callback()])

    In a training step of your own, add `mark.penalty()` to the loss.

    Attributes:
        model: the model; its weights change only by training.
        payload: what it will carry.
        key: secret; it carries the payload, and names layers by their path in the model (see
            `nnw_onnx_tensorflow.rekey` for the exported file).
        method: the method.
    """

    def __init__(
        self,
        model: Any,
        payload: Payload,
        method: str = "uchida",
        layer: str | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        *,
        inputs: NDArray[Any] | None = None,
        classes: int | None = None,
        images: NDArray[Any] | None = None,
    ) -> None:
        """Choose the carrier and make the key; the model is not changed.

        Args:
            model: a built `keras.Model`, compiled or not, trained or not.
            payload: the Symbols.
            method: name of a method that adds to training.
            layer: path of the carrier's variable, such as "conv2d_1/kernel", its end, or the name
                of its Keras layer; chosen by the method if None.
            options: options of the method.
            seed: makes the key repeatable, and only as secret as the seed; None draws a secret.
            inputs: for a trigger set, some inputs of the training, (n, ...) as the model takes
                them: triggers get their shape and range.
            classes: for a trigger set, the number of classes.
            images: for a trigger set, inputs to choose the triggers from, instead of drawn ones.

        Raises:
            TrainingError: a method that Keras cannot train.
            InjectionError: no layer, or not this one, can hold the payload.
            ConfigurationError, PluginError: an option or the method does not exist, training cannot
                put it in, or a trigger set got no `inputs` or `classes`.
        """
        network = KerasNetwork(model)
        found = nnw_onnx.make_mark(
            network,
            payload,
            method=method,
            options=options,
            layer=None if layer is None else network.named(layer),
            seed=seed,
            data=None if inputs is None or classes is None else _samples(inputs, classes),
            images=images,
        )
        _check_penalty(found.method)
        self.model, self.payload = model, payload
        self.method, self.key = found.method, found.key

    def __repr__(self) -> str:
        return f"Watermark({self.method.name!r}, {len(self.payload)} symbols, {self.key.layers})"

    @property
    def mark(self) -> Mark:
        """Method, payload and key, as the core takes them."""
        return Mark(self.method, self.payload, self.key)

    def regularizer(self) -> Any:
        """A `keras.regularizers.Regularizer` for the variable of the carrier layer.

        Called with the kernel it gives the penalty, whose gradient is the method's own. Keras adds
        `variable.regularizer` to the loss; `callback` sets it for the time of a training.

        Raises:
            TrainingError: a method without a penalty of weights, or another backend than
                TensorFlow and torch.
        """
        from nnw_onnx_tensorflow.regularizer import WatermarkRegularizer

        if not hasattr(self.method, "weight_penalty"):
            raise TrainingError(
                f"{self.method.name}: expected a method that penalises weights, got a trigger set; "
                "use extend() or triggered()"
            )
        return WatermarkRegularizer(self.mark, self.entries())

    def penalty(self) -> Any:
        """The penalty of the present weights, a scalar tensor; 0 for a trigger set."""
        if not hasattr(self.method, "weight_penalty"):
            return 0.0
        return self.regularizer()(self.entries()[0].variable)

    def entries(self) -> Sequence[Entry]:
        """The variables of the carrier layers."""
        network = KerasNetwork(self.model)
        return [network.entry(name) for name in self.key.layers]

    def callback(self, name: str = "watermark") -> Any:
        """A `keras.callbacks.Callback` for `model.fit`.

        While the model trains it adds the penalty to the loss (`loss` and `val_loss` contain it).
        At the end of each epoch it puts `watermark_symbol_error_rate` and, for a penalty,
        `watermark_penalty` in the logs (or with another first word, `name`); place it before
        callbacks that use them. The model is trained without `jit_compile`, which cannot run the
        penalty.
        """
        from nnw_onnx_tensorflow.callback import WatermarkCallback

        return WatermarkCallback(self, name)

    def extend(
        self, inputs: NDArray[Any], labels: NDArray[Any], copies: int | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and labels with the triggers behind them; `fit` must shuffle (its default).

        Args:
            inputs: (n, ...).
            labels: (n,) or (n, 1) classes, or one-hot (n, classes).
            copies: how often each trigger is added; None adds about one trigger to 16 samples, at
                least each once.

        Raises:
            TrainingError: inputs or labels of another form, or a method without triggers.
        """
        from nnw_onnx_tensorflow import triggers

        found = self.triggers()
        if copies is None:
            copies = max(1, round(len(labels) / _SHARE / len(found[1])))
        return triggers.extended(np.asarray(inputs), np.asarray(labels), found, copies)

    def triggered(self, data: Any, per_batch: int = 8) -> Any:
        """A data set with `per_batch` triggers added to each batch, in turn.

        Args:
            data: a batched `tf.data.Dataset` (one of that kind comes back), a
                `keras.utils.PyDataset` (likewise), or any iterable of batches (a generator).
                Batches are (inputs, labels) or (inputs, labels, weights).
            per_batch: triggers in each batch.

        Raises:
            TrainingError: batches of another form, or a method without triggers.
        """
        import keras

        from nnw_onnx_tensorflow import triggers

        found = self.triggers()
        if hasattr(data, "element_spec"):
            return triggers.mapped(data, found, per_batch)
        cycle = triggers.Cycle(found, per_batch)
        if isinstance(data, keras.utils.PyDataset):
            return triggers.TriggeredBatches(data, cycle)
        return triggers.generated(data, cycle)

    def triggers(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Trigger inputs (n, ...) and the class (n,) that each must get.

        Raises:
            TrainingError: a method without triggers.
        """
        if not hasattr(self.method, "triggers"):
            raise TrainingError(
                f"{self.method.name}: expected a trigger set, got a method that penalises weights; "
                "use callback() alone"
            )
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = self.method.triggers(
            self.payload, self.key
        )
        return found

    def symbol_error_rate(self) -> float:
        """Share (0 to 1) of the Symbols that are read wrongly from the model as it is."""
        decoding = self.method.decode(KerasNetwork(self.model), self.key)
        return self.payload.errors(decoding.payload) / len(self.payload)

    def save_key(self, path: str | Path, keep_payload: bool = True) -> None:
        """Write the key of the Keras model; `save_key(rekey(...))` is for the exported file."""
        nnw_onnx.save_key(self.key, path, keep_payload)


def _check_penalty(method: Any) -> None:
    if hasattr(method, "activation_penalty"):
        raise TrainingError(
            f"{method.name}: expected a method with a penalty of weights or a trigger set, got a "
            "penalty of activations; use method uchida or adi"
        )


def _samples(inputs: NDArray[Any], classes: int) -> TrainingData:
    values = np.asarray(inputs, np.float32)
    return TrainingData(values, np.zeros(len(values), np.int64), classes)
