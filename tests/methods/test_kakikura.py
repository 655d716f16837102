"""A band of cosine transforms: the band, the response in closed form, a simulation, the null."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnw_onnx import graph
from nnw_onnx.errors import InjectionError
from nnw_onnx.math import noise, pruning, quantizing
from nnw_onnx.methods import kakikura
from nnw_onnx.methods.kakikura import Kakikura
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
NOTHING = Payload()
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))


def cosines(side):
    """The orthonormal transform as a matrix, from its definition."""
    k, n = np.indices((side, side))
    found = np.sqrt(2 / side) * np.cos(np.pi * k * (2 * n + 1) / 2 / side)
    found[0] /= math.sqrt(2)
    return found


def spectrum(weights, side):
    matrix = cosines(side)
    return matrix @ weights.reshape(-1)[: side**2].reshape(side, side).astype(float) @ matrix.T


def test_the_band_is_that_of_the_testbed():
    """oracles.json, static_dct.kakikura: N = 500, sums of indices 199 to 298, 24,950 of them."""
    rows, columns = kakikura.band(500)
    assert (int((rows + columns).min()), int((rows + columns).max())) == (199, 298)
    assert len(rows) == 24950
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == 24950


def test_coefficients_of_the_band_move_away_from_the_pattern(network):
    """C + alpha (C - R) by matrices of cosines, R between the band's own limits."""
    method = Kakikura(alpha=0.5, side=100)
    key = method.make_key(network, 0, SECRET, BENCH)
    marked = method.inject(network, NOTHING, key, BENCH)
    before, after = (spectrum(n.weights["wide"], 100) for n in (network, marked))
    where = kakikura.band(100)
    inside = np.zeros((100, 100), bool)
    inside[where] = True
    assert np.allclose(before[~inside], after[~inside], atol=1e-5)
    pattern = before - (after - before) / 0.5
    low, high = before[inside].min(), before[inside].max()
    assert low - 1e-4 <= pattern[inside].min() <= pattern[inside].max() <= high + 1e-4
    uniform = stats.kstest(pattern[inside], stats.uniform(low, high - low).cdf)
    assert uniform.pvalue > 1e-3
    rest = marked.weights["wide"].reshape(-1)[10000:]
    assert np.array_equal(rest, network.weights["wide"].reshape(-1)[10000:])


@pytest.mark.parametrize("margin", [3.0, 8.0, 20.0])
def test_the_margin_is_met(network, margin):
    method = Kakikura(margin=margin)
    key = method.make_key(network, 0, SECRET, BENCH)
    assert key.notes[0].endswith("coefficients of 192 x 192")
    marked = method.inject(network, NOTHING, key, BENCH)
    found = method.detect(marked, NOTHING, key)
    assert found.statistic == pytest.approx(margin, rel=1e-3)
    again = method.inject(marked, NOTHING, key, BENCH)
    assert np.allclose(again.weights["wide"], marked.weights["wide"], atol=1e-4)
    inverted = marked.with_weights({"wide": -marked.weights["wide"]})
    found = method.detect(inverted, NOTHING, key)
    assert found.log10_p == 0
    assert found.log10_inverted == pytest.approx(kakikura.normal.log10_signs_tail(margin), rel=0.01)


def test_the_strength_solves_its_equation_or_none_does():
    rng = np.random.Generator(np.random.PCG64(1))
    for _ in range(50):
        c, pattern = rng.standard_normal(400) + 0.3, rng.uniform(-1, 1, 400)
        away = c - rng.uniform(2, 4) * pattern
        alpha = kakikura.strength(c, away, pattern, 6.0)
        product = pattern * (c + alpha * away)
        assert -product.sum() / np.linalg.norm(product) == pytest.approx(6.0)
    with pytest.raises(
        InjectionError, match=r"that reaches a response of 60 .*, got 1\d.* at most"
    ):
        kakikura.strength(c, away, pattern, 60.0)


def changes(values, rng):
    yield "clean", values
    yield "noise_1", noise.add_gaussian(values, 1.0, rng)
    yield "noise_2", noise.add_gaussian(values, 2.0, rng)
    yield "l1prune_0.9", pruning.smallest(values, pruning.count(90, values.size))
    yield "quant_4", quantizing.min_max(values, 4)
    yield "quant_2", quantizing.min_max(values, 2)


