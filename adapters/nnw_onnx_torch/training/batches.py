"""The batches of a training: their order, augmentation and a method's own samples.

Everything random comes from the seed of the job and the number of the epoch, so that a training
that is taken up again goes on as if it had not stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Job, Recipe, TensorInfo
from nnw_onnx_torch.graph.dtypes import torch_dtype
from nnw_onnx_torch.training import surroundings
from nnw_onnx_torch.training.sources import Source, Span


class Place(NamedTuple):
    """Where a training runs.

    Attributes:
        device: that computes.
        memory_format: of images and kernels of convolutions.
        cuda_graphs: whether forward and backward are captured as graphs of the device.
    """

    device: torch.device
    memory_format: torch.memory_format
    cuda_graphs: bool = False


@dataclass(frozen=True)
class Batch:
    """Samples of one step, and the method's own appended to them.

    Attributes:
        inputs: for each input of the network (n + t, ...), own samples last.
        targets: of the n samples (n, ...).
        own_targets: of the t own ones (t, ...), or None without.
        span: of the targets that are classes, else None.
        own_span: likewise of the own ones.
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    own_targets: torch.Tensor | None
    span: Span | None
    own_span: Span | None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def own(self) -> int:
        """How many samples are the method's own."""
        return 0 if self.own_targets is None else len(self.own_targets)


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
    """The samples of a job, batch by batch on the device that trains.

    Attributes:
        batches: number of batches of an epoch.
    """

    def __init__(
        self, job: Job, inputs: Sequence[TensorInfo], place: Place, *, batch_statistics: bool
    ) -> None:
        self._job, self._place = job, place
        names = [info.name for info in inputs]
        self._dtypes = [torch_dtype(info.dtype) for info in inputs]
        # A part of an epoch asks for few samples once.
        often = job.recipe.epochs >= 1
        self._task = Source(job.samples, names, place.device, keep=often)
        own = None if job.additions is None else job.additions.samples
        self._own = (
            None if own is None or not len(own) else Source(own, names, place.device, keep=True)
        )
        if self._own is not None:
            self._turns = torch.randperm(len(self._own), generator=generator(job.seed, "triggers"))
        # A batch of a single sample has no statistics of its own.
        drop_single = batch_statistics and self._own is None
        self.batches = batches_per_epoch(
            len(job.samples), job.recipe.batch_size, drop_single=drop_single
        )

    def epoch(self, number: int, first_step: int) -> Iterator[Batch]:
        """The batches of epoch 1, 2, ..., whose first step has this number in the training."""
        random = generator(self._job.seed, "epoch", number)
        order = self._task.placed(torch.randperm(len(self._task), generator=random))
        turns = self._turns_of_epoch(first_step)
        size = self._job.recipe.batch_size
        for k in range(self.batches):
            yield self._batch(order[k * size : (k + 1) * size], turns[k], random)

    def _turns_of_epoch(self, first_step: int) -> Sequence[torch.Tensor | None]:
        """Numbers of the own samples of each batch."""
        if self._own is None:
            return [None] * self.batches
        count = self._job.recipe.own_per_batch
        places = torch.arange(count * self.batches) + first_step * count
        order = self._own.placed(self._turns[places % len(self._turns)])
        return [order[k * count : (k + 1) * count] for k in range(self.batches)]

    def _batch(
        self, chosen: torch.Tensor, turns: torch.Tensor | None, random: torch.Generator
    ) -> Batch:
        read = self._task.read(chosen)
        inputs, targets = augmented(read.inputs, read.targets, self._job.recipe, random)
        prepared = [self._prepared(k, x) for k, x in enumerate(inputs)]
        if self._own is None or turns is None:
            return Batch(tuple(prepared), targets, None, read.span, None)
        own = self._own.read(turns)
        appended = [
            torch.cat([x, self._prepared(k, y)])
            for k, (x, y) in enumerate(zip(prepared, own.inputs, strict=True))
        ]
        return Batch(tuple(appended), targets, own.targets, read.span, own.span)

    def _prepared(self, number: int, values: torch.Tensor) -> torch.Tensor:
        dtype = self._dtypes[number]
        converted = values if dtype is None else values.to(dtype)
        if values.ndim != 4:
            return converted
        return converted.contiguous(memory_format=self._place.memory_format)


