"""Invariants: the function stays, the bits are read whatever the other pairs carry."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit import channels
from nnw_onnx.kit.evidence import matched
from nnw_onnx.math import noise
from nnw_onnx.methods.invariants import Invariants
from nnw_onnx.testing import ArrayBench, ArrayNetwork, run, small_network
from nnw_onnx.vocabulary import Payload

BENCH = ArrayBench()
SECRET = bytes(range(32))
SHIPPED = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))
METHODS = [Invariants(invariant="order"), Invariants(invariant="scale")]


@pytest.fixture(params=METHODS, ids=lambda m: m.invariant)
def method(request):
    return request.param


def marked(method, network, size=40, seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    payload = Payload.from_bits(rng.integers(0, 2, size).tolist())
    key = method.make_key(network, size, SECRET, BENCH)
    return payload, key, method.inject(network, payload, key, BENCH)


def test_the_small_network_answers_as_before(method, rng):
    network = small_network("float64")
    payload, key, owned = marked(method, network)
    assert method.decode(owned, key).payload == payload
    asked = {"x": rng.standard_normal((50, 32, 3, 3))}
    before, after = (run(one, asked)["scores"] for one in (network, owned))
    assert np.abs(before - after).max() <= 1e-6 * np.abs(before).max()
    assert not np.array_equal(owned.weights["conv"], network.weights["conv"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_networks_answer_as_before(method, path, rng):
    """To 1e-6 where channels change places, and bit by bit where they are doubled and halved."""
    network = open_network(path)
    size = 48 if "digits" in str(path) else 128
    payload, key, owned = marked(method, network, size)
    assert method.decode(owned, key).payload == payload
    (info,) = network.inputs
    asked = {info.name: rng.standard_normal((8, *info.shape[1:])).astype(np.float32)}
    (before,), (after,) = (Session(one.runnable()).run(asked) for one in (network, owned))
    most = 1e-6 if method.invariant == "order" else 0.0
    assert np.abs(before - after).max() <= most * np.abs(before).max()


def test_order_keeps_every_weight(rng):
    network = small_network()
    _, _, owned = marked(METHODS[0], network)
    for name, values in network.weights.items():
        assert np.array_equal(np.sort(values, axis=None), np.sort(owned.weights[name], axis=None))


def test_the_p_value_is_the_papers(method):
    """1 - (1 - I_{2^-k}(m - s, s + 1))^N for chunks of k = 1 bit and N = 1 user (methods.md 17).

    For m = 8 and k = 4 the formula gives 2.3e-10 without a wrong chunk, and 1.5e-4 for two wrong
    ones and 100 users.
    """
    assert special.betainc(8, 1, 2**-4) == pytest.approx(2.3e-10, rel=0.02)
    many = -math.expm1(100 * math.log1p(-special.betainc(6, 3, 2**-4)))
    assert many == pytest.approx(1.5e-4, rel=0.6)
    payload, key, owned = marked(method, small_network())
    wrong = Payload.from_bits([b ^ (k < 3) for k, b in enumerate(payload.symbols)])
    told = matched(method.decode(owned, key).payload, wrong)
    assert told.p_value == pytest.approx(special.betainc(40 - 3, 3 + 1, 0.5), rel=1e-9)


def test_wrong_keys_and_other_networks_answer_fair_coins(method):
    payload, _, owned = marked(method, small_network())
    right = []
    for index, network in itertools.product(range(30), (owned, small_network(label="another"))):
        key = method.make_key(small_network(), 40, index.to_bytes(32, "big"), BENCH)
        right.append(40 - method.decode(network, key).payload.errors(payload))
    # 2,400 fair coins: four standard deviations are 98.
    assert abs(sum(right) - 1200) < 98


def test_it_survives_changes_of_values(method, rng):
    payload, key, owned = marked(method, small_network())
    noisy = {n: noise.add_gaussian(owned.weights[n], 0.3, rng) for n in key.layers}
    assert method.decode(owned.with_weights(noisy), key).payload.errors(payload) == 0
    pruned = {
        n: np.where(np.abs(w) > np.quantile(np.abs(w), 0.8), w, 0) for n, w in owned.weights.items()
    }
    assert method.decode(owned.with_weights(pruned), key).payload.errors(payload) <= 1


def test_another_random_order_or_scale_erases_it(method, rng):
    payload, key, owned = marked(method, small_network())
    changed = dict(owned.weights)
    for axis in owned.hidden_axes:
        changed |= channels.permuted(changed, axis, rng.permutation(axis.size))
        changed |= channels.scaled(changed, axis, 2.0 ** rng.integers(-3, 4, axis.size))
    wrong = method.decode(owned.with_weights(changed), key).payload.errors(payload)
    assert 8 <= wrong <= 32  # Bin(40, 1/2): 1e-4 on both sides


def test_pairs_that_cannot_be_told_apart_are_left_out():
    network = small_network()
    rows = np.array(network.weights["middle"])
    rows[1:] = rows[0]
    alike = network.with_weights({"middle": rows})
    with pytest.raises(
        InjectionError, match=r"expected at least 40 pairs of hidden .*, got 2\d in"
    ):
        METHODS[0].make_key(alike, 40, SECRET, BENCH)


def test_what_cannot_be_done_is_refused(method):
    network = small_network()
    with pytest.raises(
        InjectionError, match="at least 45 pairs of hidden channels that .*, got 44"
    ):
        method.make_key(network, 45, SECRET, BENCH)
    bare = ArrayNetwork.of(dict(network.weights))
    with pytest.raises(InjectionError, match="expected hidden channels that may change places, g"):
        method.make_key(bare, 8, SECRET, BENCH)
    _, key, owned = marked(method, network)
    cut = ArrayNetwork.of({n: w for n, w in owned.weights.items() if n != "head"})
    with pytest.raises(CarrierNotFoundError, match="expected layer head"):
        method.decode(cut, key)
    for arrays in ({}, {**key.arrays, "pairs": key.arrays["pairs"][1:]}):
        with pytest.raises(ConfigurationError, match="expected the unmarked pairs of its channels"):
            method.decode(owned, dataclasses.replace(key, arrays=arrays))


def test_scale_needs_a_scaling():
    network = small_network()
    fixed = [dataclasses.replace(axis, scalings=()) for axis in network.hidden_axes]
    stiff = dataclasses.replace(network, hidden_axes=tuple(fixed))
    with pytest.raises(InjectionError, match=r"got 0 in 0 axes; use a shorter payload"):
        METHODS[1].make_key(stiff, 8, SECRET, BENCH)
