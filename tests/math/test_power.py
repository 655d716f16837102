"""How many networks a claim takes: the reference's tables, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import power


@pytest.mark.parametrize(("claims", "networks"), [(1, 6), (3, 7), (10, 9), (28, 11), (45, 11)])
def test_networks_of_a_family_of_claims(claims, networks):
    """The project's reference on statistics, section 13, rule 9."""
    assert power.fewest_networks(claims) == networks
    assert claims * power.smallest_p(networks) <= 0.05 < claims * power.smallest_p(networks - 1)


def test_three_and_five_networks_can_never_be_significant():
    assert power.smallest_p(3) == 0.25
    assert power.smallest_p(5) == 0.0625
    assert power.smallest_p(1) == 1


@pytest.mark.parametrize(
    ("spread", "of_none", "of_some"), [(0.15, 3, 4), (0.31, 6, 11), (0.5, 13, 26)]
)
def test_networks_that_an_equivalence_takes(spread, of_none, of_some):
    """The same rule: 0.5 points at 90 % power with a true loss of 0 and of 0.2."""
    assert power.equivalence_networks(spread, 0, 0.5) == of_none
    assert power.equivalence_networks(spread, 0.2, 0.5) == of_some


def test_what_is_not_negligible_is_never_shown_to_be():
    assert power.equivalence_networks(0.1, 0.5, 0.5) is None
    assert power.equivalence_networks(100, 0, 0.5) is None


@pytest.mark.parametrize(("networks", "spread", "true"), [(3, 0.15, 0.0), (6, 0.31, 0.1)])
def test_power_of_an_equivalence_by_simulation(networks, spread, true):
    draw = np.random.Generator(np.random.PCG64(1))
    x = draw.normal(true, spread, (100_000, networks))
    half = stats.t.ppf(0.95, networks - 1) * x.std(axis=1, ddof=1) / np.sqrt(networks)
    shown = np.mean((x.mean(axis=1) - half > -0.5) & (x.mean(axis=1) + half < 0.5))
    assert power.equivalence_power(networks, spread, true, 0.5) == pytest.approx(shown, abs=0.006)


@pytest.mark.parametrize(("networks", "level"), [(8, 0.05), (12, 0.005)])
def test_power_of_a_superiority_by_simulation(networks, level):
    draw = np.random.Generator(np.random.PCG64(2))
    x = draw.normal(0.1, 0.08, (50_000, networks))
    t = x.mean(axis=1) / (x.std(axis=1, ddof=1) / np.sqrt(networks))
    shown = np.mean(2 * stats.t.sf(np.abs(t), networks - 1) <= level)
    assert power.superiority_power(networks, 0.08, 0.1, level) == pytest.approx(shown, abs=0.008)


def test_a_superiority_takes_at_least_what_signs_take():
    assert power.superiority_networks(1e-3, 1.0, claims=1) == power.fewest_networks(1)
    assert power.superiority_networks(1e-3, 1.0, claims=45) == power.fewest_networks(45)
    assert power.superiority_networks(0.1, 0.2, claims=45) == 11
    assert power.superiority_power(5, 1e-3, 1.0, 0.05) == 0
    found = power.superiority_networks(0.1, 0.1)
    # The textbook's normal approximation, (1.96 + 1.28)^2 = 10.5, and a little more for t.
    assert 11 <= found <= 14
    assert power.superiority_networks(1.0, 1e-3) is None


def test_marks_without_a_miss():
    """The same rule: p_md <= 5 % takes 59; section 6 of the reference has 29 and 299."""
    assert [power.fewest_marks(p) for p in (0.1, 0.05, 0.01)] == [29, 59, 299]


def test_payloads_that_marks_take():
    """M D / (1 + (D - 1) ICC) must reach 59."""
    for networks, correlation in [(12, 0.0), (12, 0.1), (20, 0.3), (30, 0.5)]:
        found = power.fewest_payloads(networks, 0.05, correlation)

        def marks(d, m=networks, icc=correlation):
            return m * d / (1 + (d - 1) * icc)

        if found is None:
            assert marks(10**6) < 59
        else:
            assert marks(found) >= 59 - 1e-9 > marks(found - 1)
    assert power.fewest_payloads(60, 0.05, 0.9) == 1
    assert power.fewest_payloads(12, 0.05, 0.9) is None
