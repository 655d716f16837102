"""Independence: a null that training twice keeps, and descent that order and scale do not hide."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.graph import open_network
from nnw_onnx.kit import channels
from nnw_onnx.math import noise
from nnw_onnx.methods import independence
from nnw_onnx.methods.independence import Independence
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import HiddenAxis, Payload, Strand

SIZES = (64, 64, 48, 10)
BENCH = ArrayBench()
AXES = tuple(
    HiddenAxis(
        SIZES[k + 1],
        (Strand(f"w{k}", 0, "out"), Strand(f"b{k}", 0, "along"), Strand(f"w{k + 1}", 1, "in")),
        ((1, 1, -1),),
    )
    for k in range(2)
)


@pytest.fixture(scope="module")
def digits():
    values, labels = load_digits(return_X_y=True)
    return values / 16, labels


def trained(digits, seed, start=None, epochs=8):
    """A perceptron for handwritten digits, by Adam."""
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = {} if start is None else {n: np.array(w, float) for n, w in start.weights.items()}
    for k in range(3) if start is None else ():
        most = 1 / math.sqrt(SIZES[k])
        weights[f"w{k}"] = rng.uniform(-most, most, (SIZES[k + 1], SIZES[k]))
        weights[f"b{k}"] = rng.uniform(-most, most, SIZES[k + 1])
    first = {n: np.zeros_like(w) for n, w in weights.items()}
    second = {n: np.zeros_like(w) for n, w in weights.items()}
    for step, batch in enumerate(batches(digits, rng, epochs), 1):
        for name, slope in gradients(weights, *batch).items():
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            size = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
            weights[name] = weights[name] - 0.003 * first[name] / (1 - 0.9**step) / size
    network = ArrayNetwork.of({n: w.astype(np.float32) for n, w in weights.items()})
    return dataclasses.replace(network, hidden_axes=AXES)


def batches(digits, rng, epochs):
    for _ in range(epochs):
        order = rng.permutation(len(digits[0]))
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            yield digits[0][chosen], digits[1][chosen]


def forward(weights, inputs):
    values = [inputs]
    for k in range(3):
        sums = values[-1] @ weights[f"w{k}"].T + weights[f"b{k}"]
        values.append(np.maximum(sums, 0) if k < 2 else sums)
    return values


def gradients(weights, inputs, labels):
    values = forward(weights, inputs)
    odds = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    slope = (odds / odds.sum(axis=1, keepdims=True) - np.eye(10)[labels]) / len(labels)
    found = {}
    for k in (2, 1, 0):
        found |= {f"w{k}": slope.T @ values[k], f"b{k}": slope.sum(axis=0)}
        slope = (slope @ weights[f"w{k}"]) * (values[k] > 0)
    return found


@pytest.fixture(scope="module")
def independent(digits):
    """Ten networks that were trained from other initial weights, in another order of samples."""
    return [trained(digits, seed) for seed in range(10)]


@pytest.fixture(scope="module")
def keys(independent):
    return [Independence().make_key(one, 0, bytes(32), BENCH) for one in independent]


def hidden(network, rng):
    """The same function: every channel in another place, with another scale."""
    changed = dict(network.weights)
    for axis in network.hidden_axes:
        changed |= channels.permuted(changed, axis, rng.permutation(axis.size))
        for scaling in range(len(axis.scalings)):
            factors = np.exp(0.5 * rng.standard_normal(axis.size))
            changed |= channels.scaled(changed, axis, factors, scaling)
    return network.with_weights({n: changed[n] for a in network.hidden_axes for n in a.layers})


def found(network, key):
    return Independence().detect(network, Payload(), key)


def test_independent_trainings_look_independent(independent, keys, digits):
    """90 ordered pairs, 45 of networks: few p-values too many at .05, none below 1e-3.

    The bounds are those of methods-2.md, section 31 (.078 at .05, 0 at .001, of 90 pairs), and the
    binomial's upper 99.9 % point on top of them: 15 of 90.
    """
    assert all((forward(n.weights, digits[0])[-1].argmax(1) == digits[1]).mean() > 0.9
               for n in independent)  # fmt: skip
    told = [found(independent[j], keys[i]) for i, j in itertools.permutations(range(len(keys)), 2)]
    joined = np.array([one.p_value for one in told])
    assert (joined <= 0.05).sum() <= stats.binom.ppf(0.999, 90, 0.078)
    assert joined.min() > 1e-4
    assert stats.kstest(joined, "uniform").pvalue > 1e-3
    single = np.array([10**place.log10_p for one in told for place in one.places])
    assert stats.kstest(single, "uniform").pvalue > 1e-3


def test_a_copy_is_found_whatever_its_order_and_scale(independent, keys, rng):
    copy = hidden(independent[0], rng)
    same = found(copy, keys[0])
    # All channels are matched right twice: no other order is as good.
    assert same.log10_p == pytest.approx(same.null.log10_least, rel=1e-9)
    assert [place.statistic for place in same.places] == pytest.approx([1, 1])
    assert same.notes == ("112 channels of 2 axes compared",)
    assert [place.layer for place in same.places] == ["w0", "w1"]


def test_descendants_are_found_though_hidden(independent, keys, digits, rng):
    parent = independent[0]
    tuned = trained(digits, 99, start=parent, epochs=4)
    assert found(hidden(tuned, rng), keys[0]).log10_p < -10
    for ratio, most in ((0.1, -20), (0.2, -4)):
        noisy = {n: noise.add_gaussian(w, ratio, rng) for n, w in parent.weights.items()}
        assert found(hidden(parent.with_weights(noisy), rng), keys[0]).log10_p < most
    halved = {
        n: np.where(np.abs(w) > np.quantile(np.abs(w), 0.5), w, 0)
        for n, w in parent.weights.items()
    }
    assert found(hidden(parent.with_weights(halved), rng), keys[0]).log10_p < -4


def correlations(orders):
    """Spearman's correlation of each order (n, h) with that of the numbers."""
    h = orders.shape[1]
    return 1 - 6 * np.square(orders - np.arange(h)).sum(axis=1) / (h * (h * h - 1))


