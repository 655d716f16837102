"""The jackknife against recomputing without each sample, and against what it is known to give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import precision_without as module
from nnw_onnx.math.average_precision import THRESHOLDS, Matches, average_precision
from nnw_onnx.math.jackknife import mean_of_known, pseudo_values
from nnw_onnx.math.precision_without import precision_without


def test_of_a_mean_the_pseudo_values_are_the_samples():
    samples = np.random.Generator(np.random.PCG64(0)).standard_normal(20)
    without = np.array([np.delete(samples, i).mean() for i in range(20)])
    np.testing.assert_allclose(pseudo_values(samples.mean(), without), samples)


def test_of_a_ratio_their_error_is_that_of_the_delta_method():
    rng = np.random.Generator(np.random.PCG64(1))
    below = rng.uniform(1, 2, 400)
    above = below * rng.uniform(0, 1, 400)
    whole = above.sum() / below.sum()
    without = (above.sum() - above) / (below.sum() - below)
    found = pseudo_values(whole, without)
    assert found.mean() == pytest.approx(whole, abs=1e-12)
    delta = (above - whole * below) / below.mean()
    assert found.std(ddof=1) == pytest.approx(delta.std(ddof=1), rel=0.01)


def test_where_nothing_is_known_there_are_none():
    assert pseudo_values(1.0, np.array([1.0])) is None
    assert pseudo_values(1.0, np.array([1.0, np.nan, 1.0])) is None
    rows = np.array([[1, np.nan, np.nan], [3, 5, np.nan]])
    np.testing.assert_array_equal(mean_of_known(rows), [2, 5, np.nan])


def _drawn(seed: int) -> tuple[Matches, np.ndarray, np.ndarray]:
    """Detections of a few images, no more of them right than there are things."""
    rng = np.random.Generator(np.random.PCG64(seed))
    images, count = int(rng.integers(2, 9)), int(rng.integers(0, 40))
    things = rng.integers(0, 4, images)
    things[0] += 1
    image, scores = np.sort(rng.integers(0, images, count)), rng.random(count).round(1)
    right = 1.1 * rng.random(count) >= THRESHOLDS[:, np.newaxis]
    for row in right:
        for number, most in enumerate(things):
            row[np.flatnonzero(row & (image == number))[most:]] = False
    return Matches(scores, right, ~right & (rng.random(count) < 0.2)), image, things


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("at_once", [1, 1 << 18])
def test_average_precision_without_each_image(seed, at_once, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    found, image, things = _drawn(seed)
    expected = np.full(len(things), np.nan)
    for number, own in enumerate(things):
        rest = image != number
        part = Matches(found.scores[rest], found.right[:, rest], found.ignored[:, rest])
        if things.sum() > own:
            expected[number] = average_precision(part, int(things.sum() - own)).mean()
    np.testing.assert_allclose(precision_without(found, image, things), expected, atol=1e-14)


def _covered(draw, truth: float) -> float:
    """Share of draws whose 90 % limits, from Student's t of the pseudo-values, hold the truth."""
    draws = [np.asarray(draw(seed)) for seed in range(200)]
    reach = [stats.t.ppf(0.95, len(d) - 1) * stats.sem(d) for d in draws]
    held = [abs(d.mean() - truth) <= r for d, r in zip(draws, reach, strict=True)]
    return float(np.mean(held))


def _overlaps(seed: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of three classes in common and in all, of images that differ from one another."""
    rng = np.random.Generator(np.random.PCG64(seed))
    union = rng.gamma(2.0, 50.0, (3, images))
    return union * rng.beta([[8], [4], [2]], [[2], [3], [2]], (3, images)), union


@pytest.mark.parametrize("images", [10, 30, 100])
def test_limits_of_a_mean_iou_hold_as_often_as_they_say(images):
    """For images drawn anew; expectations of Beta and Gamma give the truth."""

    def drawn(seed: int) -> np.ndarray:
        common, union = _overlaps(seed, images)
        rest = (common.sum(1, keepdims=True) - common) / (union.sum(1, keepdims=True) - union)
        values = pseudo_values((common.sum(1) / union.sum(1)).mean(), rest.mean(axis=0))
        assert values is not None
        return values

    truth = np.mean([0.8, 4 / 7, 0.5])
    assert 0.84 <= _covered(drawn, truth) <= 0.95


def _detected(seed: int, images: int) -> tuple[Matches, np.ndarray, np.ndarray]:
    """Three things an image; detections that are right the more often, the higher their score."""
    rng = np.random.Generator(np.random.PCG64(seed))
    things = np.full(images, 3)
    image = np.repeat(np.arange(images), 4)
    scores = rng.random(len(image))
    right = (rng.random(len(image)) < scores) & (np.arange(len(image)) % 4 < 3)
    every = np.tile(right, (len(THRESHOLDS), 1))
    return Matches(scores, every, np.zeros_like(every)), image, things


@pytest.mark.parametrize("images", [10, 30, 100])
def test_limits_of_an_average_precision_hold_as_often_as_they_say(images):
    """For images drawn anew; the truth is that of 20,000 images."""
    many, _, things = _detected(10_000, 20_000)
    truth = float(average_precision(many, int(things.sum())).mean())

    def drawn(seed: int) -> np.ndarray:
        found, image, things = _detected(seed, images)
        whole = float(average_precision(found, int(things.sum())).mean())
        values = pseudo_values(whole, precision_without(found, image, things))
        assert values is not None
        return values

    assert 0.84 <= _covered(drawn, truth) <= 0.95
