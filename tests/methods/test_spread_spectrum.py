"""Spread spectrum: bit error rates in closed form and from a simulation, codes, the null."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnw_onnx import graph
from nnw_onnx.codes.ldpc import Ldpc
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import keystream
from nnw_onnx.math import noise, pruning, quantizing
from nnw_onnx.methods.spread_spectrum import SpreadSpectrum
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Payload, Spec

SECRET = bytes(range(32))
BENCH = ArrayBench()
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))
CHIPS, BITS, SEEDS = 2304, 256, 4


def random(size, seed=1):
    return Payload.random(size, np.random.Generator(np.random.PCG64(seed)))


def coded(key):
    """The key of Symbols that a code stands above: some may be wrong."""
    return dataclasses.replace(key, code=Spec("ldpc"))


def changes(values, rng):
    count = values.size
    yield "clean", values
    yield "noise_1", noise.add_gaussian(values, 1.0, rng)
    yield "noise_2", noise.add_gaussian(values, 2.0, rng)
    yield "l1prune_0.9", pruning.smallest(values, pruning.count(90, count))
    yield "l1prune_0.99", pruning.smallest(values, pruning.count(99, count))
    yield "quant_4", quantizing.min_max(values, 4)
    yield "quant_2", quantizing.min_max(values, 2)


# oracles.json, static_ss.table (256 bits, 2,304 chips a bit, N(0, 1) weights, 8 seeds): gain ->
# change -> mean and standard deviation of the bit error rate. Tolerance: 4 sd / sqrt(n) + .004.
SIMULATED = {
    0.02: {
        "clean": (0.1763, 0.0291),
        "noise_1": (0.2515, 0.0422),
        "noise_2": (0.3271, 0.0201),
        "l1prune_0.9": (0.2666, 0.0324),
        "l1prune_0.99": (0.3838, 0.0465),
        "quant_4": (0.186, 0.0301),
        "quant_2": (0.2188, 0.0382),
    },
    0.05: {
        "clean": (0.0098, 0.0051),
        "noise_1": (0.0493, 0.0156),
        "noise_2": (0.1577, 0.0337),
        "l1prune_0.9": (0.0557, 0.0188),
        "l1prune_0.99": (0.23, 0.0396),
        "quant_4": (0.0117, 0.0066),
        "quant_2": (0.0288, 0.0129),
    },
    0.1: {
        "clean": (0.0, 0.0),
        "noise_1": (0.0, 0.0),
        "noise_2": (0.0132, 0.0075),
        "l1prune_0.9": (0.0, 0.0),
        "l1prune_0.99": (0.0806, 0.0207),
        "quant_4": (0.0, 0.0),
        "quant_2": (0.0, 0.0),
    },
    0.2: {
        "clean": (0.0, 0.0),
        "noise_1": (0.0, 0.0),
        "noise_2": (0.0, 0.0),
        "l1prune_0.9": (0.0, 0.0),
        "l1prune_0.99": (0.0049, 0.005),
        "quant_4": (0.0, 0.0),
        "quant_2": (0.0, 0.0),
    },
}


@pytest.mark.parametrize("gain", SIMULATED)
def test_bit_error_rates_are_those_of_the_simulation_and_of_the_theory(gain):
    """Q(gain sqrt(n) / sqrt(1 + a^2)) for noise of ratio a."""
    rates: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        rng = np.random.Generator(np.random.PCG64(seed))
        network = ArrayNetwork.of({"conv": rng.standard_normal((512, 128, 3, 3))})
        method, payload = SpreadSpectrum(gain=gain), random(BITS, seed)
        secret = bytes([seed]) * 32
        assert network.weights["conv"].size == BITS * CHIPS
        key = coded(method.make_key(network, BITS, secret, BENCH))
        marked = method.inject(network, payload, key, BENCH).weights["conv"]
        for name, values in changes(marked, rng):
            read = method.decode(network.with_weights({"conv": values}), key)
            rates.setdefault(name, []).append(read.payload.errors(payload) / BITS)
    for name, (mean, deviation) in SIMULATED[gain].items():
        assert np.mean(rates[name]) == pytest.approx(
            mean, abs=4 * deviation / math.sqrt(SEEDS) + 0.004
        )
    for ratio, name in ((0, "clean"), (1, "noise_1"), (2, "noise_2")):
        theory = stats.norm.sf(gain * math.sqrt(CHIPS / (1 + ratio**2)))
        spread = math.sqrt(theory * (1 - theory) / BITS / SEEDS)
        assert np.mean(rates[name]) == pytest.approx(theory, abs=4.5 * spread + 2e-3)


def test_every_weight_of_a_symbol_moves_by_the_gain_of_its_layer(network):
    method = SpreadSpectrum(gain=0.25)
    key = method.make_key(network, 48, SECRET, BENCH)
    assert key.layers == ("first", "wide", "last")  # the last kernel is left alone
    marked = method.inject(network, random(48), key, BENCH)
    for name in key.layers:
        before = network.weights[name].astype(np.float64)
        moved = np.abs(marked.weights[name] - before)
        size = 0.25 * np.sqrt(np.mean(before**2))
        assert np.allclose(moved[moved > size / 2], size, rtol=1e-4)
        assert np.count_nonzero(moved < size / 2) < 48
    assert np.array_equal(marked.weights["head"], network.weights["head"])


def test_the_mean_of_a_sum_is_the_margin(network):
    method = SpreadSpectrum(margin=20.0)
    key = method.make_key(network, 48, SECRET, BENCH)
    marked = method.inject(network, random(48), key, BENCH)
    reached = np.array(method.decode(marked, key).confidence)
    gain = 20 / math.sqrt(sum(math.prod(s) for s in key.shapes) // 48)
    assert reached.mean() == pytest.approx(20 / math.sqrt(1 + gain**2), abs=4.5 / math.sqrt(48))
    assert reached.std() == pytest.approx(1, abs=0.4)


def test_fewer_chips_touch_fewer_weights(network):
    method = SpreadSpectrum(chips=100, margin=8.0)
    key = method.make_key(network, 48, SECRET, BENCH)
    marked = method.inject(network, random(48), key, BENCH)
    changed = sum(
        np.count_nonzero(marked.weights[n] != network.weights[n]) for n in network.weights
    )
    assert changed == pytest.approx(4800, abs=5)
    assert method.decode(marked, key).payload == random(48)
    assert "100 weights a symbol, each moved by 0.8 of its layer" in key.notes[0]


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_every_symbol_is_read_from_real_networks(path):
    network, method = graph.open_network(path), SpreadSpectrum()
    for size in (64, 256):
        key = method.make_key(network, size, SECRET, BENCH)
        after = method.inject(network, random(size), key, BENCH)
        assert method.decode(after, key).payload == random(size)


def test_a_code_reads_what_a_weak_mark_leaves(rng):
    """Raw errors of Q(1.6) = 5 %, and after pruning 90 % by size more: the payload is whole."""
    network = ArrayNetwork.of({"conv": rng.standard_normal((256, 128, 3, 3))})
    method, code, payload = SpreadSpectrum(margin=1.6), Ldpc(), random(256)
    sent = code.encode(payload)
    key = method.make_key(network, len(sent), SECRET, BENCH)
    with pytest.raises(InjectionError, match=r"expected all 512 symbols .*, got \d\d wrong ones"):
        method.inject(network, sent, key, BENCH)
    marked = method.inject(network, sent, coded(key), BENCH)
    read = method.decode(marked, key)
    assert read.payload.errors(sent) / 512 == pytest.approx(stats.norm.sf(1.6), abs=0.04)
    assert code.decode(read.payload, read.confidence, 256) == payload


def test_a_mark_too_weak_for_any_code_is_refused(network):
    method = SpreadSpectrum(margin=0.01)
    key = coded(method.make_key(network, 48, SECRET, BENCH))
    with pytest.raises(InjectionError, match="use a larger margin, a shorter payload or a code"):
        method.inject(network, random(48), key, BENCH)


def test_wrong_keys_guess_exactly(wrong_keys, assert_uniform):
    assert_uniform(wrong_keys(SpreadSpectrum()))


def test_layers_that_are_not_there_say_nothing(network):
    method = SpreadSpectrum(margin=12.0)
    key = method.make_key(network, 16, SECRET, BENCH)
    marked = method.inject(network, random(16), key, BENCH)
    rest = {n: w for n, w in marked.weights.items() if n != "last"}
    read = method.decode(ArrayNetwork.of(rest), key)
    assert (read.payload, read.notes) == (random(16), ("not there: last",))
    with pytest.raises(CarrierNotFoundError, match="expected layer wide .* got none of this name"):
        method.decode(ArrayNetwork.of({"last": marked.weights["last"]}), key)


def test_scaling_a_layer_does_not_matter(network):
    method = SpreadSpectrum()
    key = method.make_key(network, 48, SECRET, BENCH)
    marked = method.inject(network, random(48), key, BENCH)
    scaled = marked.with_weights({"wide": 7 * marked.weights["wide"]})
    before, after = (np.array(method.decode(n, key).confidence) for n in (marked, scaled))
    assert np.allclose(before, after, rtol=1e-5)


def test_chips_are_those_of_the_keystream():
    """Worked by hand: sorted keyed numbers are the positions, bits of another label the chips."""
    weights = np.random.Generator(np.random.PCG64(3)).standard_normal((8, 8))
    network, method = ArrayNetwork.of({"fc": weights}), SpreadSpectrum()
    key = method.make_key(network, 4, SECRET, BENCH)
    places = keystream.permutation(SECRET, "spread-spectrum/positions", 64).reshape(4, 16)
    chips = keystream.signs(SECRET, "spread-spectrum/chips", 64).reshape(4, 16)
    sums = (weights.reshape(-1)[places] * chips).sum(axis=1)
    mask = keystream.bits(SECRET, "spread-spectrum/mask", 4)
    assert method.decode(network, key).payload.array().tolist() == ((sums > 0) ^ mask).tolist()


def test_what_does_not_fit_is_refused(network):
    message = "expected at least 48000 weights in layers of at least 3000 for 3000 symbols, got "
    with pytest.raises(InjectionError, match=message + "432 in layer 'first'; use a shorter"):
        SpreadSpectrum().make_key(network, 3000, SECRET, ArrayBench(layers=("first",)))
    message = "expected at least 80000 weights in layers of at least 5000 for 5000 symbols, got "
    with pytest.raises(InjectionError, match=message + "50688 in all; use a shorter"):
        SpreadSpectrum().make_key(network, 5000, SECRET, BENCH)
    with pytest.raises(InjectionError, match="for 8 symbols, got none; use a shorter"):
        SpreadSpectrum().make_key(ArrayNetwork.of({"b": np.ones(4)}), 8, SECRET, BENCH)
    key = SpreadSpectrum().make_key(network, 48, SECRET, BENCH)
    none = dataclasses.replace(key, size=0)
    with pytest.raises(ConfigurationError, match="key: expected from 1 to 51120 symbols, got 0; r"):
        SpreadSpectrum().decode(network, none)