def check_augmentation(recipe: Recipe, shapes: Sequence[torch.Size], targets: torch.Size) -> None:
    """Raise `TrainingError` unless samples can be augmented as the recipe says.

    Args:
        recipe: of the training.
        shapes: of each input; there must be one, images (n, c, h, w).
        targets: shape of theirs; those of a place of the image move with it.
    """
    if recipe.augmentation == "none":
        return
    shape = shapes[0]
    channels_last = len(shape) == 4 and shape[1] not in {1, 2, 3, 4} and shape[3] in {1, 3, 4}
    if len(shapes) != 1 or len(shape) != 4 or channels_last:
        raise TrainingError(
            f"augmentation {recipe.augmentation!r}: expected images (n, c, h, w), got samples of "
            f"shape {' and '.join(str(tuple(s[1:])) for s in shapes)}; set augmentation to 'none'"
        )
    if recipe.padding >= min(shape[2:]):
        raise TrainingError(
            f"padding: expected less than the {min(shape[2:])} pixels of an image, got "
            f"{recipe.padding}; choose a smaller padding"
        )
    if len(targets) > 2 and targets[-2:] != shape[2:]:
        raise TrainingError(
            f"augmentation {recipe.augmentation!r}: expected targets of the size of the images "
            f"{tuple(shape[2:])}, got {tuple(targets[1:])}; set augmentation to 'none'"
        )


def augmented(
    inputs: list[torch.Tensor], targets: torch.Tensor, recipe: Recipe, random: torch.Generator
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Images (n, c, h, w), padded by reflection, cropped at random and perhaps mirrored.

    Targets (n, ..., h, w) of each place of an image are moved alike. The images then lie in memory
    as (n, h, w, c): each pixel is one row to gather.
    """
    if recipe.augmentation == "none":
        return inputs, targets
    check_augmentation(recipe, [x.shape for x in inputs], targets.shape)
    (images,) = inputs
    index = _pixels(images.shape, recipe, random, images.device)
    if targets.ndim > 2:
        flat = targets.reshape(len(targets), -1, *images.shape[2:])
        targets = _gathered(flat, index).reshape(targets.shape)
    return [_gathered(images, index)], targets


def _pixels(
    shape: torch.Size, recipe: Recipe, random: torch.Generator, device: torch.device
) -> torch.Tensor:
    """For each pixel of each image the number of the pixel of the batch that comes there."""
    count, _, height, width = shape
    span = 2 * recipe.padding + 1
    # Drawn on the CPU, so that every device sees the same images, and brought at once.
    spans = [span, span, 2] if recipe.augmentation == "crop-flip" else [span, span]
    drawn = torch.stack([torch.randint(n, (count, 1), generator=random) for n in spans])
    down, right, *mirrored = surroundings.brought(drawn, device).unbind()
    rows = _reflected(torch.arange(height, device=device) + (down - recipe.padding), height)
    columns = _reflected(torch.arange(width, device=device) + (right - recipe.padding), width)
    if mirrored:
        columns = torch.where(mirrored[0].bool(), columns.flip(1), columns)
    start = torch.arange(count, device=device).view(count, 1, 1) * (height * width)
    return (start + rows.unsqueeze(2) * width + columns.unsqueeze(1)).flatten()


def _gathered(images: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    taken = functional.embedding(index, pixels)
    return taken.view(count, height, width, channels).permute(0, 3, 1, 2)


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    """Indices beyond the border -> those of the mirror image without the border itself."""
    inside = index.abs()
    return torch.where(inside >= size, 2 * (size - 1) - inside, inside)
