"""Knowledge distillation: Modification 5 of MPAI-NNT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.kit import lessons, trainings
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Family,
    Json,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Recipe,
)


@dataclass(frozen=True)
class Distillation(Modification):
    """A student learns what the network under test answers, and nothing else of it.

    The answers come from inference, once, for D samples that are not augmented; what the student
    learns of them follows from the loss of the task. The student starts from fresh weights, drawn
    as the framework draws them that its file comes from; only its graph is used. A table without a
    learning rate stands for three settings: a tenth of that of the recipe, that, and ten times it.
    """

    name: ClassVar[str] = "distillation"
    summary: ClassVar[str] = "a fresh student learns the answers of the network"
    number: ClassVar[int | None] = 5
    family: ClassVar[Family] = "standard"
    parameter: ClassVar[Parameter] = Parameter("E", "epochs of the student", "epochs", 1, 100)
    needs: ClassVar[tuple[Need, ...]] = ("trainer", "data")

    intensity: Annotated[float, Gt(0), Le(10_000)] = option(help="E: epochs of the student")
    student: str = option(
        "same", help='"same" architecture, nnw:NAME, or an ONNX file (as seen from the evaluation)'
    )
    samples: Annotated[int, Ge(1)] = option(
        10_000, help="D: samples that are asked; the standard says 10,000 to 1,000,000"
    )
    labels: Literal["hard", "soft"] = option(
        "hard", help="the answer itself (of scores the largest), or all scores as probabilities"
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
            TrainingError: the answers are no numbers, or the student cannot be trained.
        """
        data = trainings.some(bench.samples(), self.samples, rng)
        learnt = lessons.lesson(
            network, data, bench, soft=self.labels == "soft", temperature=self.temperature
        )
        recipe = trainings.changed(
            bench.recipe,
            epochs=self.intensity,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            batch_norm="update",
        )
        return lessons.taught(network, learnt, bench, self.student, recipe, rng)
