"""The loss of a batch: its samples and its triggers, each against their own targets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Job
from nnw_onnx_torch._batches import Batch


class Losses(NamedTuple):
    """Loss to descend, mean loss of the samples alone, and how many are answered rightly."""

    total: torch.Tensor
    samples: torch.Tensor
    right: torch.Tensor


def batch_losses(scores: torch.Tensor, batch: Batch, job: Job) -> Losses:
    """Mean cross-entropies of scores (n + t, classes) against targets and trigger labels.

    Against probabilities this is the Kullback-Leibler divergence up to a constant, at the
    temperature of the job.
    """
    count, label_smoothing = len(batch), job.recipe.label_smoothing
    mine = scores[:count]
    heat = 1.0 if job.targets is None else job.temperature
    cooled = mine if heat == 1 else mine / heat
    loss = functional.cross_entropy(cooled, batch.targets, label_smoothing=label_smoothing)
    loss = loss if heat == 1 else loss * heat**2
    total = loss
    triggers = len(batch.trigger_labels)
    if triggers:
        other = functional.cross_entropy(
            scores[count:], batch.trigger_labels, label_smoothing=label_smoothing
        )
        total = (count * loss + triggers * other) / (count + triggers)
    right = (mine.detach().argmax(1) == batch.labels).sum()
    return Losses(total, loss.detach(), right)


def as_scores(output: torch.Tensor, samples: int) -> torch.Tensor:
    """Scores (n, classes) in at least single precision.

    Raises:
        TrainingError: the output is no scores of these samples.
    """
    flat = output
    while flat.ndim > 2 and flat.shape[-1] == 1:
        flat = flat.squeeze(-1)
    if flat.ndim != 2 or len(flat) != samples or not flat.is_floating_point():
        raise TrainingError(
            f"output: expected scores ({samples}, classes) of a batch of {samples}, got "
            f"{str(output.dtype).removeprefix('torch.')} {tuple(output.shape)}; choose another "
            "output, or export the network with a free batch size"
        )
    return flat if flat.dtype == torch.float64 else flat.float()


def check_classes(job: Job, trigger_labels: NDArray[np.int64] | None, classes: int) -> None:
    """Raise `TrainingError` unless every class of a job exists among so many scores."""
    if job.targets is not None and job.targets.shape[1] != classes:
        raise TrainingError(
            f"targets: expected probabilities of the {classes} classes of the network, got "
            f"{job.targets.shape[1]}; use a teacher with the same classes"
        )
    learned = () if job.targets is not None else (("labels", job.data.labels),)
    owner = () if trigger_labels is None else (("labels of the triggers", trigger_labels),)
    for what, labels in (*learned, *owner):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise TrainingError(
                f"{what}: expected classes from 0 to {classes - 1}, got {low} to {high}; use "
                "samples of the classes that the network has"
            )
