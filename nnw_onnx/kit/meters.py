"""What authors of tasks build on: finding the answers, classes, the check against chance."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.math import binomial
from nnw_onnx.vocabulary import Array, Measure, Quality, Samples, Targets, Values

NO_ANSWER = -1
"""Stands for the class of a sample whose scores are no numbers."""

CHANCE_LEVEL = 0.001
_MOST_SAMPLES = 1 << 20
"""Of which a chance is taken as the share that it was."""

_LINEAR = frozenset(
    {
        "Gemm", "MatMul", "Add", "Sub", "Conv", "FusedMatMul", "FusedGemm", "FusedConv", "Einsum",
        "MatMulNBits", "QGemm", "QLinearMatMul", "QLinearConv", "QLinearAdd", "MatMulInteger",
        "ConvInteger", "BatchNormalization", "LayerNormalization",
    }
)  # fmt: skip
"""Operators whose values have no bounds."""

CLASSIFICATION = (
    Measure("top-1 accuracy", "%", low=0, high=1),
    Measure("precision", "%", low=0, high=1),
    Measure("false alarm", "%", better="lower", low=0, high=1),
    # A guard must catch a collapse, which costs far more, and never overrule the headline by luck.
    Measure("recall", "%", low=0, high=1, usable_loss=0.10),
    Measure("missed detection", "%", better="lower", low=0, high=1),
)
"""Measures of `ClassMeter`: accuracy, and the standard's macro-averaged error probabilities."""


def chosen_output(task: str, outputs: Values, index: int, *, apart: bool = False) -> Array:
    """The output of this index.

    Args:
        task: its name, for messages.
        outputs: of a network.
        index: of the output.
        apart: whether it may be an array of arrays, one for each sample, of different shapes.

    Raises:
        ConfigurationError: there is none of numbers.
    """
    if index >= len(outputs):
        raise ConfigurationError(
            f"{task}: expected an output below {len(outputs)}, got {index}; correct the option "
            "output"
        )
    name = list(outputs)[index]
    found = outputs[name]
    if found.dtype.kind != "O":
        return found
    if not all(isinstance(value, np.ndarray) for value in found.flat):
        raise ConfigurationError(
            f"{task}: expected a tensor, got the output {name!r}, which is a sequence or map; "
            "choose another (option output), or export the network without (zipmap=False in "
            "skl2onnx)"
        )
    if not apart:
        raise ConfigurationError(
            f"{task}: expected answers of one shape, got the output {name!r}, whose shape differs "
            "from sample to sample; choose another (option output), or export the network with "
            "outputs of a fixed size"
        )
    return found


def answers_to(
    task: str, outputs: Values, index: int, targets: Targets, *, apart: bool = False
) -> Array:
    """The output of this index, one answer (n, ...) for each of n targets; see `chosen_output`.

    Raises:
        ConfigurationError: there is no such output.
        InferenceError: another number of answers than targets.
    """
    answers = chosen_output(task, outputs, index, apart=apart)
    if answers.ndim == 0 or len(answers) != len(targets):
        raise InferenceError(
            f"{task}: expected {len(targets)} answers, one for each target, got an output of shape "
            f"{answers.shape}; check the network's batch axis"
        )
    return answers


def classes_of(task: str, samples: Samples) -> int:
    """Number of classes of the samples; raises `ConfigurationError` where they have none."""
    classes = samples.facts.get("classes")
    if not isinstance(classes, Sequence) or isinstance(classes, str) or not classes:
        raise ConfigurationError(
            f"{task}: expected data whose targets are classes, got data without the names of any; "
            "choose another task or data set"
        )
    return len(classes)


