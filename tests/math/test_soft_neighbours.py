"""The soft nearest neighbour loss against its definition, and its derivatives against both."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.math.soft_neighbours import soft_nearest_neighbours


def by_hand(points, group, temperature):
    """The definition, sum by sum."""

    def near(i, j):
        cosine = points[i] @ points[j] / (np.linalg.norm(points[i]) * np.linalg.norm(points[j]))
        return math.exp(-(1 - cosine) / temperature)

    n, terms = len(points), []
    for i in range(n):
        same = [near(i, j) for j in range(n) if j != i and group[j] == group[i]]
        if same:
            terms.append(-math.log(sum(same) / sum(near(i, j) for j in range(n) if j != i)))
    return sum(terms) / len(terms) if terms else 0.0


GROUPS = {
    "even": [True, False] * 4,
    "few": [True, True] + [False] * 6,
    "one alone": [True] + [False] * 7,
}


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("kind", GROUPS)
def test_value_and_derivatives(rng, kind, temperature):
    points, group = rng.standard_normal((8, 5)), np.array(GROUPS[kind])
    found = soft_nearest_neighbours(points, group, temperature)
    assert found.value == pytest.approx(by_hand(points, group, temperature), rel=1e-10)
    step = 1e-6
    for place in ((0, 0), (3, 4), (7, 2), (1, 1)):
        nudge = np.zeros_like(points)
        nudge[place] = step
        ahead, behind = (by_hand(points + s * nudge, group, temperature) for s in (1, -1))
        assert found.features[place] == pytest.approx((ahead - behind) / (2 * step), abs=1e-7)
    ahead, behind = (by_hand(points, group, temperature + s * step) for s in (1, -1))
    assert found.temperature == pytest.approx((ahead - behind) / (2 * step), abs=1e-6)


def test_mixed_groups_have_more_than_groups_apart(rng):
    """And of equal points the value is the chance to meet one's own group: -log(3 / 7)."""
    group = np.array(GROUPS["even"])
    apart = np.where(group[:, None], 1.0, -1.0) * np.array([1.0, 2.0, -1.0])
    apart = apart + 0.01 * rng.standard_normal((8, 3))
    mixed = np.abs(apart)
    assert soft_nearest_neighbours(apart, group, 0.1).value < 1e-6
    assert soft_nearest_neighbours(mixed, group, 0.1).value > 0.5
    equal = soft_nearest_neighbours(np.ones((8, 3)), group, 0.5)
    assert equal.value == pytest.approx(-math.log(3 / 7))
    np.testing.assert_allclose(equal.features, 0, atol=1e-12)


def test_points_at_zero_and_groups_of_one_are_numbers():
    zero = soft_nearest_neighbours(np.zeros((6, 4)), np.arange(6) < 3, 1.0)
    assert zero.value == pytest.approx(-math.log(2 / 5))
    assert not zero.features.any()
    assert soft_nearest_neighbours(np.ones((2, 4)), np.array([True, False]), 1.0).value == 0.0
    large = soft_nearest_neighbours(1e150 * np.eye(4), np.arange(4) < 2, 0.05)
    assert np.isfinite(large.value)
    assert np.isfinite(large.features).all()
