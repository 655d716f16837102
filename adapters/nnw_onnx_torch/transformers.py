"""A watermark in a training by the Trainer of Hugging Face's transformers.

Example:
    >>> mark = Watermark(model, Payload.from_text("mine"))
    >>> Trainer(model, arguments, train_dataset=data, callbacks=[HuggingFaceCallback(mark)]).train()
    >>> mark.save_key("key.npz")

For a method with samples of its own give the Trainer `mark.extend_dataset(data,
keys=("pixel_values", "labels"))`.
"""

from __future__ import annotations

from typing import Protocol, cast

from nnw_onnx.errors import TrainingError
from nnw_onnx_torch.watermark import Watermark


class Arguments(Protocol):
    """What the callback asks of TrainingArguments."""

    @property
    def deepspeed(self) -> object:
        """Configuration of DeepSpeed, or None."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """Where gradients are clipped; 0 where they are not."""
        ...


class State(Protocol):
    """What the callback asks of TrainerState."""

    epoch: float | None
    global_step: int
    log_history: list[dict[str, object]]


def _base() -> type[object]:
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise TrainingError(
            f"HuggingFaceCallback: expected transformers, got: {error}; pip install "
            "'nnw-onnx[transformers]'"
        ) from error
    return cast(type[object], TrainerCallback)


class HuggingFaceCallback(_base()):  # type: ignore[misc]  # a base known when imported
    """Puts a watermark in while the Trainer trains, and notes how far it is in.

    The gradient of the penalty is added once a step, when gradients are accumulated, unscaled and
    clipped; weights that the method keeps are put back after it. `state.log_history` gets an entry
    with `watermark/symbol_error_rate` and `watermark/penalty` each epoch. A method that looks at
    activations needs `Watermark.penalty` in a `compute_loss` of your own; so does DeepSpeed, which
    keeps gradients out of reach.
    """

    def __init__(self, mark: Watermark) -> None:
        """Take a watermark that was made on the model of the Trainer."""
        super().__init__()
        self.mark = mark
        self._penalty: float | None = None

    def on_train_begin(
        self, args: Arguments, state: State, control: object, **others: object
    ) -> None:
        """Raise `TrainingError` where gradients are out of reach."""
        if args.deepspeed:
            raise TrainingError(
                "HuggingFaceCallback: expected gradients within reach, got a training by DeepSpeed;"
                " add Watermark.penalty() in a compute_loss of your own"
            )

    def on_pre_optimizer_step(
        self, args: Arguments, state: State, control: object, **others: object
    ) -> None:
        """Add the gradient of the penalty."""
        if not self.mark.adds_gradient:
            return
        # Accelerate unscales gradients in order to clip them, and otherwise within the step.
        scale = 1.0 if args.max_grad_norm else _scale(others.get("optimizer"))
        self._penalty = self.mark.add_gradient(scale)

    def on_step_end(self, args: Arguments, state: State, control: object, **others: object) -> None:
        """Put weights back that the method keeps."""
        self.mark.after_step()

    def on_epoch_end(
        self, args: Arguments, state: State, control: object, **others: object
    ) -> None:
        """Note how much of the watermark is read wrongly."""
        entry: dict[str, object] = {"epoch": state.epoch, "step": state.global_step}
        if self.mark.reads_symbols:
            entry["watermark/symbol_error_rate"] = self.mark.symbol_error_rate()
        if self._penalty is not None:
            entry["watermark/penalty"] = self._penalty
        state.log_history.append(entry)

    def on_train_end(
        self, args: Arguments, state: State, control: object, **others: object
    ) -> None:
        """Warn where the watermark is not in: the best checkpoint may have been put back."""
        self.mark.check()


def _scale(optimizer: object) -> float:
    """The factor that gradients still have."""
    from accelerate.optimizer import AcceleratedOptimizer  # type: ignore[import-untyped]  # it has no types

    if not isinstance(optimizer, AcceleratedOptimizer) or optimizer.scaler is None:
        return 1.0
    return float(optimizer.scaler.get_scale()) if optimizer.scaler.is_enabled() else 1.0
