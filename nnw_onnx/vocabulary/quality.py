"""Data sets, tasks, and the quality of a network on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Samples:
    """Labelled inputs of one split of a data set, before preprocessing.

    Attributes:
        inputs: (n, ...) array; images are (n, height, width, channels) of uint8 or float32.
        labels: (n,) class indices, int64.
        classes: names of the classes, in the order of their indices.
        fingerprint: SHA-256 (hex) of inputs and labels.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Consecutive (inputs, labels) of at most `size` samples."""
        for start in range(0, len(self), size):
            yield self.inputs[start : start + size], self.labels[start : start + size]


@runtime_checkable
class Dataset(Protocol):
    """A source of samples: the plug-ins of `nnw_onnx.datasets`; a frozen dataclass."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test"; raises `DatasetError` where files are missing or broken."""
        ...


@dataclass(frozen=True)
class Quality:
    """Task quality of one network on one test set.

    Attributes:
        measures: name -> value, in the order to show; the first is the headline.
        correct: (n,) bool, whether each sample was answered rightly, for paired tests.
        chance: value of the headline measure that guessing reaches.
    """

    measures: Mapping[str, float]
    correct: NDArray[np.bool_]
    chance: float

    @property
    def headline(self) -> str:
        """Name of the headline measure."""
        return next(iter(self.measures))


@runtime_checkable
class Task(Protocol):
    """What quality means: the plug-ins of `nnw_onnx.tasks`; a frozen dataclass."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def quality(
        self, outputs: Sequence[NDArray[Any]], labels: NDArray[np.int64], classes: int
    ) -> Quality:
        """Quality of the network's outputs (one array per graph output, n samples first)."""
        ...
