"""What a student learns of a teacher: its answers to some samples, as targets of a training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.kit import initialisation, trainings
from nnw_onnx.kit.samples import Drawn, batches
from nnw_onnx.vocabulary import Array, Bench, Job, Loss, Modified, Network, Recipe, Samples

_BATCH = 256


class Lesson(NamedTuple):
    """What is to be learnt.

    Attributes:
        samples: with the answers of the teacher as targets.
        loss: that fits these targets.
        temperature: of the training, see `Job.temperature`.
    """

    samples: Samples
    loss: Loss
    temperature: float = 1.0


def lesson(
    teacher: Network, data: Samples, bench: Bench, *, soft: bool = False, temperature: float = 1.0
) -> Lesson:
    """The answers of a network to some samples, asked once, without augmentation.

    Args:
        teacher: who is asked.
        data: samples; their own targets are not looked at.
        bench: runs the teacher and says what the loss of the task is.
        soft: whether probabilities of all classes are learnt instead of the answer itself.
        temperature: softens these.

    Raises:
        ConfigurationError: soft labels with a loss that knows no scores.
        TrainingError: the answers are no numbers.
    """
    loss = _soft_loss(bench.loss) if soft else bench.loss
    targets = targets_for(loss, _answers(teacher, data, bench), temperature)
    return Lesson(Drawn(data, np.arange(len(data)), targets), loss, temperature if soft else 1.0)


def student(network: Network, bench: Bench, asked: str, rng: np.random.Generator) -> Network:
    """A network with fresh weights, drawn as its framework draws them: only its graph is used.

    Args:
        network: the teacher.
        bench: opens another architecture.
        asked: "same" for that of the teacher, else the name of a network for `Bench.open`.
        rng: draws the weights.
    """
    plain = network if asked == "same" else bench.open(asked)
    names = [layer.name for layer in plain.layers if layer.replaceable]
    return plain.with_weights(initialisation.fresh(plain, names, rng))


def taught(
    network: Network,
    learnt: Lesson,
    bench: Bench,
    asked: str,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Modified:
    """A student with fresh weights after a training on a lesson.

    Args:
        network: the teacher, of which only the graph is used.
        learnt: the lesson.
        bench: opens another architecture, and trains.
        asked: see `student`.
        recipe: of the training.
        rng: draws the weights, and the order of samples.

    Raises:
        TrainingError: the student cannot be trained.
    """
    fresh = student(network, bench, asked, rng)
    seed = trainings.seed(rng)
    job = Job(learnt.samples, recipe, learnt.loss, seed, temperature=learnt.temperature)
    trained = bench.train(fresh, job)
    return Modified(trained.network, facts=trainings.facts_of(job, trained, fresh.layers))


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
            f"answers: expected finite floating-point answers of the network, got "
            f"{answers.dtype} {answers.shape}; see the option output of the task"
        )
    return answers


def _scores(answers: Array) -> Array:
    """Scores (n, classes, ...); without the axes of size one behind those of a single answer."""
    if answers.ndim < 2:
        raise TrainingError(
            f"answers: expected scores (n, classes, ...) of the network, got shape "
            f"{answers.shape}; see the option output of the task"
        )
    single = answers.size == answers.shape[0] * answers.shape[1]
    return answers.reshape(answers.shape[:2]) if single else answers


def _soft_loss(loss: Loss) -> Loss:
    if loss not in ("cross-entropy", "soft-cross-entropy"):
        raise ConfigurationError(
            f"labels: expected 'hard' with the loss {loss!r}, whose answers are no scores of "
            "classes, got 'soft'; change it"
        )
    return "soft-cross-entropy"
