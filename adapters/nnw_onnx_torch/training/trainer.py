"""The trainer of the core's plug-in group `nnw_onnx.trainers`: ONNX networks, by torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from nnw_onnx.errors import TrainingError
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Checkpoint,
    Epoch,
    Feeds,
    Job,
    Loss,
    Network,
    Targets,
    Trained,
    Trainer,
)


@dataclass(frozen=True)
class TorchTrainer(Trainer):
    """Trains the ONNX graph itself: every weight under its own name and in its own layout.

    Memory: weights four times (gradient, two moments), the samples of a batch, and its activations.
    Random state, threads and determinism of torch are as before when it is done.
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

    cuda_graphs: bool = option(
        False, help="steps as CUDA graphs, where launching kernels takes longer than they do"
    )

    def check(self) -> None:
        """Raise `TrainingError` where PyTorch or the device is not there."""
        _check_torch()
        from nnw_onnx_torch.training import surroundings

        surroundings.device_named(self.device)

    def train(
        self,
        network: Network,
        job: Job,
        *,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        on_batch: Callable[[], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Trained:
        """The trained network; see `nnw_onnx.vocabulary.Trainer`.

        Raises:
            TrainingError: the network is none of an ONNX file, the job does not fit it, an operator
                cannot be trained, or the loss is no number any more.
        """
        _check_torch()
        import torch

        from nnw_onnx_torch.training import batches, jobs, loop, surroundings

        onnx = jobs.onnx_network(network)
        device = surroundings.device_named(self.device)
        formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
        if self.cuda_graphs and device.type != "cuda":
            raise TrainingError(
                f"cuda_graphs: expected a CUDA device, got {device}; set the option to false, or "
                "the device to 'cuda'"
            )
        place = batches.Place(device, formats[self.memory_format], self.cuda_graphs)
        with (
            surroundings.failures_told(),
            surroundings.set_for_training(device, self.threads, deterministic=self.deterministic),
        ):
            return loop.run(
                onnx, job, place, on_epoch=on_epoch, on_batch=on_batch, checkpoint=checkpoint
            )

    def gradient(
        self, network: Network, feeds: Feeds, targets: Targets, loss: Loss, output: int = 0
    ) -> Feeds:
        """Gradient of the mean loss by each floating-point input, in evaluation mode.

        Raises:
            TrainingError: as for `train`.
        """
        _check_torch()
        from nnw_onnx_torch.training import gradients, jobs, surroundings

        onnx = jobs.onnx_network(network)
        device = surroundings.device_named(self.device)
        with (
            surroundings.failures_told(),
            surroundings.set_for_training(device, self.threads, deterministic=self.deterministic),
        ):
            return gradients.of_file(onnx, feeds, targets, loss, output, device)


def _check_torch() -> None:
    try:
        import torch  # noqa: F401 - to see whether it is there
    except ImportError as error:
        raise TrainingError(
            f"trainer torch: expected PyTorch, got: {error}; pip install 'nnw-onnx[torch]'"
        ) from error
