"""One training of an ONNX network: the loop."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Checkpoint, Epoch, Job, Trained
from nnw_onnx_torch import _checkpoints, _losses, _optimizers, _schedules, _surroundings
from nnw_onnx_torch._batches import Batch, Feed, generator
from nnw_onnx_torch._jobs import (
    check_job,
    freeze,
    has_batch_norm,
    input_dtype,
    statistics_mode,
)
from nnw_onnx_torch._marks import Addition
from nnw_onnx_torch.module import OnnxModule

_CHECK_EVERY = 32
"""Steps after which an accelerator is asked whether the loss is still a number."""


@dataclass(frozen=True)
class Place:
    """Where a training runs.

    Attributes:
        device: that computes.
        memory_format: of images and kernels of convolutions.
    """

    device: torch.device
    memory_format: torch.memory_format


class _Sums:
    """What the steps of an epoch add up to, kept on the device."""

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._penalty = torch.zeros((), dtype=torch.float64, device=device)
        self._right = torch.zeros((), dtype=torch.int64, device=device)
        self._samples = self.steps = 0

    def add(self, losses: _losses.Losses, penalty: torch.Tensor | None, samples: int) -> None:
        """Count one step."""
        self._loss += losses.samples
        self._right += losses.right
        if penalty is not None:
            self._penalty += penalty.detach()
        self._samples += samples
        self.steps += 1

    def check(self, rate: float) -> None:
        """Raise `TrainingError` where the loss is no number any more."""
        if not math.isfinite(float(self._loss + self._penalty)):
            raise TrainingError(
                f"training: expected a loss that is a number, got {float(self._loss)} at learning "
                f"rate {rate:.3g}; choose a smaller learning rate"
            )

    def epoch(self, number: int, *, penalty: bool, errors: float | None) -> Epoch:
        """The facts of the epoch."""
        steps = max(1, self.steps)
        return Epoch(
            number=number,
            loss=float(self._loss) / steps,
            penalty=float(self._penalty) / steps if penalty else None,
            quality=int(self._right) / max(1, self._samples),
            symbol_error_rate=errors,
        )


class Training:
    """A training under way.

    Attributes:
        epochs: facts of the epochs that are done.
        steps: number of steps of the whole training.
    """

    def __init__(self, network: OnnxNetwork, job: Job, place: Place) -> None:
        self._job, self._place = job, place
        mode = statistics_mode(network, job)
        self._module = OnnxModule(network, batch_norm=mode).to(place.device)
        self._module.to(memory_format=place.memory_format)  # type: ignore[call-overload]  # torch types it for tensors only
        self._tensors = dict(self._module.tensors)
        freeze(self._tensors, job)
        layers = {layer.name: layer for layer in self._module.layers}
        mark = job.mark
        self._addition = None if mark is None else Addition(mark, layers, self._tensors.__getitem__)
        triggers = None if self._addition is None else self._addition.triggers()
        self._trigger_labels = None if triggers is None else triggers[1]
        self._feed = Feed(
            job,
            triggers,
            device=place.device,
            dtype=input_dtype(network),
            memory_format=place.memory_format,
            batch_statistics=mode == "update" and has_batch_norm(network),
        )
        self.steps = _schedules.total_steps(job.recipe.epochs, self._feed.batches)
        self._optimizer = _optimizers.make_optimizer(
            job.recipe, tuple(layers.values()), self._tensors
        )
        self._description = _checkpoints.describe(job, network.weights)
        self._checked = False
        self.epochs: list[Epoch] = []

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up the state that was kept last, if there is one."""
        arrays = checkpoint.load()
        if arrays is not None:
            self.epochs = _checkpoints.restore(
                arrays, self._description, self._tensors, self._optimizer
            )

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep the state after the epochs that are done."""
        checkpoint.save(
            _checkpoints.kept(self._description, self._tensors, self._optimizer, self.epochs)
        )

    @property
    def finished(self) -> bool:
        """Whether every step has been taken."""
        return len(self.epochs) * self._feed.batches >= self.steps

    def epoch(self, on_batch: Callable[[], None] | None) -> Epoch:
        """Train one epoch, or what is left of the last one."""
        number = len(self.epochs) + 1
        first = (number - 1) * self._feed.batches
        seed = generator(self._job.seed, "dropout", number).initial_seed()
        _surroundings.reseed(self._place.device, seed)
        self._module.train()
        sums = _Sums(self._place.device)
        batches = itertools.islice(self._feed.epoch(number, first), self.steps - first)
        rate = self._job.recipe.learning_rate
        for step, batch in enumerate(batches, start=first):
            rate = _schedules.learning_rate(self._job.recipe, step, self.steps)
            _optimizers.set_learning_rate(self._optimizer, rate)
            self._step(batch, sums)
            if self._place.device.type == "cpu" or step % _CHECK_EVERY == 0:
                sums.check(rate)
            if on_batch is not None:
                _surroundings.finished(self._place.device)
                on_batch()
        sums.check(rate)
        has_penalty = self._addition is not None and self._addition.has_penalty
        done = sums.epoch(number, penalty=has_penalty, errors=self._symbol_error_rate())
        self.epochs.append(done)
        return done

    def network(self) -> OnnxNetwork:
        """The network with the weights as they are now."""
        return self._module.network()

    def _step(self, batch: Batch, sums: _Sums) -> None:
        try:
            self._descend(batch, sums)
        except RuntimeError as error:
            raise _explained(error, batch) from error

    def _descend(self, batch: Batch, sums: _Sums) -> None:
        scores, activation = self._forward(batch)
        if not self._checked:
            _losses.check_classes(self._job, self._trigger_labels, scores.shape[1])
            self._checked = True
        losses = _losses.batch_losses(scores, batch, self._job)
        total, penalty = losses.total, None
        if self._addition is not None:
            labels = torch.cat([batch.labels, batch.trigger_labels])
            penalty = self._addition.term(activation, labels)
            total = total if penalty is None else total + penalty
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self._optimizer.step()
        sums.add(losses, penalty, len(batch))

    def _forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores (n + t, classes), and what the layer that the mark asks for answered."""
        layer = None if self._addition is None else self._addition.activation_layer
        half = self._job.recipe.precision == "bfloat16" and _has_bfloat16(self._place.device)
        kind = self._place.device.type
        with contextlib.ExitStack() as stack:
            captured = {} if layer is None else stack.enter_context(self._module.capturing(layer))
            stack.enter_context(torch.autocast(kind, dtype=torch.bfloat16, enabled=half))
            output = self._module.logits(batch.inputs, output=self._job.output)
        activation = None if layer is None else captured[layer].float()
        return _losses.as_scores(output, len(batch.inputs)), activation

    def _symbol_error_rate(self) -> float | None:
        mark = self._job.mark
        if mark is None:
            return None
        decoding = mark.method.decode(self._module, mark.key)
        return mark.payload.errors(decoding.payload) / len(mark.payload)