def test_responses_are_those_of_the_simulation():
    """oracles.json, static_dct.kakikura: N = 500, alpha = .04, N(0, 1) weights, 200 keys, 15 %.

    There the second largest response of 200 keys is compared; ours is the same up to what all keys
    share, and its own p-value is a Yes where the rule "3 times the second" says No.
    """
    method, ratios, sizes, responses = Kakikura(alpha=0.04), {}, [], []
    for seed in range(6):
        rng = np.random.Generator(np.random.PCG64(seed))
        network = ArrayNetwork.of({"w": rng.standard_normal((500, 500))})
        key = method.make_key(network, 0, bytes([seed]) * 32, BENCH)
        marked = method.inject(network, NOTHING, key, BENCH).weights["w"]
        sizes.append(np.sqrt(np.mean((marked - network.weights["w"]) ** 2)))
        others = rng.uniform(-1, 1, (199, 24950))
        for name, values in changes(marked, rng):
            suspect = network.with_weights({"w": values})
            found = method.detect(suspect, NOTHING, key)
            band = kakikura._spectrum(suspect.weights["w"].reshape(-1), 500)[kakikura.band(500)]
            owner = abs(float(band @ kakikura._pattern(key, 500)))
            ratios.setdefault(name, []).append(owner / np.abs(others @ band).max())
            assert found.decided(1e-3).detected
            if name == "clean":
                responses.append(found.statistic)
    assert np.mean(sizes) == pytest.approx(0.032, rel=0.15)
    assert 12.5 < np.mean(responses) < 15.5
    assert 3.8 * 0.85 < np.mean(ratios["clean"]) < 5.6 * 1.15
    wanted = {
        "noise_1": 3.63,
        "noise_2": 2.34,
        "l1prune_0.9": 3.3,
        "quant_4": 4.91,
        "quant_2": 4.45,
    }
    for name, ratio in wanted.items():
        assert np.mean(ratios[name]) == pytest.approx(ratio, rel=0.15)


def test_wrong_keys_are_never_too_sure(wrong_keys):
    found = wrong_keys(Kakikura(margin=4.0), size=0)
    p_values = np.array([10**one.log10_p for one in found])
    for level in (0.5, 0.1, 0.01):
        hits = np.count_nonzero(p_values <= level)
        assert hits <= stats.binom.isf(1e-5, len(found), level)
    statistic = np.array([one.statistic for one in found])
    if not statistic.any():
        return  # weights that are all equal have nothing in the band
    assert abs(statistic.mean()) < 4.5 / math.sqrt(len(found))
    assert statistic.var() == pytest.approx(1, abs=4.5 * math.sqrt(3 / len(found)))


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_it_is_found_in_real_networks_by_its_own_key_only(path):
    network, method = graph.open_network(path), Kakikura()
    keys = [method.make_key(network, 0, bytes([user]) * 32, BENCH) for user in range(5)]
    marked = method.inject(network, NOTHING, keys[0], BENCH)
    found = [method.detect(marked, NOTHING, key).decided(1e-6).detected for key in keys]
    assert found == [True, False, False, False, False]
    assert not method.detect(network, NOTHING, keys[0]).decided(1e-6)


def test_users_are_found_in_the_average_of_their_copies(network):
    """Five copies, each with a key of its own: every response is about a fifth."""
    method = Kakikura(margin=30.0)
    keys = [method.make_key(network, 0, bytes([user]) * 32, BENCH) for user in range(5)]
    copies = [method.inject(network, NOTHING, key, BENCH).weights["wide"] for key in keys]
    average = network.with_weights({"wide": np.mean(copies, axis=0, dtype=np.float64)})
    for key in keys:
        assert method.detect(average, NOTHING, key).decided(1e-3)
    innocent = method.make_key(network, 0, bytes([9]) * 32, BENCH)
    assert not method.detect(average, NOTHING, innocent).decided(1e-3)


def test_an_erased_carrier_says_nothing(network):
    key = Kakikura().make_key(network, 0, SECRET, BENCH)
    erased = network.with_weights({"wide": 0 * network.weights["wide"]})
    found = Kakikura().detect(erased, NOTHING, key)
    assert (found.statistic, found.log10_p, found.log10_inverted) == (0.0, 0.0, 0.0)


def test_what_cannot_carry_is_refused(network):
    with pytest.raises(InjectionError, match="kakikura: expected no payload, because it only"):
        Kakikura().make_key(network, 8, SECRET, BENCH)
    message = "layer 'first': expected at least 1600 weights for a square of 40 x 40, got 432; use"
    with pytest.raises(InjectionError, match=message):
        Kakikura().make_key(network, 0, SECRET, ArrayBench(layers=("first",)))
    message = "kernel: expected at least 40000 weights for a square of 200 x 200, got 36864; use a"
    with pytest.raises(InjectionError, match=message):
        Kakikura(side=200).make_key(network, 0, SECRET, BENCH)


def test_a_type_too_coarse_for_the_band_is_refused():
    rng = np.random.Generator(np.random.PCG64(3))
    coarse = (1000 + rng.integers(0, 2, (16, 16, 4, 4)) * 0.5).astype(np.float16)
    plain, method = ArrayNetwork.of({"w": coarse}), Kakikura()
    secret = next(
        s
        for s in (bytes([i]) * 32 for i in range(50))
        if method.detect(plain, NOTHING, method.make_key(plain, 0, s, BENCH)).statistic < 0
    )
    key = method.make_key(plain, 0, secret, BENCH)
    message = r"expected a response of 8 standard deviations, got \S+ once stored as float16; use"
    with pytest.raises(InjectionError, match=message):
        method.inject(plain, NOTHING, key, BENCH)
