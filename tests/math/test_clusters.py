"""Limits over networks: closed forms, references of scipy, and coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import clusters
from nnw_onnx.math.statistics import zero_event_bound


def drawn(rng, networks, payloads, share, correlation):
    """(networks, payloads) events that hang together within a network: beta-binomial."""
    odds = (1 - correlation) / correlation
    chance = rng.beta(share * odds, (1 - share) * odds, networks)
    return rng.random((networks, payloads)) < chance[:, None]


def test_a_share_has_clopper_pearsons_limits_at_the_effective_number():
    means = np.array([0.2, 0.2, 0.4, 0.2, 0.0, 0.6, 0.2, 0.4, 0.0, 0.2])
    low, high = clusters.cluster_limits(means)
    mean, variance = means.mean(), means.var(ddof=1) / 10
    n = mean * (1 - mean) / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 9)) ** 2
    assert low == pytest.approx(stats.beta.ppf(0.025, n * mean, n - n * mean + 1))
    assert high == pytest.approx(stats.beta.ppf(0.975, n * mean + 1, n - n * mean))
    assert low < mean < high


def test_a_share_that_few_networks_make_up_counts_no_more_trials_than_networks():
    means = np.array([0.9, 0.1, 0.05] + 9 * [0.01])
    assert clusters.contributing(means) == pytest.approx(means.sum() ** 2 / (means**2).sum())
    assert clusters.contributing(means) < clusters.FEW_CONTRIBUTE
    n = 12 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 11)) ** 2
    expected = stats.beta.ppf(0.975, n * means.mean() + 1, n - n * means.mean())
    assert clusters.cluster_limits(means, 1e6)[1] == pytest.approx(expected)
    assert clusters.contributing([0.25] * 4) == 4


def test_no_more_trials_are_believed_than_there_were():
    means = [0.4, 0.5, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    wide, narrow = clusters.cluster_limits(means, 20), clusters.cluster_limits(means)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_networks_that_agree_are_no_evidence():
    assert clusters.cluster_limits([0.5] * 10) is None
    assert clusters.two_way_limits([0.01] * 10, None) is None
    assert clusters.two_way_limits([0.01], None) is None


@pytest.mark.parametrize(
    ("networks", "payloads", "share", "correlation"),
    [
        (5, 5, 0.3, 0.5),
        (10, 10, 0.1, 0.5),
        (10, 10, 0.1, 0.9),
        (10, 3, 0.05, 0.5),
        (20, 5, 0.5, 0.2),
    ],
)
def test_limits_of_a_share_cover_it_where_counting_every_watermark_does_not(
    rng, networks, payloads, share, correlation
):
    hits = counted = 0
    for _ in range(300):
        events = drawn(rng, networks, payloads, share, correlation)
        means = events.mean(axis=1)
        if means.max() == 0:
            low, high = 0.0, zero_event_bound(networks)
        else:
            low, high = clusters.cluster_limits(means, events.size) or (0.0, 1.0)
        hits += low <= share <= high
        exact = stats.binomtest(int(events.sum()), events.size)
        if correlation >= 0.5 and payloads == 10:
            low, high = exact.proportion_ci()
            counted += low <= share <= high
    assert hits / 300 >= 0.91
    if correlation >= 0.5 and payloads == 10:
        assert counted / 300 < 0.75


def test_the_intraclass_correlation_follows_from_the_f_ratio(rng):
    rows = [rng.random(4) + 0.3 * k for k in range(6)]
    ratio = stats.f_oneway(*rows).statistic
    assert clusters.intraclass_correlation(rows) == pytest.approx((ratio - 1) / (ratio + 3))
    assert clusters.intraclass_correlation([[1, 1], [0, 0]]) == 1
    assert clusters.intraclass_correlation([[1, 0], [1, 0]]) == 0


def test_the_intraclass_correlation_of_a_simulation_is_found(rng):
    found = [clusters.intraclass_correlation(drawn(rng, 40, 10, 0.4, 0.5)) for _ in range(40)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("rows", [[[1, 0, 1]], [[1], [0]], [[1, 1], [1, 1]], []])
def test_the_intraclass_correlation_is_not_always_defined(rows):
    assert clusters.intraclass_correlation(rows) is None


def test_the_effective_number_lies_between_networks_and_watermarks():
    assert clusters.effective_number(5, 4, 0) == 20
    assert clusters.effective_number(5, 4, 1) == 5
    assert clusters.effective_number(12, 3, 0.5) == pytest.approx(18)


def test_a_loss_has_limits_of_both_kinds_of_error():
    low, high = clusters.two_way_limits([0.01, 0.02, 0.03], 0.004, shared=0.002**2)
    between, samples, shared = 0.01**2 / 3, 0.004**2, 0.002**2
    variance = between + samples - shared
    freedom = variance**2 / (between**2 / 2)
    half = stats.t.ppf(0.95, freedom) * math.sqrt(variance)
    assert (low, high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-9)


def test_neither_part_of_a_loss_is_more_than_the_whole():
    low, high = clusters.two_way_limits([0.01, 0.02, 0.03], 0.001, shared=1.0)
    half = stats.t.ppf(0.95, 2) * 0.01 / math.sqrt(3)
    assert (low, high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-9)


def test_two_sessions_that_differ_leave_one_degree_of_freedom():
    low, high = clusters.crossed_limits([[6.66, 53.2]] * 5)
    half = stats.t.ppf(0.975, 1) * np.std([6.66, 53.2], ddof=1) / math.sqrt(2)
    assert high - low == pytest.approx(2 * half)
    assert clusters.crossed_limits([[1.0, 1.0]] * 5) is None


def test_sessions_that_agree_leave_the_spread_of_networks():
    values = np.array([1.0, 1.2, 0.9, 1.1])
    low, high = clusters.crossed_limits(np.stack([values, values], axis=1))
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert (low, high) == pytest.approx((1.05 - half, 1.05 + half))


def test_limits_of_crossed_effects_cover_their_mean(rng):
    hits = 0
    for _ in range(1000):
        table = rng.normal(0, 1, (6, 1)) + rng.normal(0, 0.5, (1, 3)) + rng.normal(0, 0.5, (6, 3))
        low, high = clusters.crossed_limits(table)
        hits += low <= 0 <= high
    assert 0.93 <= hits / 1000 <= 0.98


def test_one_network_has_limits_for_other_samples_only():
    assert clusters.two_way_limits([0.02], 0.004) == pytest.approx(
        (0.02 - 1.644854 * 0.004, 0.02 + 1.644854 * 0.004), rel=1e-6
    )


def test_limits_are_never_narrower_than_what_unchanged_answers_leave_open():
    assert clusters.two_way_limits([0.0, 0.0], 0.0, least=0.003) == (-0.003, 0.003)


def test_limits_of_a_loss_cover_it_for_other_networks_and_samples(rng):
    hits = 0
    for _ in range(2000):
        shared = rng.normal(0, 0.004)  # the test samples at hand are the same for all networks
        means = 0.01 + shared + rng.normal(0, 0.006, 5)
        low, high = clusters.two_way_limits(means, 0.004)
        hits += low <= 0.01 <= high
    assert hits / 2000 >= 0.89


@pytest.mark.parametrize(
    ("count", "n", "level"), [(0, 10, 0.1), (3, 1000, 1e-3), (1, 10**6, 1e-6), (11, 10, 0.1)]
)
def test_an_excess_has_the_exact_tail(count, n, level):
    assert clusters.excess_p(count, n, level) == pytest.approx(
        stats.binom.sf(count - 1, n, level), rel=1e-9
    )
