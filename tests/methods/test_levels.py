"""Levels: an exact null over any alphabet, the cost of the quantiser, and errors under noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import keystream
from nnw_onnx.kit.evidence import matched
from nnw_onnx.methods.levels import Levels
from nnw_onnx.plugins import create
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Key, Method, Payload, Spec

SECRET = bytes(range(32))
BENCH = ArrayBench()


def drawn(size, alphabet, seed=0):
    rng = np.random.Generator(np.random.Philox(seed))
    return Payload(tuple(rng.integers(0, alphabet, size).tolist()), alphabet)


@pytest.fixture
def gaussian(rng):
    return ArrayNetwork.of({"conv": (0.05 * rng.standard_normal((64, 64, 3, 3))).astype("f4")})


@pytest.mark.parametrize("alphabet", [2, 3, 8, 256])
def test_any_alphabet_comes_back(gaussian, alphabet):
    method = Levels(alphabet=alphabet)
    payload = drawn(40, alphabet)
    key = method.make_key(gaussian, 40, SECRET, BENCH)
    marked = method.inject(gaussian, payload, key, BENCH)
    read = method.decode(marked, key)
    assert read.payload == payload
    found = matched(read.payload, payload)
    assert found.null.name == f"Bin(40, 1/{alphabet})"
    assert found.log10_p == pytest.approx(-40 * np.log10(alphabet))
    # in the middle between two borders: half of step / alphabet
    assert np.allclose(read.confidence, 12 / alphabet / 2, rtol=0.02)


def test_a_sum_goes_to_the_nearest_level_of_its_symbol(gaussian):
    """Restated by brute force over all levels, from the keystream alone."""
    method, payload = Levels(step=6.0), drawn(20, 8)
    key = method.make_key(gaussian, 20, SECRET, BENCH)
    marked = method.inject(gaussian, payload, key, BENCH).weights["conv"].reshape(-1)
    flat = gaussian.weights["conv"].reshape(-1).astype(np.float64)
    length = flat.size // 20
    order = keystream.permutation(SECRET, "levels/positions", flat.size, 20 * length)
    chips = keystream.signs(SECRET, "levels/chips", 20 * length).reshape(20, length)
    step = 6.0 * np.sqrt(length * np.mean(flat**2))
    assert key.facts["step"] == pytest.approx(step, rel=1e-12)
    dither = keystream.uniform(SECRET, "levels/dither", 20)
    for j, where in enumerate(order.reshape(20, length)):
        before, after = (float(chips[j] @ w[where].astype(np.float64)) for w in (flat, marked))
        levels = step * (np.arange(-50, 50) + payload.symbols[j] / 8 + dither[j])
        assert after == pytest.approx(levels[np.argmin(abs(levels - before))], abs=1e-4 * step)
        assert abs(after - before) <= step / 2 * (1 + 1e-4)


def test_the_cost_is_that_of_a_uniform_quantiser(gaussian):
    """A sum moves by a uniform number of +-step / 2, spread over its n weights."""
    method, payload = Levels(), drawn(200, 8)
    key = method.make_key(gaussian, 200, SECRET, BENCH)
    before = gaussian.weights["conv"].astype(np.float64)
    after = method.inject(gaussian, payload, key, BENCH).weights["conv"].astype(np.float64)
    change = np.sqrt(np.mean((after - before) ** 2)) / np.sqrt(np.mean(before**2))
    expected = 12 / np.sqrt(12) / np.sqrt(before.size // 200)
    assert change == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("alphabet", "ratio"), [(8, 0.3), (8, 1.0), (4, 1.5)])
def test_errors_under_noise_follow_the_theory(gaussian, alphabet, ratio):
    """Noise of `ratio` moves a sum by N(0, ratio) deviations; levels are step / alphabet apart."""
    method, payload = Levels(alphabet=alphabet), drawn(1000, alphabet)
    key = method.make_key(gaussian, 1000, SECRET, BENCH)
    marked = method.inject(gaussian, payload, key, BENCH).weights["conv"].astype(np.float64)
    rng = np.random.Generator(np.random.Philox(1))
    # The deviation is that of the unmarked layer, in which the step is told.
    sigma = ratio * np.sqrt(np.mean(gaussian.weights["conv"].astype(np.float64) ** 2))
    noisy = gaussian.with_weights({"conv": marked + sigma * rng.standard_normal(marked.shape)})
    wrong = method.decode(noisy, key).payload.errors(payload) / 1000
    half = 12 / alphabet / 2
    turns = np.arange(-3, 4)[:, None] * 12
    right = stats.norm.cdf((turns + half) / ratio) - stats.norm.cdf((turns - half) / ratio)
    theory = 1 - float(right.sum())
    assert abs(wrong - theory) <= 4.5 * np.sqrt(theory * (1 - theory) / 1000) + 1e-9


def test_answers_of_wrong_keys_are_uniform_on_weights_far_from_random():
    rng = np.random.Generator(np.random.PCG64(11))
    weights = 0.05 * (rng.standard_normal((16, 108)) + 3 * rng.standard_normal((1, 108)) + 1.5)
    network, method = ArrayNetwork.of({"fc": weights}), Levels()
    real = method.make_key(network, 16, SECRET, BENCH)
    for suspect in (network, network.with_weights({"fc": np.zeros_like(weights)})):
        counts = np.zeros((16, 8), int)
        for i in range(1000):
            key = Key(real.method, i.to_bytes(32, "big"), 16, layers=real.layers,
                      shapes=real.shapes, facts=real.facts)  # fmt: skip
            read = method.decode(suspect, key).payload.array()
            counts[np.arange(16), read] += 1
        assert stats.chisquare(counts.sum(axis=0)).pvalue > 1e-3
        assert min(stats.chisquare(row).pvalue for row in counts) > 1e-5


def test_what_does_not_fit_is_told(gaussian):
    method = Levels()
    key = method.make_key(gaussian, 20, SECRET, BENCH)
    with pytest.raises(InjectionError, match="20 symbols from at most 8, got 20 from 9; make"):
        method.inject(gaussian, drawn(20, 9), key, BENCH)
    with pytest.raises(ConfigurationError, match="expected a step above 0 among its facts, got No"):
        method.decode(gaussian, dataclasses.replace(key, facts={}))
    message = "largest kernel: expected at least 36880 weights for 2305 symbols, got 36864; use a"
    with pytest.raises(InjectionError, match=message):
        method.make_key(gaussian, 2305, SECRET, BENCH)
    with pytest.raises(ConfigurationError, match="levels: option alphabet: expected"):
        create(Method, Spec("levels", {"alphabet": 1}))
