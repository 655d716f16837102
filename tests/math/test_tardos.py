"""Tardos' code against the published lengths, its moments and the reference's detection rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from nnw_onnx.math import tardos

from ..benchmarks.bench_collusion import ATTACKS, tardos_on_weights, tardos_scores  # noqa: TID252


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("rate", "power", "bits"),
    [
        (1e-6, 0.5, (224, 502, 1394, 3569, 8029, 22301)),
        (1e-6, 0.9, (360, 809, 2247, 5752, 12941, 35947)),
        (1e-9, 0.5, (356, 799, 2220, 5681, 12782, 35505)),
        (1e-9, 0.9, (523, 1177, 3269, 8368, 18828, 52299)),
    ],
)
def test_lengths_are_those_of_the_reference_table(rate, power, bits):
    """methods-2.md section 33, c = 2, 3, 5, 8, 12, 20."""
    found = tuple(tardos.bits_for(c, rate, power) for c in (2, 3, 5, 8, 12, 20))
    assert found == bits


def test_a_length_tends_to_a_twentieth_of_tardos_own():
    """Laarhoven and de Weger 2012: (pi^2 / 2) c^2 ln(1/eps), 4.93 % of 100 c^2 ln(1/eps)."""
    eps = 1e-200
    ratio = tardos.bits_for(50, eps, 0.5) / (100 * 50**2 * math.log(1 / eps))
    assert ratio == pytest.approx(0.0493, rel=0.02)


def test_biases_have_the_arcsine_density_between_the_cut_offs():
    cut = tardos.cut_off(5)
    p = tardos.biases((np.arange(100_000) + 0.5) / 100_000, cut)
    assert cut <= p.min() < 1.01 * cut
    assert p.max() == pytest.approx(1 - p.min())
    whole = integrate.quad(lambda x: 1 / math.sqrt(x * (1 - x)), cut, 1 - cut)[0]
    below = integrate.quad(lambda x: 1 / math.sqrt(x * (1 - x)), cut, 0.1)[0] / whole
    assert np.mean(p <= 0.1) == pytest.approx(below, abs=1e-3)
    words = tardos.codewords(generator(0).random((4000, 3)), np.array([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(words.mean(axis=0), [0.1, 0.5, 0.9], atol=0.03)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_each_score_is_the_symmetric_one(x, y):
    p = 0.2
    table = {
        (1, 1): math.sqrt((1 - p) / p),
        (0, 0): math.sqrt(p / (1 - p)),
        (0, 1): -math.sqrt(p / (1 - p)),
        (1, 0): -math.sqrt((1 - p) / p),
    }
    (found,) = tardos.scores(np.array([[x]]), np.array([y]), np.array([p]))
    assert found == pytest.approx(table[x, y])


def test_an_innocent_scores_zero_with_variance_one_a_bit_exactly():
    p = np.array([0.003, 0.4, 0.9])
    for read in ([0, 0, 0], [1, 0, 1], [1, 1, 1]):
        words = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
        chance = np.prod(np.where(words == 1, p, 1 - p), axis=1)
        found = tardos.scores(words, np.array(read), p)
        assert chance @ found == pytest.approx(0, abs=1e-12)
        assert chance @ found**2 == pytest.approx(3)


@pytest.mark.parametrize(
    ("colluders", "bits", "any_caught", "caught"),
    [
        (2, 256, 0.93, 0.83), (2, 512, 1.0, 1.0),
        (3, 512, 0.97, 0.60), (5, 1024, 0.90, 0.39), (8, 2048, 0.87, 0.17),
    ],
)  # fmt: skip
def test_interleaving_colluders_are_caught_about_as_the_reference_says(
    colluders, bits, any_caught, caught
):
    """methods-2.md section 33, eps 1e-6: at least one, and each of them; closed form beside it.

    The reference's simulation is up to .07 (each) and .12 (at least one) from this one, which is
    where the closed form is.
    """
    hits = tardos_scores(generator(17), colluders, bits, 400) > 1
    assert hits.mean() == pytest.approx(caught, abs=0.1)
    assert hits.any(axis=1).mean() == pytest.approx(any_caught, abs=0.15)
    score = mean_of_a_colluder(colluders) * math.sqrt(bits)
    expected = stats.norm.sf(stats.norm.isf(1e-6) - score)
    assert hits.mean() == pytest.approx(expected, abs=0.06)


def mean_of_a_colluder(colluders):
    """Mean score a bit: 2 E sqrt(p (1 - p)) / c, the integral of the density done by hand.

    A coalition of c that shows the bit of one of its members at random has, at bias p, the total
    E (2 k/c - 1)(k - c p) / sqrt(p (1 - p)) = 2 sqrt(p (1 - p)) for k of Bin(c, p).
    """
    least = math.asin(math.sqrt(tardos.cut_off(colluders)))
    return 2 * math.cos(2 * least) / (math.pi - 4 * least) / colluders


def test_a_colluder_scores_two_over_pi_a_bit_and_colluder():
    scores = tardos_scores(generator(3), 8, 4096, 60) * tardos.threshold(4096, 1e-6)
    assert scores.mean() == pytest.approx(4096 * mean_of_a_colluder(8), rel=0.03)
    assert mean_of_a_colluder(8) == pytest.approx(2 / (math.pi * 8), rel=0.05)


def test_on_weights_it_catches_none_of_five_averagers():
    """methods-2.md section 33, 256 bits: 0 where fair bits with soft scores catch .97."""
    found = tardos_on_weights(generator(4), 5, ATTACKS["average"], 4)
    assert (found.caught, found.any_caught) == (0, 0)
    assert found.innocents == 0
