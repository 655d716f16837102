"""A watermark in a Lightning training, without a change of the LightningModule.

Example:
    >>> mark = Watermark(module, Payload.from_text("mine"))
    >>> Trainer(callbacks=[WatermarkCallback(mark)]).fit(module, loader)
    >>> mark.save_key("key.npz")
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx_torch.watermark import Watermark

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


class Logs(Protocol):
    """What the callback asks of a LightningModule."""

    def log(self, name: str, value: float) -> None:
        """Note a number."""
        ...


def _base() -> type[object]:
    """Lightning's Callback, under the name by which it has been imported already, if any."""
    loaded = [name for name in _PACKAGES if name in sys.modules]
    for name in loaded or _PACKAGES:
        try:
            return cast(type[object], importlib.import_module(name).Callback)
        except ImportError:
            continue
    raise TrainingError(
        "WatermarkCallback: expected Lightning, got none of lightning and pytorch_lightning; "
        "pip install 'nnw-onnx[lightning]'"
    )


class WatermarkCallback(_base()):  # type: ignore[misc]  # a base known when imported
    """Puts a watermark in while Lightning trains, and logs how far it is in.

    The gradient of the penalty is added once a step, when gradients are accumulated and unscaled
    and not yet clipped; with several optimizers, by the one that has the carrier. A method's own
    samples are appended to each batch that is a list or a mapping; for another one extend the data
    set with `Watermark.extend_dataset`, or call `Watermark.extend` in your training_step, and set
    `extend_batches` to False. A method that looks at activations needs `Watermark.penalty` in your
    training_step. Weights that the method keeps are put back after each batch. The method's own
    arrays are in Lightning's checkpoints.

    It logs `watermark/penalty` each step and `watermark/symbol_error_rate` each epoch.
    """

    def __init__(
        self,
        mark: Watermark,
        *,
        batch_keys: Sequence[int | str] = (0, 1),
        extend_batches: bool = True,
    ) -> None:
        """Take a watermark that was made on the LightningModule or on a model in it.

        Args:
            mark: the watermark; one with own samples calls forward of what it was made on.
            batch_keys: where inputs and targets are in a batch.
            extend_batches: whether to append own samples to batches.
        """
        super().__init__()
        self.mark = mark
        self._inputs, self._targets = batch_keys
        self._extend = extend_batches and mark.has_own_samples

    def on_train_batch_start(
        self, trainer: object, pl_module: Logs, batch: object, batch_idx: int
    ) -> None:
        """Append own samples to the batch; raises `TrainingError` where it cannot be changed."""
        if not self._extend:
            return
        if not isinstance(batch, list | dict):
            raise TrainingError(
                f"batch: expected a list or a mapping, got a {type(batch).__name__}; extend the "
                "data set with Watermark.extend_dataset and set extend_batches=False"
            )
        found = cast("dict[int | str, torch.Tensor]", batch)
        extended = self.mark.extend(found[self._inputs], found[self._targets])
        found[self._inputs], found[self._targets] = extended

    def on_before_optimizer_step(
        self, trainer: object, pl_module: Logs, optimizer: torch.optim.Optimizer
    ) -> None:
        """Add the gradient of the penalty."""
        if self.mark.adds_gradient and self.mark.learns_by(optimizer):
            pl_module.log("watermark/penalty", self.mark.add_gradient())

    def on_train_batch_end(
        self, trainer: object, pl_module: Logs, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Put weights back that the method keeps."""
        self.mark.after_step()

    def on_train_epoch_end(self, trainer: object, pl_module: Logs) -> None:
        """Log how much of the watermark is read wrongly."""
        if self.mark.reads_symbols:
            pl_module.log("watermark/symbol_error_rate", self.mark.symbol_error_rate())

    def on_fit_end(self, trainer: object, pl_module: Logs) -> None:
        """Warn where the watermark is not in: after `on_train_end`, where averages are put back."""
        self.mark.check()

    def state_dict(self) -> dict[str, object]:
        """The method's own arrays, for a checkpoint."""
        return self.mark.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None:
        """Those of a checkpoint."""
        self.mark.load_state_dict(state_dict)
