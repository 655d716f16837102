"""Penalties against closed forms, finite differences and another library's autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.math import penalties


def central_differences(function, at, step=1e-6):
    """Derivatives of a function of one array by each of its elements."""
    found = np.empty_like(at)
    for index in np.ndindex(at.shape):
        moved = at.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        found[index] = (above - function(moved)) / (2 * step)
    return found


def test_cross_entropy_of_a_few_numbers():
    """At 0 a bit costs ln 2; at ln 3 a right bit costs ln 4/3 and a wrong one ln 4."""
    third = math.log(3)
    term = penalties.cross_entropy(np.array([0.0, third, third]), np.array([1.0, 1.0, -1.0]))
    assert term.value == pytest.approx(math.log(2) + math.log(4 / 3) + math.log(4), rel=1e-15)
    np.testing.assert_allclose(term.derivatives, [-1 / 2, -1 / 4, 3 / 4], rtol=1e-15)


def test_it_is_the_sum_over_the_bits_in_nats():
    statistics, signs = np.array([0.3, -2.0]), np.array([-1.0, 1.0])
    bits, probability = (signs + 1) / 2, 1 / (1 + np.exp(-statistics))
    textbook = -np.sum(bits * np.log(probability) + (1 - bits) * np.log(1 - probability))
    assert penalties.cross_entropy(statistics, signs).value == pytest.approx(textbook, rel=1e-14)


def test_nothing_overflows():
    signs = np.array([1.0, -1.0, 1.0])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        term = penalties.cross_entropy(np.array([-1e6, 1e4, 800.0]), signs)
    assert term.value == 1e6 + 1e4
    np.testing.assert_allclose(term.derivatives, [-1, 1, 0], atol=1e-300)


@pytest.fixture
def drawn(rng):
    """Weights (5, 3, 2, 2), a key matrix (7, 12) and signs (7,)."""
    return (
        rng.standard_normal((5, 3, 2, 2)),
        rng.standard_normal((7, 12)),
        2.0 * rng.integers(0, 2, 7) - 1,
    )


def test_gradient_agrees_with_finite_differences(drawn):
    weights, matrix, signs = drawn
    found = penalties.projected_mean(weights, matrix, signs)
    expected = central_differences(
        lambda w: penalties.projected_mean(w, matrix, signs).value, weights
    )
    np.testing.assert_allclose(found.derivatives, expected, atol=1e-9)


def test_gradient_agrees_with_autograd(drawn):
    torch = pytest.importorskip("torch")
    weights, matrix, signs = drawn
    tensor = torch.tensor(weights, requires_grad=True)
    scores = torch.from_numpy(matrix) @ tensor.mean(dim=0).reshape(-1)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, torch.from_numpy((signs + 1) / 2), reduction="sum"
    )
    loss.backward()
    found = penalties.projected_mean(weights, matrix, signs)
    assert found.value == pytest.approx(loss.item(), rel=1e-10)
    np.testing.assert_allclose(found.derivatives, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_every_filter_has_the_same_gradient(drawn):
    """Closed form for one bit: -s sigmoid(-s y) x / L."""
    weights, matrix, _ = drawn
    row = matrix[:1]
    projected = float(row[0] @ weights.mean(axis=0).reshape(-1))
    found = penalties.projected_mean(weights, row, np.array([-1.0]))
    each = row[0] / (1 + math.exp(-projected)) / 5
    np.testing.assert_allclose(found.derivatives.reshape(5, 12), np.tile(each, (5, 1)), rtol=1e-12)
    assert found.derivatives.flags.writeable


def test_signed_filters_against_finite_differences(drawn, rng):
    weights, matrix, signs = drawn
    filters = 2.0 * rng.integers(0, 2, 5) - 1
    found = penalties.projected_mean(weights, matrix, signs, filters)
    turned = filters[:, None, None, None] * weights
    assert found.value == pytest.approx(
        penalties.projected_mean(turned, matrix, signs).value, rel=1e-12
    )
    expected = central_differences(
        lambda w: penalties.projected_mean(w, matrix, signs, filters).value, weights
    )
    np.testing.assert_allclose(found.derivatives, expected, atol=1e-9)


def test_what_is_missing_to_a_margin():
    """On the right side by 3, 1 and on the wrong one by 2, to a margin of 2: 0, 1 and 4."""
    term = penalties.hinge(np.array([3.0, -1.0, -2.0]), np.array([1.0, -1.0, 1.0]), 2.0)
    assert term.value == 5.0
    assert term.derivatives.tolist() == [0.0, 1.0, -1.0]


def test_squared_distance_against_finite_differences(rng):
    at, wanted = rng.standard_normal(9), rng.standard_normal(9)
    term = penalties.squared_distance(at, wanted)
    assert term.value == pytest.approx(sum((a - w) ** 2 for a, w in zip(at, wanted, strict=True)))
    expected = central_differences(lambda x: penalties.squared_distance(x, wanted).value, at)
    np.testing.assert_allclose(term.derivatives, expected, atol=1e-8)
