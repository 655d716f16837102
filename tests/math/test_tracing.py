"""Soft scores of recipients against the bound, brute force, published lengths and simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import tracing

from ..benchmarks.bench_collusion import ATTACKS, fair, fair_scores  # noqa: TID252

GAUSSIAN = float(stats.norm.isf(1e-6))


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("rate", "bits"),
    [
        (1e-6, {2: 73, 3: 110, 5: 183, 8: 292, 12: 437, 20: 729}),
        (1e-9, {2: 106, 3: 159, 5: 265, 8: 424, 12: 636, 20: 1060}),
    ],
)
def test_bits_for_colluders_are_those_of_the_reference_table(rate, bits):
    """methods-2.md section 33, "fair iid bits, soft decoder, averaging, power 90 %"."""
    for colluders, wanted in bits.items():
        found = tracing.bits_for(colluders, rate, 0.9)
        assert abs(found - wanted) <= 1  # 437.05 is rounded up here
        assert tracing.colluders_for(found, rate, 0.9) == colluders
        assert tracing.colluders_for(wanted - 2, rate, 0.9) == colluders - 1


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 8,
        [5.0, 0.1, 0.1, 0.1, 3.0, 0.0, 0.0, -1.0],
        [1e-9, -2.0, 0.5, 0.25, -0.125, 1.0, 1.0, 2.0],
    ],
)
def test_no_innocent_is_likelier_than_told_over_all_codewords(values):
    words = np.array(list(itertools.product((0, 1), repeat=len(values))), np.uint8)
    z = tracing.scores(words, np.array(values))
    for one in z[z > 0]:
        exact = np.mean(z >= one - 1e-12)
        assert math.log10(exact) <= tracing.log10_p(one) + 1e-9
        assert tracing.log10_p(one) <= -(one**2) / 2 / math.log(10) + 1e-12


def test_a_score_is_the_sum_that_the_reference_writes():
    rng = generator(0)
    words, values = rng.integers(0, 2, (7, 50)), rng.standard_normal(50)
    wanted = [
        sum((x - 0.5) * v for x, v in zip(word, values, strict=True))
        / (0.5 * np.linalg.norm(values))
        for word in words
    ]
    np.testing.assert_allclose(tracing.scores(words, values), wanted)


def test_ties_are_erasures_and_nothing_read_accuses_nobody():
    words = generator(1).integers(0, 2, (5, 6))
    erased = tracing.soft_values(np.array([1, 0, 1, 1, 0, 0]), np.array([1, 0, 0, 2, 1, 0.0]), 1.0)
    np.testing.assert_array_equal(erased, [1, 0, 0, 2, -1, 0])
    few = tracing.scores(words[:, [0, 3, 4]], erased[[0, 3, 4]])
    np.testing.assert_allclose(tracing.scores(words, erased), few)
    np.testing.assert_array_equal(tracing.scores(words, np.zeros(6)), np.zeros(5))
    assert tracing.log10_p(0.0) == 0.0


def test_soft_values_are_cut_at_two_margins_where_the_margin_is_known():
    bits, sure = np.array([1, 0, 1]), np.array([3.0, 300.0, 9.0])
    np.testing.assert_allclose(tracing.soft_values(bits, sure, 6.0), [0.5, -2.0, 1.5])
    np.testing.assert_allclose(tracing.soft_values(bits, sure, 0.0), [3.0, -300.0, 9.0])


@pytest.mark.parametrize("tested", [1, 2, 1000, 10**9])
def test_sidak_is_the_chance_that_one_of_n_is_so_extreme(tested):
    for p in (0.5, 1e-3, 1e-12):
        exact = 1.0 - (1.0 - p) ** tested if p > 1e-4 else min(1.0, p * tested)
        assert 10 ** tracing.log10_sidak(math.log10(p), tested) == pytest.approx(exact, rel=1e-2)
    assert tracing.log10_sidak(-400.0, tested) == pytest.approx(-400 + math.log10(tested))
    assert tracing.log10_sidak(0.0, tested) == 0.0
    each = tracing.each_of(1e-6, tested)
    assert tracing.log10_sidak(math.log10(each), tested) == pytest.approx(-6, abs=1e-6)


@pytest.mark.parametrize(("colluders", "caught"), [(5, 0.97), (8, 0.79), (12, 0.42)])
def test_averaging_colluders_are_caught_as_often_as_the_reference_says(colluders, caught):
    """methods-2.md section 33, m = 256, threshold of the normal tail at 1e-6."""
    z = fair_scores(generator(33), colluders, ATTACKS["average"], 12)
    assert z.mean() == pytest.approx(0.97 * math.sqrt(256 / colluders), rel=0.04)
    spread = math.sqrt(caught * (1 - caught) / z.size)
    assert (z >= GAUSSIAN).mean() == pytest.approx(caught, abs=3 * spread + 0.02)


def test_the_bound_costs_a_little_power_and_accuses_no_innocent():
    z = fair_scores(generator(5), 8, ATTACKS["average"], 6).ravel()
    accused = np.mean([tracing.log10_p(one) <= -6 for one in z])
    hoeffding = math.sqrt(2 * math.log(1e6))
    assert (z >= hoeffding).mean() <= accused <= (z >= GAUSSIAN).mean()
    found = fair(generator(5), 8, ATTACKS["average"], 2)
    assert (found.any_caught, found.innocents) == (1.0, 0)


def test_with_the_unmarked_layer_at_hand_as_many_are_caught():
    """Of Gaussian layers it takes away little, because they say little of themselves."""
    found = fair(generator(9), 5, ATTACKS["average"], 3, original=True)
    assert found.caught > 0.8
    assert found.innocents == 0


def test_taking_the_minimum_hurts_more_than_averaging():
    """methods-2.md section 33: .03 of 8 colluders against .79."""
    z = fair_scores(generator(6), 8, ATTACKS["minimum"], 8)
    assert (z >= GAUSSIAN).mean() < 0.15
