"""The trainer of the core's plug-in group `nnw_onnx.trainers`: ONNX networks, by torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from nnw_onnx.errors import TrainingError
from nnw_onnx.plugins import option

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.vocabulary import Checkpoint, Epoch, Job, Trained


@dataclass(frozen=True)
class TorchTrainer:
    """Trains the ONNX graph itself: every weight under its own name and in its own layout.

    Memory: the samples, weights four times (gradient, two moments), and the activations of a
    batch. Random state, threads and determinism of torch are as before when it is done.
    """

    name: ClassVar[str] = "torch"
    summary: ClassVar[str] = "trains the ONNX graph with PyTorch, on the CPU or a CUDA device"

    device: Literal["cpu", "cuda", "auto"] = option(
        "cpu", help="where to train; auto takes a CUDA device where there is one"
    )
    threads: Annotated[int, Ge(1), Le(1024)] = option(
        1, help="threads of the CPU; more than one slow each other down on a busy machine"
    )
    memory_format: Literal["channels_last", "contiguous"] = option(
        "channels_last", help="order of images and kernels in memory; channels_last is faster"
    )
    deterministic: bool = option(
        True, help="the same seed gives the same weights; refuses operators that cannot"
    )

    def check(self) -> None:
        """Raise `TrainingError` where PyTorch or the device is not there."""
        _torch()
        from nnw_onnx_torch import _surroundings

        _surroundings.device_named(self.device)

    def train(
        self,
        network: OnnxNetwork,
        job: Job,
        *,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        on_batch: Callable[[], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Trained[OnnxNetwork]:
        """The trained network; see `nnw_onnx.vocabulary.Trainer`.

        Raises:
            TrainingError: the job does not fit the network, an operator cannot be trained, or the
                loss is no number any more.
        """
        torch = _torch()
        from nnw_onnx_torch import _surroundings, _training

        device = _surroundings.device_named(self.device)
        formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
        place = _training.Place(device, formats[self.memory_format])
        with _surroundings.set_for_training(device, self.threads, deterministic=self.deterministic):
            return _training.run(
                network, job, place, on_epoch=on_epoch, on_batch=on_batch, checkpoint=checkpoint
            )


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise TrainingError(
            f"trainer torch: expected PyTorch, got: {error}; pip install 'nnw-onnx[torch]'"
        ) from error
    return torch