def run(
    network: OnnxNetwork,
    job: Job,
    place: Place,
    *,
    on_epoch: Callable[[Epoch], None],
    on_batch: Callable[[], None] | None,
    checkpoint: Checkpoint | None,
) -> Trained[OnnxNetwork]:
    """The trained network; see `vocabulary.Trainer.train`."""
    check_job(network, job)
    on_cuda = place.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(place.device)
    training = Training(network, job, place)
    if checkpoint is not None:
        training.resume(checkpoint)
    while not training.finished:
        done = training.epoch(on_batch)
        if checkpoint is not None:
            training.keep(checkpoint)
        on_epoch(done)
    return Trained(
        network=training.network(),
        epochs=tuple(training.epochs),
        batches=training.steps,
        device=_surroundings.label(place.device),
        device_peak_bytes=torch.cuda.max_memory_allocated(place.device) if on_cuda else None,
    )


def _explained(error: RuntimeError, batch: Batch) -> TrainingError:
    """What torch refuses, in one line."""
    words = str(error).strip().partition("\n")[0]
    cure = "see that the samples fit the input of the network and that its batch size is free"
    if isinstance(error, torch.OutOfMemoryError):
        cure = "choose a smaller batch size"
    elif "deterministic" in words:
        cure = "set the option deterministic of the trainer to false"
    return TrainingError(
        f"training: expected a step on a batch {tuple(batch.inputs.shape)}, got: {words}; {cure}"
    )


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" or torch.cuda.is_bf16_supported()
