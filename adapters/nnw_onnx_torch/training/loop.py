"""One training of an ONNX network: the loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Checkpoint, Epoch, Job, Targets, Trained, Weights
from nnw_onnx_torch.graph.layouts import as_array
from nnw_onnx_torch.graph.module import OnnxModule
from nnw_onnx_torch.training import checkpoints, jobs, optimizers, schedules, surroundings
from nnw_onnx_torch.training.additions import Addition, Seen, task_gradient_of
from nnw_onnx_torch.training.batches import Batch, Feed, Place, generator
from nnw_onnx_torch.training.graphs import Graphed
from nnw_onnx_torch.training.losses import answers, loss_of

_CHECK_EVERY = 32
"""Steps after which an accelerator is asked whether the loss is still a number."""


class _Losses(NamedTuple):
    """Loss to descend, and that of the task's samples alone."""

    total: torch.Tensor
    task: torch.Tensor


class _Sums:
    """What the steps of an epoch add up to, kept on the device."""

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._penalty = torch.zeros((), dtype=torch.float64, device=device)
        self._steps = 0

    def add(self, loss: torch.Tensor, penalty: torch.Tensor | None) -> None:
        """Count one step."""
        self._loss += loss
        if penalty is not None:
            self._penalty += penalty.detach()
        self._steps += 1

    def check(self, rate: float) -> None:
        """Raise `TrainingError` where the loss is no number any more."""
        if not math.isfinite(float(self._loss + self._penalty)):
            raise TrainingError(
                f"training: expected a loss that is a number, got {float(self._loss)} at learning "
                f"rate {rate:.3g}; choose a smaller learning rate"
            )

    def epoch(self, number: int, *, penalty: bool, watched: float | None) -> Epoch:
        """The facts of the epoch."""
        steps = max(1, self._steps)
        term = float(self._penalty) / steps if penalty else None
        return Epoch(number, float(self._loss) / steps, term, watched)


