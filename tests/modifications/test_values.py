"""Removal that changes values without any training, against closed forms and published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, stats

from nnw_onnx import plugins
from nnw_onnx.math.low_rank import truncated
from nnw_onnx.testing import ArrayBench, ArrayNetwork, small_network
from nnw_onnx.vocabulary import Modification, Spec


def make(name: str, intensity: float, **options):
    return plugins.create(Modification, Spec(name, {"intensity": intensity, **options}))


def changed(name: str, layer: np.ndarray, rng, intensity: float, **options) -> np.ndarray:
    return make(name, intensity, **options).modify_weights({"a": layer}, rng)["a"]


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize("times", [0.5, 1.0, 2.5])
def test_shifting_leaves_so_much_of_the_mean_filter(rng, times):
    layer = rng.standard_normal((20, 6, 3, 3)) + rng.standard_normal((6, 3, 3))
    found = changed("weight-shifting", layer, rng, times, noise=0)
    np.testing.assert_allclose(found.mean(axis=0), (1 - times) * layer.mean(axis=0), atol=1e-12)
    spread = found - found.mean(axis=0)
    np.testing.assert_allclose(spread, layer - layer.mean(axis=0), atol=1e-12)


def test_the_noise_of_shifting_is_relative_to_the_layer_as_it_was(rng):
    layer = 0.05 * rng.standard_normal((64, 300)) + 0.3 * rng.standard_normal(300)
    found = changed("weight-shifting", layer, rng, 1.5, noise=0.5)
    noise = (found - layer + 1.5 * layer.mean(axis=0)) / (0.5 * layer.std())
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3


# oracles.json, static_uchida: weight_shift_1.5_1.0, mean and deviation over networks and keys.
@pytest.mark.parametrize(
    ("margin", "mean", "deviation"),
    [(0.5, 0.627, 0.036), (1, 0.701, 0.025), (2, 0.845, 0.025), (4, 0.979, 0.012)],
)
def test_shifting_above_one_turns_symbols_over_that_a_mean_holds(margin, mean, deviation):
    """Uchida's projection of the mean filter; 1 - L < 0 turns it over, noise hides it again."""
    rng = np.random.Generator(np.random.PCG64(1))
    wrong = []
    for _ in range(3):
        layer = rng.standard_normal((256, 2304))
        matrix, signs = rng.standard_normal((256, 2304)), rng.choice([-1.0, 1.0], 256)
        filter_mean = layer.mean(axis=0)
        now = matrix @ filter_mean
        least = margin * np.linalg.norm(filter_mean)
        wanted = np.where(signs * now >= least, now, signs * least)
        step = matrix.T @ linalg.solve(matrix @ matrix.T, wanted - now, assume_a="pos")
        found = changed("weight-shifting", layer + step, rng, 1.5)
        wrong.append(np.mean(signs * (matrix @ found.mean(axis=0)) < 0))
    assert np.mean(wrong) == pytest.approx(mean, abs=4 * deviation / np.sqrt(3))


@pytest.mark.parametrize("name", ["weight-shifting", "low-rank"])
@pytest.mark.parametrize("shape", [(1, 50), (64,)])
def test_layers_without_several_filters_stay(rng, name, shape):
    layer = rng.standard_normal(shape)
    np.testing.assert_array_equal(changed(name, layer, rng, 1.5), layer)


def test_a_low_rank_is_the_nearest_of_that_rank(rng):
    layer = rng.standard_normal((12, 5, 3, 3))
    found = changed("low-rank", layer, rng, 25).reshape(12, 45)
    assert np.linalg.matrix_rank(found) == 3
    # Eckart and Young: the distance is what the other singular values hold, by another library.
    others = linalg.svdvals(layer.reshape(12, 45))[3:]
    distance = np.linalg.norm(found - layer.reshape(12, 45))
    assert distance == pytest.approx(np.sqrt(np.sum(others**2)), rel=1e-9)


# oracles.json, mod.sizes: residual of independent weights (256, 2304).
@pytest.mark.parametrize(("percent", "residual"), [(50, 0.5994), (25, 0.7967), (12.5, 0.8961)])
def test_independent_weights_are_the_worst_case(percent, residual):
    rng = np.random.Generator(np.random.PCG64(0))
    layer = rng.standard_normal((256, 256, 3, 3)).astype(np.float32)
    network = ArrayNetwork.of({"a": layer})
    done = make("low-rank", percent).modify(network, ArrayBench(layers=("a",)), rng)
    assert done.facts["residual rms / rms"] == pytest.approx(residual, abs=0.003)
    left = rms(done.network.weights["a"] - layer) / rms(layer)
    assert left == pytest.approx(done.facts["residual rms / rms"], rel=1e-5)


def test_a_full_rank_loses_nothing_and_one_is_the_least(rng):
    layer = rng.standard_normal((6, 4))
    np.testing.assert_allclose(changed("low-rank", layer, rng, 100), layer, atol=1e-12)
    assert np.linalg.matrix_rank(changed("low-rank", layer, rng, 0.1)) == 1
    found = truncated(layer, 4)
    assert found.lost == 0
    assert found.energy == pytest.approx(np.sum(layer**2))


def test_low_rank_without_layers_says_that_nothing_is_gone(rng):
    network = small_network()
    done = make("low-rank", 50).modify(network, ArrayBench(layers=("bias",)), rng)
    assert done.facts == {"residual rms / rms": 0.0}


# oracles.json, mod.sizes: clip at 3, 2 and 1 sigma; closed form 2 E[(z - c)^2; z > c] for N(0, 1).
@pytest.mark.parametrize(("most", "size"), [(3, 0.0209), (2, 0.1080), (1, 0.3883)])
def test_clipping_of_normal_weights_changes_as_much_as_its_closed_form(most, size):
    rng = np.random.Generator(np.random.PCG64(2))
    layer = 0.03 * rng.standard_normal((400, 2500)) + 0.1
    found = changed("clipping", layer, rng, most)
    exact = np.sqrt(2 * ((1 + most**2) * stats.norm.sf(most) - most * stats.norm.pdf(most)))
    assert rms(found - layer) / layer.std() == pytest.approx(exact, rel=0.05)
    assert exact == pytest.approx(size, rel=0.05)


def test_clipping_is_around_the_mean_of_each_layer(rng):
    layer = np.concatenate([rng.uniform(4, 6, 99), [30.0]]).reshape(10, 10)
    found = changed("clipping", layer, rng, 2)
    assert found.max() == pytest.approx(layer.mean() + 2 * layer.std())
    np.testing.assert_array_equal(found[layer < 29], layer[layer < 29])
