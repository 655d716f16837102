"""False positives of the projection family: 2,000 wrong keys on weights of every kind.

The null of each method is Bin(n, 1/2) exactly, so the number of p-values of at most a level is
binomial with the attained size of the test at that level, whatever the weights are.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import pruning, quantizing
from nnw_onnx.methods.deepmarks import DeepMarks
from nnw_onnx.methods.greedy_residuals import GreedyResiduals
from nnw_onnx.methods.neuralmark import NeuralMark
from nnw_onnx.methods.passports import Passports
from nnw_onnx.methods.st_dm import StDm
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Payload

KEYS, SIZE = 2_000, 32
# Two thirds ones: a biased payload, fixed before the keys.
PAYLOAD = Payload.from_bits("110" * 10 + "11")
METHODS = {
    "uchida mean": Uchida(carrier="mean"),
    "uchida signed": Uchida(carrier="signed"),
    "st-dm": StDm(),
    "deepmarks": DeepMarks(),
    "neuralmark": NeuralMark(),
    "greedy-residuals": GreedyResiduals(),
    "passports": Passports(),
}


def trained_like():
    """Filters (32, 16, 3, 3) that share a strong component and a mean of half a deviation."""
    rng = np.random.Generator(np.random.PCG64(11))
    shared = rng.standard_normal((1, 16, 3, 3))
    return 0.05 * (rng.standard_normal((32, 16, 3, 3)) + 3 * shared + 1.5)


def foreign(method, plain):
    """Marked with somebody else's key."""
    key = method.make_key(plain, SIZE, b"\xff" * 32, ArrayBench())
    return method.inject(plain, PAYLOAD, key, ArrayBench()).weights["conv"]


WEIGHTS = {
    "pruned": lambda method, plain: pruning.smallest(
        plain.weights["conv"], pruning.count(99, plain.weights["conv"].size)
    ),
    "2 bits": lambda method, plain: quantizing.min_max(plain.weights["conv"], 2),
    "all equal": lambda method, plain: np.full_like(plain.weights["conv"], 0.05),
    "float16": lambda method, plain: plain.weights["conv"].astype(np.float16),
    "foreign mark": foreign,
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", METHODS)
def test_wrong_keys_are_found_as_often_as_told(name, weights, record_property):
    method, plain = METHODS[name], ArrayNetwork.of({"conv": trained_like()})
    made = method.make_key(plain, SIZE, b"\xff" * 32, ArrayBench())
    suspect = plain.with_weights({"conv": WEIGHTS[weights](method, plain)})
    matches = np.empty(KEYS, int)
    for index in range(KEYS):
        key = dataclasses.replace(made, secret=index.to_bytes(32, "little"))
        matches[index] = SIZE - method.decode(suspect, key).payload.errors(PAYLOAD)
    for level in (1e-1, 1e-2):
        # P(Bin(32, 1/2) >= matches) of at most the level, and how often that happens
        least = next(m for m in range(SIZE + 1) if stats.binom.sf(m - 1, SIZE, 0.5) <= level)
        size, found = stats.binom.sf(least - 1, SIZE, 0.5), int((matches >= least).sum())
        record_property(f"found at {level:g} of {KEYS}, expected {KEYS * size:.1f}", found)
        # 70 such tests: one of them fails by chance with a probability of 0.7 %
        assert stats.binomtest(found, KEYS, size).pvalue > 1e-4, (level, found, KEYS * size)
