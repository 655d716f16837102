"""A watermark in a training by the Trainer of Hugging Face's transformers.

Example:
    >>> mark = Watermark(model, Payload.from_text("mine"))
    >>> Trainer(model, arguments, train_dataset=data, callbacks=[HuggingFaceCallback(mark)]).train()
    >>> mark.save_key("key.npz")

For a trigger set give the Trainer `mark.extend_dataset(data, keys=("pixel_values", "labels"))`.
"""

from __future__ import annotations

from typing import Any

from nnw_onnx.errors import TrainingError
from nnw_onnx_torch.watermark import Watermark


def _base() -> Any:
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise TrainingError(
            f"HuggingFaceCallback: expected transformers, got: {error}; pip install "
            "'nnw-onnx[transformers]'"
        ) from error
    return TrainerCallback


class HuggingFaceCallback(_base()):  # type: ignore[misc]  # a base known when imported
    """Puts a watermark in while the Trainer trains, and notes how far it is in.

    The gradient of the penalty is added once a step, when gradients are accumulated, unscaled and
    clipped. `state.log_history` gets an entry with `watermark/symbol_error_rate` and
    `watermark/penalty` each epoch. DeepSpeed keeps gradients out of reach: use
    `Watermark.penalty` in a `compute_loss` of your own there.
    """

    def __init__(self, mark: Watermark) -> None:
        """Take a watermark that was made on the model of the Trainer."""
        super().__init__()
        self.mark = mark
        self._penalty: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Raise `TrainingError` where gradients are out of reach."""
        if getattr(args, "deepspeed", None):
            raise TrainingError(
                "HuggingFaceCallback: expected gradients within reach, got a training by DeepSpeed;"
                " add Watermark.penalty() in a compute_loss of your own"
            )

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Add the gradient of the penalty."""
        if self.mark.has_triggers:
            return
        scaler: Any = getattr(others.get("optimizer"), "scaler", None)
        # Accelerate unscales gradients in order to clip them, and otherwise within the step.
        scaled = scaler is not None and scaler.is_enabled() and not args.max_grad_norm
        self._penalty = self.mark.add_gradient(scaler.get_scale() if scaled else 1.0)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Note how much of the watermark is read wrongly."""
        entry = {
            "epoch": state.epoch,
            "step": state.global_step,
            "watermark/symbol_error_rate": self.mark.symbol_error_rate(),
        }
        if self._penalty is not None:
            entry["watermark/penalty"] = self._penalty
        state.log_history.append(entry)
