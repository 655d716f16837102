"""Modifications that train, and what they are given to work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary.modifications import Parameter
from nnw_onnx.vocabulary.networks import Network
from nnw_onnx.vocabulary.training import Job, Mark, Recipe, TrainingData


@dataclass(frozen=True)
class TrainingOutcome:
    """What a Modification that trains came to.

    Attributes:
        network: the modified network.
        new_marks: for each further watermark of an overwriting, in the order of injection, its
            number of Symbols and how many of them are read wrongly in the end.
        facts: what a report should say of it, such as epochs, samples and the last loss.
        classes_of: name of the data set that the network answers now, where that changed.
    """

    network: Any
    new_marks: tuple[tuple[int, int], ...] = ()
    facts: Mapping[str, float | str] = field(default_factory=dict)
    classes_of: str | None = None


class Workshop(Protocol):
    """What an attacker has: data, a way to train, other networks, and the method that was used."""

    @property
    def data(self) -> TrainingData:
        """Training samples of the task."""
        ...

    @property
    def recipe(self) -> Recipe:
        """The recipe of the evaluation; a Modification changes what its options say."""
        ...

    @property
    def initial_epochs(self) -> float:
        """Epochs of the initial training of the networks."""
        ...

    def train(self, network: Any, job: Job) -> Any:
        """The network after a training."""
        ...

    def infer(self, network: Any, inputs: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        """Every output of the network, through the runtime."""
        ...

    def open(self, name: str) -> Any:
        """Another network: `nnw:` for a shipped one, or the path of an ONNX file."""
        ...

    def transfer(self, network: Any) -> tuple[str, TrainingData]:
        """Name and training samples of the data set of a transfer."""
        ...

    def new_mark(self, network: Any, index: int, method: str | None) -> tuple[Mark, Recipe | None]:
        """A further watermark with fresh key and random Payload, and the training that puts it in.

        By the method that was used, with its options and recipe, or by another one of the same
        Payload size; None where it needs no training.
        """
        ...

    def inject(self, network: Any, mark: Mark) -> Any:
        """The network with a watermark put in without training."""
        ...

    def errors(self, network: Any, mark: Mark) -> int:
        """Symbols of a watermark that are read wrongly."""
        ...


@runtime_checkable
class TrainedModification(Protocol):
    """A Modification that trains: a plug-in of `nnw_onnx.modifications`.

    A frozen dataclass with at least the field `intensity`; pure given workshop and generator. So
    that a mistake shows before a run, it may have `needs()`, the keys of `[training]` among
    "initial_epochs" and "transfer" that must be given, and `networks()`, the names that it opens.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    number: ClassVar[int | None]
    parameter: ClassVar[Parameter]
    intensity: float

    def modify_by_training(
        self, network: Network, workshop: Workshop, rng: np.random.Generator
    ) -> TrainingOutcome:
        """The network after the Modification."""
        ...