class Training:
    """A training under way.

    Attributes:
        epochs: facts of the epochs that are done.
        steps: number of steps of the whole training.
    """

    def __init__(self, network: OnnxNetwork, job: Job, place: Place) -> None:
        self._job, self._place = job, place
        mode = jobs.statistics_mode(network, job)
        self._module = OnnxModule(network, batch_norm=mode).to(place.device)
        self._module.to(memory_format=place.memory_format)  # type: ignore[call-overload]  # torch types it for tensors only
        self._tensors = dict(self._module.tensors)
        jobs.freeze(self._tensors, job)
        self._layers = {layer.name: layer for layer in self._module.layers}
        self._addition = (
            None if job.additions is None else Addition(job.additions, self._layers, self._module)
        )
        statistics = mode == "update" and jobs.has_batch_norm(network)
        self._feed = Feed(job, network.inputs, place, batch_statistics=statistics)
        self.steps = schedules.total_steps(job.recipe.epochs, self._feed.batches)
        self._optimizer = optimizers.make_optimizer(
            job.recipe, tuple(self._layers.values()), self._tensors
        )
        self._begun = network.weights
        self.epochs: list[Epoch] = []
        heard = self._addition is not None and self._addition.additions.activations
        # What layers answer inside is not among the results of a graph.
        self._graphed = (
            Graphed(self._module, self._asked) if place.cuda_graphs and not heard else None
        )
        if self._addition is not None:
            self._addition.begin()

    @cached_property
    def _description(self) -> checkpoints.Description:
        # Made where it is needed: it takes the digest of all samples.
        return checkpoints.describe(self._job, self._begun)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up the state that was kept last, if there is one."""
        arrays = checkpoint.load()
        if arrays is None:
            return
        found = checkpoints.restore(arrays, self._description, self._tensors, self._optimizer)
        self.epochs = found.epochs
        if self._addition is not None:
            self._addition.state |= found.state
            self._addition.step = len(self.epochs) * self._feed.batches

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep the state after the epochs that are done."""
        checkpoint.save(
            checkpoints.kept(
                self._description, self._tensors, self._optimizer, self.epochs, self.state
            )
        )

    @property
    def finished(self) -> bool:
        """Whether every step has been taken."""
        return len(self.epochs) * self._feed.batches >= self.steps

    @property
    def state(self) -> Weights:
        """The method's own arrays as they are now."""
        return {} if self._addition is None else self._addition.state

    def epoch(self, on_batch: Callable[[], None] | None) -> Epoch:
        """Train one epoch, or what is left of the last one."""
        number = len(self.epochs) + 1
        first = (number - 1) * self._feed.batches
        seed = generator(self._job.seed, "dropout", number).initial_seed()
        surroundings.reseed(self._place.device, seed)
        self._module.train()
        sums = _Sums(self._place.device)
        batches = itertools.islice(self._feed.epoch(number, first), self.steps - first)
        rate = self._job.recipe.learning_rate
        for step, batch in enumerate(batches, start=first):
            rate = schedules.learning_rate(self._job.recipe, step, self.steps)
            optimizers.set_learning_rate(self._optimizer, rate)
            self._step(batch, sums)
            if self._place.device.type == "cpu" or step % _CHECK_EVERY == 0:
                sums.check(rate)
            if on_batch is not None:
                surroundings.finished(self._place.device)
                on_batch()
        sums.check(rate)
        has_penalty = self._addition is not None and self._addition.has_penalty
        done = sums.epoch(number, penalty=has_penalty, watched=self._watched())
        self.epochs.append(done)
        return done

    def network(self) -> OnnxNetwork:
        """The network with the weights as they are now."""
        return self._module.network()

    def _watched(self) -> float | None:
        return None if self._job.watch is None else self._job.watch(self.network())

    def _step(self, batch: Batch, sums: _Sums) -> None:
        try:
            self._descend(batch, sums)
        except RuntimeError as error:
            raise _explained(error, batch) from error

    def _descend(self, batch: Batch, sums: _Sums) -> None:
        output, activations = self._forward(batch)
        losses = self._losses(output, batch)
        total, term = losses.total, None
        if self._addition is not None:
            term = self._term(self._addition, batch, activations)
            total = total if term is None else total + term
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self._optimizer.step()
        if self._addition is not None:
            self._addition.enforce()
        sums.add(losses.task, term)

    def _term(
        self, addition: Addition, batch: Batch, activations: Mapping[str, torch.Tensor]
    ) -> torch.Tensor | None:
        """What a method adds to the loss; only a penalty in numpy waits for the device."""
        return addition.term(self._seen(batch, activations)) if addition.has_penalty else None

    def _forward(self, batch: Batch) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Answers (n + t, ...), and what the layers that the additions ask for answered."""
        layers = () if self._addition is None else self._addition.additions.activations
        with self._module.capturing(*layers) as captured:
            output = self._answers(batch)
            # Copied, since a gradient elsewhere runs the network again.
            activations = {name: captured[name].float() for name in layers}
        return output, activations

    def _answers(self, batch: Batch) -> torch.Tensor:
        if self._graphed is not None:
            output = self._graphed(batch.inputs)
        else:
            output = self._asked(self._module, batch.inputs)
        jobs.check_answers(output, len(batch) + batch.own)
        return output

    def _asked(self, module: OnnxModule, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        half = self._job.recipe.precision == "bfloat16" and _has_bfloat16(self._place.device)
        if not half:
            return answers(module, inputs, self._job.loss, self._job.output)
        # A graph must not hold on to weights that were converted once for several uses.
        kept = not self._place.cuda_graphs
        with torch.autocast(self._place.device.type, dtype=torch.bfloat16, cache_enabled=kept):
            return answers(module, inputs, self._job.loss, self._job.output)

    def _losses(self, output: torch.Tensor, batch: Batch) -> _Losses:
        """Both losses; own samples count as the others do."""
        job, count = self._job, len(batch)
        jobs.check_classes(job, output, batch.span, own=False)
        jobs.check_classes(job, output, batch.own_span, own=True)
        smoothing = job.recipe.label_smoothing
        loss = loss_of(
            job.loss,
            output[:count],
            batch.targets,
            temperature=job.temperature,
            label_smoothing=smoothing,
            ignoring=batch.span is not None and batch.span.low < 0,
        )
        if batch.own_targets is None:
            return _Losses(loss, loss.detach())
        own = loss_of(
            job.loss,
            output[count:],
            batch.own_targets,
            temperature=job.temperature,
            label_smoothing=smoothing,
            ignoring=batch.own_span is not None and batch.own_span.low < 0,
        )
        total = (count * loss + batch.own * own) / (count + batch.own)
        return _Losses(total, loss.detach())

    def _seen(self, batch: Batch, activations: Mapping[str, torch.Tensor]) -> Seen:
        gradient = task_gradient_of(
            self._module,
            self._layers,
            self._module.parameter_name,
            self._module.arriving,
            lambda: self._losses(self._answers(batch), batch).total,
        )
        # A term that stays on the device is not told of targets, which would have to be fetched.
        there = self._addition is not None and self._addition.stays_there
        return Seen(activations, None if there else _targets(batch), batch.own, gradient)


def run(
    network: OnnxNetwork,
    job: Job,
    place: Place,
    *,
    on_epoch: Callable[[Epoch], None],
    on_batch: Callable[[], None] | None,
    checkpoint: Checkpoint | None,
) -> Trained:
    """The trained network; see `vocabulary.Trainer.train`."""
    jobs.check_job(network, job)
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
        state=training.state,
        device=surroundings.label(place.device),
        device_peak_bytes=torch.cuda.max_memory_allocated(place.device) if on_cuda else None,
        facts=jobs.facts(network, job),
    )


def _targets(batch: Batch) -> Targets:
    """Targets of all samples, own ones last; one array a sample where they differ in kind."""
    task = as_array(batch.targets)
    if batch.own_targets is None:
        return task
    own = as_array(batch.own_targets)
    if task.shape[1:] != own.shape[1:] or task.dtype.kind != own.dtype.kind:
        return [*task, *own]
    return as_array(torch.cat([batch.targets, batch.own_targets]))


def _explained(error: RuntimeError, batch: Batch) -> TrainingError:
    """What torch refuses, in one line."""
    words = str(error).strip().partition("\n")[0]
    cure = "see that the samples fit the input of the network and that its batch size is free"
    if isinstance(error, torch.OutOfMemoryError):
        cure = "choose a smaller batch size"
    elif "deterministic" in words:
        cure = "set the option deterministic of the trainer to false"
    shapes = " and ".join(str(tuple(x.shape)) for x in batch.inputs)
    return TrainingError(f"training: expected a step on a batch {shapes}, got: {words}; {cure}")


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" or torch.cuda.is_bf16_supported()
