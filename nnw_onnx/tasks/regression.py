"""Task `regression`: numbers for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.meters import answers_to
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Loss, Measure, Meter, Quality, Samples, Targets, Task, Values

Numbers = NDArray[np.float64]

FARTHEST = 1e4
"""Answers count as no farther from the mean of the targets than so many standard deviations."""


@dataclass(frozen=True)
class Regression(Task):
    """R2, the root of the mean squared error and the mean absolute error.

    R2 is 1 less the squared errors by the squared deviations of the targets from their mean, a mean
    over the outputs (those whose targets are all equal are left out); who answers the mean to every
    sample has 0. The two errors are means over samples and outputs, in the numbers of the targets.

    An answer that is no number counts as the target farthest from the right one; others are cut off
    at `FARTHEST`.
    """

    name: ClassVar[str] = "regression"
    summary: ClassVar[str] = "R2, root mean squared error, mean absolute error of numbers"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("R2", high=1, chance=0.0),
        Measure("RMSE", better="lower", low=0),
        Measure("MAE", better="lower", low=0),
    )
    loss: ClassVar[Loss | None] = "mse"

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the numbers")

    def reads(self) -> tuple[int, ...]:
        """The one output."""
        return (self.output,)

    def meter(self, samples: Samples) -> Meter:
        """A new meter."""
        return _NumberMeter(self)


class _NumberMeter:
    """Keeps answers and targets: what a deviation is, is known only at the end."""

    def __init__(self, task: Regression) -> None:
        self._task = task
        self._answers: list[Array] = []
        self._targets: list[Array] = []

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take answers of as many numbers a sample as the targets have, in any shape."""
        answers = answers_to(self._task.name, outputs, self._task.output, targets)
        wanted = np.asarray(targets)
        if answers.size != wanted.size or not {answers.dtype.kind, wanted.dtype.kind} <= set("fiu"):
            raise ConfigurationError(
                f"{self._task.name}: expected numbers of shape {wanted.shape}, as the targets "
                f"have, got {answers.dtype} {answers.shape}; choose another output or data set"
            )
        self._answers.append(answers.reshape(len(wanted), -1).copy())
        self._targets.append(wanted.reshape(len(wanted), -1))

    def result(self) -> Quality:
        """R2 first, as a ratio of sums over the samples."""
        targets = self._joined(self._targets)
        middle, spread = targets.mean(axis=0), targets.std(axis=0)
        told = spread > 0
        if not told.any():
            raise InferenceError(
                f"{self._task.name}: expected targets that differ from sample to sample, got the "
                f"same for all {len(targets)}; add data"
            )
        errors = _limited(self._joined(self._answers), targets) - targets
        # Each output counts alike: a share of its own sum of squared deviations.
        whole = len(targets) * spread[told] ** 2 * told.sum()
        weights = ((targets - middle)[:, told] ** 2 / whole).sum(axis=1)
        scores = weights - (errors[:, told] ** 2 / whole).sum(axis=1)
        rmse, mae = np.sqrt(np.mean(errors**2)), np.mean(np.abs(errors))
        values = {"R2": float(scores.sum() / weights.sum()), "RMSE": float(rmse), "MAE": float(mae)}
        return Quality(values, scores, weights)

    def _joined(self, parts: list[Array]) -> Numbers:
        if not parts:
            raise InferenceError(
                f"{self._task.name}: expected at least one answer, got none; add data"
            )
        return np.concatenate(parts).astype(np.float64)


def _limited(answers: Numbers, targets: Numbers) -> Numbers:
    """The answers as numbers that can be squared and added up."""
    low, high = targets.min(axis=0), targets.max(axis=0)
    farthest = np.where(targets - low > high - targets, low, high)
    spread = targets.std(axis=0)
    reach = FARTHEST * np.where(spread > 0, spread, spread.max())
    known = np.where(np.isnan(answers), farthest, answers)
    middle = targets.mean(axis=0)
    return np.clip(known, np.minimum(middle - reach, low), np.maximum(middle + reach, high))
