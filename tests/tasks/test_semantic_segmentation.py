"""Semantic segmentation against scikit-learn, hand-worked maps and other forms of answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, recall_score

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.tasks.semantic_segmentation import SemanticSegmentation
from nnw_onnx.vocabulary import Spec, Task

from .conftest import measured, samples_of


def _quality(answers, targets, classes, batch=None, **options):
    task = SemanticSegmentation(**options)
    return measured(task, samples_of(classes), {"map": np.asarray(answers)}, targets, batch)


def _scores(maps, classes):
    return np.moveaxis(np.eye(classes, dtype=np.float32)[maps], -1, 1)


def test_two_small_maps_worked_by_hand():
    """Class 0: 3 right, 1 missed, 1 too many; class 1: 2 right, 1 missed, 1 too many."""
    targets = np.array([[[0, 0], [0, 1]], [[0, 1], [1, -1]]])
    answers = np.array([[[0, 0], [1, 1]], [[0, 0], [1, 0]]])
    quality = _quality(_scores(answers, 3), targets, 3)
    assert quality.values == {
        "mean IoU": pytest.approx((3 / 5 + 2 / 4) / 2),
        "pixel accuracy": pytest.approx(5 / 7),
        "mean class accuracy": pytest.approx((3 / 4 + 2 / 3) / 2),
    }
    assert list(quality.values) == [m.name for m in SemanticSegmentation.measures]
    # Overlaps without the first map, and without the second.
    first, second = (1 / 2 + 1 / 2) / 2, (2 / 3 + 1 / 2) / 2
    half = (second - first) / 2
    np.testing.assert_allclose(quality.scores, [0.55 + half, 0.55 - half])
    assert quality.chance == pytest.approx((4 / 7) / 2)


def test_scores_are_what_each_image_adds_by_the_jackknife():
    rng = np.random.Generator(np.random.PCG64(9))
    targets = rng.integers(0, 4, (6, 5, 5))
    targets[:5][targets[:5] == 3] = 0  # a class that occurs in one image
    answers = _scores(np.where(rng.random(targets.shape) < 0.7, targets, 1), 4)
    quality = _quality(answers, targets, 4)
    without = [
        _quality(np.delete(answers, i, 0), np.delete(targets, i, 0), 4).values["mean IoU"]
        for i in range(6)
    ]
    expected = quality.values["mean IoU"] + 5 * (np.mean(without) - np.array(without))
    np.testing.assert_allclose(quality.scores, expected)
    assert _quality(answers[:1], targets[:1], 4).scores is None


@pytest.mark.parametrize("seed", range(8))
def test_measures_are_those_of_scikit_learn(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    classes = int(rng.integers(2, 7))
    targets = rng.integers(-1, classes - seed % 2, (5, 6, 7))
    answers = np.where(
        rng.random(targets.shape) < 0.5, targets, rng.integers(0, classes, (5, 6, 7))
    )
    answers = np.maximum(answers, 0)
    quality = _quality(_scores(answers, classes), targets, classes, batch=2)
    counted = targets >= 0
    true, told, present = targets[counted], answers[counted], np.unique(targets[counted])
    expected = {
        "mean IoU": jaccard_score(true, told, labels=present, average="macro"),
        "pixel accuracy": np.mean(true == told),
        "mean class accuracy": recall_score(true, told, labels=present, average="macro"),
    }
    assert quality.values == pytest.approx(expected)


def test_chance_is_the_commonest_class_everywhere():
    targets = np.array([[[0, 0, 0, 1], [2, 0, 0, 1]]])
    constant = _quality(np.zeros_like(targets), targets, 4)
    assert constant.values["mean IoU"] == pytest.approx(constant.chance)


FORMS = {
    "scores (n, C, h, w)": lambda maps: _scores(maps, 3),
    "scores (n, h, w, C)": lambda maps: np.eye(3)[maps],
    "classes (n, h, w)": lambda maps: maps,
    "classes (n, 1, h, w)": lambda maps: maps[:, None].astype(np.int32),
    "classes (n, h, w, 1)": lambda maps: maps[..., None].astype(np.uint8),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_answers(form):
    rng = np.random.Generator(np.random.PCG64(2))
    targets = rng.integers(0, 3, (2, 4, 5))
    answers = np.where(rng.random(targets.shape) < 0.3, 0, targets)
    expected = _quality(_scores(answers, 3), targets, 3).values
    assert _quality(FORMS[form](answers), targets, 3).values == expected


def test_the_layout_can_be_said_where_both_fit():
    targets = np.arange(9).reshape(1, 3, 3) % 3
    scores = np.moveaxis(np.eye(3)[targets], -1, 1)
    assert _quality(scores, targets, 3, layout="NCHW").values["mean IoU"] == 1
    assert _quality(np.eye(3)[targets], targets, 3, layout="NHWC").values["mean IoU"] == 1
    assert _quality(scores, targets, 3, layout="NHWC").values["mean IoU"] < 1


def test_one_value_a_pixel_needs_a_threshold():
    targets = np.array([[[0, 1, 1], [1, 0, 0]]])
    logits = np.array([[[[-3.0, 2.0, -0.1], [0.5, np.nan, -1.0]]]])
    quality = _quality(logits, targets, 2, threshold=0.0)
    assert quality.values["pixel accuracy"] == pytest.approx(4 / 6)
    with pytest.raises(
        ConfigurationError, match=r"scores of 2 classes .* set output, layout or thr"
    ):
        _quality(logits, targets, 2)


def test_scores_that_are_no_numbers_are_wrong_answers():
    targets = np.array([[[0, 1]]])
    scores = _scores(targets, 2)
    scores[0, 0, 0, 0] = np.nan
    assert _quality(scores, targets, 2).values["mean IoU"] == 0.5


def test_classes_that_do_not_exist_are_wrong_answers():
    targets = np.array([[[0, 1, 1]]])
    assert _quality(np.array([[[7, -2, 1]]]), targets, 2).values["pixel accuracy"] == pytest.approx(
        1 / 3
    )


def test_answers_of_another_size_are_brought_to_the_targets():
    small = np.array([[[0, 1], [1, 0]]])
    targets = np.repeat(np.repeat(small, 3, 1), 3, 2)
    assert _quality(small, targets, 2).values["mean IoU"] == 1
    # Bilinear between half-pixel centres: the middle rows and columns mix both.
    assert _quality(_scores(small, 2), targets, 2).values["pixel accuracy"] >= 1 - 4 / 36


def test_images_may_have_different_sizes():
    answers = np.zeros((2, 4, 4), int)
    targets = [np.zeros((2, 3), int), np.ones((5, 4), int)]
    assert _quality(answers, targets, 2).values["pixel accuracy"] == pytest.approx(6 / 26)


def test_what_does_not_fit_is_said():
    targets = np.zeros((1, 2, 2), int)
    with pytest.raises(ConfigurationError, match=r"scores of 3 classes .* got float64 \(4, 2, 2\)"):
        _quality(np.zeros((1, 4, 2, 2)), targets, 3)
    with pytest.raises(
        ConfigurationError, match=r"expected targets below 3, got 5; set the number"
    ):
        _quality(np.zeros((1, 3, 2, 2)), targets + 5, 3)
    with pytest.raises(InferenceError, match=r"expected 1 answers, one for each .* \(2, 3, 2, 2\)"):
        SemanticSegmentation().meter(samples_of(3)).add({"a": np.zeros((2, 3, 2, 2))}, targets)
    with pytest.raises(InferenceError, match=r"at least one pixel with a class, got none"):
        _quality(np.zeros((1, 3, 2, 2)), targets - 1, 3)
    task = plugins.create(Task, Spec("semantic-segmentation", {"output": 1}))
    with pytest.raises(ConfigurationError, match=r"expected an output below 1, got 1"):
        task.meter(samples_of(2)).add({"a": targets}, targets)
    with pytest.raises(ConfigurationError, match=r"expected data whose targets are classes"):
        task.meter(samples_of())
