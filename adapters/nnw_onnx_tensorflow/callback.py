"""A Keras callback that puts a watermark in and tells how far it is in."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import keras

from nnw_onnx.errors import TrainingError
from nnw_onnx_tensorflow.network import to_numpy
from nnw_onnx_tensorflow.regularizer import WatermarkRegularizer, without

if TYPE_CHECKING:
    from nnw_onnx_tensorflow.watermark import Watermark


# Keras has no types, and may be absent where types are checked.
class WatermarkCallback(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Adds the penalty to the loss while `model.fit` runs, and logs the Symbol Error Rate.

    The regularizer is set on the carrier's variable and taken away at the end, so the model's
    configuration and its saved files know nothing of it.
    """

    def __init__(self, watermark: Watermark, name: str) -> None:
        super().__init__()
        self._watermark, self._name = watermark, name
        self._attached, self._jit = False, False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Attach the penalty.

        Raises:
            TrainingError: the carrier layer does not learn, or `fit` is of another model.
        """
        mark = self._watermark
        if self.model is not mark.model:
            raise TrainingError(
                f"callback: expected to train model {mark.model.name!r}, got {self.model.name!r}; "
                "make the Watermark with the model that is trained"
            )
        if not hasattr(mark.method, "weight_penalty"):
            return
        entries = mark.entries()
        for entry in entries:
            if not entry.variable.trainable:
                raise TrainingError(
                    f"layer {entry.layer.name!r}: expected a carrier that learns, got a frozen "
                    "one; set its layer's trainable = True, or choose another layer"
                )
        self._jit = bool(self.model.jit_compile)
        if self._jit:
            warnings.warn(
                "jit_compile: expected False for a watermark's penalty, got True; training runs "
                "without it, pass jit_compile=False to compile()",
                stacklevel=2,
            )
            self.model.jit_compile = False
        variable = entries[0].variable
        # A training that was interrupted has left its penalty there.
        before = without(variable.regularizer, mark.key)
        variable.regularizer = WatermarkRegularizer(mark.mark, entries, before)
        self._attached = True
        self._remake()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put Symbol Error Rate and penalty in the logs."""
        if logs is None:
            return
        logs[f"{self._name}_symbol_error_rate"] = self._watermark.symbol_error_rate()
        if self._attached:
            logs[f"{self._name}_penalty"] = float(to_numpy(self._watermark.penalty()))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Detach the penalty."""
        if not self._attached:
            return
        variable = self._watermark.entries()[0].variable
        variable.regularizer = without(variable.regularizer, self._watermark.key)
        self.model.jit_compile = self.model.jit_compile or self._jit
        self._attached = False
        self._remake()

    def _remake(self) -> None:
        """Have the model trace its steps again, with or without the penalty."""
        if self.model.train_function is not None:
            self.model.make_train_function(force=True)
        if self.model.test_function is not None:
            self.model.make_test_function(force=True)