def predicted_classes(
    task: str,
    output: Array,
    classes: int,
    *,
    threshold: float | None = None,
    part: bool = False,
) -> NDArray[np.int64]:
    """Class of each sample (n,); -1 where a score is not a number or the class does not exist.

    Args:
        task: its name, for messages.
        output: scores (n, classes) or (n, classes, 1, 1), class indices (n,) of an integer type, or
            of two classes one score (n,) or (n, 1).
        classes: number of classes.
        threshold: of one score: above it the class is 1, else 0; None: 0.5 where all scores lie in
            0 to 1, else 0.
        part: whether the network may have more classes than the data.

    Raises:
        ConfigurationError: the shape is neither scores nor class indices.
    """
    scores = _cut(output)
    if scores.dtype.kind in "iub" and scores.ndim == 1:
        answers = scores.astype(np.int64)
        return np.where((answers >= 0) & (answers < classes), answers, NO_ANSWER)
    if scores.ndim == 1 and classes == 2 and scores.dtype.kind == "f":
        wanted = _threshold_of(scores) if threshold is None else threshold
        return np.where(np.isnan(scores), NO_ANSWER, scores > wanted).astype(np.int64)
    enough = scores.ndim == 2 and (
        scores.shape[1] == classes or (part and scores.shape[1] > classes)
    )
    if not enough or scores.dtype.kind not in "fiub":
        raise ConfigurationError(
            f"{task}: expected scores (n, {classes}) or integer classes (n,), got {output.dtype} "
            f"{output.shape}; choose another output, or the data set whose classes the network was "
            "made for"
        )
    best = scores.argmax(axis=1)
    known = ~np.isnan(scores).any(axis=1) & (best < classes)
    return np.where(known, best, NO_ANSWER).astype(np.int64)


def _cut(output: Array) -> Array:
    """Answers without the axes of one element that an image of features leaves behind."""
    while output.ndim > 1 and output.shape[-1] == 1:
        output = output[..., 0]
    return output


def _threshold_of(scores: Array) -> float:
    known = scores[~np.isnan(scores)]
    return 0.5 if known.size and known.min() >= 0 and known.max() <= 1 else 0.0


def two_scores(scores: Array) -> Array:
    """Scores (n, 2) of one score (n,) of two classes: the larger one is that of its class."""
    above = scores - _threshold_of(scores)
    return np.stack([-above, above], axis=1)


def threshold_of(operator: str) -> float | None:
    """What divides the classes of one score that an operator computes.

    Half of the range of probabilities, 0 for logits, None where the operator does not tell.
    """
    if operator.endswith(("Sigmoid", "Softmax")):
        return 0.5
    return 0.0 if operator in _LINEAR else None


def is_classification(output: Array, classes: int, *, part: bool = False) -> bool:
    """Whether answers (n, ...) can be those of a classification; see `classification_fault`."""
    return classification_fault(output, classes, part=part) is None


def classification_fault(output: Array, classes: int, *, part: bool = False) -> str | None:
    """Why answers (n, ...) to different samples are no classification, or None where they are one.

    Args:
        output: of a network.
        classes: number of classes of the data.
        part: whether the network may have more classes than the data.
    """
    shape = "(" + ", ".join(map(str, ("n", *output.shape[1:]))) + ")"
    try:
        predicted = predicted_classes("", output, classes, part=part)
    except ConfigurationError:
        return f"answers {shape} of {output.dtype}, which are no scores of {classes} classes"
    if not len(predicted) or (predicted == NO_ANSWER).all():
        return "no answer that is one of the classes"
    if len(output) > 1 and (output == output[:1]).all():
        return "the same answer to every sample"
    return None


