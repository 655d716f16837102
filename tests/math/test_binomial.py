"""Exact tails against scipy, the definition in fractions, and the oracles."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.math import binomial


@given(st.integers(1, 60), st.integers(-2, 62), st.integers(2, 1000))
def test_tail_is_its_definition(n, k, classes):
    chance = Fraction(1, classes)
    terms = (math.comb(n, i) * chance**i * (1 - chance) ** (n - i) for i in range(max(k, 0), n + 1))
    exact = sum(terms, Fraction(0))
    found = binomial.tail(k, n, chance)
    assert found.p_value == float(exact)
    if exact > 1e-300:
        assert found.log10_p == pytest.approx(math.log10(exact), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("n", "k"), [(64, 40), (256, 130), (2048, 1000), (2048, 1100), (10, 10)])
def test_tail_agrees_with_scipy(n, k):
    assert binomial.tail(k, n).p_value == pytest.approx(stats.binom.sf(k - 1, n, 0.5), rel=1e-9)


def test_tails_of_opposite_matches_add_up():
    whole = binomial.tail(40, 64).p_value + binomial.tail(64 - 39, 64).p_value
    assert whole == pytest.approx(1)


def test_log_stays_finite_where_the_value_underflows():
    tail = binomial.tail(2048, 2048)
    assert tail.p_value == 0
    assert tail.log10_p == pytest.approx(-2048 * math.log10(2), rel=1e-12)
    assert binomial.tail(5, 4) == (0.0, -math.inf)


def test_p_values_of_the_oracle():
    # oracles.json stat.pvalues
    assert binomial.tail(45, 64).p_value == pytest.approx(0.0007813946724140139, rel=1e-9)
    assert binomial.tail(167, 256).p_value == pytest.approx(6.222893350770624e-07, rel=1e-9)
    assert binomial.tail(256, 256).p_value == pytest.approx(8.636168555094445e-78, rel=1e-9)


def test_thresholds_of_the_oracle():
    # oracles.json stat.thresholds_bits and stat.thresholds_triggers
    assert [binomial.threshold(t, 1e-6) for t in (16, 20, 64, 256)] == [None, 20, 51, 167]
    assert binomial.threshold(100, 1e-6, Fraction(1, 10)) == 28


def test_every_p_value_and_threshold_of_the_oracles(oracles):
    for row in oracles["stat.pvalues"]:
        assert binomial.tail(row["m"], row["T"]).p_value == pytest.approx(row["p"], rel=1e-9)
    rates = {"1e3": 1e-3, "1e6": 1e-6, "1e9": 1e-9, "1e12": 1e-12}
    for row in oracles["stat.thresholds_bits"]:
        for name, rate in rates.items():
            k = binomial.threshold(row["T"], rate)
            assert k == row[f"k_{name}"], (row["T"], name)
            if k is not None:
                achieved = binomial.tail(k, row["T"]).p_value
                assert achieved == pytest.approx(row[f"achieved_{name}"], rel=1e-9)
    for row in oracles["stat.thresholds_bits_5pct"]:
        assert binomial.threshold(row["T"], 0.05) == row["k_0.05"]
        assert binomial.threshold(row["T"], 0.01) == row["k_0.01"]
    for row in oracles["stat.thresholds_triggers"]:
        for name in ("1e3", "1e6", "1e9"):
            chance = Fraction(1, row["C"])
            assert binomial.threshold(row["n"], rates[name], chance) == row[f"k_{name}"]


@given(st.integers(1, 200), st.floats(1e-15, 0.999))
def test_threshold_is_the_smallest(n, rate):
    k = binomial.threshold(n, rate)
    if k is None:
        assert binomial.tail(n, n).p_value > rate
    else:
        assert binomial.tail(k, n).p_value <= rate
        assert binomial.tail(k - 1, n).p_value > rate


@pytest.mark.parametrize("rate", [0, 1, -1e-6, math.nan])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ConfigurationError, match=r"expected a number between 0 and 1.*use 1e-6"):
        binomial.threshold(8, rate)


@pytest.mark.parametrize(("n", "chance"), [(0, Fraction(1, 2)), (5, Fraction(0)), (5, Fraction(1))])
def test_impossible_distributions_are_refused(n, chance):
    with pytest.raises(ConfigurationError, match="expected n >= 1 and a chance between 0 and 1"):
        binomial.tail(1, n, chance)


@pytest.mark.parametrize(
    ("k", "n", "chance"),
    [(1000, 2000, Fraction(1, 2)), (1100, 2000, Fraction(1, 2)), (3, 2000, Fraction(1, 2)),
     (7, 300, Fraction(1, 10)), (300, 300, Fraction(1, 10)), (1, 60, Fraction(1, 1 << 32)),
     (40, 60, Fraction(1, 1 << 32)), (0, 60, Fraction(1, 3))],
)  # fmt: skip
def test_large_counts_by_series_agree_with_the_exact_sum(monkeypatch, k, n, chance):
    exact, point = binomial.tail(k, n, chance), binomial.log10_point(k, n, chance)
    monkeypatch.setattr(binomial, "_LARGEST_BITS", 0)
    found = binomial.tail.__wrapped__(k, n, chance)
    assert found.log10_p == pytest.approx(exact.log10_p, rel=1e-9, abs=1e-9)
    assert found.p_value == pytest.approx(exact.p_value, rel=1e-7)
    assert binomial.log10_point.__wrapped__(k, n, chance) == pytest.approx(point, rel=1e-9)


def test_a_point_is_a_difference_of_tails():
    for k in range(21):
        here, beyond = (binomial.tail(j, 20, Fraction(1, 7)).p_value for j in (k, k + 1))
        found = 10 ** binomial.log10_point(k, 20, Fraction(1, 7))
        assert found == pytest.approx(here - beyond, rel=1e-6, abs=1e-15)
    assert binomial.log10_point(21, 20) == -math.inf
    assert 10 ** binomial.log10_point(3, 10) == pytest.approx(120 / 1024, rel=1e-12)


def test_a_million_blocks_take_no_time():
    found = binomial.tail(5, 1_000_000, Fraction(1, 1 << 32))
    # Poisson of mean 1e6 / 2^32
    mean = 1e6 / 2**32
    assert found.p_value == pytest.approx(mean**5 / 120, rel=1e-3)
