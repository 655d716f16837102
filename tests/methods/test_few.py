"""Fixed weights: their law, bit errors by an integral and by published arithmetic, the null."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from nnw_onnx import graph
from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.math import noise, pruning
from nnw_onnx.methods.few import Few
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArrayTrainer, small_network, small_samples
from nnw_onnx.vocabulary import Job, Payload, Recipe

SECRET = bytes(range(32))
BENCH = ArrayBench()
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))


def random(size, seed=1):
    return Payload.random(size, np.random.Generator(np.random.PCG64(seed)))


@pytest.fixture(scope="module")
def marked():
    """1,024 bits of 50 weights each in a layer of N(0, 1) weights, and how they are read."""
    rng = np.random.Generator(np.random.PCG64(7))
    network = ArrayNetwork.of({"conv": rng.standard_normal((256, 256, 3, 3))})
    key = Few().make_key(network, 1024, SECRET, BENCH)
    payload = random(1024)
    return network, Few().inject(network, payload, key, BENCH), key, payload


def errors(network, key, payload):
    return Few().decode(network, key).payload.errors(payload) / len(payload)


def test_marked_weights_are_laplace_numbers_of_the_layers_deviation(marked):
    network, after, _, _ = marked
    changed = network.weights["conv"] != after.weights["conv"]
    assert np.count_nonzero(changed) == 1024 * 50
    sizes = after.weights["conv"][changed]
    fitted = stats.kstest(sizes, stats.laplace(scale=1 / math.sqrt(2)).cdf)
    assert fitted.pvalue > 1e-3
    assert sizes.std() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 5.0])
def test_noise_costs_as_many_bits_as_the_integral_says(marked, ratio):
    """E Q(G / (a sqrt S)): G is the sum of S exponential sizes, a gamma variable.

    The reference's first-order value is Q(C sqrt(S / 2) / a): 3e-7, .0062, .159 at a = 1, 2, 5.
    """
    _, after, key, payload = marked
    size = stats.gamma(50, scale=1 / math.sqrt(2))
    theory, _ = integrate.quad(
        lambda g: size.pdf(g) * stats.norm.sf(g / ratio / math.sqrt(50)), 0, 100
    )
    assert theory == pytest.approx(stats.norm.sf(5 / ratio), rel=0.6, abs=2e-5)
    found = []
    for seed in range(4):
        rng = np.random.Generator(np.random.Philox(seed))
        found.append(
            errors(
                after.with_weights({"conv": noise.add_gaussian(after.weights["conv"], ratio, rng)}),
                key,
                payload,
            )
        )
    assert np.mean(found) == pytest.approx(theory, abs=4.5 * math.sqrt(theory / 4096) + 1e-3)


@pytest.mark.parametrize(
    ("percent", "left", "none"), [(90, 0.098, 0.006), (95, 0.063, 0.040), (99, 0.026, 0.27)]
)
def test_pruning_leaves_what_the_arithmetic_says(marked, percent, left, none):
    """Survivors of 50 weights, exp(-sqrt 2 t) of them at the threshold t; without any, a tie."""
    network, after, key, _ = marked
    values = after.weights["conv"]
    changed = network.weights["conv"] != values
    pruned = pruning.smallest(values, pruning.count(percent, values.size))
    kept = np.count_nonzero(pruned[changed]) / np.count_nonzero(changed)
    assert kept == pytest.approx(left, abs=0.003)
    ties = Few().decode(after.with_weights({"conv": pruned}), key).ties / 1024
    assert ties == pytest.approx(none, abs=4.5 * math.sqrt(none * (1 - none) / 1024))


def test_wrong_keys_guess_exactly(wrong_keys, assert_uniform):
    assert_uniform(wrong_keys(Few()))


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_every_symbol_is_read_from_real_networks(path):
    network = graph.open_network(path)
    for size in (64, 256):
        key = Few().make_key(network, size, SECRET, BENCH)
        after = Few().inject(network, random(size), key, BENCH)
        assert errors(after, key, random(size)) == 0


def test_a_training_goes_around_them():
    network, payload = small_network(), random(16)
    key = Few().make_key(network, 16, SECRET, BENCH)
    added = Few().additions(network, payload, key)
    assert added.penalty is None
    recipe = Recipe(epochs=5, batch_size=40, learning_rate=0.02)
    job = Job(small_samples(), recipe, "cross-entropy", 0, added)
    done = ArrayTrainer().train(network, job).network.weights["conv"]
    stays = added.fixed["conv"]
    assert np.count_nonzero(stays) == 16 * 50
    start = added.start["conv"].astype(np.float32)
    assert np.array_equal(done[stays], start[stays])
    assert np.mean(done[~stays] != start[~stays]) > 0.99
    static = Few().inject(network, payload, key, BENCH).weights["conv"]
    assert np.array_equal(static, start)


def test_what_does_not_fit_is_refused(network):
    largest = 64 * 64 * 9
    assert Few().make_key(network, largest // 50, SECRET, BENCH).layers == ("wide",)
    message = "few: largest kernel: expected at least 36900 weights for 738 symbols, got 36864; us"
    with pytest.raises(InjectionError, match=message):
        Few().make_key(network, 738, SECRET, BENCH)
    key = Few().make_key(network, 64, SECRET, BENCH)
    message = "key: expected at most 36864 marked weights in layer 'wide', got 50000; restore"
    with pytest.raises(ConfigurationError, match=message):
        Few().decode(network, dataclasses.replace(key, size=1000))
