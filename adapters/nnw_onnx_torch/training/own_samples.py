"""A method's own samples, appended to the batches of a loop or to a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Samples
from nnw_onnx_torch.graph.dtypes import to_tensor
from nnw_onnx_torch.graph.feeds import arranged
from nnw_onnx_torch.training.sources import target_tensor

Inputs = TypeVar("Inputs", torch.Tensor, dict[str, torch.Tensor])
_ONE = "inputs"


class OwnSamples:
    """Samples of a method's own, and the place in them where the next batch goes on.

    Attributes:
        per_batch: samples that are appended to a batch.
        place: number of samples that were appended so far, in turn.
    """

    def __init__(self, samples: Samples, per_batch: int) -> None:
        if per_batch < 1:
            raise TrainingError(f"own_per_batch: expected at least 1, got {per_batch}; correct it")
        self._samples, self.per_batch, self.place = samples, per_batch, 0

    def __len__(self) -> int:
        return len(self._samples)

    def appended(self, inputs: Inputs, targets: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
        """Inputs (n + k, ...) and targets (n + k, ...) with the next k samples.

        Raises:
            TrainingError: samples or targets of another shape.
        """
        chosen = (np.arange(self.per_batch) + self.place) % len(self._samples)
        self.place += self.per_batch
        read = self._samples.read(chosen)
        given = {_ONE: inputs} if isinstance(inputs, torch.Tensor) else inputs
        names = arranged(read.feeds, list(given))
        grown = {
            name: _joined(values, to_tensor(np.asarray(read.feeds[own])))
            for (name, values), own in zip(given.items(), names, strict=True)
        }
        wanted = _like(target_tensor(read.targets), targets)
        both = torch.cat([targets, wanted.to(targets.device)])
        return (grown[_ONE] if isinstance(inputs, torch.Tensor) else grown), both


def _joined(batch: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    if batch.shape[1:] != own.shape[1:]:
        raise TrainingError(
            f"batch: expected samples of shape {tuple(own.shape[1:])} as the method's own have, "
            f"got {tuple(batch.shape[1:])}; extend the batch before it is reshaped"
        )
    return torch.cat([batch, own.to(batch.device, batch.dtype)])


def _like(own: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Targets (k, ...) of the type of the batch's; classes as its probabilities."""
    same_kind = own.is_floating_point() == targets.is_floating_point()
    if own.shape[1:] == targets.shape[1:] and same_kind:
        return own.to(targets.dtype)
    is_class = own.ndim == 1 and not own.is_floating_point()
    if is_class and targets.ndim == 2 and int(own.max()) < targets.shape[1]:
        return functional.one_hot(own, targets.shape[1]).to(targets.dtype)
    raise TrainingError(
        f"targets: expected {tuple(own.shape[1:])} of {str(own.dtype).removeprefix('torch.')} a "
        f"sample as the method's own have, or probabilities of their classes, got "
        f"{tuple(targets.shape[1:])} of {str(targets.dtype).removeprefix('torch.')}; extend the "
        "batch with the targets of the loss"
    )


class Items(Protocol):
    """A data set: items by number."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int, /) -> object:
        """The item of a number."""
        ...


class ExtendedDataset(Dataset[object]):
    """A data set followed by a method's own samples, each of them several times.

    Such a sample is an item like those of the data set: a pair of input and target, or a mapping
    with these two keys.
    """

    def __init__(
        self, dataset: Items, own: Samples | None, keys: tuple[str, str] | None, repeats: int
    ) -> None:
        self._dataset, self._own, self._keys = dataset, own, keys
        self._count = 0 if own is None else repeats * len(own)
        self._tensors = bool(len(dataset)) and isinstance(self._target(dataset[0]), torch.Tensor)

    def __len__(self) -> int:
        return len(self._dataset) + self._count

    def __getitem__(self, index: int) -> object:
        """An item of the data set, or a sample of the method's own."""
        beyond = index - len(self._dataset)
        if beyond < 0:
            return self._dataset[index]
        if index >= len(self) or self._own is None:
            raise IndexError(index)
        read = self._own.read(np.array([beyond % len(self._own)]))
        (values,) = read.feeds.values()
        told = target_tensor(read.targets)[0]
        target: object = told if self._tensors or told.ndim else told.item()
        inputs = to_tensor(np.asarray(values))[0]
        return (
            (inputs, target)
            if self._keys is None
            else dict(zip(self._keys, (inputs, target), strict=True))
        )

    def _target(self, item: object) -> object:
        if self._keys is not None:
            return item[self._keys[1]] if isinstance(item, Mapping) else None
        return item[1] if isinstance(item, tuple | list) else None
