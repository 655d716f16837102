"""Data sets, tasks, and the quality of a network on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary.networks import Array, Feeds, TensorInfo, Values
from nnw_onnx.vocabulary.specs import Json, PlugIn

Targets: TypeAlias = Array | Sequence[Array]
"""What is right: an array (n, ...), or one array a sample where their shapes differ."""

Indices: TypeAlias = NDArray[np.int64]

Loss: TypeAlias = Literal["cross-entropy", "soft-cross-entropy", "mse", "mae", "bce", "next-token"]
"""What a training minimises.

"cross-entropy": scores (n, classes, ...), or of two classes one score (n, 1), against classes (n,
...), of which negative ones do not count; "soft-cross-entropy": against probabilities of the shape
of the scores; "mse", "mae": against values of the shape of the output; "bce": logits against values
in 0 to 1; "next-token": scores (n, length, vocabulary) against token ids (n, length), each position
telling the next one.
"""


LARGEST = 1e15
"""Largest number that is recorded."""


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
        feeds: inputs as the network takes them (preprocessing belongs to the data set).
        targets: what is right for them.
    """

    feeds: Feeds
    targets: Targets

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Scale:
    """The way back from the first feed to the signal that it stands for, in [0, 1].

    signal = feed * factor + offset, for each channel (one number serves all of them).

    Attributes:
        factor: for each channel.
        offset: likewise.
        layout: order of the axes of one sample: "chw" and "hwc" are images, "hw" one without
            channels, "flat" one whose `shape` lies in one long axis, "t" a signal in time.
        shape: (channels, height, width) of a flat image. `kit.signals` goes there and back.
    """

    factor: tuple[float, ...]
    offset: tuple[float, ...]
    layout: Literal["chw", "hwc", "hw", "flat", "t"]
    shape: tuple[int, ...] = ()


class Samples(ABC):
    """The samples of one split: random access, read when asked for, so larger than memory.

    Subclass it for data of your own; `kit.samples` has the usual ones (arrays, images, a draw).
    """

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 (hex) of every sample and target, before preprocessing."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Indices) -> Batch:
        """The samples at these places, in this order."""

    @property
    def facts(self) -> Mapping[str, Json]:
        """What a task or a report must know, such as "classes": the names of the classes."""
        return {}

    @property
    def scale(self) -> Scale | None:
        """The way back to a signal; None where the first feed is none, as token ids."""
        return None

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same samples as a network with these inputs takes them (layout, names, types).

        Raises:
            ConfigurationError: they cannot be made to fit.
        """
        return self


class Dataset(PlugIn):
    """A source of samples: the plug-ins of `nnw_onnx.datasets`."""

    @abstractmethod
    def load(self, split: str) -> Samples:
        """Samples of "train" or "test"; raises `DatasetError` where files are missing or broken."""


@dataclass(frozen=True)
class Measure:
    """A measure of quality.

    Attributes:
        name: in words, such as "top-1 accuracy".
        unit: "%" where values are shares of 1 that are shown as percent (and losses as points),
            else as it is written after the number, such as "dB"; possibly empty.
        better: whether larger or smaller values are better.
        low: smallest possible value, or None.
        high: largest possible value, or None.
        chance: what guessing reaches, or None where that is told by the data (`Quality.chance`) or
            means nothing.
        negligible: loss that is negligible, in the measure's own numbers (0.005 is half a point).
        usable_loss: loss up to which a network is still usable, likewise.
    """

    name: str
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    negligible: float = 0.005
    usable_loss: float = 0.05

    def loss(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`; negative where it is better."""
        return before - after if self.better == "higher" else after - before


@dataclass(frozen=True)
class Quality:
    """Quality of one network on one data set.

    Attributes:
        values: measure -> value, finite, in the order of `Task.measures`; the first is the
            headline.
        scores: (n,) for paired statistics: numerator of the headline by sample where the headline
            is a mean or a ratio of sums (or a monotone function of one, as perplexity), or values
            whose mean it is to first order (`math.jackknife`); else None.
        weights: (n,) denominator by sample; None for 1 each.
        chance: value of the headline that guessing reaches on these data, where the task knows.
    """

    values: Mapping[str, float]
    scores: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None
    chance: float | None = None


class Meter(Protocol):
    """Adds up answers, batch by batch."""

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take the answers (n, ...) to n samples in the order of the data set."""
        ...

    def result(self) -> Quality:
        """The quality over everything that was added."""
        ...


class Task(PlugIn):
    """What quality means: the plug-ins of `nnw_onnx.tasks`.

    Attributes:
        measures: what is measured, the headline first. Whether a network is still usable is judged
            by the headline, and by `guard` where there is one.
        guard: name of a measure that a collapsed network cannot keep, such as macro recall beside
            accuracy; a network that loses more than its `usable_loss` there is not usable either.
        loss: what trainings minimise; None where networks of this task are not trained.
        output: index of the graph output that is trained.
    """

    measures: ClassVar[tuple[Measure, ...]]
    guard: ClassVar[str | None] = None
    loss: ClassVar[Loss | None] = None
    output: int = 0

    def reads(self) -> tuple[int, ...] | None:
        """Indices of the graph outputs that a meter reads, so that no other is fetched.

        None for all; a meter finds n times None in the place of what was not fetched.
        """
        return None

    def answered_by(self, operators: Sequence[str]) -> Self:
        """The task as networks mean it whose outputs these operators compute, one an output.

        It is asked once of the network before any change, so that no change can move a threshold.
        """
        return self

    def measured(self) -> tuple[Measure, ...]:
        """What these options measure, the headline first; override it only where they decide."""
        return self.measures

    def minimised(self) -> Loss | None:
        """What trainings minimise with these options; override it only where they decide."""
        return self.loss

    @abstractmethod
    def meter(self, samples: Samples) -> Meter:
        """A new meter for these samples; raises `ConfigurationError` where they do not fit."""


@dataclass
class MeanMeter(ABC):
    """What most meters are: one number a sample, gathered; subclass it and fill `add`.

    Attributes:
        name: of the measure that is the (weighted) mean of the scores.
        scores: one number for each sample so far.
        weights: likewise its weight; left empty where all are 1.
    """

    name: str
    scores: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    @abstractmethod
    def add(self, outputs: Values, targets: Targets) -> None:
        """Append to `scores`, and to `weights` where they differ."""

    def result(self) -> Quality:
        """The mean, with the scores."""
        scores = np.array(self.scores, np.float64)
        weights = np.array(self.weights, np.float64) if self.weights else None
        mean = scores.mean() if weights is None else scores.sum() / weights.sum()
        return Quality({self.name: float(mean)}, scores, weights)
