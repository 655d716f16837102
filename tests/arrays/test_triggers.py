"""Trigger patterns and answers: ranges, layouts, brute force, and the table of thresholds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.arrays import binomial, triggers
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (32, 32, 3), (1, 8, 8), (8, 8, 1), (2, 6, 5, 4), (8, 8), (64,), (4,), ()]
)
def test_patterns_lie_in_the_range_of_each_channel(rng, shape):
    samples = rng.uniform(-1, 2, (40, *shape)).astype(np.float32)
    found = triggers.patterns(SECRET, "x", 6, samples)
    assert found.shape == (6, *shape)
    assert found.dtype == np.float32
    assert len({pattern.tobytes() for pattern in found}) == 6
    assert samples.min() <= found.min() < found.max() <= samples.max()


@pytest.mark.parametrize("axis", [1, 3], ids=["channels first", "channels last"])
def test_each_channel_spans_its_own_range(rng, axis):
    low, high = np.array([-3.0, 0.0, 10.0]), np.array([-1.0, 0.5, 20.0])
    samples = rng.uniform(low, high, (30, 9, 7, 3)).astype(np.float32)
    samples = np.moveaxis(samples, 3, axis)
    found = np.moveaxis(triggers.patterns(SECRET, "x", 5, samples), axis, 3)
    ranges = np.moveaxis(samples, axis, 3).reshape(-1, 3)
    for pattern in found.reshape(5, -1, 3):
        np.testing.assert_allclose(pattern.min(axis=0), ranges.min(axis=0), rtol=1e-6)
        np.testing.assert_allclose(pattern.max(axis=0), ranges.max(axis=0), rtol=1e-6)


def test_a_flat_sample_has_a_range_for_each_number(rng):
    samples = (rng.uniform(0, 1, (50, 6)) * [1, 10, 100, 0, 1, 1]).astype(np.float32)
    found = triggers.patterns(SECRET, "x", 200, samples)
    assert (found >= samples.min(axis=0)).all()
    assert (found <= samples.max(axis=0)).all()
    assert found[:, 2].max() > 50
    assert set(found[:, 3]) == {0.0}


def test_patterns_are_smooth_and_far_apart(rng):
    """Neighbours differ little; two patterns are as far apart as two unrelated pictures."""
    samples = rng.uniform(0, 1, (10, 3, 32, 32)).astype(np.float32)
    found = triggers.patterns(SECRET, "x", 100, samples).astype(np.float64)
    steps = np.sqrt(np.mean(np.diff(found, axis=3) ** 2)) / found.std()
    white_noise = np.sqrt(2)
    assert steps < white_noise / 3
    flat = found.reshape(100, -1) - found.mean()
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    similarity = unit @ unit.T - np.eye(100)
    assert np.abs(similarity).max() < 0.5


def test_patterns_come_from_secret_and_label_alone(rng):
    samples = rng.uniform(0, 1, (10, 1, 8, 8)).astype(np.float32)
    first, again = (triggers.patterns(SECRET, "x", 4, samples) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, triggers.patterns(SECRET, "y", 4, samples))
    assert not np.array_equal(first, triggers.patterns(bytes(32), "x", 4, samples))


def test_answers_agree_with_sorting(rng):
    scores = rng.standard_normal((50, 7))
    found = triggers.answers(scores)
    ordered = np.sort(scores, axis=1)
    assert found.classes.tolist() == scores.argmax(axis=1).tolist()
    np.testing.assert_allclose(found.margins, (ordered[:, -1] - ordered[:, -2]) / scores.std())
    assert not found.undecided.any()


@pytest.mark.parametrize(
    "row",
    [
        [np.nan, 0, 1],
        [np.nan, np.nan, np.nan],
        [np.inf, 0, 1],
        [np.inf, np.inf, 0],
        [2, 2, 1],
        [-np.inf, -np.inf, -np.inf],
    ],
)
def test_what_is_undecided(row):
    found = triggers.answers(np.array([row, [0.0, 1.0, 5.0]]))
    assert found.undecided.tolist() == [True, False]
    assert found.margins[0] == 0
    assert found.margins[1] > 0


def test_impossible_classes_do_not_make_an_answer_undecided():
    """Logarithms of probabilities that underflow are minus infinity."""
    found = triggers.answers(np.array([[0.0, -np.inf, -np.inf], [-1.0, -0.5, -np.inf]]))
    assert found.classes.tolist() == [0, 1]
    assert not found.undecided.any()
    assert np.isfinite(found.margins).all()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_equal_scores_everywhere(value):
    found = triggers.answers(np.full((4, 3), value))
    assert found.undecided.all()
    assert found.margins.tolist() == [0] * 4


def test_huge_scores_have_a_finite_margin():
    found = triggers.answers(np.array([[1e308, -1e308], [1e308, 0.0]]))
    assert np.isfinite(found.margins).all()


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 1, 1), (5, 3, 1)])
def test_scores_of_any_usual_shape(rng, shape):
    scores = rng.standard_normal(shape)
    found = triggers.scores_of([np.zeros(2), scores], 1, 5, 3)
    assert np.array_equal(found, scores.reshape(5, 3))


def test_outputs_that_do_not_fit_are_told():
    with pytest.raises(CarrierNotFoundError, match=r"expected number 1 of the network, got 1 out"):
        triggers.scores_of([np.zeros((5, 3))], 1, 5, 3)
    for shape in ((5, 4), (5,), (4, 3), (5, 3, 2)):
        with pytest.raises(CarrierNotFoundError, match=r"expected scores of shape \(5, 3\), got"):
            triggers.scores_of([np.zeros(shape)], 0, 5, 3)


@pytest.mark.parametrize(
    ("n", "classes", "at_least"),
    [
        (20, 10, (8, 11, 14)),
        (30, 10, (10, 14, 17)),
        (50, 10, (14, 18, 22)),
        (100, 10, (21, 28, 33)),
        (200, 10, (35, 44, 50)),
        (20, 100, (4, 6, 7)),
        (100, 100, (6, 9, 12)),
        (100, 1000, (3, 5, 7)),
        (200, 1000, (4, 6, 8)),
    ],
)
def test_thresholds_are_those_of_the_table(n, classes, at_least):
    """Smallest number of right answers for 1e-3, 1e-6 and 1e-9 (exact, computed elsewhere)."""
    asked = Payload((0,) * n)
    for rate, needed in zip((1e-3, 1e-6, 1e-9), at_least, strict=True):
        for right, detected in ((needed, True), (needed - 1, False)):
            told = Payload((0,) * right + (1,) * (n - right), classes)
            assert triggers.detection(told, asked, classes, rate).detected is detected
        assert binomial.threshold(n, rate, Fraction(1, classes)) == needed


def test_the_decision_is_the_exact_binomial_tail():
    told = Payload((0,) * 30 + (3,) * 70, 10)
    found = triggers.detection(told, Payload((0,) * 100), 10, 1e-6)
    assert (found.statistic, found.n, found.null) == (30, 100, "Bin(100, 1/10)")
    assert found.p_value == pytest.approx(stats.binom.sf(29, 100, 0.1), rel=1e-9)
    assert found.log10_p == pytest.approx(np.log10(found.p_value))
    assert (found.p_inverted, found.log10_p_inverted) == (1.0, 0.0)


def test_what_cannot_be_decided_is_told():
    told = Payload((0, 1), 10)
    with pytest.raises(ConfigurationError, match="expected 3 symbols, got 2; use the key|got 3"):
        triggers.detection(told, Payload((0, 1, 0)), 10, 1e-6)
    with pytest.raises(ConfigurationError, match="expected a number between 0 and 1"):
        triggers.detection(told, Payload((0, 1)), 10, 1.0)
