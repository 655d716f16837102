"""P-values of wrong keys are exactly uniform, on weights that are far from random.

A p-value of a discrete statistic is made continuous by a uniform number u: P(> m) + u P(= m).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import binomial
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Key, Payload

KEYS, SIZE = 4_000, 32
# Two thirds ones: a biased payload, fixed before the keys.
PAYLOAD = Payload.from_bits("110" * 10 + "11")


def trained_like() -> np.ndarray:
    """Filters that share a strong component and a mean of half a standard deviation."""
    rng = np.random.Generator(np.random.PCG64(11))
    shared = rng.standard_normal((1, 12, 3, 3))
    return 0.05 * (rng.standard_normal((16, 12, 3, 3)) + 3 * shared + 1.5)


def matches(method, network, size=SIZE, keys=KEYS, payload=PAYLOAD, facts=None):
    shape = network.layers[0].shape
    found = np.empty(keys, int)
    for i in range(keys):
        secret = i.to_bytes(32, "little")
        key = Key(method.spec(), secret, size, layers=("conv",), shapes=(shape,), facts=facts or {})
        found[i] = size - method.decode(network, key).payload.errors(payload)
    return found


@pytest.mark.parametrize(
    ("marked", "keys"), [(False, KEYS), (True, 1500)], ids=["unwatermarked", "watermarked"]
)
@pytest.mark.parametrize("method", [Uchida(), BlockSpread(margin=4.0)], ids=lambda m: m.name)
def test_p_values_of_thousands_of_wrong_keys_are_uniform(method, marked, keys, record_property):
    network = ArrayNetwork.of({"conv": trained_like()})
    if marked:
        key = method.make_key(network, SIZE, b"\xff" * 32, ArrayBench())
        network = method.inject(network, PAYLOAD, key, ArrayBench())
    found = matches(method, network, keys=keys)
    above = np.array([binomial.tail(m + 1, SIZE).p_value for m in range(SIZE + 1)])
    at_least = np.array([binomial.tail(m, SIZE).p_value for m in range(SIZE + 1)])
    u = np.random.Generator(np.random.PCG64(5)).uniform(size=keys)
    p_values = above[found] + u * (at_least - above)[found]
    uniform = stats.kstest(p_values, "uniform").pvalue
    record_property("ks_p", float(uniform))
    assert uniform > 1e-3
    # Bin(32, 1/2): mean 16, variance 8
    assert abs(found.mean() - 16) < 4.5 * np.sqrt(8 / keys)
    assert abs(found.var() - 8) < 4.5 * np.sqrt(2 * 64 / keys)


@pytest.mark.parametrize(
    "make",
    [
        lambda w: w,
        lambda w: w - w.mean(axis=0),
        lambda w: np.where(np.abs(w) < np.quantile(np.abs(w), 0.99), 0, w),
        lambda w: np.rint(w / w.std()) * w.std(),
    ],
    ids=["non-zero mean", "zero mean of filters", "99 % pruned", "few levels"],
)
def test_random_key_null_on_degenerate_weights(make):
    """oracles.json stat.random_key_null: T = 64, mean 32 and variance 16."""
    weights = make(trained_like())
    if np.abs(weights.mean(axis=0)).max() < 1e-12:
        weights[0] += 1e-9  # a filter mean that is tiny, not only rounding error
    network = ArrayNetwork.of({"conv": weights})
    payload = Payload.from_bits("110" * 21 + "1")
    found = matches(Uchida(), network, size=64, keys=1000, payload=payload)
    assert abs(found.mean() - 32) < 4.5 * np.sqrt(16 / 1000)
    assert abs(found.var() - 16) < 4.5 * np.sqrt(2 * 256 / 1000)
