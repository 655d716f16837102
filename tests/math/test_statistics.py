"""Intervals and tests against tables, scipy.stats and brute force."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from nnw_onnx.math import statistics


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("bound", "n"), [(0.1, 29), (0.05, 59), (0.01, 299), (0.001, 2995), (1e-6, 2_995_731)]
)
def test_units_without_an_error_that_a_bound_takes(bound, n):
    """The rule of three, exact: 1 - 0.05^(1/n) <= bound."""
    assert statistics.zero_event_bound(n) <= bound * (1 + 1e-9)
    assert statistics.zero_event_bound(n - 1) > bound


# 0.975 quantile of Student's t with n - 1 degrees of freedom, from any table.
STUDENT = {2: 12.706205, 3: 4.3026527, 4: 3.1824463, 5: 2.7764451, 6: 2.5705818, 8: 2.3646243,
           10: 2.2621572, 15: 2.1447867, 20: 2.0930241, 25: 2.0638986, 30: 2.0452296,
           50: 2.0095752, 100: 1.984217}  # fmt: skip


@pytest.mark.parametrize("n", STUDENT)
def test_student_quantiles(n):
    assert statistics.student_quantile(n) == pytest.approx(STUDENT[n], abs=1e-5)


def test_mean_limits_of_five_costs():
    """Mean 1, deviation 0.0380788655, t 2.7764451: half width 0.0472811564."""
    low, high = statistics.mean_limits([1.02, 1.00, 0.98, 1.05, 0.95])
    assert (low + high) / 2 == pytest.approx(1.0, abs=1e-6)
    assert (high - low) / 2 == pytest.approx(0.0472811564, abs=1e-6)


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


def test_paired_example():
    """55 of 10,000 answers lost and 35 gained: 0.002, with a standard error of 0.0009484725."""
    assert statistics.mcnemar(55, 35) == pytest.approx(0.04459752463, rel=1e-6)
    limits = {0.90: (0.000439901, 0.003560099), 0.95: (0.000141028, 0.003858972)}
    for confidence, expected in limits.items():
        found = statistics.paired_limits(55, 35, 10_000, confidence)
        assert found == pytest.approx(expected, abs=1e-8)


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


def test_effective_counts_keep_mean_and_spread():
    x = generator(6).choice([-1 / 3, 0.0, 1 / 3, 2 / 3], 900, p=[0.01, 0.96, 0.02, 0.01])
    scale, lost, gained, n = statistics.effective_counts(x)
    assert scale * (lost - gained) / n == pytest.approx(x.mean())
    assert scale**2 * (lost + gained) / n == pytest.approx((x**2).mean())
    assert statistics.effective_counts([1.0, -1.0, 0.0, 1.0]) == (1.0, 2.0, 1.0, 4)


def test_unchanged_answers_have_the_limits_of_an_event_never_seen():
    low, high = statistics.paired_limits(0, 0, 300, 0.90)
    # One-sided 95 % bound of 0 of n: 1 - 0.05 ** (1 / n).
    assert (low, high) == pytest.approx((0.05 ** (1 / 300) - 1, 1 - 0.05 ** (1 / 300)))
    assert statistics.sample_limits(np.zeros(300), 0.90) == pytest.approx((low, high))


def test_limits_cover_the_truth_where_few_answers_change():
    """Coverage by enumeration: answers are lost with probability q, none is gained."""
    n = 300
    for q in (0.001, 0.003, 0.01, 0.03):
        covered = 0.0
        for lost in range(60):
            low, high = statistics.paired_limits(lost, 0, n, 0.90)
            covered += scipy.stats.binom.pmf(lost, n, q) * (low <= q <= high)
        assert covered >= 0.85


@pytest.mark.parametrize(
    ("discordance", "n"), [(0.005, 2165), (0.01, 4330), (0.02, 8660), (0.05, 21_648)]
)
def test_samples_that_an_equivalence_takes(discordance, n):
    """(1.645 + 1.645)^2 discordance / 0.005^2: 90 % power at a true difference of 0."""
    error = math.sqrt(discordance / n)
    half = statistics.normal_quantile(0.90) * error
    # Power: the estimate, normal about 0, lies within margin - half on both sides.
    power = 2 * scipy.stats.norm.cdf((0.005 - half) / error) - 1
    assert power == pytest.approx(0.90, abs=0.002)


@pytest.mark.parametrize(("found", "n"), [(1, 1), (20, 20), (19, 20), (3, 7), (1, 50), (59, 59)])
def test_the_lowest_share_is_the_one_by_which_so_many_have_a_chance_of_5_percent(found, n):
    low = statistics.lowest_share(found, n)
    at_least = sum(math.comb(n, k) * low**k * (1 - low) ** (n - k) for k in range(found, n + 1))
    assert at_least == pytest.approx(0.05, rel=1e-9)


def test_of_nothing_found_the_lowest_share_is_nothing_and_of_all_it_is_the_rule_of_three():
    assert statistics.lowest_share(0, 9) == 0.0
    assert statistics.lowest_share(59, 59) == pytest.approx(1 - statistics.zero_event_bound(59))
