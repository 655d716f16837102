"""The batches of a training: their order, augmentation and triggers.

Everything random comes from the seed of the job and the number of the epoch, so that a training
that is taken up again goes on as if it had not stopped.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Job, Recipe

_SHARE_OF_FREE_MEMORY = 0.25


@dataclass(frozen=True)
class Batch:
    """Samples of one step, and the triggers appended to them.

    Attributes:
        inputs: (n + t, ...) samples, then triggers.
        targets: classes (n,), or probabilities (n, classes), of the samples.
        labels: classes (n,) of the samples.
        trigger_labels: classes (t,) of the triggers.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor
    trigger_labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """A generator on the CPU that depends on the seed and on what it is for."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    made = torch.Generator()
    made.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    return made


def batches_per_epoch(samples: int, size: int, *, drop_single: bool) -> int:
    """Batches of an epoch; a last one of a single sample is left out on demand."""
    full, rest = divmod(samples, size)
    kept = rest > 1 or (rest == 1 and not drop_single)
    return max(1, full + int(kept))


class Feed:
    """The samples of a job on the device that trains.

    Attributes:
        batches: number of batches of an epoch.
    """

    def __init__(
        self,
        job: Job,
        triggers: tuple[NDArray[np.float32], NDArray[np.int64]] | None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        batch_statistics: bool,
    ) -> None:
        self._recipe, self._seed = job.recipe, job.seed
        self._device, self._dtype, self._format = device, dtype, memory_format
        inputs = _shared(job.data.inputs)
        check_augmentation(job.recipe, tuple(inputs.shape))
        home = device if _fits(inputs, device) else torch.device("cpu")
        self._inputs = inputs.to(home)
        self._labels = _shared(job.data.labels).to(device)
        self._targets = self._labels if job.targets is None else _shared(job.targets).to(device)
        self._triggers = None if triggers is None else self._prepared_triggers(triggers)
        drop_single = batch_statistics and triggers is None
        self.batches = batches_per_epoch(
            len(job.data), job.recipe.batch_size, drop_single=drop_single
        )

    def epoch(self, number: int, first_step: int) -> Iterator[Batch]:
        """The batches of epoch 1, 2, ..., whose first step has this number in the training."""
        random = generator(self._seed, "epoch", number)
        size = self._recipe.batch_size
        order = torch.randperm(len(self._inputs), generator=random)
        for k in range(self.batches):
            chosen = order[k * size : (k + 1) * size]
            yield self._batch(chosen, first_step + k, random)

    def _batch(self, chosen: torch.Tensor, step: int, random: torch.Generator) -> Batch:
        drawn = self._inputs.index_select(0, chosen.to(self._inputs.device))
        inputs = self._prepared(augmented(drawn.to(self._device), self._recipe, random))
        chosen = chosen.to(self._device)
        labels = self._labels.index_select(0, chosen)
        targets = labels
        if self._targets is not self._labels:
            targets = self._targets.index_select(0, chosen)
        if self._triggers is None:
            return Batch(inputs, targets, labels, labels[:0])
        images, classes = self._triggers
        count = self._recipe.triggers_per_batch
        next_ones = (torch.arange(count, device=self._device) + step * count) % len(classes)
        inputs = torch.cat([inputs, images.index_select(0, next_ones)])
        return Batch(inputs, targets, labels, classes.index_select(0, next_ones))

    def _prepared(self, inputs: torch.Tensor) -> torch.Tensor:
        converted = inputs.to(self._dtype)
        return converted.contiguous(memory_format=self._format) if inputs.ndim == 4 else converted

    def _prepared_triggers(
        self, triggers: tuple[NDArray[np.float32], NDArray[np.int64]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = map(torch.tensor, triggers)
        order = torch.randperm(len(labels), generator=generator(self._seed, "triggers"))
        return (
            self._prepared(inputs[order].to(self._device)),
            labels[order].to(self._device),
        )


def check_augmentation(recipe: Recipe, shape: tuple[int, ...]) -> None:
    """Raise `TrainingError` unless samples (n, c, h, w) can be augmented as the recipe says."""
    if recipe.augmentation == "none":
        return
    if len(shape) != 4 or (shape[1] not in {1, 2, 3, 4} and shape[3] in {1, 3, 4}):
        raise TrainingError(
            f"augmentation {recipe.augmentation!r}: expected images (n, c, h, w), got samples of "
            f"shape {shape[1:]}; set augmentation to 'none'"
        )
    if recipe.padding >= min(shape[2:]):
        raise TrainingError(
            f"padding: expected less than the {min(shape[2:])} pixels of an image, got "
            f"{recipe.padding}; choose a smaller padding"
        )


def augmented(images: torch.Tensor, recipe: Recipe, random: torch.Generator) -> torch.Tensor:
    """Images (n, c, h, w), padded by reflection, cropped at random and perhaps mirrored.

    The result lies in memory as (n, h, w, c): each pixel is then one row to gather.
    """
    if recipe.augmentation == "none":
        return images
    count, channels, height, width = images.shape
    span = 2 * recipe.padding + 1
    down = torch.randint(span, (count, 1), generator=random) - recipe.padding
    right = torch.randint(span, (count, 1), generator=random) - recipe.padding
    rows = _reflected(torch.arange(height) + down, height)
    columns = _reflected(torch.arange(width) + right, width)
    if recipe.augmentation == "crop-flip":
        mirrored = torch.randint(2, (count, 1), generator=random).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    start = torch.arange(count).view(count, 1, 1) * (height * width)
    index = (start + rows.unsqueeze(2) * width + columns.unsqueeze(1)).flatten()
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    taken = functional.embedding(index.to(images.device), pixels)
    return taken.view(count, height, width, channels).permute(0, 3, 1, 2)


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    """Indices beyond the border -> those of the mirror image without the border itself."""
    inside = index.abs()
    return torch.where(inside >= size, 2 * (size - 1) - inside, inside)


def _shared(array: NDArray[Any]) -> torch.Tensor:
    """A tensor of the same memory, which is only read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))


def _fits(inputs: torch.Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return inputs.nbytes < _SHARE_OF_FREE_MEMORY * free