@pytest.mark.parametrize("family", ["digits/cnn", "cifar10/fast"])
def test_shipped_networks_are_told_apart_and_their_descendants_found(family, rng):
    """Every channel elsewhere, then noise of .3 or half of the weights pruned."""
    folder = Path(__file__).parents[2] / "models"
    first, second = (open_network(folder / f"{family}-{k}.onnx") for k in range(2))
    key = Independence().make_key(first, 0, bytes(32), BENCH)
    assert found(second, key).p_value > 1e-3
    kernels = [layer.name for layer in first.layers if layer.role == "kernel"]
    theirs = first.with_weights({n: np.array(second.weights[n]) for n in kernels})
    assert found(theirs, key).p_value > 1e-3  # biases and statistics alone prove nothing
    copy = hidden(first, rng)
    noisy = {n: noise.add_gaussian(copy.weights[n], 0.3, rng) for n in kernels}
    assert found(copy.with_weights(noisy), key).log10_p < -8
    pruned = {
        n: np.where(np.abs(w) > np.quantile(np.abs(w), 0.5), w, 0)
        for n in kernels
        for w in [copy.weights[n]]
    }
    assert found(copy.with_weights(pruned), key).log10_p < -8


def test_the_chance_of_an_order_has_the_moments_of_all_orders():
    """All 8! orders give the two moments, and these Student's t of a correlation r / c."""
    r = correlations(np.array(list(itertools.permutations(range(8)))))
    kurtosis = float((r**4).mean() / (r**2).mean() ** 2)
    m = 2 * kurtosis / (3 - kurtosis)
    c = math.sqrt(m * float((r**2).mean()))
    for at in (-0.4, 0.05, 0.5, 0.9):
        t = at / c * math.sqrt((m - 1) / (1 - (at / c) ** 2))
        told = math.exp(independence.log_chance(at, 8))
        assert told == pytest.approx(stats.t.sf(t, m - 1), rel=1e-6)


