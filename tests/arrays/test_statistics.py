"""Intervals and tests against the oracles, scipy.stats and brute force."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nnw_onnx.arrays import statistics


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_clopper_pearson_oracles(oracles):
    for row in oracles["stat.clopper_pearson"]:
        found = statistics.clopper_pearson(row["k"], row["n"])
        assert found == pytest.approx(row["limits"], abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_clopper_pearson_inverts_the_binomial_tails(n, data, confidence):
    k = data.draw(st.integers(0, n))
    low, high = statistics.clopper_pearson(k, n, confidence)
    tail = (1 - confidence) / 2
    if k > 0:
        assert scipy.stats.binom.sf(k - 1, n, low) == pytest.approx(tail, rel=1e-6)
    if k < n:
        assert scipy.stats.binom.cdf(k, n, high) == pytest.approx(tail, rel=1e-6)
    expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, "exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("events", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_clopper_pearson_refuses_what_is_no_count(events, n):
    message = f"expected 0 <= events <= n and n >= 1, got {events} of {n}; count again"
    with pytest.raises(ValueError, match=message):
        statistics.clopper_pearson(events, n)


def test_zero_event_bound_needs_the_published_number_of_units(oracles):
    for bound, n in oracles["stat.zero_event_sample_size"].items():
        assert statistics.zero_event_bound(n) <= float(bound) * (1 + 1e-9)
        assert statistics.zero_event_bound(n - 1) > float(bound)


def test_student_quantiles(oracles):
    for n, t in oracles["stat.student_t"].items():
        assert statistics.student_quantile(int(n)) == pytest.approx(t, abs=1e-5)


def test_mean_limits_of_the_cost_example(oracles):
    expected = oracles["stat.cost_example"]
    low, high = statistics.mean_limits([1.02, 1.00, 0.98, 1.05, 0.95])
    assert (low + high) / 2 == pytest.approx(expected["mean"], abs=1e-6)
    assert (high - low) / 2 == pytest.approx(expected["half_width"], abs=1e-6)


def test_mean_limits_agree_with_scipy():
    x = generator().normal(3, 2, 11)
    expected = scipy.stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert statistics.mean_limits(x, 0.9) == pytest.approx((expected.low, expected.high))


def test_mean_limits_need_two_values():
    with pytest.raises(ValueError, match="expected two values, got 1; measure more"):
        statistics.mean_limits([1.0])


def test_mcnemar_agrees_with_scipy_and_enumeration():
    for lost, gained in itertools.product(range(9), repeat=2):
        found = statistics.mcnemar(lost, gained)
        n = lost + gained
        if n == 0:
            assert found == 1.0
            continue
        tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(max(lost, gained), n + 1))
        assert found == pytest.approx(min(1.0, float(2 * tail)), rel=1e-12)
        assert found == pytest.approx(scipy.stats.binomtest(lost, n).pvalue, rel=1e-9)


def test_paired_example(oracles):
    expected = oracles["stat.mcnemar_tost_example"]
    found = statistics.PairedDifference(n=10_000, lost=55, gained=35)
    assert found.difference == pytest.approx(expected["difference"], rel=1e-6)
    assert found.standard_error == pytest.approx(expected["se"], rel=1e-6)
    assert found.p_value == pytest.approx(expected["mcnemar_exact_p"], rel=1e-6)
    assert found.limits(0.90) == pytest.approx(expected["ci90"], abs=1e-8)
    assert found.limits(0.95) == pytest.approx(expected["ci95"], abs=1e-8)
    p = statistics.equivalence_p(found.difference, found.standard_error, 0.005)
    assert p == pytest.approx(expected["tost_p"], rel=1e-5)
    assert statistics.inside(found.limits(0.90), 0.005)
    assert not statistics.inside(found.limits(0.90), 0.003)


def test_paired_difference_is_the_mean_of_the_differences():
    rng = generator(1)
    before, after = rng.random(500) < 0.9, rng.random(500) < 0.88
    found = statistics.paired_difference(before, after)
    x = before.astype(float) - after.astype(float)
    assert found.difference == pytest.approx(x.mean())
    assert found.standard_error == pytest.approx(x.std() / math.sqrt(500))
    assert statistics.sample_limits(x) == pytest.approx(found.limits())


@pytest.mark.parametrize("after", [[True], [[True, False]], []])
def test_paired_answers_must_fit(after):
    with pytest.raises(ValueError, match=r"expected two arrays of one length.*the same samples"):
        statistics.paired_difference([True, False] if after else [], after)


def tango_by_likelihood(lost, gained, n, difference):
    """The score statistic with the restricted likelihood maximised numerically."""

    def unlikely(rate):
        cells = (rate + difference, rate, 1 - 2 * rate - difference)
        counts = (lost, gained, n - lost - gained)
        return -sum(k * math.log(p) for k, p in zip(counts, cells, strict=True) if k)

    low, high = max(0.0, -difference), (1 - difference) / 2
    found = scipy.optimize.minimize_scalar(
        unlikely, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-12}
    )
    variance = (2 * found.x + difference - difference**2) / n
    return ((lost - gained) / n - difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("lost", "gained", "difference"), [(4, 1, 0.05), (4, 1, -0.03), (1, 7, 0.02), (3, 3, 0.1)]
)
def test_the_score_statistic_is_that_of_the_restricted_likelihood(lost, gained, difference):
    expected = tango_by_likelihood(lost, gained, 100, difference)
    assert statistics.paired_score(lost, gained, 100, difference) == pytest.approx(
        expected, abs=1e-4
    )


@pytest.mark.parametrize(("lost", "gained"), [(12, 3), (20, 5), (2, 17), (74, 0)])
def test_score_limits_are_where_the_score_test_turns(lost, gained):
    low, high = statistics.paired_limits(lost, gained, 200)
    z = scipy.stats.norm.ppf(0.975)
    assert statistics.paired_score(lost, gained, 200, high) == pytest.approx(-z, abs=1e-6)
    assert statistics.paired_score(gained, lost, 200, -low) == pytest.approx(-z, abs=1e-6)
    assert statistics.paired_limits(gained, lost, 200) == pytest.approx((-high, -low))


def test_paired_limits_stay_between_minus_one_and_one():
    for n in (1, 5, 50):
        low, high = statistics.paired_limits(n, 0, n)
        assert -1 <= low < high <= 1


@pytest.mark.parametrize("n", [800, 898, 1000, 1200, 2000, 5000, 10_000])
@pytest.mark.parametrize("gained_rate", [0.0, 0.0005, 0.002, 0.01])
def test_the_size_of_the_equivalence_test(n, gained_rate):
    """Probability of "equivalent" at a true difference of the margin, by enumeration."""
    margin, lost_rate = 0.005, 0.005 + gained_rate
    most = int(n * lost_rate + 8 * math.sqrt(n * lost_rate) + 10)
    size = 0.0
    for gained in range(1 if gained_rate == 0 else most):
        weight = scipy.stats.binom.pmf(gained, n, gained_rate)
        if weight < 1e-7:
            continue
        # Given the gained ones, the lost ones are binomial among the rest.
        counts = np.arange(most)
        chance = scipy.stats.binom.pmf(counts, n - gained, lost_rate / (1 - gained_rate))
        # Equivalent are neighbouring counts around the gained ones: bisect for the largest.
        low, high = -1, most
        while high - low > 1:
            middle = (low + high) // 2
            found = statistics.paired_limits(middle, gained, n, 0.90)
            if found[1] < margin:
                low = middle
            else:
                high = middle
        least = next(
            (
                k
                for k in range(low + 1)
                if statistics.paired_limits(k, gained, n, 0.90)[0] > -margin
            ),
            0,
        )
        size += weight * chance[least : low + 1].sum()
    assert size <= 0.062


def test_p_values_agree_with_the_limits():
    rng = generator(5)
    for n in (700, 1500, 20_000):
        for _ in range(60):
            x = rng.choice([-1.0, 0.0, 1.0], n, p=[0.002, 0.994, 0.004])
            inside = statistics.inside(statistics.sample_limits(x, 0.90), 0.005)
            assert inside == (statistics.sample_equivalence_p(x, 0.005) < 0.05)


def test_effective_counts_keep_mean_and_spread():
    x = generator(6).choice([-1 / 3, 0.0, 1 / 3, 2 / 3], 900, p=[0.01, 0.96, 0.02, 0.01])
    scale, lost, gained, n = statistics.effective_counts(x)
    assert scale * (lost - gained) / n == pytest.approx(x.mean())
    assert scale**2 * (lost + gained) / n == pytest.approx((x**2).mean())
    assert statistics.effective_counts([1.0, -1.0, 0.0, 1.0]) == (1.0, 2.0, 1.0, 4)


def test_unchanged_answers_have_the_limits_of_an_event_never_seen():
    low, high = statistics.PairedDifference(n=300, lost=0, gained=0).limits(0.90)
    # One-sided 95 % bound of 0 of n: 1 - 0.05 ** (1 / n).
    assert (low, high) == pytest.approx((0.05 ** (1 / 300) - 1, 1 - 0.05 ** (1 / 300)))
    assert statistics.sample_limits(np.zeros(300), 0.90) == pytest.approx((low, high))


def test_limits_cover_the_truth_where_few_answers_change():
    """Coverage by enumeration: answers are lost with probability q, none is gained."""
    n = 300
    for q in (0.001, 0.003, 0.01, 0.03):
        covered = 0.0
        for lost in range(60):
            low, high = statistics.PairedDifference(n, lost, 0).limits(0.90)
            covered += scipy.stats.binom.pmf(lost, n, q) * (low <= q <= high)
        assert covered >= 0.85


@pytest.mark.parametrize("margin", [0.005, 0.01, 0.1])
def test_samples_for_equivalence_is_the_smallest_number(margin):
    n = statistics.samples_for_equivalence(margin)
    enough = statistics.PairedDifference(n, 0, 0).limits(0.90)
    too_few = statistics.PairedDifference(n - 1, 0, 0).limits(0.90)
    assert statistics.inside(enough, margin)
    assert not statistics.inside(too_few, margin)


def test_equivalence_with_student_t_agrees_with_two_one_sided_tests():
    x = generator(2).normal(0.001, 0.002, 6)
    error = x.std(ddof=1) / math.sqrt(6)
    above = scipy.stats.ttest_1samp(x, -0.005, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(x, 0.005, alternative="less").pvalue
    found = statistics.equivalence_p(float(x.mean()), float(error), 0.005, degrees=5)
    assert found == pytest.approx(max(above, below))
    assert (found <= 0.05) == statistics.inside(statistics.mean_limits(x, 0.90), 0.005)


def test_equivalence_without_spread():
    assert statistics.equivalence_p(0.001, 0.0, 0.005) == 0.0
    assert statistics.equivalence_p(0.006, 0.0, 0.005) == 1.0


def test_power_of_equivalence_at_the_published_sample_sizes(oracles):
    for discordance, n in oracles["stat.tost_sample_size"].items():
        error = math.sqrt(float(discordance) / n)
        half = statistics.normal_quantile(0.90) * error
        # Power: the estimate, normal about 0, lies within margin - half on both sides.
        power = 2 * scipy.stats.norm.cdf((0.005 - half) / error) - 1
        assert power == pytest.approx(0.90, abs=0.002)


def test_sidak_levels(oracles):
    for n, level in oracles["stat.sidak"].items():
        found = statistics.sidak_level(1e-6, int(n))
        assert found == pytest.approx(level, rel=1e-12)
        assert statistics.sidak(found, int(n)) == pytest.approx(1e-6, rel=1e-9)


def test_sidak_is_exact():
    for p, n in itertools.product(["1e-9", "0.01", "0.5"], [1, 2, 7]):
        exact = 1 - (1 - Fraction(p)) ** n
        assert statistics.sidak(float(p), n) == pytest.approx(float(exact), rel=1e-12)
    assert statistics.sidak(1.0, 3) == 1.0


@pytest.mark.parametrize("keys", [1, 2, 5, 20])
def test_any_detected_is_the_corrected_best_p_value(keys):
    for log10_p in (-5.9, -6.0, -6.2, -6.5, -7.0, -7.4, -400.0):
        others = [-0.3] * (keys - 1)
        expected = statistics.sidak(10**log10_p, keys) <= 1e-6 * (1 + 1e-9)
        assert statistics.any_detected([*others, log10_p], 1e-6) == expected


def test_bootstrap_of_networks_and_payloads_has_the_exact_mean_and_variance():
    rows = [[0.0, 0.2], [0.4, 1.0], [0.1, 0.1]]
    found = statistics.bootstrap_means(rows, generator(3), 40_000)
    # Every resample of 3 networks and, in each, of 2 payloads, with equal probability.
    inner = [[(a + b) / 2 for a in r for b in r] for r in rows]
    means = [m for r in inner for m in r]
    exact_mean, exact_variance = float(np.mean(means)), float(np.var(means)) / 3
    assert found.mean() == pytest.approx(exact_mean, abs=0.004)
    assert found.var() == pytest.approx(exact_variance, rel=0.03)


def test_bootstrap_of_unequal_networks_uses_no_padding():
    rows = [[1.0], [1.0, 1.0, 1.0]]
    assert np.all(statistics.bootstrap_means(rows, generator(4), 500) == 1.0)
    drawn = statistics.bootstrap_means([[0.0], [1.0, 1.0]], generator(5), 20_000)
    # Weighted by the number of values drawn: 0 of 2, 2 of 3 (twice as often), 4 of 4.
    shares = [np.mean(np.isclose(drawn, v)) for v in (0.0, 2 / 3, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_bootstrap_is_the_same_in_chunks(monkeypatch):
    rows = [[0.0, 0.5], [0.25, 1.0]]
    expected = statistics.bootstrap_means(rows, generator(6), 1000).mean()
    monkeypatch.setattr(statistics, "_CHUNK_ELEMENTS", 40)
    found = statistics.bootstrap_means(rows, generator(6), 1000)
    assert found.shape == (1000,)
    assert found.mean() == pytest.approx(expected, abs=0.03)


def test_bootstrap_limits_agree_with_scipy_for_one_row():
    x = generator(7).normal(size=40)
    expected = scipy.stats.bootstrap(
        (x,), np.mean, method="percentile", n_resamples=20_000, rng=generator(8)
    ).confidence_interval
    found = statistics.bootstrap_limits([x], generator(9), resamples=20_000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.015)


def test_ratio_of_medians():
    y = generator(10).gamma(5, size=25)
    value, limits = statistics.median_ratio_limits(2 * y, y, generator(11))
    assert value == pytest.approx(2)
    assert limits == pytest.approx((2, 2))
    x = y * generator(12).normal(1.1, 0.05, 25)
    expected = scipy.stats.bootstrap(
        (x, y),
        lambda a, b, axis: np.median(a, axis=axis) / np.median(b, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=generator(13),
    ).confidence_interval
    value, limits = statistics.median_ratio_limits(x, y, generator(14), resamples=20_000)
    assert value == pytest.approx(np.median(x) / np.median(y))
    assert limits == pytest.approx((expected.low, expected.high), abs=0.02)
