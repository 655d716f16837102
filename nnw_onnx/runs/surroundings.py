"""What a bench and a training need of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.runs.places import network_paths
from nnw_onnx.vocabulary import Array, Checkpoint, Loss, Recipe, Samples, Spec

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trainings:
    """What all trainings of an evaluation have in common.

    Attributes:
        trainer: who trains.
        recipe: the recipe of the evaluation.
        loss: of the task; None where its networks are not trained.
        output: index of the graph output that is trained.
        initial_epochs: epochs of the initial training of the networks, or None where nobody said.
    """

    trainer: Spec
    recipe: Recipe
    loss: Loss | None
    output: int = 0
    initial_epochs: float | None = None


class Surroundings(Protocol):
    """What a bench needs of an evaluation; `runs.context.Context` is one."""

    @property
    def settings(self) -> SessionSettings:
        """How networks are run."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples of one run."""
        ...

    @property
    def trainings(self) -> Trainings | None:
        """How networks are trained, or None where nothing was said of it."""
        ...

    @property
    def seed(self) -> int:
        """Of the evaluation."""
        ...

    def training_samples(self, of: Literal["task", "transfer"]) -> Samples:
        """Training samples, not fitted; raises `ConfigurationError` where nothing was said."""
        ...

    def named(self, name: str) -> OnnxNetwork:
        """A network by its name in the configuration (`nnw:` or a file)."""
        ...

    def checkpoint(self, name: str, most: int) -> Checkpoint:
        """Where a training keeps its state, of at most `most` bytes."""
        ...

    def tell_progress(self, name: str, words: str) -> None:
        """Say how far a training is."""
        ...

    def forget_progress(self, name: str) -> None:
        """Say no more of a training that is over."""
        ...


@dataclass(frozen=True)
class Alone:
    """`Surroundings` without an evaluation: nobody trains.

    Attributes:
        seed: what trainings would draw follows from it.
        data: samples of the task, or None.
    """

    seed: int = 0
    data: Samples | None = None
    settings: SessionSettings = field(default_factory=SessionSettings)
    batch_size: int = 64
    trainings: Trainings | None = None

    def training_samples(self, of: Literal["task", "transfer"]) -> Samples:
        """The samples that were given; raises `ConfigurationError` where there are none."""
        if of == "transfer" or self.data is None:
            raise ConfigurationError(
                f"data: expected samples of the {of}, got none; give a configuration that names "
                "them (--training)"
            )
        return self.data

    def named(self, name: str) -> OnnxNetwork:
        """A network by its name, seen from the current folder."""
        return open_network(network_paths([name])[0])

    def checkpoint(self, name: str, most: int) -> Checkpoint:
        """One that keeps nothing."""
        return _NoCheckpoint()

    def tell_progress(self, name: str, words: str) -> None:
        """Nobody listens."""

    def forget_progress(self, name: str) -> None:
        """Nobody listened."""


class _NoCheckpoint:
    def load(self) -> None:
        return None

    def save(self, arrays: Mapping[str, Array]) -> None:
        pass
