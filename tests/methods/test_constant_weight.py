"""Constant-weight code: enumeration by brute force, word errors of a simulation, the exact null."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnw_onnx import graph
from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.math import noise, pruning, quantizing
from nnw_onnx.methods import constant_weight
from nnw_onnx.methods.constant_weight import ConstantWeight
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))


def random(size, seed=1):
    return Payload.random(size, np.random.Generator(np.random.PCG64(seed)))


# --- the code


@pytest.mark.parametrize(("length", "ones"), [(8, 3), (10, 5), (12, 1), (9, 2)])
def test_numbers_of_words_by_brute_force(length, ones):
    """Every set of places has one number; they ascend as the sets do, compared from the end."""
    sets = sorted(itertools.combinations(range(length), ones), key=lambda s: s[::-1])
    assert [constant_weight.ranked(s) for s in sets] == list(range(math.comb(length, ones)))
    numbers = range(math.comb(length, ones))
    found = [tuple(constant_weight.unranked(n, length, ones)) for n in numbers]
    assert found == sets


@pytest.mark.parametrize(
    ("length", "ones", "bits"), [(256, 12, 66), (1024, 9, 71), (512, 16, 99), (1024, 32, 201)]
)
def test_capacities(length, ones, bits):
    """Methods.md, section 15: floor(log2 C(L, alpha))."""
    network = ArrayNetwork.of({"w": np.random.default_rng(1).standard_normal((64, 64))})
    method = ConstantWeight(length=length, ones=ones)
    assert "1 word of" in method.make_key(network, bits, SECRET, BENCH).notes[0]
    assert "2 words of" in method.make_key(network, bits + 1, SECRET, BENCH).notes[0]


def test_the_null_by_brute_force_and_by_scipy():
    """All pairs of sets of a tiny code; scipy's hypergeometric; convolutions of it for words."""
    sets = [{*s} for s in itertools.combinations(range(7), 3)]
    counts = [0] * 4
    for other in sets:
        counts[len(sets[5] & other)] += 1
    assert constant_weight.overlaps(7, 3, 1) == tuple(counts)
    two = constant_weight.overlaps(7, 3, 2)
    assert np.array_equal(two, np.convolve(counts, counts))
    five = np.array([w / math.comb(256, 12) ** 5 for w in constant_weight.overlaps(256, 12, 5)])
    once, wanted = stats.hypergeom(256, 12, 12).pmf(np.arange(13)), np.ones(1)
    for _ in range(5):
        wanted = np.convolve(wanted, once)
    assert np.allclose(five, wanted, rtol=1e-9, atol=0)


# oracles.json, stat.cwc_overlap: P(overlap >= k) for L = 256, alpha = 12 (relative 1e-6).
OVERLAPS = {
    3: 0.013713236,
    4: 0.0011392274,
    5: 6.0313518e-05,
    6: 2.0430659e-06,
    7: 4.3589564e-08,
    8: 5.6437184e-10,
    12: 7.8548724e-21,
}


@pytest.mark.parametrize("right", OVERLAPS)
def test_evidence_of_so_many_places(network, right):
    """Places of the word are made small, and others large, until so many are right."""
    method = ConstantWeight()
    key = method.make_key(network, 60, SECRET, BENCH)
    marked = method.inject(network, random(60), key, BENCH)
    flat = marked.weights[key.layers[0]].astype(np.float64).reshape(-1)
    places = method._places(key)[0]
    ranks = np.argsort(-np.abs(flat[places]))
    flat[places[ranks[: 12 - right]]] = 0
    flat[places[ranks[-(12 - right) :]]] = 99 if right < 12 else flat[places[ranks]]
    shape = marked.weights[key.layers[0]].shape
    found = method.detect(
        marked.with_weights({key.layers[0]: flat.reshape(shape)}), random(60), key
    )
    assert found.statistic == right
    assert found.p_value == pytest.approx(OVERLAPS[right], rel=1e-6)
    assert 10**found.log10_tie == pytest.approx(stats.hypergeom(256, 12, 12).pmf(right), rel=1e-9)
    assert 10**found.null.log10_least == pytest.approx(OVERLAPS[12], rel=1e-6)
    assert found.null.name == "1 x Hypergeometric(256, 12, 12)"


# --- injection


def test_large_and_small_weights_keep_their_signs(network):
    method = ConstantWeight(high=5.0, low=0.5)
    key = method.make_key(network, 100, SECRET, BENCH)
    marked = method.inject(network, random(100), key, BENCH).weights["wide"].reshape(-1)
    before = network.weights["wide"].astype(np.float64).reshape(-1)
    unit = np.sqrt(np.mean(before**2))
    places = method._places(key).reshape(-1)
    assert len(places) == len({*places.tolist()}) == 512
    sizes = np.abs(marked[places]) / unit
    assert np.count_nonzero(sizes >= 5 * (1 - 1e-6)) == 24
    assert np.count_nonzero(sizes <= 0.5 * (1 + 1e-6)) == 512 - 24
    assert np.array_equal(np.sign(marked), np.sign(before))
    others = np.setdiff1d(np.arange(before.size), places)
    assert np.array_equal(marked[others], before[others].astype(np.float32))


def changes(values, rng):
    yield "clean", values
    for ratio in (0.1, 0.3, 0.5, 1):
        yield f"noise_{ratio}", noise.add_gaussian(values, ratio, rng)
    for share in (0.9, 0.99):
        yield f"l1prune_{share}", pruning.smallest(values, round(share * values.size))
    for bits in (8, 4):
        yield f"quant_{bits}", quantizing.min_max(values, bits)


