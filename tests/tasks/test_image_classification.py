"""Image classification against hand-worked tables, brute force and scipy."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.tasks._answers import predicted_classes
from nnw_onnx.tasks.image_classification import ImageClassification, chance_check
from nnw_onnx.vocabulary import Spec, Task

NAMES = ["top-1 accuracy", "precision", "false alarm", "recall", "missed detection"]


def _quality(predicted, labels, classes, **options):
    scores = np.eye(classes, dtype=np.float32)[predicted]
    return ImageClassification(**options).quality([scores], np.asarray(labels), classes)


def test_a_table_worked_by_hand():
    """Rows are true classes: 0 -> (3, 1, 0), 1 -> (0, 2, 2), 2 -> (1, 0, 1)."""
    labels = [0] * 4 + [1] * 4 + [2] * 2
    predicted = [0, 0, 0, 1, 1, 1, 2, 2, 0, 2]
    quality = _quality(predicted, labels, 3)
    assert list(quality.measures) == NAMES
    expected = {
        "top-1 accuracy": Fraction(6, 10),
        "precision": (Fraction(3, 4) + Fraction(2, 3) + Fraction(1, 3)) / 3,
        "false alarm": (Fraction(1, 6) + Fraction(1, 6) + Fraction(2, 8)) / 3,
        "recall": (Fraction(3, 4) + Fraction(2, 4) + Fraction(1, 2)) / 3,
        "missed detection": (Fraction(1, 4) + Fraction(2, 4) + Fraction(1, 2)) / 3,
    }
    for name, value in expected.items():
        assert quality.measures[name] == pytest.approx(float(value), abs=1e-15)
    assert quality.chance == pytest.approx(1 / 3)
    np.testing.assert_array_equal(quality.correct, [1, 1, 1, 0, 1, 1, 0, 0, 0, 1])
    assert quality.headline == "top-1 accuracy"


def _by_counting(predicted, labels, classes):
    sums = dict.fromkeys(NAMES[1:], 0.0)
    present = [k for k in range(classes) if k in labels]
    for k in present:
        pairs = list(zip(predicted, labels, strict=True))
        tp = sum(p == k and t == k for p, t in pairs)
        fp = sum(p == k and t != k for p, t in pairs)
        fn = sum(p != k and t == k for p, t in pairs)
        tn = len(pairs) - tp - fp - fn
        sums["precision"] += tp / (tp + fp) if tp + fp else 0
        sums["false alarm"] += fp / (fp + tn) if fp + tn else 0
        sums["recall"] += tp / (tp + fn)
        sums["missed detection"] += fn / (fn + tp)
    return {name: value / len(present) for name, value in sums.items()}


@pytest.mark.parametrize("seed", range(20))
def test_measures_equal_counting_one_by_one(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    classes = int(rng.integers(2, 7))
    labels = rng.integers(0, max(2, classes - seed % 2), 40)
    predicted = np.where(rng.random(40) < 0.5, labels, rng.integers(0, classes, 40))
    quality = _quality(predicted, labels, classes)
    for name, value in _by_counting(predicted, labels, classes).items():
        assert quality.measures[name] == pytest.approx(value, abs=1e-12)


def test_scores_that_are_no_numbers_are_wrong_answers():
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    scores[1, 0] = np.nan
    scores[2, 2] = np.inf
    quality = ImageClassification().quality([scores], np.array([0, 1, 2]), 3)
    np.testing.assert_array_equal(quality.correct, [True, False, True])
    assert quality.measures["missed detection"] == pytest.approx(1 / 3)
    assert quality.measures["false alarm"] == 0
    assert quality.measures["recall"] == pytest.approx(2 / 3)


def test_a_network_that_answers_only_nonsense_has_no_quality():
    scores = np.full((4, 2), np.nan, np.float32)
    quality = ImageClassification().quality([scores], np.array([0, 1, 0, 1]), 2)
    assert list(quality.measures.values()) == [0, 0, 0, 0, 1]


def test_one_class_only_has_no_false_alarm():
    quality = _quality([0, 0], [0, 0], 2)
    assert list(quality.measures.values()) == [1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    "output",
    [
        np.eye(3)[[2, 0, 1]],
        np.eye(3, dtype=np.float16)[[2, 0, 1]],
        np.eye(3)[[2, 0, 1]][:, :, None, None],
        np.array([2, 0, 1]),
        np.array([[2], [0], [1]], np.int32),
        (255 * np.eye(3))[[2, 0, 1]].astype(np.uint8),
    ],
)
def test_forms_of_answers(output):
    np.testing.assert_array_equal(predicted_classes(output, 3), [2, 0, 1])


def test_a_class_that_does_not_exist_is_no_answer():
    np.testing.assert_array_equal(predicted_classes(np.array([-1, 0, 3]), 3), [-1, 0, -1])


@pytest.mark.parametrize("shape", [(2, 4), (2,), (2, 3, 5), (2, 3, 1, 2), ()])
def test_other_shapes_are_refused(shape):
    message = r"expected scores \(n, 3\) or integer classes \(n,\), got float64 \(.*\); choose"
    with pytest.raises(ConfigurationError, match=message):
        predicted_classes(np.zeros(shape), 3)


def test_the_output_is_chosen_by_its_index():
    outputs = [np.zeros((2, 7)), np.eye(2)]
    task = plugins.create("tasks", Spec("image-classification", {"output": 1}))
    assert isinstance(task, Task)
    assert task.quality(outputs, np.array([0, 1]), 2).measures["top-1 accuracy"] == 1
    with pytest.raises(ConfigurationError, match=r"expected an output below 1, got 1; correct"):
        task.quality(outputs[:1], np.array([0, 1]), 2)


@pytest.mark.parametrize(("answers", "labels"), [(2, 3), (0, 0)])
def test_other_numbers_of_answers_are_refused(answers, labels):
    with pytest.raises(
        InferenceError, match=rf"expected {labels} answers .*, got {answers}; check"
    ):
        ImageClassification().quality([np.zeros((answers, 2))], np.zeros(labels, np.int64), 2)


def _tail(n, k, classes):
    p = Fraction(1, classes)
    return float(sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)))


def test_the_check_against_chance_is_the_exact_binomial_tail():
    n, classes, level = 100, 10, 0.001
    for right in range(n + 1):
        message = chance_check(right / n, 1 / classes, n, level)
        assert (message is None) == (_tail(n, right, classes) <= level)
    assert chance_check(0.9, 0.1, 1000) is None


def test_the_message_is_loud_and_says_what_to_do():
    message = chance_check(0.11, 0.1, 100)
    assert message is not None
    p_value = f"p = {_tail(100, 11, 10):.2g}, level 0.001"
    assert message.startswith("ACCURACY AT CHANCE: expected clearly more than 10 % right answers")
    assert f"got 11 % of 100 ({p_value}); check the preprocessing (scale, mean, std)" in message
