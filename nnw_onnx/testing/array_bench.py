"""A bench without files or frameworks: what it is not given, it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.testing.array_suspect import Run
from nnw_onnx.vocabulary import (
    Claim,
    Feeds,
    Job,
    Json,
    Loss,
    Network,
    Recipe,
    Samples,
    Spec,
    Targets,
    Trained,
    Trainer,
    Values,
)

T = TypeVar("T")
Mark: TypeAlias = Callable[[Network, Spec | None, int], tuple[Network, Claim]]
Change: TypeAlias = Callable[[Path, Path], None]


class ArrayBench:
    """A `vocabulary.Bench` of what a test gives; everything else raises `ConfigurationError`.

    Attributes:
        layers: layers aimed at, or asked for as carriers.
        jobs: every training that was asked for, in order.
    """

    def __init__(
        self,
        *,
        layers: tuple[str, ...] = (),
        samples: Samples | None = None,
        transfer: Samples | None = None,
        recipe: Recipe | None = None,
        loss: Loss | None = None,
        output: int = 0,
        trainer: Trainer | None = None,
        initial_epochs: float | None = None,
        run: Run | None = None,
        original: Network | None = None,
        copies: Sequence[Network] | None = None,
        networks: Mapping[str, Network] | None = None,
        through_file: Callable[[Network, Change], Network] | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Keep what is given.

        Args:
            layers: layers aimed at, or asked for as carriers.
            samples: training samples of the task.
            transfer: those of a transfer.
            recipe: how networks are trained.
            loss: what trainings minimise; a cross-entropy where there is a trainer.
            output: index of the output that the task is about.
            trainer: who trains and derives.
            initial_epochs: of the initial training.
            run: what a network answers to feeds, and its layers.
            original: the network before any watermark.
            copies: copies of several recipients.
            networks: what `open` finds.
            through_file: what a change of files makes of a network.
            mark: the network with one more watermark.
        """
        self.layers = layers
        self.jobs: list[Job] = []
        self._samples, self._transfer, self._recipe = samples, transfer, recipe
        self._loss: Loss | None = loss or (None if trainer is None else "cross-entropy")
        self._output = output
        self._trainer, self._initial_epochs, self._run = trainer, initial_epochs, run
        self._original, self._copies, self._networks = original, copies, dict(networks or {})
        self._through_file, self._mark = through_file, mark

    @property
    def recipe(self) -> Recipe:
        """How networks are trained."""
        return _given(self._recipe, "a recipe", "recipe")

    @property
    def loss(self) -> Loss:
        """What a training of the task minimises."""
        return _given(self._loss, "a loss", "loss")

    @property
    def output(self) -> int:
        """Index of the output that the task is about."""
        return self._output

    @property
    def initial_epochs(self) -> float:
        """Epochs of the initial training."""
        return _given(self._initial_epochs, "initial epochs", "initial_epochs")

    @property
    def original(self) -> Network:
        """The network before any watermark."""
        return _given(self._original, "an original", "original")

    @property
    def copies(self) -> Sequence[Network]:
        """Copies of several recipients."""
        return _given(self._copies, "copies", "copies")

    def samples(self, of: Literal["task", "transfer"] = "task") -> Samples:
        """Training samples of the task or of a transfer."""
        if of == "task":
            return _given(self._samples, "samples", "samples")
        return _given(self._transfer, "samples of a transfer", "transfer")

    def run(self, network: Network, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output, then those of these layers."""
        return _given(self._run, "a way to run", "run")(network, feeds, layers)

    def gradient(self, network: Network, feeds: Feeds, targets: Targets) -> Feeds:
        """Gradient of the task's loss by each floating-point input."""
        trainer = _given(self._trainer, "a trainer", "trainer")
        return trainer.gradient(network, feeds, targets, self.loss)

    def train(self, network: Network, job: Job) -> Trained:
        """The network after a training."""
        trainer = _given(self._trainer, "a trainer", "trainer")
        self.jobs.append(job)
        return trainer.train(network, job)

    def open(self, name: str) -> Network:
        """One of the other networks."""
        return _given(self._networks.get(name), f"a network {name!r}", "networks")

    def through_file(self, network: Network, change: Change) -> Network:
        """What a change of files makes of the network."""
        return _given(self._through_file, "a way through files", "through_file")(network, change)

    def mark(
        self,
        network: Network,
        method: Spec | None,
        index: int,
        changes: Mapping[str, Json] | None = None,
    ) -> tuple[Network, Claim]:
        """The network with one more watermark; changes of its recipe mean nothing here."""
        return _given(self._mark, "a way to mark", "mark")(network, method, index)


def _given(value: T | None, what: str, name: str) -> T:
    if value is None:
        raise ConfigurationError(
            f"bench: expected {what}, got none; give ArrayBench {name}, or leave out what needs it"
        )
    return value
