"""Knowledge distillation: Modification 5 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.kit import initialisation, trainings
from nnw_onnx.kit.samples import Drawn, batches
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Job,
    Json,
    Loss,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Samples,
)

_BATCH = 256


@dataclass(frozen=True)
class Distillation(Modification):
    """A student learns what the network under test answers, and nothing else of it.

    The answers come from inference, once, for D samples that are not augmented; what the student
    learns of them follows from the loss of the task. The student starts from fresh weights, drawn
    as the framework draws them that its file comes from; only its graph is used.
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
        None, help="largest learning rate; by default that of the recipe"
    )
    schedule: Literal["constant", "linear", "cosine", "triangular"] | None = option(
        None, help="schedule of the learning rate; by default that of the recipe"
    )

    def opens(self) -> tuple[str, ...]:
        """The student, where it is another network."""
        return () if self.student == "same" else (self.student,)

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The student after E epochs.

        Raises:
            ConfigurationError: soft labels with a loss that knows no scores.
            TrainingError: the answers are no numbers, or the student cannot be trained.
        """
        soft = self.labels == "soft"
        data = trainings.some(bench.samples(), self.samples, rng)
        answers = _answers(network, data, bench)
        loss = _soft_loss(bench.loss) if soft else bench.loss
        targets = targets_for(loss, answers, self.temperature)
        plain = network if self.student == "same" else bench.open(self.student)
        names = [layer.name for layer in plain.layers if layer.replaceable]
        student = plain.with_weights(initialisation.fresh(plain, names, rng))
        recipe = trainings.changed(
            bench.recipe,
            epochs=self.intensity,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            batch_norm="update",
        )
        job = Job(
            Drawn(data, np.arange(len(data)), targets),
            recipe,
            loss,
            trainings.seed(rng),
            temperature=self.temperature if soft else 1.0,
        )
        trained = bench.train(student, job)
        facts: dict[str, Json] = {
            "samples": float(len(data)),
            "learning rate": recipe.learning_rate,
            "last loss": trained.epochs[-1].loss,
            "layers": str(trainings.learning(student.layers)),
        }
        return Modified(trained.network, facts=facts)


def targets_for(loss: Loss, answers: Array, temperature: float = 1.0) -> Array:
    """What a student is to answer, as a loss takes it.

    Args:
        loss: what it is trained with.
        answers: of the teacher (n, ...).
        temperature: scores are divided by it before they become probabilities.

    Returns:
        "cross-entropy": classes (n, ...), the largest score on axis 1; "next-token": token ids (n,
        length), of which each follows the place before it; "bce": 1 where the logit is positive,
        else 0; "soft-cross-entropy": probabilities in the shape of the scores; else the answers.
    """
    if loss == "cross-entropy":
        classes: Array = _scores(answers).argmax(axis=1).astype(np.int64)
        return classes
    if loss == "next-token":
        # Place t tells the token of place t + 1, so the first one is told by nobody.
        following = answers.argmax(axis=-1).astype(np.int64)
        return np.concatenate([following[:, :1], following[:, :-1]], axis=1)
    if loss == "bce":
        return (answers > 0).astype(np.float32)
    if loss == "soft-cross-entropy":
        return probabilities(_scores(answers), temperature)
    return answers.astype(np.float32)


def probabilities(scores: Array, temperature: float) -> NDArray[np.float32]:
    """Probabilities (n, classes, ...) of a teacher: softmax(scores / temperature) on axis 1.

    Scores that are probabilities already (>= 0, sum 1) stand for their logarithms.
    """
    values = np.asarray(scores, np.float64)
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        values = np.log(np.maximum(values, 1e-30))
    values = values / temperature
    values = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _answers(network: Network, data: Samples, bench: Bench) -> Array:
    """Answers of the teacher (n, ...): the output that the task is about."""
    place = bench.output
    parts = [
        list(bench.run(network, batch.feeds).values())[place] for batch in batches(data, _BATCH)
    ]
    answers = np.concatenate(parts)
    if answers.dtype.kind != "f" or not np.isfinite(answers).all():
        raise TrainingError(
            f"distillation: expected finite floating-point answers of the network, got "
            f"{answers.dtype} {answers.shape}; see the option output of the task"
        )
    return answers


def _scores(answers: Array) -> Array:
    """Scores (n, classes, ...); without the axes of size one behind those of a single answer."""
    if answers.ndim < 2:
        raise TrainingError(
            f"distillation: expected scores (n, classes, ...) of the network, got shape "
            f"{answers.shape}; see the option output of the task"
        )
    single = answers.size == answers.shape[0] * answers.shape[1]
    return answers.reshape(answers.shape[:2]) if single else answers


def _soft_loss(loss: Loss) -> Loss:
    if loss not in ("cross-entropy", "soft-cross-entropy"):
        raise ConfigurationError(
            f"distillation: expected labels = 'hard' with the loss {loss!r}, whose answers are no "
            "scores of classes, got 'soft'; change it"
        )
    return "soft-cross-entropy"
