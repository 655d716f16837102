"""Optimizers of a method's own arrays in closed form, and their purity."""

from __future__ import annotations

import numpy as np

from nnw_onnx.kit import optimizers


def test_adam_in_a_closed_form(rng):
    """Moments as sums over all steps so far, instead of step from step."""
    start, slopes = rng.standard_normal((3, 4)), rng.standard_normal((20, 3, 4))
    state, expected = optimizers.adam_state({"e": start}), start
    for t in range(1, 21):
        age = np.arange(t - 1, -1, -1)[:, None, None]
        first = (0.2 * 0.8**age * slopes[:t]).sum(axis=0) / (1 - 0.8**t)
        second = (0.01 * 0.99**age * slopes[:t] ** 2).sum(axis=0) / (1 - 0.99**t)
        expected = expected - 0.05 * first / (np.sqrt(second) + 1e-6)
        before = {name: array.copy() for name, array in state.items()}
        after = optimizers.adam(state, {"e": slopes[t - 1]}, 0.05, (0.8, 0.99), 1e-6)
        assert all(np.array_equal(state[name], before[name]) for name in before)
        state = after
        np.testing.assert_allclose(state["e"], expected, rtol=1e-9)


def test_adam_keeps_everything_in_its_state():
    """A training that was interrupted goes on from the arrays alone."""
    slope = {"e": np.array([1.0, -2.0])}
    state = optimizers.adam_state({"e": np.zeros(2), "other": np.ones(3)})
    once = optimizers.adam(state, slope)
    assert np.array_equal(once["other"], np.ones(3))
    kept = {name: np.array(array) for name, array in once.items()}
    first, second = optimizers.adam(once, slope), optimizers.adam(kept, slope)
    assert all(np.array_equal(first[name], second[name]) for name in first)
