"""A watermark for a training that somebody else runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.runs.marks import make_mark
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import Moment, Payload, Spec, Technology

from .faulty import SECRET, Plain, registered
from .test_inject import Learning

PAYLOAD = Payload((0, 1, 1, 0))
TECHNOLOGY = Technology(Spec("learning"), 4)


@pytest.fixture(autouse=True)
def plugins_there(monkeypatch):
    registered(monkeypatch, Plain, Learning)


@pytest.fixture
def network(rng):
    return ArrayNetwork.of({"a": rng.normal(size=(4, 5))})


def stepped(mark, network, state):
    """One step of a training that only follows the penalty."""
    weights = {"a": network.weights["a"]}
    moment = Moment(weights, {}, None, np.zeros(1, bool), state, 0, lambda w: w)
    penalty = mark.additions.penalty(moment)
    moved = network.with_weights({"a": weights["a"] - penalty.weights["a"]})
    return moved, {**state, **penalty.state}


def test_a_training_of_your_own_puts_it_in(network):
    mark = make_mark(TECHNOLOGY, network, PAYLOAD, SECRET)
    assert (mark.method.name, mark.payload) == ("learning", PAYLOAD)
    state = dict(mark.additions.state)
    moved, state = stepped(mark, network, state)
    assert mark.symbol_errors(moved) == 0
    assert mark.claim.key.arrays["steps"].tolist() == [1.0]
    moved, state = stepped(mark, moved, state)
    assert mark.claim.key.arrays["steps"].tolist() == [2.0]
    assert mark.learnt({"steps": np.full(1, 9.0)}).key.arrays["steps"].tolist() == [9.0]


def test_codes_stand_between(network):
    technology = Technology(Spec("learning"), 2, code=Spec("repetition", {"times": 3}))
    mark = make_mark(technology, network, Payload((1, 0)), SECRET)
    assert mark.payload == Payload((1, 0))
    assert mark.claim.payload == Payload((1, 0, 1, 0, 1, 0))
    assert mark.claim.key.carries == 2


def test_only_what_training_puts_in(network):
    with pytest.raises(ConfigurationError, match="expected a method that training can put in, got"):
        make_mark(Technology(Spec("plain"), 4), network, PAYLOAD, SECRET)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda b: b.samples(), "samples: expected some of the task's training, got none; give"),
        (lambda b: b.run(None, {}), "run: expected a function that asks the network, because"),
        (lambda b: b.recipe, "expected one that does without a recipe, which a training of your"),
        (lambda b: b.original, "expected one that does without an original"),
        (lambda b: b.mark(None, None, 0), "expected one that does without a trainer"),
    ],
)
def test_what_is_not_given_says_so(network, monkeypatch, ask, words):
    @dataclass(frozen=True)
    class Asking(Learning):
        name = "asking"

        def make_key(self, network, size, secret, bench):
            return ask(bench)

    registered(monkeypatch, Asking)
    with pytest.raises(ConfigurationError, match=words):
        make_mark(Technology(Spec("asking"), 4), network, PAYLOAD, SECRET)


def test_triggers_need_samples_and_a_way_to_ask(rng):
    inputs = rng.uniform(size=(30, 1, 4, 4)).astype(np.float32)
    samples = ArraySamples({"x": inputs}, np.zeros(30))
    asked = []

    def run(feeds, layers):
        asked.append(feeds)
        return {"y": np.eye(10, dtype=np.float32)[np.zeros(len(next(iter(feeds.values()))), int)]}

    network = ArrayNetwork.of({})
    mark = make_mark(Technology(Spec("adi"), 4), network, PAYLOAD, SECRET, samples, run)
    assert mark.claim.key.facts["classes"] == 10
    assert len(mark.additions.samples) == 4
    with pytest.raises(ConfigurationError, match="expected a function that asks the network"):
        mark.symbol_errors(_with_input(inputs))
    assert mark.symbol_errors(_with_input(inputs), run) >= 0


def _with_input(inputs):
    from nnw_onnx.vocabulary import TensorInfo

    return ArrayNetwork.of({}, inputs=(TensorInfo("x", ("n", *inputs.shape[1:]), "float32"),))


def test_a_method_that_breaks_its_contract_is_named(network, monkeypatch):
    monkeypatch.setattr(Learning, "additions", lambda *a: None)
    with pytest.raises(PluginError, match=r"^learning \(tests\): additions: expected an Additions"):
        make_mark(TECHNOLOGY, network, PAYLOAD, SECRET)
