"""A Keras callback that puts a watermark in and tells how far it is in."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from nnw_onnx.errors import TrainingError

if TYPE_CHECKING:
    from nnw_onnx_tensorflow.watermark import Watermark


# Keras has no types, and may be absent where types are checked.
class WatermarkCallback(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Adds what the method adds while `model.fit` runs, and logs the Symbol Error Rate.

    The penalty is added to what `model.compute_loss` gives, in this model and for the time of the
    training only, so the model's configuration and its saved files know nothing of it.
    """

    def __init__(self, watermark: Watermark, name: str) -> None:
        super().__init__()
        self._watermark, self._name = watermark, name
        self._undo = contextlib.ExitStack()
        self._last: float | None = None

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
        # What a training that was interrupted has left there.
        self._undo.close()
        mark.begin()
        if not mark.has_penalty:
            return
        _check_learning(mark)
        self._undo.enter_context(self._without_jit())
        self._undo.enter_context(mark.listening())
        self._undo.enter_context(self._with_penalty())
        self._remake()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Put weights back that the method keeps as they are."""
        self._watermark.after_step()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put Symbol Error Rate and penalty in the logs."""
        if logs is None:
            return
        if self._watermark.reads_symbols:
            logs[f"{self._name}_symbol_error_rate"] = self._watermark.symbol_error_rate()
        if self._last is not None:
            logs[f"{self._name}_penalty"] = self._last

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Detach the penalty; when all callbacks are done, warn where the watermark is not in."""
        if self._watermark.has_penalty:
            self._undo.close()
            self._remake()
        _at_the_end_of(self.model, self._watermark.check)

    @contextlib.contextmanager
    def _with_penalty(self) -> Any:
        model, mark = self.model, self._watermark
        before: Callable[..., Any] = model.compute_loss

        def compute_loss(
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            loss = before(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
            term = mark.term(x, y, training=training, tell=self._keep)
            return loss + keras.ops.cast(term, loss.dtype)

        model.compute_loss = compute_loss
        try:
            yield
        finally:
            if model.compute_loss is compute_loss:
                model.compute_loss = before

    def _keep(self, value: float) -> None:
        self._last = value

    @contextlib.contextmanager
    def _without_jit(self) -> Any:
        jit = bool(self.model.jit_compile)
        if jit:
            warnings.warn(
                "jit_compile: expected False for a watermark's penalty, got True; training runs "
                "without it, pass jit_compile=False to compile()",
                stacklevel=2,
            )
            self.model.jit_compile = False
        try:
            yield
        finally:
            self.model.jit_compile = self.model.jit_compile or jit

    def _remake(self) -> None:
        """Have the model trace its steps again, with or without the penalty."""
        if self.model.train_function is not None:
            self.model.make_train_function(force=True)
        if self.model.test_function is not None:
            self.model.make_test_function(force=True)


def _at_the_end_of(model: Any, check: Callable[[], object]) -> None:
    """Call it when every callback of `fit` has done its work at the end of the training.

    A callback behind this one may put weights back, as EarlyStopping(restore_best_weights=True)
    does. `fit` places its History behind the callbacks of the user, and keeps it in `model.history`
    until the next training.
    """
    history = vars(model).get("history")
    if not isinstance(history, keras.callbacks.History) or history.model is not model:
        check()
        return

    def on_train_end(logs: dict[str, Any] | None = None) -> None:
        del history.on_train_end
        history.on_train_end(logs)
        check()

    history.on_train_end = on_train_end


def _check_learning(mark: Watermark) -> None:
    for entry in mark.learning:
        if not entry.variable.trainable:
            raise TrainingError(
                f"layer {entry.layer.name!r}: expected a carrier that learns, got a frozen one; "
                "set its layer's trainable = True, or choose another layer"
            )
