"""What can be seen of weights: references of scipy, invariances, and known matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math.visibility import FEATURES, features, filter_means, two_samples


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def of(weights):
    return dict(zip(FEATURES, features(weights), strict=True))


def test_two_samples_are_those_of_scipy():
    x, y = rng(1).normal(0, 1, (8, 30)), rng(2).normal(0.2, 1.5, (8, 30))
    found = two_samples(x, y)
    assert found.statistic == pytest.approx(stats.ks_2samp(x.ravel(), y.ravel()).statistic)
    assert found.variance_ratio == pytest.approx(y.var() / x.var())
    ties = two_samples([1, 1, 2], [1, 2, 2])
    assert ties.statistic == pytest.approx(stats.ks_2samp([1, 1, 2], [1, 2, 2]).statistic)


def test_the_same_weights_have_no_difference():
    x = rng(1).normal(0, 1, (8, 30))
    assert two_samples(x, x) == (0, 1)
    assert two_samples(np.zeros(5), np.ones(5)).variance_ratio is None


def test_moments_and_quantiles_are_those_of_scipy():
    x = rng(3).gamma(2, 1, (32, 3, 3, 3))
    found = of(x)
    assert found["skewness"] == pytest.approx(stats.skew(x.ravel()))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(x.ravel(), fisher=False))
    assert found["quantile_0.5"] == pytest.approx((np.median(x) - x.mean()) / x.std())
    assert found["log_deviation"] == pytest.approx(np.log(x.std()))
    means = x.reshape(32, -1).mean(axis=0)
    assert filter_means(x) == pytest.approx(means)
    assert found["filter_mean_kurtosis"] == pytest.approx(stats.kurtosis(means, fisher=False))


def test_only_the_deviation_sees_the_scale():
    x = rng(4).normal(0.1, 1, (16, 20))
    plain, scaled = of(x), of(7 * x)
    assert scaled.pop("log_deviation") == pytest.approx(plain.pop("log_deviation") + np.log(7))
    assert scaled == pytest.approx(plain)


def test_order_of_filters_and_of_inputs_is_not_seen():
    x = rng(5).normal(0.1, 1, (16, 20))
    turned = x[rng(1).permutation(16)][:, rng(2).permutation(20)]
    assert of(turned) == pytest.approx(of(x))


def test_independent_weights_have_the_filter_means_that_they_should():
    """Means over n filters have a deviation of 1 / sqrt(n) of a weight's, which is taken out."""
    found = of(rng(6).normal(0, 2, (64, 4000)))
    assert found["filter_mean_deviation"] == pytest.approx(1, abs=0.05)
    assert found["filter_mean_kurtosis"] == pytest.approx(3, abs=0.3)


def test_the_spectrum_is_that_of_the_matrix():
    found = of(np.diag([1.0, 2.0, 4.0, 8.0, 16.0]))
    largest, deviation = 16.0, np.diag([1.0, 2.0, 4.0, 8.0, 16.0]).std()
    assert found["log_spectrum_0"] == pytest.approx(np.log(largest / deviation / np.sqrt(5)))
    assert found["log_spectrum_0.5"] == pytest.approx(np.log(4 / deviation / np.sqrt(5)))


def test_grids_and_zeros_are_seen():
    x = np.round(rng(7).normal(0, 2, (10, 100)))
    found = of(x)
    assert found["zeros"] == np.mean(x == 0)
    assert found["repeated"] == 1 - np.unique(x).size / 1000


@pytest.mark.parametrize("weights", [np.zeros((4, 5)), np.full(7, 2.0), np.ones((1, 1, 3))])
def test_weights_without_any_spread_have_finite_numbers(weights):
    assert np.isfinite(features(weights)).all()


def test_large_layers_are_thinned():
    assert np.isfinite(features(rng(8).normal(0, 1, (700, 900)))).all()
