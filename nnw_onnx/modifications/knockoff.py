"""Extraction on other data: a student learns answers to what is no sample of the task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.kit import keystream, lessons, shown, trainings
from nnw_onnx.kit.signals import to_feed, to_signal
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Batch,
    Bench,
    Family,
    Indices,
    Json,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Recipe,
    Samples,
)


@dataclass(frozen=True)
class Knockoff(Modification):
    """A student learns what the network answers to samples of another data set, or to noise.

    Orekondy, Schiele, Fritz, "Knockoff nets", CVPR 2019, with questions drawn at random: the
    attacker has the answers of the network and no sample of its task. `distillation` is the same on
    samples of the task. The student starts from fresh weights. A table without a learning rate
    stands for three settings: a tenth of that of the recipe, that, and ten times it.
    """

    name: ClassVar[str] = "knockoff"
    title = "extraction on other data"
    summary: ClassVar[str] = "a fresh student learns the answers to another data set, or to noise"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter("E", "epochs of the student", "epochs")

    intensity: Annotated[float, Gt(0), Le(10_000)] = option(help="E: epochs of the student")
    questions: Literal["transfer", "noise"] = option(
        "transfer", help="the data set [training.transfer], or images or signals of uniform noise"
    )
    student: str = option(
        "same", help='"same" architecture, nnw:NAME, or an ONNX file (as seen from the evaluation)'
    )
    samples: Annotated[int, Ge(1), Le(1 << 31)] = option(10_000, help="how often it is asked")
    labels: Literal["hard", "soft"] = option(
        "soft", help="the answer itself (of scores the largest), or all scores as probabilities"
    )
    temperature: Annotated[float, Gt(0), Le(1000)] = option(
        1.0, help="softens the scores; with soft labels only"
    )
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; without it a table is tried at three around the recipe's"
    )
    schedule: Literal["constant", "linear", "cosine", "triangular"] | None = option(
        None, help="schedule of the learning rate; by default that of the recipe"
    )

    def needed(self) -> tuple[Need, ...]:
        """A trainer, and another data set or what images look like."""
        return ("trainer", "transfer" if self.questions == "transfer" else "scale")

    def opens(self) -> tuple[str, ...]:
        """The student, where it is another network."""
        return () if self.student == "same" else (self.student,)

    def settings(self, recipe: Recipe) -> tuple[Mapping[str, Json], ...]:
        """The learning rates, where none is given."""
        return trainings.rates(recipe) if self.learning_rate is None else ()

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The student after E epochs.

        Raises:
            ConfigurationError: soft labels with a loss that knows no scores.
            NotApplicableError: noise for inputs that are no images or signals.
            TrainingError: the answers are no numbers, or the student cannot be trained.
        """
        learnt = lessons.lesson(
            network,
            self._questions(bench, rng),
            bench,
            soft=self.labels == "soft",
            temperature=self.temperature,
        )
        recipe = trainings.changed(
            bench.recipe,
            epochs=self.intensity,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            batch_norm="update",
        )
        return lessons.taught(network, learnt, bench, self.student, recipe, rng)

    def _questions(self, bench: Bench, rng: np.random.Generator) -> Samples:
        if self.questions == "transfer":
            return trainings.some(bench.samples("transfer"), self.samples, rng)
        return _Noise(bench.samples(), self.samples, rng.bytes(32))


class _Noise(Samples):
    """Uniform noise in the place of images or signals, made when it is read; targets are 0."""

    def __init__(self, like: Samples, count: int, secret: bytes) -> None:
        self._like, self._count, self._secret = like, count, secret
        self._scale = shown.of_signals(like.scale, "knockoff")

    @property
    def digest(self) -> str:
        text = f"{self._like.digest} {self._count} {self._secret.hex()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return self._count

    def read(self, indices: Indices) -> Batch:
        """The noise with these numbers; of further inputs that of the first sample."""
        feeds = self._like.read(np.zeros(1, np.int64)).feeds
        (name, feed), *others = feeds.items()
        shape = to_signal(feed, self._scale).shape[1:]
        noise = np.stack([self._one(int(number), shape) for number in indices])
        made = to_feed(noise, self._scale, feed.shape[1:]).astype(feed.dtype, copy=False)
        more = {n: np.repeat(values, len(indices), axis=0) for n, values in others}
        return Batch({name: made, **more}, np.zeros(len(indices), np.int64))

    def _one(self, number: int, shape: tuple[int, ...]) -> Array:
        count = int(np.prod(shape, dtype=np.int64))
        return keystream.uniform(self._secret, f"noise {number}", count).reshape(shape)
