"""Knowledge distillation: Modification 5 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.arrays import initialisation
from nnw_onnx.errors import TrainingError
from nnw_onnx.modifications import _recipes
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Job, Network, Parameter, TrainingData, TrainingOutcome, Workshop


@dataclass(frozen=True)
class Distillation:
    """A student learns what the network under test answers, and nothing else of it.

    The answers come from inference, once, for D samples that are not augmented. The student starts
    from fresh weights; only its graph is used.
    """

    name: ClassVar[str] = "distillation"
    summary: ClassVar[str] = "a fresh student learns the answers of the network"
    number: ClassVar[int | None] = 5
    parameter: ClassVar[Parameter] = Parameter("E", "epochs of the student", "epochs", 1, 100)

    intensity: Annotated[float, Gt(0), Le(10_000)] = option(help="E: epochs of the student")
    student: str = option(
        "same", help='"same" architecture, nnw:NAME, or an ONNX file (as seen from the evaluation)'
    )
    samples: Annotated[int, Ge(1)] = option(
        10_000, help="D: samples that are asked; the standard says 10,000 to 1,000,000"
    )
    labels: Literal["hard", "soft"] = option("hard", help="the class answered, or all scores")
    temperature: Annotated[float, Gt(0), Le(1000)] = option(
        1.0, help="softens the scores; with soft labels only"
    )
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; by default that of the recipe"
    )
    schedule: Literal["constant", "linear", "cosine", "triangular"] | None = option(
        None, help="schedule of the learning rate; by default that of the recipe"
    )

    def networks(self) -> tuple[str, ...]:
        """Names of the other networks that it opens."""
        return () if self.student == "same" else (self.student,)

    def modify_by_training(
        self, network: Network, workshop: Workshop, rng: np.random.Generator
    ) -> TrainingOutcome:
        """The student after E epochs.

        Raises:
            TrainingError: the answers are no scores of classes, or the student cannot be trained.
        """
        data = _recipes.drawn(workshop.data, self.samples, rng)
        scores = _scores(workshop.infer(network, data.inputs)[0], data.classes)
        plain = network if self.student == "same" else workshop.open(self.student)
        names = [layer.name for layer in plain.layers if layer.replaceable]
        student = plain.with_weights(initialisation.fresh(plain, names, rng))
        recipe = _recipes.changed(
            workshop.recipe,
            epochs=self.intensity,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            batch_norm="update",
        )
        soft = self.labels == "soft"
        job = Job(
            TrainingData(data.inputs, scores.argmax(axis=1).astype(np.int64), data.classes),
            recipe,
            _recipes.seed(rng),
            targets=_recipes.probabilities(scores, self.temperature) if soft else None,
            temperature=self.temperature if soft else 1.0,
        )
        trained = workshop.train(student, job)
        facts = {
            "samples": float(len(data)),
            "learning rate": recipe.learning_rate,
            "agreement with the teacher": trained.epochs[-1].quality,
        }
        return TrainingOutcome(trained.network, facts=facts)


def _scores(output: NDArray[Any], classes: int) -> NDArray[Any]:
    if output.size != len(output) * classes or output.dtype.kind != "f":
        raise TrainingError(
            f"distillation: expected scores (n, {classes}) of the network, got {output.dtype} "
            f"{output.shape}; use a network whose first output holds them"
        )
    return output.reshape(len(output), classes)
