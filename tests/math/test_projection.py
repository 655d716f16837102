"""Static Uchida arithmetic against the reference table, lstsq and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnw_onnx.errors import InjectionError
from nnw_onnx.math import noise, projection, pruning, quantizing

L, M, T = 256, 2304, 256


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def instance(seed: int):
    """Weights (L, M), key (T, M) and signs (T,) of the oracle's set-up, in its order of draws."""
    rng = generator(seed)
    weights, key = rng.standard_normal((L, M)), rng.standard_normal((T, M))
    return weights, key, 2.0 * rng.integers(0, 2, T) - 1, rng


def embed(weights, key, signs, margin):
    mean = projection.filter_mean(weights)
    y = key @ mean
    wanted = projection.targets(y, signs, margin * math.sqrt(M / L))
    return weights + projection.minimum_norm_change(key, wanted - y)


def errors(weights, key, signs) -> int:
    return int(np.count_nonzero((key @ projection.filter_mean(weights) >= 0) != (signs > 0)))


def test_seed_0_bit_for_bit():
    # oracles.json static_uchida.seed0_exact, kappa 2: counts +-2, rms 1e-4
    weights, key, signs, _ = instance(0)
    np.testing.assert_allclose(weights[0, :3], [0.12573022, -0.13210486, 0.64042265], atol=1e-8)
    assert int((signs > 0).sum()) == 139
    assert abs(errors(weights, key, signs) - 125) <= 2
    marked = embed(weights, key, signs, 2)
    rms = np.sqrt(np.mean((marked - weights) ** 2)) / weights.std()
    assert rms == pytest.approx(0.048668, abs=1e-4)
    assert np.abs(marked - weights).max() == pytest.approx(0.15843, abs=1e-4)
    for percent, wrong in ((0, 0), (50, 0), (90, 5), (95, 20), (99, 66)):
        pruned = pruning.smallest(marked, pruning.count(percent, marked.size))
        assert abs(errors(pruned, key, signs) - wrong) <= 2, percent
    for bits, wrong in ((8, 0), (6, 0), (4, 0), (3, 0), (2, 1)):
        assert abs(errors(quantizing.min_max(marked, bits), key, signs) - wrong) <= 2, bits
    assert errors(marked - 1.5 * marked.mean(axis=0), key, signs) == 256


def test_every_margin_of_seed_0(oracles):
    weights, key, signs, _ = instance(0)
    for margin, row in oracles["static_uchida.seed0_exact"].items():
        marked = embed(weights, key, signs, float(margin))
        rms = np.sqrt(np.mean((marked - weights) ** 2)) / weights.std()
        assert rms == pytest.approx(row["rms_delta_over_sigma"], abs=1e-4)
        halved = marked.copy()
        halved[::2] *= 0.5
        pruned = pruning.smallest(marked, pruning.count(95, marked.size))
        blocks = marked.reshape(L, L, 9)[:, ::-1].reshape(L, M)
        found = {
            "clean": marked, "quant_3": quantizing.min_max(marked, 3), "l1prune_0.95": pruned,
            "filters_reversed": marked[::-1], "halve_even_filters": halved,
            "input_channels_reversed": blocks,
        }  # fmt: skip
        for name, changed in found.items():
            assert abs(errors(changed, key, signs) - row[name]) <= 2, (margin, name)


# oracles.json static_uchida.table: margin -> change -> mean and deviation of 20 seeds: of the bit
# error rate, and of the change over the deviation of the weights.
CHANGE = "rms_delta_over_sigma"
TABLE = {
    0.5: {
        CHANGE: (0.02212, 0.00082),
        "clean": (0.0, 0.0),
        "noise_0.5": (0.12773, 0.02739),
        "l1prune_0.9": (0.29375, 0.02373),
        "randprune_0.1": (0.05312, 0.01192),
        "quant_2": (0.23379, 0.051),
    },
    1: {
        CHANGE: (0.02968, 0.00109),
        "clean": (0.0, 0.0),
        "noise_0.5": (0.01719, 0.00785),
        "l1prune_0.9": (0.17578, 0.02464),
        "randprune_0.1": (0.00098, 0.00307),
        "quant_2": (0.125, 0.07313),
    },
    2: {
        CHANGE: (0.04894, 0.00083),
        "clean": (0.0, 0.0),
        "noise_0.5": (0.0, 0.0),
        "l1prune_0.9": (0.03691, 0.01179),
        "randprune_0.1": (0.0, 0.0),
        "quant_2": (0.04531, 0.06379),
    },
    4: {
        CHANGE: (0.09051, 0.00231),
        "clean": (0.0, 0.0),
        "noise_0.5": (0.0, 0.0),
        "l1prune_0.9": (0.0, 0.0),
        "randprune_0.1": (0.0, 0.0),
        "quant_2": (0.00254, 0.00784),
    },
}


