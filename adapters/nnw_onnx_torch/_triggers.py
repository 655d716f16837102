"""Triggers that are appended to batches, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import Dataset

from nnw_onnx.errors import TrainingError


class Triggers:
    """A trigger set and the place in it where the next batch goes on."""

    def __init__(
        self, inputs: NDArray[np.float32], labels: NDArray[np.int64], per_batch: int
    ) -> None:
        if per_batch < 1:
            raise TrainingError(
                f"triggers_per_batch: expected at least 1, got {per_batch}; correct it"
            )
        self._inputs, self._labels = torch.tensor(inputs), torch.tensor(labels)
        self._per_batch, self._next = per_batch, 0

    def appended(
        self, inputs: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (n + k, ...) and labels (n + k,) or (n + k, classes) with the next k triggers.

        Raises:
            TrainingError: samples of another shape, or labels that are no classes.
        """
        if inputs.shape[1:] != self._inputs.shape[1:]:
            raise TrainingError(
                f"batch: expected samples of shape {tuple(self._inputs.shape[1:])} as the triggers "
                f"have, got {tuple(inputs.shape[1:])}; extend the batch before it is reshaped"
            )
        chosen = (torch.arange(self._per_batch) + self._next) % len(self._labels)
        self._next = int(chosen[-1]) + 1
        images = self._inputs[chosen].to(inputs.device, inputs.dtype)
        classes = self._labels[chosen].to(labels.device)
        return torch.cat([inputs, images]), torch.cat([labels, _like(classes, labels)])


def _like(classes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Classes (k,) as integers, or as the probabilities that the labels are."""
    if labels.ndim == 1 and not labels.is_floating_point():
        return classes.to(labels.dtype)
    if labels.ndim == 2 and int(classes.max()) < labels.shape[1]:
        return functional.one_hot(classes, labels.shape[1]).to(labels.dtype)
    raise TrainingError(
        f"labels: expected classes (n,) or probabilities (n, classes), got shape "
        f"{tuple(labels.shape)}; extend the batch with the labels of the loss"
    )


class TriggeredDataset(Dataset[Any]):
    """A data set followed by its triggers, each of them several times.

    A trigger is an item like those of the data set: a pair of inputs and label, or a mapping with
    these two keys.
    """

    def __init__(
        self,
        dataset: Any,
        triggers: tuple[NDArray[np.float32], NDArray[np.int64]],
        keys: tuple[str, str] | None,
        repeats: int,
    ) -> None:
        self._dataset, self._keys = dataset, keys
        self._inputs, self._labels = torch.tensor(triggers[0]), triggers[1]
        self._repeats = repeats
        self._tensors = False
        if len(dataset) and repeats:
            first = dataset[0]
            label = first[keys[1]] if keys is not None else first[1]
            self._tensors = isinstance(label, torch.Tensor)

    def __len__(self) -> int:
        return len(self._dataset) + self._repeats * len(self._labels)

    def __getitem__(self, index: int) -> Any:
        """An item of the data set, or a trigger."""
        beyond = index - len(self._dataset)
        if beyond < 0:
            return self._dataset[index]
        if index >= len(self):
            raise IndexError(index)
        k = beyond % len(self._labels)
        label: Any = int(self._labels[k])
        if self._tensors:
            label = torch.tensor(label)
        if self._keys is None:
            return self._inputs[k], label
        return {self._keys[0]: self._inputs[k], self._keys[1]: label}
