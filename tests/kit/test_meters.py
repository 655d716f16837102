"""What tasks build on: classes of answers, the chosen output, the check against chance."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.meters import (
    CLASSIFICATION,
    ClassMeter,
    chance_check,
    chosen_output,
    classes_of,
    classification_fault,
    is_classification,
    predicted_classes,
    two_scores,
)
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Measure, Quality

ACCURACY = Measure("top-1 accuracy", "%")


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
    np.testing.assert_array_equal(predicted_classes("task", output, 3), [2, 0, 1])


def test_a_class_that_does_not_exist_is_no_answer():
    answers = predicted_classes("task", np.array([-1, 0, 3]), 3)
    np.testing.assert_array_equal(answers, [-1, 0, -1])


@pytest.mark.parametrize("shape", [(2, 4), (2,), (2, 3, 5), (2, 3, 1, 2), ()])
def test_other_shapes_are_refused(shape):
    message = (
        r"task: expected scores \(n, 3\) or integer classes \(n,\), got float64 \(.*\); choose"
    )
    with pytest.raises(ConfigurationError, match=message):
        predicted_classes("task", np.zeros(shape), 3)


def test_outputs_are_chosen_by_their_place():
    outputs = {"z": np.zeros(1), "a": np.ones(1)}
    assert chosen_output("task", outputs, 1) is outputs["a"]
    with pytest.raises(ConfigurationError, match=r"task: expected an output below 2, got 2; corr"):
        chosen_output("task", outputs, 2)


@pytest.mark.parametrize("facts", [{}, {"classes": []}, {"classes": "ab"}, {"classes": 3}])
def test_data_without_classes_are_refused(facts):
    samples = ArraySamples({"x": np.zeros(1)}, np.zeros(1), facts)
    with pytest.raises(ConfigurationError, match=r"task: expected data whose targets are classes"):
        classes_of("task", samples)
    assert classes_of("task", ArraySamples({"x": np.zeros(1)}, [0], {"classes": ["a"]})) == 1


def _tail(n, k, chance):
    p = Fraction(chance)
    return float(sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)))


def _right(k, n, chance):
    return Quality({"top-1 accuracy": k / n}, (np.arange(n) < k).astype(float), chance=chance)


def test_zeros_and_ones_meet_the_exact_binomial_tail():
    n, level = 100, 0.001
    for k in range(n + 1):
        message = chance_check(_right(k, n, 0.1), ACCURACY, level)
        assert (message is None) == (_tail(n, k, Fraction(1, 10)) <= level)


def test_the_message_is_loud_and_says_what_to_do():
    message = chance_check(_right(11, 100, 0.1), ACCURACY)
    p_value = f"p = {_tail(100, 11, Fraction(1, 10)):.2g}, level 0.001"
    assert message is not None
    assert message.startswith("TOP-1 ACCURACY AT CHANCE: expected clearly more than 10 %, got 11 %")
    assert f"of 100 ({p_value}); check the preprocessing (scale, mean, std)" in message


@pytest.mark.parametrize(
    ("better", "value", "chance", "good"),
    [
        ("higher", 0.31, 0.3, True),
        ("higher", 0.3, 0.3, False),
        ("lower", 2.9, 3.0, True),
        ("lower", 3.1, 3.0, False),
    ],
)
def test_other_headlines_are_compared_with_their_chance(better, value, chance, good):
    measure = Measure("error", "px", better=better, chance=chance)
    message = chance_check(Quality({"error": value}), measure)
    assert (message is None) == good
    scored = Quality({"error": value}, np.array([value, value]))
    assert (chance_check(scored, measure) is None) == good
    if message is not None:
        word = "more" if better == "higher" else "less"
        assert f"ERROR AT CHANCE: expected clearly {word} than {chance:.3g} px, got" in message


def test_without_a_chance_nothing_is_said():
    assert chance_check(Quality({"PSNR": 1.0}), Measure("PSNR", "dB")) is None


def test_the_chance_of_the_data_comes_before_that_of_the_measure():
    measure = Measure("error", chance=0.0)
    assert chance_check(Quality({"error": 0.5}, chance=0.6), measure) is not None


@pytest.mark.parametrize(
    ("scores", "expected"), [([0.2, 0.7], [0, 1]), ([-1.0, 0.7, 3], [0, 1, 1])]
)
def test_one_score_becomes_two_of_which_the_larger_is_its_class(scores, expected):
    made = two_scores(np.array(scores))
    assert made.argmax(axis=1).tolist() == expected
    np.testing.assert_array_equal(made[:, 0], -made[:, 1])


def test_what_is_no_classification_is_told():
    rng = np.random.Generator(np.random.PCG64(0))
    good = rng.random((9, 4))
    assert is_classification(good, 4)
    assert is_classification(rng.random((9, 1)), 2)
    assert is_classification(np.arange(9) % 3, 3)
    assert is_classification(rng.random((9, 1000)) + np.eye(1000)[0], 4, part=True)
    for output, classes, words in [
        (rng.random((9, 512)), 4, r"(n, 512) of float64, which are no scores of 4 classes"),
        (rng.random((9, 25200, 85)), 4, "(n, 25200, 85) of float64, which are no scores"),
        (rng.random((9, 4, 7, 7)), 4, "which are no scores of 4 classes"),
        (rng.random((9, 1)), 3, "which are no scores of 3 classes"),
        (np.full((9, 4), np.nan), 4, "no answer that is one of the classes"),
        (np.full(9, 7), 4, "no answer that is one of the classes"),
        (np.tile(good[:1], (9, 1)), 4, "the same answer to every sample"),
    ]:
        assert words in classification_fault(output, classes)
        assert not is_classification(output, classes)


def test_a_map_that_was_not_fetched_is_told():
    outputs = {"map": np.full(3, None), "p": np.zeros((3, 2))}
    with pytest.raises(ConfigurationError, match=r"t: expected a tensor, got the output 'map'"):
        chosen_output("t", outputs, 0)
    assert chosen_output("t", outputs, 1) is outputs["p"]


@pytest.mark.parametrize(("classes", "count"), [(2, 1), (2, 40), (10, 300), (100, 150)])
def test_the_rates_are_those_of_scikit_learn(classes, count):
    rng = np.random.Generator(np.random.PCG64(count))
    targets = rng.integers(0, classes, count)
    answers = np.where(rng.random(count) < 0.6, targets, rng.integers(-1, classes, count))
    samples = ArraySamples({"x": targets}, targets, {"classes": list(map(str, range(classes)))})
    meter = ClassMeter("task", samples, 0, None)
    meter.add({"y": answers}, targets)
    there = np.unique(targets)
    precision, recall, _, _ = precision_recall_fscore_support(
        targets, answers, labels=there, average="macro", zero_division=0
    )
    matrix = confusion_matrix(targets, answers, labels=[*range(classes), -1])
    right, wrong = matrix.diagonal()[there], matrix.sum(axis=0)[there] - matrix.diagonal()[there]
    others = count - matrix.sum(axis=1)[there]
    expected = (
        np.mean(answers == targets),
        precision,
        np.mean(wrong / np.maximum(others, 1)),
        recall,
        np.mean(1 - right / matrix.sum(axis=1)[there]),
    )
    found = meter.result().values
    assert [found[m.name] for m in CLASSIFICATION] == pytest.approx(expected, rel=1e-12)
