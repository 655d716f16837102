"""Entangled watermarks: the term and its gradient, and digits in which triggers are entangled."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    TrainingError,
)
from nnw_onnx.math.soft_neighbours import soft_nearest_neighbours
from nnw_onnx.methods.entangled import Entangled
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArraySuspect
from nnw_onnx.testing.array_training import run, small_network, small_samples
from nnw_onnx.vocabulary import Moment, Payload, Spec

from . import trained_digits

SECRET = bytes(range(32))


def bench(**changes):
    return ArrayBench(**{"samples": small_samples(), "run": run, **changes})


def made(method, **changes):
    return method.make_key(small_network(), 0, SECRET, bench(**changes))


def moment(activations, targets, own, state):
    return Moment({}, activations, np.array(targets), np.array(own), state, 0, lambda w: w)


@pytest.fixture
def scene(rng):
    """A batch of ten with four triggers of class 3 at its end, and two task samples of class 3."""
    answers = {
        "conv": rng.standard_normal((10, 6, 2, 2)),
        "middle": rng.standard_normal((10, 7)),
    }
    targets = [3, 0, 1, 3, 5, 9, 3, 3, 3, 3]
    return answers, targets, [False] * 6 + [True] * 4


def test_the_term_is_minus_the_loss_of_neighbours_in_every_layer(scene):
    method = Entangled(target=3, strength=0.7, temperature=0.4)
    added = method.additions(small_network(), Payload(), made(method))
    assert added.activations == ("conv", "middle")
    answers, targets, own = scene
    found = added.penalty(moment(answers, targets, own, added.state))
    rows, group = [0, 3, 6, 7, 8, 9], np.array([False] * 2 + [True] * 4)
    parts = [soft_nearest_neighbours(x[rows].reshape(6, -1), group, 0.4) for x in answers.values()]
    assert found.value == pytest.approx(-0.7 * sum(part.value for part in parts), rel=1e-6)
    for values in found.activations.values():
        others = np.setdiff1d(np.arange(10), rows)
        assert not values[others].any()
        assert values[rows].any()


def test_the_term_has_its_gradient(scene):
    method = Entangled(target=3, temperature=0.4)
    added = method.additions(small_network(), Payload(), made(method))
    answers, targets, own = scene
    told = added.penalty(moment(answers, targets, own, added.state))
    for name, places in (("conv", [(0, 1, 0, 1), (7, 5, 1, 1)]), ("middle", [(3, 2), (9, 6)])):
        for place in places:
            values = []
            for sign in (1, -1):
                there = {n: x.copy() for n, x in answers.items()}
                there[name][place] += sign * 1e-6
                values.append(added.penalty(moment(there, targets, own, added.state)).value)
            slope = (values[0] - values[1]) / 2e-6
            assert told.activations[name][place] == pytest.approx(slope, abs=1e-7)


def test_temperatures_move_to_where_the_loss_is_least(scene):
    """The best of a fine grid is where many steps on one batch arrive."""
    method = Entangled(target=3, rate=1.0)
    added = method.additions(small_network(), Payload(), made(method))
    answers, targets, own = scene
    state = dict(added.state)
    for _ in range(300):
        state |= added.penalty(moment(answers, targets, own, state)).state
    rows, group = [0, 3, 6, 7, 8, 9], np.array([False] * 2 + [True] * 4)
    for index, values in enumerate(answers.values()):
        points = values[rows].reshape(6, -1)
        grid = np.geomspace(0.05, 20, 2000)
        loss = [soft_nearest_neighbours(points, group, t).value for t in grid]
        reached = soft_nearest_neighbours(points, group, state["temperatures"][index]).value
        assert reached == pytest.approx(min(loss), abs=1e-3)


def test_a_batch_without_both_kinds_adds_nothing(scene):
    method = Entangled(target=3)
    added = method.additions(small_network(), Payload(), made(method))
    answers, targets, own = scene
    nothing = added.penalty(moment(answers, targets, [False] * 10, added.state))
    others = added.penalty(moment(answers, [0] * 6 + targets[6:], own, added.state))
    for found in (nothing, others):
        assert (found.value, found.activations, found.state) == (0.0, {}, {})
    with pytest.raises(
        TrainingError, match="entangled: expected the classes of each batch, got no"
    ):
        added.penalty(dataclasses.replace(moment(answers, targets, own, {}), targets=None))


@functools.cache
def trained(strength):
    return trained_digits.put_in(Entangled(count=50, target=5, strength=strength))


def entanglement(network, key):
    """Soft nearest neighbour loss of triggers and fresh samples of class 5, layer by layer."""
    test = trained_digits.samples("test").fitted(network.inputs)
    whole = test.read(np.arange(len(test)))
    ((name, inputs),) = whole.feeds.items()
    own = inputs[whole.targets == 5][:60]
    feeds = {name: np.concatenate([own, key.arrays["triggers"]])}
    layers = key.facts["layers"]
    values = trained_digits.bench(network).run(network, feeds, layers)
    group = np.arange(len(feeds[name])) >= len(own)
    flat = [values[layer].reshape(len(group), -1) for layer in layers]
    return np.array([soft_nearest_neighbours(x, group, 0.1).value for x in flat])


def test_digits_learn_them():
    pytest.importorskip("torch")
    method, marked = Entangled(count=50, target=5), trained(1.0)
    key = marked.claim.key
    assert trained_digits.detect(method, marked.network, key).statistic == 50
    others = [trained_digits.detect(method, trained_digits.plain(i), key) for i in range(3)]
    assert max(found.statistic for found in others) < 5
    before = trained_digits.accuracy(trained_digits.plain())
    assert trained_digits.accuracy(marked.network) > before - 0.03
    assert key.arrays["temperatures"].shape == (3,)


def test_the_term_entangles():
    """In every layer triggers lie closer among the samples of their class than without it."""
    pytest.importorskip("torch")
    without, entangled = trained(0.0), trained(1.0)
    key = entangled.claim.key
    difference = entanglement(entangled.network, key) - entanglement(without.network, key)
    assert (difference > 0.03).all()


def test_sources_are_of_the_class_that_is_asked_for():
    key = made(Entangled(target=3, source=8, count=15, share=1e-6))
    training = small_samples()
    whole = training.read(np.arange(len(training)))
    for trigger in key.arrays["triggers"]:
        same = np.isclose(whole.feeds["x"], trigger).reshape(200, -1).mean(axis=1)
        assert whole.targets[np.argmax(same)] == 8
    assert set(key.arrays["labels"].tolist()) == {3}
    assert key.notes == ("no carrier layer: 15 triggers, entangled in conv, middle",)


def test_the_evidence_has_no_p_value():
    method = Entangled(count=20)
    scores = np.eye(10)[[0] * 15 + [4] * 5]
    seen = ArraySuspect(ArrayNetwork.of({}), "answers", lambda n, f, _: {"y": scores})
    found = method.detect(seen, Payload(), made(method))
    assert (found.statistic, found.log10_p, found.null.symbols) == (15, None, 20)


def test_what_does_not_fit_is_told():
    with pytest.raises(InjectionError, match="entangled: expected no payload"):
        Entangled().make_key(small_network(), 3, SECRET, bench())
    with pytest.raises(InjectionError, match="expected no layer, because the whole network"):
        made(Entangled(), layers=("conv",))
    with pytest.raises(
        InjectionError, match="expected a source that is not the target, got class 2"
    ):
        made(Entangled(source=2, target=2))
    with pytest.raises(InjectionError, match="30 training samples of class 4, got 20; use fewer"):
        made(Entangled(source=4, count=30))
    flat = ArrayNetwork.of({"w": small_network().weights["head"]})
    with pytest.raises(
        InjectionError, match="entangled: expected a kernel before the last one, go"
    ):
        Entangled().make_key(flat, 0, SECRET, bench())
    method, key = Entangled(), made(Entangled())
    with pytest.raises(CarrierNotFoundError, match="expected layers conv, middle, got none named"):
        method.additions(flat, Payload(), key)
    for layers in ([], "conv", None):
        odd = dataclasses.replace(key, facts={**key.facts, "layers": layers})
        with pytest.raises(
            ConfigurationError, match="expected names of entangled layers among its"
        ):
            method.additions(small_network(), Payload(), odd)
    foreign = dataclasses.replace(key, method=Spec("zhang"))
    with pytest.raises(ConfigurationError, match="of method 'entangled', got one of 'zhang'"):
        method.committed(foreign, small_network())
