"""NCT: an exact variance over all orders, a tail that is never too small, and what survives."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.math import noise, quantizing
from nnw_onnx.math.normal import log10_tail, normal_scores
from nnw_onnx.methods.nct import Nct
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
NOTHING = Payload()


def enrolled(network, count=1024, layers=()):
    method = Nct(count=count)
    return method, method.make_key(network, 0, SECRET, ArrayBench(layers=layers))


def test_values_are_those_of_the_chosen_weights_in_order(network):
    method, key = enrolled(network, 200)
    assert key.layers == ("first", "wide", "last", "head")  # all kernels, and no bias
    values = key.arrays["values"]
    assert (values.shape, values.dtype) == ((200,), np.float32)
    every = np.concatenate([network.weights[n].reshape(-1) for n in key.layers])
    assert np.isin(values, every).all()
    assert len(np.unique(values)) > 195  # distinct places of continuous weights
    other = method.make_key(network, 0, bytes(32), BENCH).arrays["values"]
    assert len(np.intersect1d(values, other)) < 10
    again = method.make_key(network, 0, SECRET, BENCH)
    assert again == key
    assert np.array_equal(again.arrays["values"], values)


def test_the_network_itself_agrees_perfectly(network):
    method, key = enrolled(network)
    found = method.detect(network, NOTHING, key)
    # Layers of n weights reach sqrt(sum (n - 1)); scores of all ranks are the same in each.
    assert found.statistic == pytest.approx(math.sqrt(1024 - 4), rel=0.01)
    assert found.log10_p == pytest.approx(found.null.log10_least, rel=0.02)
    assert found.log10_p >= found.null.log10_least
    assert [p.layer for p in found.places] == list(key.layers)
    assert found.notes == ("1024 of 1024 weights in 4 layers compared",)
    assert found.decided(1e-6)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0])
def test_noise_leaves_the_correlation_of_the_theory(network, ratio):
    """r = 1 / sqrt(1 + a^2) for noise of a standard deviations (methods.md, section 3)."""
    method, key = enrolled(network, 4096)
    rng = np.random.Generator(np.random.Philox(2))
    noisy = network.with_weights(
        {n: noise.add_gaussian(network.weights[n], ratio, rng) for n in key.layers}
    )
    found = method.detect(noisy, NOTHING, key)
    expected = 1 / math.sqrt(1 + ratio**2)
    assert found.statistic / math.sqrt(4096 - 4) == pytest.approx(expected, abs=0.05)


def test_value_changes_keep_it_and_order_changes_lose_it(network):
    method, key = enrolled(network)
    coarse = network.with_weights(
        {n: quantizing.min_max(network.weights[n], 4) for n in key.layers}
    )
    assert method.detect(coarse, NOTHING, key).log10_p < -100
    pruned = network.with_weights({
        n: np.where(abs(w := network.weights[n]) > np.quantile(abs(w), 0.9), w, 0)
        for n in key.layers
    })  # fmt: skip
    assert method.detect(pruned, NOTHING, key).log10_p < -20
    rng = np.random.Generator(np.random.Philox(3))
    shuffled = network.with_weights(
        {n: rng.permutation(network.weights[n]) for n in ("first", "wide", "last", "head")}
    )
    assert method.detect(shuffled, NOTHING, key).log10_p > -4


def test_a_negated_network_is_told(network):
    method, key = enrolled(network)
    negated = network.with_weights({n: -network.weights[n] for n in key.layers})
    found = method.detect(negated, NOTHING, key)
    assert not found.decided(1e-6)
    assert found.log10_inverted < -100


def test_p_values_of_unrelated_networks_are_uniform(network, rng):
    """Layers of other means and scales, one with a huge weight: only the order counts."""
    method, key = enrolled(network, 512)
    p_values = []
    for i in range(250):
        drawn = np.random.Generator(np.random.Philox(100 + i))
        other = {}
        for n in key.layers:
            values = drawn.standard_t(2, network.weights[n].shape) * 10.0 ** drawn.integers(-3, 3)
            values.flat[0] = 1e6
            other[n] = values + drawn.integers(-5, 5)
        p_values.append(method.detect(network.with_weights(other), NOTHING, key).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_the_variance_is_exact_and_the_tail_never_too_small():
    """All 8! orders of eight scores, by enumeration."""
    first = normal_scores(np.arange(8.0))
    second = normal_scores(np.array([3.0, 1, 4, 1, 5, 9, 2, 6]))  # with a tie
    second -= second.mean()
    orders = np.array(list(itertools.permutations(range(8))))
    sums = first[orders] @ second
    variance = float(first @ first) * float(second @ second) / 7
    assert sums.mean() == pytest.approx(0, abs=1e-12)
    assert sums.var() == pytest.approx(variance, rel=1e-12)
    z = np.sort(sums / math.sqrt(variance))
    for level in (0.01, 0.001, 1e-4):
        at = z[-round(level * len(z))]
        exact = np.mean(z >= at - 1e-12)
        assert exact <= 10 ** log10_tail(float(at)) * 1.1


def test_normal_scores_are_those_of_ranks():
    values = np.array([10.0, -5, 3, 3, 100])
    expected = stats.norm.ppf(stats.rankdata(values) / 6)
    np.testing.assert_allclose(normal_scores(values), expected, rtol=1e-12)


def test_layers_that_are_gone_are_left_out_and_named(network):
    method, key = enrolled(network)
    cut = ArrayNetwork.of({n: w for n, w in network.weights.items() if n != "head"})
    found = method.detect(cut, NOTHING, key)
    assert found.decided(1e-6)
    assert found.notes[1] == "layers not found: head"
    assert len(found.places) == 3
    with pytest.raises(CarrierNotFoundError, match="expected layer .*, got none of this name"):
        method.detect(ArrayNetwork.of({"x": np.ones((3, 4))}), NOTHING, key)


def test_the_layers_asked_for_are_taken(network):
    _, key = enrolled(network, 256, ("last",))
    assert key.layers == ("last",)


def test_what_cannot_be_enrolled_is_refused(network):
    with pytest.raises(InjectionError, match="nct: expected no payload"):
        Nct().make_key(network, 8, SECRET, BENCH)
    small = ArrayNetwork.of({"fc": np.arange(100.0).reshape(10, 10), "dead": np.zeros((99, 99))})
    with pytest.raises(
        InjectionError, match="at least 1024 weights in layers whose .* differ, got 100"
    ):
        Nct().make_key(small, 0, SECRET, BENCH)
    assert Nct(count=100).make_key(small, 0, SECRET, BENCH).layers == ("fc",)
    method, key = enrolled(network)
    with pytest.raises(ConfigurationError, match="a fingerprint of 1024 values, got none; restore"):
        method.detect(network, NOTHING, dataclasses.replace(key, arrays={}))
