"""Trigger patterns and answers: ranges, layouts and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import CarrierNotFoundError, InjectionError
from nnw_onnx.kit import triggers
from nnw_onnx.kit.samples import ArraySamples

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
    found = triggers.scores_of({"a": np.zeros(2), "b": scores}, 1, 5, 3)
    assert np.array_equal(found, scores.reshape(5, 3))


def test_outputs_that_do_not_fit_are_told():
    with pytest.raises(CarrierNotFoundError, match=r"expected number 1 of the network, got 1 out"):
        triggers.scores_of({"y": np.zeros((5, 3))}, 1, 5, 3)
    for shape in ((5, 4), (5,), (4, 3), (5, 3, 2)):
        with pytest.raises(CarrierNotFoundError, match=r"expected scores of shape \(5, 3\), got"):
            triggers.scores_of({"y": np.zeros(shape)}, 0, 5, 3)


def test_extremes_are_those_of_all_samples(rng):
    values = rng.standard_normal((1000, 2, 5)).astype(np.float32)
    found = triggers.extremes(ArraySamples({"x": values}, np.zeros(1000)))
    assert np.array_equal(found, [values.min(axis=0), values.max(axis=0)])
    # As far as patterns go, they stand for all of them.
    whole = triggers.patterns(SECRET, "x", 7, values)
    assert np.array_equal(triggers.patterns(SECRET, "x", 7, found), whole)


def test_extremes_of_what_has_none():
    tokens = ArraySamples({"ids": np.ones((3, 4), np.int64)}, np.zeros(3))
    with pytest.raises(InjectionError, match="one input of real numbers, got ids of int64; use a"):
        triggers.extremes(tokens)
    two = ArraySamples({"a": np.ones((3, 4)), "b": np.ones((3, 4))}, np.zeros(3))
    with pytest.raises(InjectionError, match="got a of float64, b of float64"):
        triggers.extremes(two)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1, 1)])
def test_one_score_of_two_classes_is_two(shape):
    told = {"p": np.array([0.1, 0.6, 0.49, 1], np.float32).reshape(shape)}
    scores = triggers.scores_of(told, 0, 4, 2)
    assert triggers.answers(scores).classes.tolist() == [0, 1, 0, 1]
    with pytest.raises(CarrierNotFoundError, match=r"expected scores of shape \(4, 3\)"):
        triggers.scores_of(told, 0, 4, 3)


def test_data_of_some_classes_do_not_tell_how_many_a_network_has():
    class Bench:
        def samples(self):
            facts = {"classes": ["a", "b"], "part": True}
            return ArraySamples({"x": np.zeros((3, 2))}, np.zeros(3), facts)

        def run(self, network, feeds):
            return {"y": np.zeros((1, 1000))}

    assert triggers.class_count(None, Bench(), 0) == 1000
