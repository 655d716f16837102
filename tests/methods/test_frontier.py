"""Frontier stitching: steps along the gradient, the rule of the paper, and why it is no p-value."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit.samples import ArraySamples, Drawn
from nnw_onnx.kit.stamps import channel_range
from nnw_onnx.methods.frontier import Frontier, tolerance
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArraySuspect
from nnw_onnx.testing.array_training import (
    ArrayTrainer,
    cross_entropy,
    forward,
    run,
    small_network,
    small_samples,
)
from nnw_onnx.vocabulary import Job, Payload, Recipe, Spec

from . import trained_digits

SECRET = bytes(range(32))
PAPER = [(20, 6), (50, 19), (100, 42), (200, 88), (1000, 474)]
SIZES = {
    20: 0.02069473267,
    50: 0.03245432354,
    100: 0.04431304006,
    200: 0.03841881607,
    1000: 0.04684364574,
}
"""Published rule (NNWTestbed, MERR.py), values of oracles.json, stat.frontier_theta."""


@pytest.fixture(scope="module")
def able():
    """The small network after a training that makes it right."""
    recipe = Recipe(epochs=8, batch_size=40, learning_rate=0.02, weight_decay=0.0)
    job = Job(small_samples(), recipe, "cross-entropy", 0)
    return ArrayTrainer().train(small_network(), job).network


def bench(**changes):
    given = {"samples": small_samples(), "trainer": ArrayTrainer(), "run": run}
    return ArrayBench(**{**given, **changes})


def answering(scores):
    return ArraySuspect(ArrayNetwork.of({}), "answers", lambda n, feeds, _: {"scores": scores})


@pytest.mark.parametrize(("n", "theta"), PAPER)
def test_theta_is_that_of_the_paper(n, theta):
    assert tolerance(n) == theta
    assert stats.binom.cdf(theta, n, 0.5) >= 0.05 > stats.binom.cdf(theta - 1, n, 0.5)
    assert stats.binom.cdf(theta - 1, n, 0.5) == pytest.approx(SIZES[n], rel=1e-9)


def test_inputs_are_one_step_up_the_loss(able):
    """By finite differences: each moved number raises the loss of its sample, or is at its end."""
    method = Frontier(count=16, epsilon=0.05)
    key = method.make_key(able, 0, SECRET, bench())
    training = small_samples()
    whole = training.read(np.arange(len(training)))
    low, high = channel_range(training)
    for trigger, label in zip(key.arrays["triggers"][:6], key.arrays["labels"], strict=False):
        change = trigger - whole.feeds["x"]
        (source,) = np.flatnonzero(
            (np.abs(change) <= 0.05 * (high - low) * (1 + 1e-5)).all(axis=(1, 2, 3))
        )
        assert whole.targets[source] == label
        at = whole.feeds["x"][source].astype(np.float64)
        for place in ((0, 0, 0), (5, 1, 2), (31, 2, 0)):
            nudge = np.zeros_like(at)
            nudge[place] = 1e-5
            losses = [
                cross_entropy(forward(able.weights, (at + s * nudge)[None]).scores, [label])[0]
                for s in (1, -1)
            ]
            length = 0.05 * (high - low)[(0, *np.minimum(place, np.array(high.shape[1:]) - 1))]
            bounds = [x[(0, *np.minimum(place, np.array(x.shape[1:]) - 1))] for x in (low, high)]
            expected = np.clip(at[place] + np.sign(losses[0] - losses[1]) * length, *bounds)
            assert trigger[place] == pytest.approx(expected, abs=1e-5)


def test_half_cross_the_boundary_and_half_do_not(able):
    """Told by the network itself, whose answers before the step are right."""
    key = Frontier(count=20, epsilon=0.05).make_key(able, 0, SECRET, bench())
    told = np.argmax(run(able, {"x": key.arrays["triggers"]})["scores"], axis=1)
    assert (told == key.arrays["labels"]).sum() == 10
    assert key.notes == ("no carrier layer: 10 inputs that crossed a boundary, 10 that did not",)
    assert key.arrays["labels"].dtype == np.int64


def test_what_is_short_of_one_kind_is_told(able):
    tiny = Frontier(count=20, epsilon=1e-6).make_key(able, 0, SECRET, bench())
    assert tiny.notes == (
        "no carrier layer: 0 inputs that crossed a boundary, 20 that did not",
        "not half of each: another epsilon than 1e-06 may find more",
    )
    blank = Frontier(count=100).make_key(small_network(), 0, SECRET, bench())
    assert any("that the network answers wrongly without a step" in note for note in blank.notes)


def test_the_evidence_has_no_p_value_and_tells_the_rule(able):
    method = Frontier(count=20)
    key = method.make_key(able, 0, SECRET, bench())
    wanted = np.array(key.arrays["labels"])
    wanted[:7] = (wanted[:7] + 1) % 10
    found = method.detect(answering(np.eye(10)[wanted]), Payload(), key)
    assert (found.statistic, found.log10_p, found.null.symbols) == (13, None, 20)
    assert found.notes == ("7 of 20 answers are wrong; the paper accepts fewer than 6",)
    with pytest.raises(ConfigurationError, match="got 'true classes of inputs at a boundary, to b"):
        found.decided(0.05)


def test_digits_learn_them_and_the_rule_of_the_paper_accuses_others():
    """A network of another seed, never marked, answers so many that the rule calls it stolen."""
    pytest.importorskip("torch")
    method = Frontier(count=50)
    marked = trained_digits.put_in(method)
    key = marked.claim.key
    assert trained_digits.detect(method, marked.network, key).statistic == 50
    before = trained_digits.detect(method, trained_digits.plain(), key)
    assert before.statistic == 25
    other = [trained_digits.detect(method, trained_digits.plain(i), key) for i in (1, 2)]
    assert max(50 - found.statistic for found in other) < tolerance(50)
    assert max(found.statistic for found in other) < 50
    unmarked = trained_digits.accuracy(trained_digits.plain())
    assert trained_digits.accuracy(marked.network) > unmarked - 0.03


def test_keys_are_repeatable_and_bound(able):
    keys = [
        Frontier(count=20).make_key(able, 0, SECRET, bench()),
        Frontier(count=20).make_key(able, 0, bytes(32), bench()),
        Frontier(count=20, epsilon=0.2).make_key(able, 0, SECRET, bench()),
    ]
    assert len({key.commitment for key in keys}) == 3
    again = Frontier(count=20).make_key(able, 0, SECRET, bench())
    assert again.commitment == keys[0].commitment


def test_what_does_not_fit_is_told(able):
    method = Frontier(count=20)
    with pytest.raises(InjectionError, match="frontier: expected no payload"):
        method.make_key(able, 3, SECRET, bench())
    with pytest.raises(InjectionError, match="expected no layer, because the whole network"):
        method.make_key(able, 0, SECRET, bench(layers=("conv",)))
    few = Drawn(small_samples(), np.arange(12))
    with pytest.raises(
        InjectionError, match="frontier: expected at least 20 training samples, got"
    ):
        method.make_key(able, 0, SECRET, bench(samples=few))
    with pytest.raises(ConfigurationError, match="bench: expected a trainer, got none"):
        method.make_key(able, 0, SECRET, ArrayBench(samples=small_samples(), run=run))
    ids = ArraySamples({"ids": np.ones((30, 5), np.int64)}, np.zeros(30, np.int64), {"classes": 10})
    with pytest.raises(InjectionError, match="one input of real numbers, got ids of int64"):
        method.make_key(able, 0, SECRET, bench(samples=ids))
    key = method.make_key(able, 0, SECRET, bench())
    odd = dataclasses.replace(key, arrays={})
    with pytest.raises(ConfigurationError, match="key: expected triggers of float32 with a class"):
        method.additions(able, Payload(), odd)
    foreign = dataclasses.replace(key, method=Spec("zhang"))
    with pytest.raises(ConfigurationError, match="a key of method 'frontier', got one of 'zhang'"):
        method.committed(foreign, able)
