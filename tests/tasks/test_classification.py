"""Classification of images, texts and sounds against hand-worked tables and brute force."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.tasks.audio_classification import AudioClassification
from nnw_onnx.tasks.image_classification import ImageClassification
from nnw_onnx.tasks.text_classification import TextClassification
from nnw_onnx.vocabulary import Spec, Task

from .conftest import measured, samples_of

NAMES = ["top-1 accuracy", "precision", "false alarm", "recall", "missed detection"]


def _quality(predicted, labels, classes, batch=None, task=ImageClassification):
    scores = np.eye(classes, dtype=np.float32)[predicted]
    return _of_scores(scores, labels, classes, batch, task)


def _of_scores(scores, labels, classes, batch=None, task=ImageClassification):
    outputs = {"scores": np.asarray(scores)}
    return measured(task(), samples_of(classes), outputs, np.asarray(labels), batch)


def test_a_table_worked_by_hand():
    """Rows are true classes: 0 -> (3, 1, 0), 1 -> (0, 2, 2), 2 -> (1, 0, 1)."""
    labels = [0] * 4 + [1] * 4 + [2] * 2
    predicted = [0, 0, 0, 1, 1, 1, 2, 2, 0, 2]
    quality = _quality(predicted, labels, 3)
    assert list(quality.values) == NAMES
    expected = {
        "top-1 accuracy": Fraction(6, 10),
        "precision": (Fraction(3, 4) + Fraction(2, 3) + Fraction(1, 3)) / 3,
        "false alarm": (Fraction(1, 6) + Fraction(1, 6) + Fraction(2, 8)) / 3,
        "recall": (Fraction(3, 4) + Fraction(2, 4) + Fraction(1, 2)) / 3,
        "missed detection": (Fraction(1, 4) + Fraction(2, 4) + Fraction(1, 2)) / 3,
    }
    for name, value in expected.items():
        assert quality.values[name] == pytest.approx(float(value), abs=1e-15)
    assert quality.chance == pytest.approx(0.4)
    np.testing.assert_array_equal(quality.scores, [1, 1, 1, 0, 1, 1, 0, 0, 0, 1])
    assert [m.name for m in ImageClassification.measures] == NAMES


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
        assert quality.values[name] == pytest.approx(value, abs=1e-12)


def test_scores_that_are_no_numbers_are_wrong_answers():
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    scores[1, 0] = np.nan
    scores[2, 2] = np.inf
    quality = _of_scores(scores, [0, 1, 2], 3)
    np.testing.assert_array_equal(quality.scores, [True, False, True])
    assert quality.values["missed detection"] == pytest.approx(1 / 3)
    assert quality.values["false alarm"] == 0
    assert quality.values["recall"] == pytest.approx(2 / 3)


def test_a_network_that_answers_only_nonsense_has_no_quality():
    scores = np.full((4, 2), np.nan, np.float32)
    quality = _of_scores(scores, [0, 1, 0, 1], 2)
    assert list(quality.values.values()) == [0, 0, 0, 0, 1]


def test_one_class_only_has_no_false_alarm():
    quality = _quality([0, 0], [0, 0], 2)
    assert list(quality.values.values()) == [1, 1, 0, 1, 0]


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_batches_do_not_matter(batch):
    rng = np.random.Generator(np.random.PCG64(1))
    predicted, labels = rng.integers(0, 4, 40), rng.integers(0, 4, 40)
    whole, parts = _quality(predicted, labels, 4), _quality(predicted, labels, 4, batch)
    assert whole.values == parts.values
    np.testing.assert_array_equal(whole.scores, parts.scores)


@pytest.mark.parametrize(
    ("labels", "classes", "chance"),
    [([0, 1, 2, 3], 4, 0.25), ([0, 0, 0, 1], 2, 0.75), ([5, 5, 5], 10, 1.0), ([0, 1], 10, 0.5)],
)
def test_chance_is_at_least_the_share_of_the_largest_class(labels, classes, chance):
    assert _quality(labels, labels, classes).chance == chance


def test_a_collapsed_network_keeps_no_recall():
    labels = [0] * 90 + [1] * 10
    quality = _quality([0] * 100, labels, 2)
    assert (quality.values["top-1 accuracy"], quality.values["recall"]) == (0.9, 0.5)
    assert ImageClassification.guard == TextClassification.guard == "recall"


@pytest.mark.parametrize("kind", [TextClassification, AudioClassification])
def test_texts_and_sounds_are_measured_alike(kind):
    predicted, labels = [0, 1, 1, 0], [0, 1, 0, 0]
    quality = _quality(predicted, labels, 2, task=kind)
    assert quality.values == _quality(predicted, labels, 2).values
    assert kind.loss == ImageClassification.loss == "cross-entropy"


@pytest.mark.parametrize(
    "name",
    [
        "audio-classification",
        "image-classification",
        "tabular-classification",
        "text-classification",
    ],
)
def test_the_output_is_chosen_by_its_index(name):
    outputs = {"z": np.zeros((2, 7)), "a": np.eye(2)}
    task = plugins.create(Task, Spec(name, {"output": 1}))
    quality = measured(task, samples_of(2), outputs, np.array([0, 1]))
    assert quality.values["top-1 accuracy"] == 1
    with pytest.raises(ConfigurationError, match=rf"{name}: expected an output below 1, got 1; c"):
        measured(task, samples_of(2), {"a": np.eye(2)}, np.array([0, 1]))
    with pytest.raises(ConfigurationError, match=rf"{name}: expected data whose targets are clas"):
        task.meter(samples_of())


def test_other_numbers_of_answers_are_refused():
    with pytest.raises(InferenceError, match=r"expected 3 answers, one for each .* \(2, 2\)"):
        ImageClassification().meter(samples_of(2)).add({"a": np.zeros((2, 2))}, np.zeros(3))
    with pytest.raises(
        ConfigurationError, match=r"one class for each sample, got targets of shape \(2"
    ):
        ImageClassification().meter(samples_of(2)).add({"a": np.zeros((2, 2))}, np.zeros((2, 4)))
    with pytest.raises(InferenceError, match=r"expected at least one answer, got none"):
        ImageClassification().meter(samples_of(2)).result()
