"""What a class is given to train with: batches, a cost function, an optimizer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import nn

from nnw_onnx.vocabulary import Job, Loss
from nnw_onnx_torch.training import optimizers, schedules
from nnw_onnx_torch.training.batches import Feed
from nnw_onnx_torch.training.losses import loss_of

Pair: TypeAlias = tuple[torch.Tensor | tuple[torch.Tensor, ...], torch.Tensor]
"""Inputs and targets of a batch."""


class TrainingSet:
    """The batches of an epoch, as a DataLoader gives them: the same as of any other training.

    The optimizer has the learning rate of each step of the recipe when its batch is given. Whoever
    goes through it twice meets the same batches again.

    Attributes:
        batch_size: samples of a batch; the last may have fewer.
        given: batches of this epoch that were given.
    """

    def __init__(self, feed: Feed, job: Job, optimizer: torch.optim.Optimizer) -> None:
        self._feed, self._job, self._optimizer = feed, job, optimizer
        self.batch_size, self.given = job.recipe.batch_size, 0
        self.steps = schedules.total_steps(job.recipe.epochs, feed.batches)
        self._number = 0

    @property
    def epochs(self) -> int:
        """Number of epochs; the last may be shorter."""
        return -(-self.steps // self._feed.batches)

    def begin(self, number: int) -> None:
        """Go to epoch 1, 2, ..."""
        self._number, self.given = number, 0

    def __len__(self) -> int:
        return min(self._feed.batches, self.steps - self._first)

    def __iter__(self) -> Iterator[Pair]:
        every = self._feed.epoch(self._number, self._first)
        for step, batch in enumerate(itertools.islice(every, len(self)), start=self._first):
            rate = schedules.learning_rate(self._job.recipe, step, self.steps)
            optimizers.set_learning_rate(self._optimizer, rate)
            self.given += 1
            yield (batch.inputs[0] if len(batch.inputs) == 1 else batch.inputs), batch.targets

    @property
    def _first(self) -> int:
        return (self._number - 1) * self._feed.batches


class CostFunction(nn.Module):
    """The loss of the task; it keeps the mean of what it was."""

    def __init__(self, loss: Loss, label_smoothing: float) -> None:
        super().__init__()
        self._loss, self._smoothing = loss, label_smoothing
        self.begin()

    def begin(self) -> None:
        """Forget what it was."""
        self._sum, self._count = 0.0, 0

    @property
    def mean(self) -> float | None:
        """Mean of the losses since, or None without any."""
        return self._sum / self._count if self._count else None

    def forward(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss (scalar) of answers (n, ...) to n samples."""
        found = loss_of(self._loss, output, targets, label_smoothing=self._smoothing)
        self._sum, self._count = self._sum + float(found.detach()), self._count + 1
        return found