# oracles.json, static_cwc.table (20,000 N(0, 1) weights, 400 trials, .02 absolute): what is not
# named is 0.
@pytest.mark.parametrize(
    ("length", "ones", "high", "low", "errors"),
    [
        (256, 12, 4.0, 1.0, {"noise_0.5": 0.015, "noise_1": 0.9725}),
        (256, 12, 3.0, 1.5, {"noise_0.3": 0.0525, "noise_0.5": 0.89, "noise_1": 1.0}),
        (1024, 9, 4.0, 1.0, {"noise_0.5": 0.0175, "noise_1": 0.9825}),
    ],
)
def test_word_errors_are_those_of_the_simulation(length, ones, high, low, errors):
    method, trials = ConstantWeight(length=length, ones=ones, high=high, low=low), 80
    wrong: dict[str, int] = {}
    for trial in range(trials):
        rng = np.random.Generator(np.random.PCG64(trial))
        network = ArrayNetwork.of({"w": rng.standard_normal((100, 200))})
        payload, secret = random(60, trial), bytes([trial]) * 32
        key = method.make_key(network, 60, secret, BENCH)
        marked = method.inject(network, payload, key, BENCH).weights["w"]
        for name, values in changes(marked, rng):
            read = method.decode(network.with_weights({"w": values}), key).payload
            wrong[name] = wrong.get(name, 0) + (read != payload)
    for name, count in wrong.items():
        rate = errors.get(name, 0.0)
        assert count / trials == pytest.approx(
            rate, abs=0.02 + 4 * math.sqrt(rate * (1 - rate) / trials)
        )


def test_a_few_large_weights_break_a_word_and_not_the_evidence():
    """Modifications: a random 0.2 % of the weights set to +-4 sigma breaks 40 % of the words."""
    method, broken, least = ConstantWeight(), 0, math.inf
    for trial in range(100):
        rng = np.random.Generator(np.random.PCG64(trial))
        network = ArrayNetwork.of({"w": rng.standard_normal((100, 200))})
        payload, secret = random(60, trial), bytes([trial]) * 32
        key = method.make_key(network, 60, secret, BENCH)
        values = np.array(method.inject(network, payload, key, BENCH).weights["w"])
        # A little over, or half of the ties with the mark itself would go its way.
        values[rng.uniform(size=values.shape) < 0.002] = 4.2
        attacked = network.with_weights({"w": values})
        broken += method.decode(attacked, key).payload != payload
        least = min(least, -method.detect(attacked, payload, key).log10_p)
    assert broken / 100 == pytest.approx(1 - 0.998**244, abs=4 * math.sqrt(0.24 / 100))
    assert least > 6


# --- the null


def test_wrong_keys_have_exactly_as_many_places_right(wrong_keys, assert_uniform):
    assert_uniform(wrong_keys(ConstantWeight()))


def test_wrong_keys_of_many_ties_do_too(wrong_keys, assert_uniform):
    """One bit has two words, the first two of all; short words make each place count."""
    assert_uniform(wrong_keys(ConstantWeight(length=8, ones=4), size=5))


def test_wrong_bits_are_fair_coins(wrong_keys):
    from nnw_onnx.kit.evidence import matched

    method, network = ConstantWeight(), ArrayNetwork.of({"w": np.full((32, 32), 0.5)})
    payload = Payload((1, 1, 0) * 20)
    template = ConstantWeight().make_key(
        ArrayNetwork.of({"w": np.random.default_rng(2).standard_normal((32, 32))}),
        60, SECRET, BENCH,
    )  # fmt: skip
    right = [
        matched(
            method.decode(
                network, dataclasses.replace(template, secret=i.to_bytes(32, "big"))
            ).payload,
            payload,
        ).statistic
        for i in range(500)
    ]
    assert np.mean(right) == pytest.approx(30, abs=4.5 * math.sqrt(15 / 500))
    assert np.var(right) == pytest.approx(15, abs=4.5 * math.sqrt(2 / 500) * 15)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_every_symbol_is_read_from_real_networks(path):
    network, method = graph.open_network(path), ConstantWeight()
    for size in (64, 256):
        key = method.make_key(network, size, SECRET, BENCH)
        after = method.inject(network, random(size), key, BENCH)
        read = method.decode(after, key)
        assert (read.payload, read.ties) == (random(size), 0)
        assert min(read.confidence) > 2.5


def test_equal_magnitudes_are_ties(network):
    method = ConstantWeight()
    key = method.make_key(network, 60, SECRET, BENCH)
    flat = network.with_weights({"wide": np.full_like(network.weights["wide"], -0.1)})
    read = method.decode(flat, key)
    assert (read.ties, set(read.confidence)) == (60, {0.0})


def test_what_does_not_fit_is_refused(network):
    message = r"expected at most 4224 symbols, got 4225; use a shorter payload or words of fewer"
    with pytest.raises(InjectionError, match=message):
        ConstantWeight().make_key(network, 4225, SECRET, BENCH)
    message = "largest kernel: expected at least 37120 weights for 1160 symbols, got 36864; use"
    with pytest.raises(InjectionError, match=message):
        ConstantWeight(length=256, ones=1).make_key(network, 145 * 8, SECRET, BENCH)
    message = "expected at most half of the weights to be ones, and low below high, got 9 of 16 and"
    with pytest.raises(ConfigurationError, match=message):
        ConstantWeight(length=16, ones=9).make_key(network, 8, SECRET, BENCH)
    with pytest.raises(ConfigurationError, match="got 12 of 256 and 4, 4; correct them"):
        ConstantWeight(low=4.0).make_key(network, 8, SECRET, BENCH)
    key = ConstantWeight().make_key(network, 60, SECRET, BENCH)
    message = "key: expected from 1 to 64 words of 256 weights in 36864, got 76; restore the key"
    with pytest.raises(ConfigurationError, match=message):
        ConstantWeight().decode(network, dataclasses.replace(key, size=5000))