@pytest.mark.parametrize("size", [8, 16, 24, 48])
def test_the_chance_of_an_order_is_that_of_random_orders(size, rng):
    """Hardly ever too small, as Student's t alone is (.41 of .001 for 8 channels)."""
    r = np.sort(correlations(np.argsort(rng.random((200_000, size)), axis=1)))
    for level, most in ((0.05, 1.1), (0.01, 1.15), (0.001, 1.6)):
        at = float(r[-round(level * len(r))])
        told = math.exp(independence.log_chance(at, size)) / float(np.mean(r >= at - 1e-12))
        assert 0.77 < told < most


def test_no_order_is_less_likely_than_one_of_all():
    assert independence.log_chance(1.0, 4) >= -math.log(math.factorial(4))
    told = [independence.log_chance(1.0, size) for size in (8, 64, 500, 4000)]
    assert told == sorted(told, reverse=True)
    assert told[-1] < -2000  # far below what a float holds
    assert told[-1] > -math.lgamma(4001)


def test_joined_p_values_are_fishers():
    for p_values in ((0.3,), (0.01, 0.2), (1e-5, 0.9, 0.04, 0.5), (1.0, 1.0)):
        told = independence.fisher([math.log(p) for p in p_values])
        assert math.exp(told) == pytest.approx(stats.combine_pvalues(p_values).pvalue, rel=1e-9)
    assert independence.fisher([-2000.0, -3000.0]) == pytest.approx(-5000 + math.log(5001))


def test_matching_finds_the_order(rng):
    own = rng.standard_normal((20, 30))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    order = rng.permutation(20)
    assert np.array_equal(order[independence.matched(own, own[order])], np.arange(20))


def test_axes_that_are_gone_are_left_out_and_named(independent, keys):
    cut = {n: w for n, w in independent[0].weights.items() if n != "w0"}
    told = found(ArrayNetwork.of(cut), keys[0])
    assert told.notes == ("48 channels of 1 axes compared", "axes not found: w0")
    assert told.decided(1e-6)
    with pytest.raises(CarrierNotFoundError, match="expected layer .*, got none of this name"):
        found(ArrayNetwork.of({"x": np.ones((3, 4))}), keys[0])


def test_what_cannot_be_enrolled_is_refused(independent, keys):
    network = independent[0]
    with pytest.raises(InjectionError, match="independence: expected no payload"):
        Independence().make_key(network, 8, bytes(32), BENCH)
    with pytest.raises(InjectionError, match="expected hidden channels that may change places, g"):
        Independence().make_key(ArrayNetwork.of(dict(network.weights)), 0, bytes(32), BENCH)
    few = HiddenAxis(4, (Strand("a", 0, "out"), Strand("b", 1, "in")))
    small = ArrayNetwork.of({"a": np.eye(4), "b": np.eye(4)})
    with pytest.raises(InjectionError, match="a hidden axis of at least 8 channels, got 1 of f"):
        Independence().make_key(dataclasses.replace(small, hidden_axes=(few,)), 0, bytes(32), BENCH)
    with pytest.raises(InjectionError, match="layer 'w2': expected one that makes channels which"):
        Independence().make_key(network, 0, bytes(32), ArrayBench(layers=("w2",)))
    empty = dataclasses.replace(keys[0], arrays={})
    with pytest.raises(ConfigurationError, match="expected features .* of 'w0', got none; restore"):
        found(network, empty)
    broken = dataclasses.replace(keys[0], facts={})
    with pytest.raises(ConfigurationError, match="key: expected facts that tell hidden axes, got"):
        found(network, broken)
