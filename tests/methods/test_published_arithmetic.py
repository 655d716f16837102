"""Numbers of published codes that follow from arithmetic: losses, nulls, what can be seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.kit import keystream
from nnw_onnx.math.visibility import filter_means
from nnw_onnx.methods.constant_weight import ConstantWeight
from nnw_onnx.methods.deepsigns import DeepSigns
from nnw_onnx.methods.entangled import Entangled
from nnw_onnx.methods.frontier import Frontier, tolerance
from nnw_onnx.methods.tartaglione import Tartaglione
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Key, Moment, Payload

SECRET, BENCH = bytes(range(32)), ArrayBench()


def test_the_loss_of_the_testbed_is_ours_with_another_lambda(network):
    """NNWTestbed, UCHI.py: 0.1 x the mean over 64 bits of the cross-entropy in bits.

    Ours is lambda x the sum in nats: 0.1 / (64 ln 2) = 0.002254211.
    """
    payload = Payload.from_bits("0110" * 16)
    method = Uchida(carrier="mean", strength=0.002254211)
    key = method.make_key(network, 64, SECRET, ArrayBench(layers=("wide",)))
    mean = network.weights["wide"].astype(np.float64).mean(axis=0).reshape(-1)
    matrix = keystream.gaussian(SECRET, "uchida/projection", 64 * 576).reshape(64, 576)
    told = 1 / (1 + np.exp(-matrix @ mean))
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "uchida/mask", 64)
    testbed = 0.1 * np.mean(-np.log2(np.where(bits, told, 1 - told)))
    now = Moment(network.weights, {}, None, np.zeros(0, bool), {}, 0, lambda w: {})
    found = method.additions(network, payload, key).penalty(now).value
    assert found == pytest.approx(testbed, rel=1e-6)


def test_options_that_are_left_out_are_those_of_the_testbed():
    """NNWTestbed, commit f88c5dc: MERR.py, DEEPS.py, the replicas of Tartaglione, and Jia's EWE."""
    frontier, replicas, entangled = Frontier(), Tartaglione(), Entangled()
    assert (frontier.count, frontier.epsilon, tolerance(frontier.count)) == (100, 0.1, 42)
    assert (replicas.spread, replicas.strength) == (0.01, 1e-5)
    assert (entangled.depth, entangled.temperature) == (3, 1.0)
    assert (DeepSigns().strength, DeepSigns().target) == (0.01, 0)


def test_a_word_of_20_in_256_holds_97_bits():
    """floor(log2 C(256, 20)) = 97."""
    rng = np.random.Generator(np.random.PCG64(1))
    network = ArrayNetwork.of({"w": rng.standard_normal((64, 64))})
    method = ConstantWeight(ones=20)
    assert "1 word of" in method.make_key(network, 97, SECRET, BENCH).notes[0]
    assert "2 words of" in method.make_key(network, 98, SECRET, BENCH).notes[0]


# Variance of the filter mean over that of 256 independent filters after 256 bits, ten seeds.
SEEN = {0.5: 0.972, 0.84: 1.016, 1.0: 1.046, 2.0: 1.394, 4.0: 2.882}


@pytest.mark.parametrize("margin", SEEN)
def test_a_strong_mark_is_seen_in_the_variance_of_the_filter_mean(margin):
    """To first order 1 + T / (M - T - 1) (G(kappa) - 2 Phi(kappa)); within 0.07."""
    rng = np.random.Generator(np.random.PCG64(7))
    network = ArrayNetwork.of({"conv": rng.standard_normal((256, 256, 3, 3))})
    method, payload = Uchida(carrier="mean", margin=margin), Payload.random(256, rng)
    key = method.make_key(network, 256, SECRET, BENCH)
    own = method.inject(network, payload, key, BENCH)

    def seen(weights):
        return 256 * filter_means(weights).var() / weights.var()

    assert seen(network.weights["conv"]) == pytest.approx(0.999, abs=0.07)
    assert seen(own.weights["conv"]) == pytest.approx(SEEN[margin], abs=0.07)


# Ratio of the noise -> variance within a key, deviation of the means of keys: 40 keys, 100 models.
RELATED = {0.1: (1.45, 3.94), 0.3: (4.06, 4.01), 1.0: (10.67, 2.05), 3.0: (14.33, 1.13)}


@pytest.mark.parametrize("ratio", RELATED)
def test_related_networks_say_little_of_the_null_of_a_key(ratio):
    """64 bits of one key over models = base + noise: T acos(r) / (2 pi) and not T / 4.

    r is the correlation of the filter means of two models. The deviation of 40 means is itself
    known to 11 %, and so was that of the simulation: 35 % are two deviations of their difference.
    """
    rng = np.random.Generator(np.random.PCG64(3))
    payload, keys, models = Payload.random(64, rng), 40, 50
    base = rng.standard_normal((2, 64, 3, 3))
    networks = [
        ArrayNetwork.of({"conv": base + ratio * rng.standard_normal(base.shape)})
        for _ in range(models)
    ]
    right = np.empty((keys, models))
    method = Uchida(carrier="mean")
    for i in range(keys):
        key = Key(
            method.spec(),
            i.to_bytes(32, "big"),
            64,
            layers=("conv",),
            shapes=(base.shape,),
        )
        for j, network in enumerate(networks):
            right[i, j] = 64 - method.decode(network, key).payload.errors(payload)
    within, between = right.var(axis=1, ddof=1).mean(), right.mean(axis=1).std(ddof=1)
    common = np.mean(base.mean(axis=0) ** 2)
    theory = 64 * math.acos(common / (common + ratio**2 / len(base))) / (2 * math.pi)
    assert within == pytest.approx(theory, rel=0.1)
    assert within == pytest.approx(RELATED[ratio][0], rel=0.15)
    assert between == pytest.approx(RELATED[ratio][1], rel=0.35)
    assert between == pytest.approx(math.sqrt(16 - theory + theory / models), rel=0.35)


@pytest.mark.parametrize(("inputs", "mean", "share"), [(27, 0.172, 0.001), (2304, 0.083, 0.0)])
def test_centred_projections_of_unrelated_weights(inputs, mean, share):
    """|cosine| of 100 projections: its mean, and how often it is above 0.6.

    With the U(0, 1) keys of the Watermark-Robustness-Toolbox, whose mean is not zero, these are
    0.475 and 0.194 of 27 weights, and 0.440 and 0.162 of 2,304.
    """
    matrix = keystream.gaussian(SECRET, "deepmarks/projection", 100 * inputs).reshape(100, inputs)
    rng = np.random.Generator(np.random.PCG64(3))
    one, other = (matrix @ rng.standard_normal((inputs, 1000)) for _ in range(2))
    cosine = (one * other).sum(axis=0)
    cosine /= np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    assert np.abs(cosine).mean() == pytest.approx(mean, abs=0.02)
    assert np.mean(np.abs(cosine) > 0.6) == pytest.approx(share, abs=0.005)
