"""Assignments against brute force, spectra against what they must not see."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nnw_onnx.math import assignment


def best_by_trying(table):
    """The largest sum over all ways to give rows columns of their own."""
    rows, columns = table.shape
    if rows <= columns:
        ways = itertools.permutations(range(columns), rows)
        return max(sum(table[i, c] for i, c in enumerate(way)) for way in ways)
    return best_by_trying(table.T)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 6), (6, 3)])
def test_assigned_is_the_best_of_all_ways(rng, shape):
    for _ in range(20):
        table = rng.standard_normal(shape)
        found = assignment.assigned(table)
        there = np.flatnonzero(found >= 0)
        assert len(there) == min(shape)
        assert len(set(found[there])) == len(there)
        assert table[there, found[there]].sum() == pytest.approx(best_by_trying(table))


def test_spread_is_the_deviation_of_normal_numbers_whatever_a_few_others_are(rng):
    values = rng.standard_normal(200_000)
    assert assignment.spread(3 * values) == pytest.approx(3, rel=0.01)
    values[:1000] = 1e6
    assert assignment.spread(values) == pytest.approx(1, rel=0.02)
    assert assignment.spread([0, 0, 0, 1]) == pytest.approx(np.std([0, 0, 0, 1]))
    assert assignment.spread([2, 2, 2]) == 0


def test_margins_are_those_to_the_best_other_column():
    table = np.array([[5.0, 1.0, 4.0], [0.0, 3.0, 7.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(assignment.margins(table, [0, 1, -1]), [1.0, -4.0, math.nan])
    assert math.isnan(assignment.margins(np.ones((1, 1)), [0])[0])


def test_in_deviations_leaves_equal_numbers_without_any():
    assert (assignment.in_deviations(np.full((3, 3), 0.7)) == 0).all()


def test_what_noise_made_unlike_stays_where_it_is_and_what_moved_is_found(rng):
    """Of N(m, 1) where they belong, else N(0, 1), m is what a unit of similarity is in nats."""
    size, own, stayed, free = 32, 3.0, [], []
    for _ in range(40):
        table = rng.standard_normal((size, size)) + own * np.eye(size)
        stayed.append(np.mean(assignment.likeliest(table, own) == np.arange(size)))
        free.append(np.mean(assignment.assigned(table) == np.arange(size)))
    assert np.mean(stayed) > np.mean(free) + 0.05
    order = rng.permutation(size)
    moved = rng.standard_normal((size, size)) + 8 * np.eye(size)[order]
    np.testing.assert_array_equal(assignment.likeliest(moved, 8), order)


def test_a_row_and_columns_of_zeros_do_not_matter_to_likeliest():
    assert assignment.likeliest(np.zeros((1, 1)), 1).tolist() == [0]
    assert assignment.likeliest(np.zeros((3, 3)), 1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(12, 7), (7, 12, 3, 3), (16, 16, 1), (5,)])
def test_a_spectrum_knows_no_order_no_scale_and_no_sign(rng, shape):
    weights = rng.standard_normal(shape)
    own = assignment.balanced_spectrum(weights, sweeps=200)
    moved = weights[rng.permutation(shape[0])]
    factors = np.exp(rng.standard_normal(shape[0])) * rng.choice([-1, 1], shape[0])
    moved = moved * factors.reshape(-1, *[1] * (len(shape) - 1))
    if len(shape) > 1:
        moved = moved[:, rng.permutation(shape[1])]
        columns = np.exp(rng.standard_normal(shape[1])) * rng.choice([-1, 1], shape[1])
        moved = moved * columns.reshape(1, -1, *[1] * (len(shape) - 2))
    other = assignment.balanced_spectrum(moved, sweeps=200)
    assert assignment.unlikeness(own, other) < 1e-6
    assert np.linalg.norm(own) == pytest.approx(1)


def test_a_spectrum_is_that_of_the_balanced_matrix(rng):
    """Against numpy's singular values of a matrix that was balanced in logarithms."""
    weights = rng.standard_normal((6, 9))
    squares, row, column = weights**2, np.zeros(6), np.zeros(9)
    for _ in range(500):
        row = -np.log((squares * np.exp(column)).sum(axis=1))
        column = np.log(6 / 9) - np.log((squares * np.exp(row)[:, None]).sum(axis=0))
    balanced = weights * np.exp((row[:, None] + column) / 2)
    expected = np.linalg.svd(balanced, compute_uv=False)
    told = assignment.balanced_spectrum(weights, sweeps=200)
    np.testing.assert_allclose(told, expected / np.linalg.norm(expected), atol=1e-6)


def test_other_weights_are_unlike(rng):
    one, other = (assignment.balanced_spectrum(rng.standard_t(3, (16, 8))) for _ in range(2))
    noisy = rng.standard_t(3, (16, 8))
    nearly = assignment.balanced_spectrum(noisy + 1e-3 * rng.standard_normal((16, 8)))
    assert assignment.unlikeness(assignment.balanced_spectrum(noisy), nearly) < 5e-3
    assert assignment.unlikeness(one, other) > 5e-2
    assert assignment.unlikeness([1.0], [0.0, 1.0]) == pytest.approx(math.sqrt(2))