def test_table_of_margins():
    """Mean of n seeds within 4 sqrt(sd^2/20 + sd^2/n) + 0.002 of the mean of 20."""
    seeds = range(100, 103)
    found: dict[tuple[float, str], list[float]] = {}
    for seed in seeds:
        weights, key, signs, rng = instance(seed)
        for margin in TABLE:
            marked = embed(weights, key, signs, margin)
            removed = pruning.count(10, marked.size)
            changed = {
                "clean": marked,
                "noise_0.5": noise.add_gaussian(marked, 0.5 / marked.std(), rng),
                "l1prune_0.9": pruning.smallest(marked, pruning.count(90, marked.size)),
                "randprune_0.1": pruning.drawn(marked, removed, rng),
                "quant_2": quantizing.min_max(marked, 2),
            }
            for name, values in changed.items():
                ber = errors(values, key, signs) / T
                found.setdefault((margin, name), []).append(ber)
            rms = np.sqrt(np.mean((marked - weights) ** 2)) / weights.std()
            found.setdefault((margin, CHANGE), []).append(rms)
    for (margin, name), values in found.items():
        mean, deviation = TABLE[margin][name]
        allowed = 4 * deviation * math.sqrt(1 / 20 + 1 / len(values)) + 0.002
        assert abs(np.mean(values) - mean) <= allowed, (margin, name)


@given(st.integers(1, 20), st.integers(0, 30), st.integers(0, 2**31))
def test_minimum_norm_change_is_the_pseudo_inverse(rows, extra, seed):
    rng = generator(seed)
    matrix, change = rng.standard_normal((rows, rows + extra)), rng.standard_normal(rows)
    found = projection.minimum_norm_change(matrix, change)
    expected = np.linalg.pinv(matrix) @ change
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_minimum_norm_change_survives_an_ill_conditioned_key(rng):
    matrix = rng.standard_normal((50, 51))
    matrix[1] = matrix[0] + 1e-7 * rng.standard_normal(51)
    change = rng.standard_normal(50)
    np.testing.assert_allclose(
        matrix @ projection.minimum_norm_change(matrix, change), change, atol=1e-5
    )


def test_dependent_equations_are_refused(rng):
    matrix = np.tile(rng.standard_normal(5), (2, 1))
    with pytest.raises(InjectionError, match=r"expected 2 independent equations.*shorter payload"):
        projection.minimum_norm_change(matrix, np.array([1.0, -1.0]))


def test_nothing_to_change_changes_nothing(rng):
    assert not projection.minimum_norm_change(rng.standard_normal((3, 7)), np.zeros(3)).any()


def test_targets_keep_what_is_beyond_the_margin():
    found = projection.targets(np.array([3, -3, 1, -1]), np.array([1, -1, 1, 1]), 2.0)
    assert found.tolist() == [3, -3, 2, 2]


def test_natural_deviation_is_that_of_independent_weights(rng):
    weights = 0.3 * rng.standard_normal((32, 20, 3, 3))
    keys = rng.standard_normal((4000, 180))
    measured = float((keys @ projection.filter_mean(weights)).std())
    assert projection.natural_deviation(weights) == pytest.approx(measured, rel=0.25)
    assert projection.natural_deviation(weights) == pytest.approx(
        0.3 * math.sqrt(180 / 32), rel=0.02
    )


def test_filter_mean_of_half_precision_is_exact():
    weights = np.full((4096, 2, 1, 1), 0.1, np.float16)
    assert projection.filter_mean(weights).tolist() == [float(np.float16(0.1))] * 2


def test_signed_means_move_by_exactly_what_is_given_to_the_filters(rng):
    weights, signs = rng.standard_normal((6, 4, 3, 3)), 2 * rng.integers(0, 2, 6) - 1
    mean = sum(s * w for s, w in zip(signs, weights, strict=True)).reshape(-1) / 6
    np.testing.assert_allclose(projection.signed_mean(weights, signs), mean, rtol=1e-12)
    vector = rng.standard_normal(36)
    moved = weights + projection.to_filters(vector, weights.shape, signs)
    np.testing.assert_allclose(projection.signed_mean(moved, signs), mean + vector, rtol=1e-12)
    ones = np.ones(6)
    np.testing.assert_allclose(
        projection.signed_mean(weights, ones), projection.filter_mean(weights), rtol=1e-12
    )


def effective_noise(modified, original) -> float:
    """sqrt(sigma^2 E[f^2] / E[w f]^2 - 1), measured on a sample."""
    return math.sqrt(
        np.mean(original**2) * np.mean(modified**2) / np.mean(original * modified) ** 2 - 1
    )


@pytest.mark.parametrize(
    ("percent", "expected"),
    # oracles.json static_uchida.effective_noise, l1
    [(10, 0.022924), (50, 0.27714), (90, 1.1298), (99, 3.2917), (99.9, 8.8185)],
)
def test_effective_noise_of_l1_pruning(rng, percent, expected):
    share = percent / 100
    t = stats.norm.ppf((1 + share) / 2)
    gain = (1 - share) + 2 * t * stats.norm.pdf(t)
    assert math.sqrt((1 - gain) / gain) == pytest.approx(expected, abs=1e-3, rel=1e-4)
    weights = rng.standard_normal(1_000_000)
    pruned = pruning.smallest(weights, pruning.count(percent, weights.size))
    assert effective_noise(pruned, weights) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("percent", "expected"), [(1, 0.1005), (10, 0.33333), (50, 1.0)])
def test_effective_noise_of_random_pruning(rng, percent, expected):
    # oracles.json static_uchida.effective_noise, random: sqrt(R / (1 - R))
    weights = rng.standard_normal(400_000)
    pruned = pruning.drawn(weights, pruning.count(percent, weights.size), rng)
    assert effective_noise(pruned, weights) == pytest.approx(expected, rel=0.02)


def test_effective_noise_of_gaussian_noise_is_its_ratio(rng):
    weights = 0.02 * rng.standard_normal(400_000)
    assert effective_noise(noise.add_gaussian(weights, 0.3, rng), weights) == pytest.approx(
        0.3, rel=0.01
    )
