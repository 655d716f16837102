"""Passports: responses by brute force, the reference's numbers, and why only the mask is exact."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import keystream
from nnw_onnx.methods.passports import Passports
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Moment, Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()


def asking(*layers):
    """A bench whose owner asks for these carriers."""
    return ArrayBench(layers=layers)


def penalty(method, network, payload, key, weights=None):
    """The penalty of the method at some weights."""
    now = Moment(weights or network.weights, {}, None, np.zeros(0, bool), {}, 0, lambda w: {})
    return method.additions(network, payload, key).penalty(now)


def responses_of(weights, size):
    """W_i . p of the filter of each bit, and p."""
    filters = keystream.permutation(SECRET, "passports/filters", len(weights))[:size]
    passport = keystream.gaussian(SECRET, "passports/passport", weights[0].size)
    passport = passport / math.sqrt(sum(passport**2))
    flat = weights.astype(np.float64).reshape(len(weights), -1)
    return np.array([sum(flat[i] * passport) for i in filters]), passport


def signs_of(payload):
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "passports/mask", len(payload))
    return np.where(bits, 1.0, -1.0)


def test_each_response_reaches_the_margin_along_the_passport(network):
    method, payload = Passports(margin=1.5), Payload.from_bits("0110" * 10)
    key = method.make_key(network, 40, SECRET, asking("wide"))
    before = network.weights["wide"]
    marked = method.inject(network, payload, key, BENCH)
    after, signs = marked.weights["wide"], signs_of(payload)
    margin = 1.5 * float(before.astype(np.float64).std())
    (was, passport), (now, _) = (responses_of(w, 40) for w in (before, after))
    np.testing.assert_allclose(signs * now, np.maximum(signs * was, margin), atol=1e-6)
    change = (after.astype(np.float64) - before).reshape(64, -1)
    np.testing.assert_allclose(change, np.outer(change @ passport, passport), atol=1e-7)
    assert np.count_nonzero(change.any(axis=1)) <= 40
    assert method.decode(marked, key).payload == payload


# methods-2.md, section 26: 256 filters of 2,304 weights, a bit a filter: rms of the change, error
# rates under noise of 1 and 2 standard deviations, after pruning 90 % and 99 % by size.
REFERENCE = {
    2.0: {"rms": 0.049, "noise 1": 0.027, "noise 2": 0.176, "L1 .9": 0.031, "L1 .99": 0.246},
    4.0: {"rms": 0.089, "noise 2": 0.012, "L1 .99": 0.13},
}


@pytest.mark.parametrize("margin", REFERENCE)
def test_numbers_of_the_reference(margin):
    found = {name: [] for name in (*REFERENCE[margin], "clean")}
    for seed in range(4):
        rng = np.random.Generator(np.random.PCG64(seed))
        plain = ArrayNetwork.of({"conv": rng.standard_normal((256, 256, 3, 3))})
        method, payload = Passports(margin=margin), Payload.random(256, rng)
        key = method.make_key(plain, 256, rng.bytes(32), BENCH)
        marked = method.inject(plain, payload, key, BENCH).weights["conv"]
        size = np.abs(marked)
        changed = {
            "clean": marked,
            "noise 1": marked + rng.standard_normal(marked.shape),
            "noise 2": marked + 2 * rng.standard_normal(marked.shape),
            "L1 .9": np.where(size < np.quantile(size, 0.9), 0, marked),
            "L1 .99": np.where(size < np.quantile(size, 0.99), 0, marked),
        }
        found["rms"].append(math.sqrt(np.mean((marked - plain.weights["conv"]) ** 2)))
        for name in set(found) - {"rms"}:
            suspect = plain.with_weights({"conv": changed[name]})
            found[name].append(method.decode(suspect, key).payload.errors(payload) / 256)
    assert not any(found["clean"])
    assert np.mean(found["rms"]) == pytest.approx(REFERENCE[margin]["rms"], rel=0.05)
    for name, rate in REFERENCE[margin].items():
        # sampling errors of 1,024 bits here, and of as many there
        allowed = 4.5 * math.sqrt(2 * rate * (1 - rate) / 1024) + 0.003
        assert name == "rms" or abs(np.mean(found[name]) - rate) <= allowed, name
    # (kappa^2 + 1) Phi + kappa phi times the share of one direction in a filter
    energy = (margin**2 + 1) * stats.norm.cdf(margin) + margin * stats.norm.pdf(margin)
    assert np.mean(found["rms"]) == pytest.approx(math.sqrt(energy / 2304), rel=0.05)


def test_only_the_mask_makes_the_null_exact():
    """methods-2.md, section 26: filters with a common part, 64 bits: variance 346, not 16."""
    rng = np.random.Generator(np.random.PCG64(4))
    common = rng.standard_normal((1, 32, 3, 3))
    plain = ArrayNetwork.of({"conv": common + rng.standard_normal((64, 32, 3, 3))})
    method = Passports()
    made = method.make_key(plain, 64, SECRET, BENCH)
    unmasked, masked = [], []
    for index in range(1000):
        key = dataclasses.replace(made, secret=index.to_bytes(32, "little"))
        read = np.array(method.decode(plain, key).payload.symbols)
        masked.append(64 - read.sum())
        unmasked.append(int((read ^ keystream.bits(key.secret, "passports/mask", 64)).sum()))
    assert np.var(unmasked) == pytest.approx(346, rel=0.15)
    # Bin(64, 1/2): variance 16, of which 1,000 draws tell 0.71
    assert np.var(masked) == pytest.approx(16, abs=4.5 * 0.71)


def trained_key(network, **options):
    method = Passports(**options)
    return (
        method,
        method.make_key(network, 48, SECRET, asking("wide")),
        Payload.from_bits("110" * 16),
    )


def test_the_penalty_is_the_sign_loss(network):
    method, key, payload = trained_key(network, strength=0.5)
    weights = network.weights["wide"]
    margin = 2.0 * weights.astype(np.float64).std()
    told = signs_of(payload) * responses_of(weights, 48)[0]
    expected = 0.5 * sum(max(0.0, margin - one) for one in told)
    assert penalty(method, network, payload, key).value == pytest.approx(expected, rel=1e-9)


def test_the_gradient_agrees_with_finite_differences(network):
    method, key, payload = trained_key(network)
    weights = network.weights["wide"].astype(np.float64)
    told = penalty(method, network, payload, key, {"wide": weights}).weights["wide"]
    rng = np.random.Generator(np.random.PCG64(1))
    for _ in range(5):
        way = rng.standard_normal(weights.shape)
        above, below = (
            penalty(method, network, payload, key, {"wide": weights + s * way}).value
            for s in (1e-7, -1e-7)
        )
        assert np.vdot(told, way) == pytest.approx((above - below) / 2e-7, rel=1e-5)


def test_the_largest_kernel_with_a_filter_a_bit_is_chosen(network):
    key = Passports().make_key(network, 50, SECRET, BENCH)
    assert key.notes == (
        "carrier wide (64x64x3x3): the largest fit kernel with at least 50 filters",
    )
    other = ArrayNetwork.of(dict(network.weights), wide={"live": False})
    assert Passports().make_key(other, 48, SECRET, BENCH).layers == ("last",)


def test_what_cannot_carry_is_refused_in_the_words_of_uchida(network):
    message = "passports: expected a kernel with at least 65 filters, got at most 64; use a shorter"
    with pytest.raises(InjectionError, match=message):
        Passports().make_key(network, 65, SECRET, BENCH)
    with pytest.raises(InjectionError, match="layer 'head': expected at least 19 filters, got 18"):
        Passports().make_key(network, 19, SECRET, asking("head"))
    odd = ArrayNetwork.of(dict(network.weights), wide={"axes": None})
    with pytest.raises(InjectionError, match="whose filters are unknown; use a shorter payload or"):
        Passports().make_key(odd, 8, SECRET, asking("wide"))
    with pytest.raises(InjectionError, match="with at least 8 filters, got none"):
        Passports().make_key(ArrayNetwork.of({"bias": np.ones(4)}), 8, SECRET, BENCH)


def test_a_key_of_more_symbols_than_filters_is_refused(network):
    key = Passports().make_key(network, 8, SECRET, asking("wide"))
    with pytest.raises(ConfigurationError, match="a symbol for each of 64 filters, got 65"):
        Passports().decode(network, dataclasses.replace(key, size=65))
