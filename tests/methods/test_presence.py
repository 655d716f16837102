"""Presence: the margin in closed form, and a p-value that holds for any weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import keystream
from nnw_onnx.math import noise
from nnw_onnx.methods.presence import Presence
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Key, Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
NOTHING = Payload()


def correlation(weights, secret=SECRET):
    flat = weights.reshape(-1).astype(np.float64)
    signs = keystream.signs(secret, "presence/signs", flat.size).astype(np.float64)
    return float(flat @ signs / np.linalg.norm(flat))


@pytest.mark.parametrize("margin", [3.0, 12.0, 40.0])
def test_the_margin_is_met(network, margin):
    method = Presence(margin=margin)
    key = method.make_key(network, 0, SECRET, BENCH)
    assert (key.layers, key.size) == (("wide",), 0)
    marked = method.inject(network, NOTHING, key, BENCH)
    assert correlation(marked.weights["wide"]) == pytest.approx(margin, rel=1e-4)
    found = method.detect(marked, NOTHING, key)
    assert found.statistic == pytest.approx(margin, rel=1e-4)
    assert found.decided(0.05).detected
    step = marked.weights["wide"].astype(np.float64) - network.weights["wide"]
    assert np.ptp(np.abs(step)) < 1e-6  # the same step everywhere, along the signs


def test_what_is_there_already_is_left_alone(network):
    strong = Presence(margin=20.0)
    key = strong.make_key(network, 0, SECRET, BENCH)
    marked = strong.inject(network, NOTHING, key, BENCH)
    again = Presence(margin=10.0).inject(marked, NOTHING, key, BENCH)
    assert np.array_equal(again.weights["wide"], marked.weights["wide"])


def test_an_inverted_mark_and_the_network_before_are_told_apart(network):
    method = Presence()
    key = method.make_key(network, 0, SECRET, BENCH)
    marked = method.inject(network, NOTHING, key, BENCH)
    inverted = network.with_weights({"wide": -marked.weights["wide"]})
    found = method.detect(inverted, NOTHING, key)
    assert not found.decided(1e-6)
    assert found.log10_inverted < -29
    assert not method.detect(network, NOTHING, key).decided(1e-6)


def test_noise_weakens_it_as_the_theory_says(network):
    """Noise of ratio a leaves margin / sqrt(1 + a^2), for weights of small mean."""
    method = Presence(margin=30.0)
    key = method.make_key(network, 0, SECRET, BENCH)
    marked = method.inject(network, NOTHING, key, BENCH)
    rng = np.random.Generator(np.random.Philox(3))
    noisy = marked.with_weights({"wide": noise.add_gaussian(marked.weights["wide"], 1.0, rng)})
    assert method.detect(noisy, NOTHING, key).statistic == pytest.approx(30 / math.sqrt(2), abs=4)


@pytest.mark.parametrize("kind", ["gaussian", "few large", "one", "non-zero mean"])
def test_wrong_keys_are_never_too_sure(kind):
    """P(p <= q) <= q for every q, also where a central limit fails."""
    rng = np.random.Generator(np.random.Philox(4))
    weights = {
        "gaussian": rng.standard_normal((24, 25)),
        "few large": np.where(np.arange(600) < 3, 100.0, 1e-3).reshape(24, 25),
        "one": np.where(np.arange(600) < 1, 100.0, 1e-6).reshape(24, 25),
        "non-zero mean": 1 + 0.1 * rng.standard_normal((24, 25)),
    }[kind]
    network, method, keys = ArrayNetwork.of({"fc": weights}), Presence(), 4000
    found = []
    for i in range(keys):
        key = Key(method.spec(), i.to_bytes(32, "big"), 0, layers=("fc",), shapes=((24, 25),))
        found.append(method.detect(network, NOTHING, key))
    p_values = np.array([f.p_value for f in found])
    for q in (0.5, 0.25, 0.1, 0.05, 0.01, 0.001):
        limit = stats.binom.isf(1e-6, keys, q)
        assert np.count_nonzero(p_values <= q) <= limit
    statistic = np.array([f.statistic for f in found])
    assert abs(statistic.mean()) < 4.5 / math.sqrt(keys)
    assert abs(statistic.var() - 1) < 0.15


def test_the_bound_holds_for_every_choice_of_signs():
    """All 2^n sign patterns of several weight vectors; two equal weights meet the bound exactly."""
    from nnw_onnx.math.normal import log10_signs_tail

    for weights in ([1, 1], [1, 1, 1, 1], [3, 1, 1], list(range(1, 11)), [1] * 12):
        unit = np.array(weights) / np.linalg.norm(weights)
        sums = np.array([np.dot(s, unit) for s in itertools.product((-1, 1), repeat=len(unit))])
        for z in np.unique(np.round(sums, 9)):
            exact = np.mean(sums >= z - 1e-9)
            assert exact <= 10 ** log10_signs_tail(float(z) - 1e-9) + 1e-12
    assert 10 ** log10_signs_tail(math.sqrt(2)) == pytest.approx(1 / 4, rel=1e-12)


def test_no_network_can_do_better_than_the_least(network):
    """Weights that are the signs themselves: the statistic is sqrt(n)."""
    key = Presence().make_key(network, 0, SECRET, ArrayBench(layers=("last",)))
    signs = keystream.signs(SECRET, "presence/signs", 48 * 32 * 9).reshape(48, 32, 3, 3)
    found = Presence().detect(network.with_weights({"last": signs * 1.0}), NOTHING, key)
    assert found.statistic == pytest.approx(math.sqrt(48 * 32 * 9))
    assert found.log10_p == pytest.approx(found.null.log10_least)
    assert found.null.name == "random signs of 13824 weights"


def test_an_erased_carrier_says_nothing(network):
    key = Presence().make_key(network, 0, SECRET, BENCH)
    erased = network.with_weights({"wide": 0 * network.weights["wide"]})
    found = Presence().detect(erased, NOTHING, key)
    assert (found.statistic, found.log10_p, found.log10_inverted) == (0.0, 0.0, 0.0)


def test_what_cannot_carry_is_refused(network):
    with pytest.raises(InjectionError, match="presence: expected no payload, because it only"):
        Presence().make_key(network, 8, SECRET, BENCH)
    key = Presence().make_key(network, 0, SECRET, BENCH)
    with pytest.raises(InjectionError, match="expected no payload, .* got 2 symbols; leave"):
        Presence().inject(network, Payload.from_bits("01"), key, BENCH)
    message = (
        "layer 'first': expected at least 576 weights for a margin of 12, got 432; use a small"
    )
    with pytest.raises(InjectionError, match=message):
        Presence().make_key(network, 0, SECRET, ArrayBench(layers=("first",)))


def test_a_type_too_coarse_for_the_step_is_refused():
    """In bfloat16 neighbours of 1 are 1/256 away: steps of 1/724 are rounded away."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.Generator(np.random.Philox(0))
    coarse = (2 * rng.integers(0, 2, (512, 1024)) - 1).astype(ml_dtypes.bfloat16)
    plain, method = ArrayNetwork.of({"fc": coarse}), Presence(margin=1.0)
    secret = next(s for s in (bytes([i]) * 32 for i in range(20)) if correlation(coarse, s) < 0)
    key = method.make_key(plain, 0, secret, BENCH)
    with pytest.raises(InjectionError, match="expected a correlation of 1 standard dev"):
        method.inject(plain, NOTHING, key, BENCH)