class ClassMeter:
    """Quality of one class for each sample, whatever the samples are.

    Each class is a binary decision with TP, FP, TN and FN; precision TP/(TP+FP), false alarm
    FP/(FP+TN), recall TP/(TP+FN) and missed detection FN/(FN+TP) are averaged without weights over
    the classes that occur in the targets (MPAI-NNW annex of quality measures). An answer that is
    not a number counts as wrong. A class that is never answered has the precision 0.
    """

    def __init__(
        self, task: str, samples: Samples, output: int = 0, threshold: float | None = None
    ) -> None:
        """Start to count.

        Args:
            task: its name, for messages.
            samples: with the names of their classes; their fact "part" tells that the network has
                more classes than they.
            output: index of the output that holds the answers.
            threshold: see `predicted_classes`; None is decided by all answers together.
        """
        self._task, self._output, self._threshold = task, output, threshold
        self._classes = classes_of(task, samples)
        self._part = samples.facts.get("part") is True
        self._scores: list[Array] = []
        self._predicted: list[NDArray[np.int64]] = []
        self._targets: list[NDArray[np.int64]] = []

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take the answers to some samples.

        Raises:
            ConfigurationError: there is no such output, or it or the targets are no classification.
            InferenceError: another number of answers than targets.
        """
        answers = answers_to(self._task, outputs, self._output, targets)
        predicted = self._classes_in(answers)
        wanted = np.asarray(targets)
        if wanted.shape != predicted.shape:
            raise ConfigurationError(
                f"{self._task}: expected one class for each sample, got targets of shape "
                f"{wanted.shape}; choose another task or data set"
            )
        if self._threshold is None and _cut(answers).ndim == 1 and answers.dtype.kind == "f":
            self._scores.append(_cut(answers))  # one batch may lie in 0 to 1 where others do not
        self._predicted.append(predicted)
        self._targets.append(wanted.astype(np.int64))

    def _classes_in(self, answers: Array) -> NDArray[np.int64]:
        return predicted_classes(
            self._task, answers, self._classes, threshold=self._threshold, part=self._part
        )

    def result(self) -> Quality:
        """The measures of `CLASSIFICATION`, with 1 for each sample that was answered rightly."""
        if not sum(map(len, self._targets)):
            raise InferenceError(f"{self._task}: expected at least one answer, got none; add data")
        predicted, targets = np.concatenate(self._predicted), np.concatenate(self._targets)
        if self._scores:
            predicted = self._classes_in(np.concatenate(self._scores))
        values = _rates(predicted, targets, self._classes)
        largest = np.bincount(targets).max() / len(targets)
        correct = (predicted == targets).astype(np.float64)
        return Quality(values, correct, chance=max(1 / self._classes, float(largest)))


def chance_check(quality: Quality, measure: Measure, level: float = CHANCE_LEVEL) -> str | None:
    """A loud message where the headline is not above chance, else None.

    Where each score is 0 or 1 this is exact: the upper tail P(Bin(n, chance) >= right answers) of
    someone who guesses is compared with `level`. Other headlines are compared with their chance.

    Args:
        quality: of a network.
        measure: its headline.
        level: probability of taking a guesser for a network that knows something.
    """
    chance = measure.chance if quality.chance is None else quality.chance
    if chance is None:
        return None
    value = quality.values[measure.name]
    shown = f"got {in_words(value, measure)}"
    if _is_share(quality):
        assert quality.scores is not None
        p_value = _tail(int(quality.scores.sum()), len(quality.scores), chance)
        if p_value <= level:
            return None
        shown += f" of {len(quality.scores)} (p = {p_value:.2g}, level {level:g})"
    elif measure.loss(chance, value) < 0:
        return None
    clearly = "more" if measure.better == "higher" else "less"
    return (
        f"{measure.name.upper()} AT CHANCE: expected clearly {clearly} than "
        f"{in_words(chance, measure)}, {shown}; check the preprocessing (scale, mean, std), "
        "layout, channel order and the order of the classes"
    )


def _is_share(quality: Quality) -> bool:
    scores = quality.scores
    return scores is not None and quality.weights is None and bool(np.isin(scores, (0, 1)).all())


def _tail(right: int, n: int, chance: float) -> float:
    if not 0 < chance < 1:
        return float(chance >= 1)
    return binomial.tail(right, n, Fraction(chance).limit_denominator(_MOST_SAMPLES)).p_value


def in_words(value: float, measure: Measure) -> str:
    """A value of a measure with its unit, such as "98.7 %"."""
    number = 100 * value if measure.unit == "%" else value
    return f"{number:.3g} {measure.unit}".rstrip()


def _rates(
    predicted: NDArray[np.int64], targets: NDArray[np.int64], classes: int
) -> dict[str, float]:
    """Accuracy, and means over the classes that there are of what the standard asks."""
    present = np.unique(targets)
    # The last column, of no answer, keeps samples that would otherwise drop out of the matrix.
    pairs = targets * (classes + 1) + np.where(predicted == NO_ANSWER, classes, predicted)
    matrix = np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
    true_positive = matrix.diagonal()[present]
    answered, belong = matrix.sum(axis=0)[present], matrix.sum(axis=1)[present]
    false_positive, false_negative = answered - true_positive, belong - true_positive
    negative = len(targets) - belong
    precision = np.mean(true_positive / np.maximum(answered, 1))
    recall = np.mean(true_positive / belong)
    rates = (
        np.mean(predicted == targets),
        precision,
        np.mean(false_positive / np.maximum(negative, 1)),
        recall,
        np.mean(false_negative / belong),
    )
    return {m.name: float(rate) for m, rate in zip(CLASSIFICATION, rates, strict=True)}
