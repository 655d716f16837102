"""Image classification: one class for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.plugins import option
from nnw_onnx.tasks._answers import NO_ANSWER, predicted_classes
from nnw_onnx.vocabulary import Quality

CHANCE_LEVEL = 0.001


@dataclass(frozen=True)
class ImageClassification:
    """Top-1 accuracy and the standard's macro-averaged error probabilities."""

    name: ClassVar[str] = "image-classification"
    summary: ClassVar[str] = "top-1 accuracy, precision, false alarm, recall, missed detection"

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the classes")

    def quality(
        self, outputs: Sequence[NDArray[Any]], labels: NDArray[np.int64], classes: int
    ) -> Quality:
        """Quality of the answers.

        Each class is a binary decision with TP, FP, TN and FN; a measure is averaged without
        weights over the classes that occur in `labels` (MPAI-NNW annex of quality measures).
        An answer that is not a number counts as wrong. A class that is never answered has the
        precision 0.

        Args:
            outputs: one array for each output of the network; the chosen one holds scores
                (n, classes) or (n, classes, 1, 1), or class indices (n,) of an integer type.
            labels: (n,) true classes, 0 ... classes - 1.
            classes: number of classes.

        Returns:
            "top-1 accuracy", "precision" TP/(TP+FP), "false alarm" FP/(FP+TN), "recall"
            TP/(TP+FN) and "missed detection" FN/(FN+TP), each from 0 to 1.

        Raises:
            ConfigurationError: there is no such output, or its shape is no classification.
            InferenceError: another number of answers than labels.
        """
        if self.output >= len(outputs):
            raise ConfigurationError(
                f"image-classification: expected an output below {len(outputs)}, got "
                f"{self.output}; correct the option output"
            )
        predicted = predicted_classes(outputs[self.output], classes)
        if len(predicted) != len(labels) or not len(labels):
            raise InferenceError(
                f"image-classification: expected {len(labels)} answers (at least one), got "
                f"{len(predicted)}; check the data set and the network's batch axis"
            )
        return _quality(predicted, labels, classes)


def chance_check(accuracy: float, chance: float, n: int, level: float = CHANCE_LEVEL) -> str | None:
    """A loud message where accuracy is not above chance, else None.

    Exact: the upper tail P(Bin(n, chance) >= right answers) of someone who guesses is compared
    with `level`.

    Args:
        accuracy: share of right answers, 0 to 1.
        chance: share that guessing reaches.
        n: number of samples.
        level: probability of taking a guesser for a network that knows something.
    """
    from scipy.stats import binom

    right = round(accuracy * n)
    p_value = float(binom.sf(right - 1, n, chance))
    if p_value <= level:
        return None
    return (
        f"ACCURACY AT CHANCE: expected clearly more than {100 * chance:.3g} % right answers, got "
        f"{100 * accuracy:.3g} % of {n} (p = {p_value:.2g}, level {level:g}); check the "
        "preprocessing (scale, mean, std), layout, channel order and the order of the classes"
    )


def _quality(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> Quality:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    present = np.unique(labels)
    precision, recall, _, _ = precision_recall_fscore_support(
        labels, predicted, labels=present, average="macro", zero_division=0
    )
    # The class "no answer" keeps samples that would otherwise drop out of the matrix.
    matrix = confusion_matrix(labels, predicted, labels=[*range(classes), NO_ANSWER])
    true_positive = matrix.diagonal()[present]
    false_positive = matrix.sum(axis=0)[present] - true_positive
    false_negative = matrix.sum(axis=1)[present] - true_positive
    negative = len(labels) - true_positive - false_negative
    correct = predicted == labels
    measures = {
        "top-1 accuracy": float(correct.mean()),
        "precision": float(precision),
        "false alarm": float(np.mean(false_positive / np.maximum(negative, 1))),
        "recall": float(recall),
        "missed detection": float(np.mean(false_negative / (false_negative + true_positive))),
    }
    return Quality(measures, correct, 1 / classes)
