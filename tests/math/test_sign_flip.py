"""Sign-flip tests, Holm and ranks: brute force, published examples, size and coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import ranks
from nnw_onnx.math.clusters import excess_p
from nnw_onnx.math.sign_flip import DRAWS, MOST_EXACT, holm, sign_flip_limits, sign_flip_p

# Fisher, The Design of Experiments, 1935, section 21: Darwin's pairs of Zea mays, in eighths of an
# inch. Of 2^15 sign assignments 863 have a sum of at least 314 and 863 one of at most -314.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def test_fishers_example():
    assert sign_flip_p(DARWIN, rng()) == 2 * 863 / 2**15


def test_every_assignment_of_signs_counts_once():
    for seed in range(20):
        x = rng(seed).integers(-3, 4, 1 + seed % 9).astype(float)
        sums = [abs(np.dot(s, x)) for s in itertools.product((-1, 1), repeat=x.size)]
        assert sign_flip_p(x, rng()) == np.mean([v >= abs(x.sum()) for v in sums])


@pytest.mark.parametrize("networks", [1, 2, 5, 6, 12, MOST_EXACT])
def test_differences_of_one_sign_have_the_smallest_p(networks):
    assert sign_flip_p(np.linspace(0.1, 0.3, networks), rng()) == 2.0 ** (1 - networks)
    assert sign_flip_p(np.zeros(networks), rng()) == 1


def test_rounding_makes_no_two_of_equal_sums():
    assert sign_flip_p([0.1, 0.2, -0.3], rng()) == 1
    assert sign_flip_p([0.1 + 0.2, -0.3, 0.1], rng()) == sign_flip_p([3, -3, 1], rng())


def test_many_networks_are_drawn():
    x = rng(3).normal(0.3, 1, 30)
    drawn = sign_flip_p(x, rng(1))
    reference = stats.permutation_test(
        (x,), np.mean, permutation_type="samples", n_resamples=40_000, random_state=rng(2)
    ).pvalue
    assert drawn == pytest.approx(reference, abs=0.01)
    assert sign_flip_p(np.ones(40), rng()) == 1 / (1 + DRAWS)


def test_nothing_to_test():
    with pytest.raises(ValueError, match="expected one difference of each network"):
        sign_flip_p([], rng())


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("networks", [6, 8, 11])
def test_limits_hold_what_the_test_does_not_reject(networks, confidence):
    """Inverted by brute force: beside a limit the one-sided tests change their minds."""
    x = rng(networks).normal(0.2, 1, networks)
    low, high = sign_flip_limits(x, confidence, rng())

    def one_sided(centre):
        d = x - centre
        signs = np.array(list(itertools.product((-1, 1), repeat=networks)))
        return np.mean(signs @ d >= d.sum() - 1e-12)

    tail = (1 - confidence) / 2
    assert one_sided(low - 1e-6) <= tail < one_sided(low + 1e-6)
    assert 1 - one_sided(high - 1e-6) > tail - 2.0**-networks - 1e-12
    mirrored = sign_flip_limits(-x, confidence, rng())
    assert mirrored == pytest.approx((-high, -low))


def test_few_or_equal_networks_have_no_limits():
    assert sign_flip_limits([0.1, 0.2, 0.3, 0.2, 0.1], 0.95, rng()) is None
    assert sign_flip_limits([0.1, 0.2, 0.3, 0.2, 0.1], 0.9, rng()) == (0.1, 0.3)
    assert sign_flip_limits([0.2] * 12, 0.95, rng()) is None


def test_limits_of_many_networks_are_those_of_students_t():
    x = rng(5).normal(1, 2, 60)
    drawn = sign_flip_limits(x, 0.95, rng(1))
    t = stats.t.interval(0.95, 59, x.mean(), stats.sem(x))
    assert drawn == pytest.approx(t, abs=0.06)


def test_limits_cover():
    """Nominal 95 % of a symmetric, heavy-tailed difference: within binomial limits."""
    draw = rng(7)
    covered = 0
    for _ in range(2000):
        low, high = sign_flip_limits(0.5 + stats.t.rvs(3, size=8, random_state=draw), 0.95, draw)
        covered += low <= 0.5 <= high
    exact = 1 - 2 * 6 / 2**8  # sixth of the 256 pieces on each side
    assert abs(covered / 2000 - exact) < 4 * np.sqrt(exact * (1 - exact) / 2000)


def test_holms_adjusted_values_are_those_of_r():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm"), in the manual page's form; and ties.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    # Wikipedia, Holm-Bonferroni method: 0.01, 0.04, 0.03, 0.005 at 5 % reject the 1st and the 4th.
    assert [p <= 0.05 for p in holm([0.01, 0.04, 0.03, 0.005])] == [True, False, False, True]
    assert holm([]) == []
    assert holm([0.6, 1.0]) == [1.0, 1.0]


def test_holm_is_the_closed_test_of_bonferroni():
    """A claim is rejected where every set of claims that holds it is, by Bonferroni."""
    for seed in range(30):
        p = rng(seed).random(5) ** 4
        sets = [s for n in range(1, 6) for s in itertools.combinations(range(5), n)]
        for i, adjusted in enumerate(holm(p.tolist())):
            largest = max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s)
            assert adjusted == pytest.approx(largest)


@pytest.mark.parametrize("networks", [9, 12])
def test_a_family_of_claims_keeps_its_error(networks):
    """Five technologies that are all alike, ten claims: at most 5 % of families claim anything."""
    draw, wrong, families = rng(networks), 0, 1000
    for _ in range(families):
        easy = draw.normal(0, 1, (networks, 1))
        scores = easy + draw.laplace(0, 1, (networks, 5))
        p = [
            sign_flip_p(scores[:, a] - scores[:, b], draw)
            for a, b in itertools.combinations(range(5), 2)
        ]
        wrong += min(holm(p)) <= 0.05
    assert excess_p(wrong, families, 0.05) > 1e-3


def test_ranks_share_ties():
    table = [[0.9, 0.9, 0.1], [0.2, 0.5, 0.5 + 1e-12]]
    assert ranks.ranks_within(table).tolist() == [[1.5, 1.5, 3], [3, 1.5, 1.5]]


def test_limits_of_a_mean_rank_are_those_of_a_bootstrap():
    table = ranks.ranks_within(rng(2).normal([0, 0.5, 1], 1, (12, 3)))
    found = ranks.mean_rank_limits(table, 0.95, rng(4))
    for k in range(3):
        reference = stats.bootstrap(
            (table[:, k],), np.mean, method="percentile", random_state=rng(5)
        ).confidence_interval
        assert tuple(found[k]) == pytest.approx(tuple(reference), abs=0.1)
    assert ranks.mean_rank_limits([[1, 2, 3]] * 6, 0.95, rng()).tolist() == [[1, 1], [2, 2], [3, 3]]


def test_places_are_tied_unless_a_test_separates():
    assert ranks.possible_places(3, []) == [(1, 3)] * 3
    assert ranks.possible_places(3, [(0, 2)]) == [(1, 2), (1, 3), (2, 3)]
    assert ranks.possible_places(3, [(0, 1), (0, 2), (1, 2)]) == [(1, 1), (2, 2), (3, 3)]
