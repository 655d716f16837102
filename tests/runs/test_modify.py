"""One network, a stack of Modifications."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, PluginError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.modify import (
    change_of,
    differ_on,
    difference,
    modify,
    relative_change,
    select_layers,
)
from nnw_onnx.runs.suspect import Running, wrapped
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import (
    FileModification,
    InputModification,
    Modification,
    Modified,
    Spec,
    Step,
    WeightModification,
)

from .faulty import registered
from .surroundings import MODEL, Around

KERNELS = ("conv1.weight", "conv2.weight", "conv3.weight", "head.weight")


@dataclass(frozen=True)
class Scaled(WeightModification):
    """Weights times a factor, plus a draw."""

    name = "scaled"
    factor: float = 2.0
    noise: float = 0.0

    def modify_weights(self, weights, rng):
        return {
            name: w * self.factor + self.noise * rng.normal(size=w.shape).astype(w.dtype)
            for name, w in weights.items()
        }


@dataclass(frozen=True)
class Copied(FileModification):
    """The file as it is, through a file."""

    name = "copied"
    preserves = 0.0

    def modify_file(self, source: Path, target: Path, bench, rng):
        target.write_bytes(source.read_bytes())


@dataclass(frozen=True)
class Liar(Modification):
    """Says that it preserves the answers."""

    name = "liar"
    preserves = 1e-6

    def modify(self, network, bench, rng):
        changed = network.with_weights({"head.bias": network.weights["head.bias"] + 1})
        return Modified(changed, facts={"shift": 1.0})


@dataclass(frozen=True)
class Dimmed(InputModification):
    """Inputs times a factor."""

    name = "dimmed"
    factor: float = 0.5

    def transform(self, sample, scale, rng):
        return {name: values * np.float32(self.factor) for name, values in sample.items()}


@dataclass(frozen=True)
class Transferred(Modification):
    """Answers another data set now."""

    name = "transferred"

    def modify(self, network, bench, rng):
        return Modified(network, facts={"loss": float(rng.integers(10))}, samples_of="transfer")


@pytest.fixture(scope="module")
def network():
    return open_network(MODEL)


@pytest.fixture(autouse=True)
def plugins_there(monkeypatch):
    registered(monkeypatch, Scaled, Copied, Liar, Dimmed, Transferred)


def step(made, *layers):
    return Step(made.spec(), layers)


class Benches:
    """Makes benches, and remembers for what."""

    def __init__(self, around=None):
        self.around = around or Around()
        self.seen = []

    def __call__(self, index, network, layers):
        self.seen.append((index, network, layers))
        return RunBench(self.around, network, Place(f"x-{index}", "x", layers=layers))


def rng_for(index):
    return np.random.Generator(np.random.Philox(index))


def done(network, *steps, **more):
    benches = Benches()
    return modify(network, steps, benches, rng_for, **more), benches


def test_steps_follow_one_another(network):
    made, benches = done(network, step(Scaled(2.0), "conv1.weight"), step(Scaled(3.0), "conv*.w*"))
    assert np.array_equal(made.network.weights["conv1.weight"], 6 * network.weights["conv1.weight"])
    assert np.array_equal(made.network.weights["conv2.weight"], 3 * network.weights["conv2.weight"])
    assert np.array_equal(made.network.weights["head.weight"], network.weights["head.weight"])
    assert made.layers == (("conv1.weight",), KERNELS[:3])
    assert [index for index, _, _ in benches.seen] == [0, 1]
    # the second step sees what the first one has made
    second = benches.seen[1][1]
    assert np.array_equal(second.weights["conv1.weight"], 2 * network.weights["conv1.weight"])


def test_each_step_has_a_draw_of_its_own(network):
    noise = Scaled(1.0, noise=0.1)
    one, _ = done(network, step(noise, "conv1.weight"))
    two, _ = done(network, step(Scaled(1.0), "conv2.weight"), step(noise, "conv1.weight"))
    old = network.weights["conv1.weight"]
    drawn = [rng_for(i).normal(size=old.shape).astype(old.dtype) for i in (0, 1)]
    for made, draw in ((one, drawn[0]), (two, drawn[1])):
        assert np.array_equal(made.network.weights["conv1.weight"], old + np.float32(0.1) * draw)


def test_no_layers_are_all_kernels_for_one_that_aims(network):
    made, _ = done(network, step(Scaled(2.0)))
    assert made.layers == (KERNELS,)
    assert made.change == pytest.approx(
        relative_change(
            {n: network.weights[n] for n in KERNELS},
            {n: 2 * network.weights[n] for n in KERNELS},
        )
    )


def test_layers_are_refused_by_one_that_does_not_aim(network):
    with pytest.raises(ConfigurationError, match=r"^liar: expected no layers, .* got conv1\.we"):
        done(network, step(Liar(), "conv1.weight"))


def test_carriers_are_aimed_at_where_there_are_any(network):
    made, _ = done(network, step(Scaled(), "@carrier"), carrier=("conv2.weight",))
    assert made.layers == (("conv2.weight",),)
    with pytest.raises(CarrierNotFoundError, match="lies in no layer of its own"):
        done(network, step(Scaled(), "@carrier"))
    with pytest.raises(CarrierNotFoundError, match="expected the carrier 'gone' in the network"):
        done(network, step(Scaled(), "@carrier"), carrier=("gone",))


def test_names_are_exact_before_they_are_patterns():
    network = ArrayNetwork.of({n: np.ones((2, 2)) for n in ("a", "[ab]", "b", "B")})
    assert select_layers(network, ["[ab]"]) == ("[ab]",)
    assert select_layers(network, ["b", "a"]) == ("a", "b")
    assert select_layers(network, ["?"]) == ("a", "b", "B")
    assert select_layers(network, ["@all"]) == ("a", "[ab]", "b", "B")
    with pytest.raises(ConfigurationError, match="expected a layer of the network, got 'c'"):
        select_layers(network, ["a", "c"])


def test_only_kernels_are_all_but_a_name_may_be_any(network):
    assert select_layers(network, ["@all"]) == KERNELS
    assert select_layers(network, ["head.bias"]) == ("head.bias",)


def test_a_file_goes_through_a_folder_that_is_gone_with_the_network(network, rng):
    made, _ = done(network, step(Copied()))
    assert made.network is not network
    assert made.network.path.name == network.path.name
    assert made.network.path.parent != network.path.parent
    folder = made.network.path.parent
    assert folder.is_dir()
    changed = made.network.with_weights({"head.weight": 0 * network.weights["head.weight"]})
    del made
    assert folder.is_dir()
    Running(changed, SessionSettings(), 4)({"x": rng.normal(size=(2, 1, 8, 8))})
    del changed
    assert not folder.parent.exists()


def differ(network):
    return differ_on(Around().training_samples("task"), SessionSettings(), 8)


def test_a_promise_that_is_kept_is_measured(network):
    made, _ = done(network, step(Copied()), differ=differ(network))
    assert made.difference == 0.0
    assert done(network, step(Copied()))[0].difference is None
    assert done(network, step(Scaled()), differ=differ(network))[0].difference is None


def test_a_promise_that_is_broken_is_the_plugins_fault(network):
    words = r"^liar \(tests\): modify: expected answers that change by at most 1e-06 of the largest"
    with pytest.raises(PluginError, match=words):
        done(network, step(Liar()), differ=differ(network))


def test_the_difference_is_the_largest_change_over_the_largest_answer():
    old = [np.array([1.0, -4.0]), np.array([0.5])]
    assert difference(old, old) == 0.0
    assert difference(old, [np.array([1.5, -4.0]), np.array([0.25])]) == 0.125
    assert difference(old, old[:1]) == math.inf
    assert difference(old, [np.array([1.0, np.nan]), old[1]]) == math.inf
    assert difference([np.zeros(2)], [np.ones(2)]) == math.inf
    assert difference([np.zeros(2)], [np.zeros(2)]) == 0.0


def test_inputs_are_changed_in_the_order_of_the_steps(network):
    """Twice dimmed, with the weights doubled in between: the newest stands first."""
    made, _ = done(network, step(Dimmed(0.5)), step(Scaled(1.0)), step(Dimmed(0.25)))
    assert len(made.around) == 2
    seen = []

    def ask(feeds, layers=()):
        seen.append(next(iter(feeds.values())))
        return {"y": seen[-1]}

    wrapped(ask, made.around)({"x": np.ones((2, 3), np.float32)})
    assert np.allclose(seen[0], 0.125)
    assert made.layers == ((), KERNELS, ())


def test_a_wrapper_that_fails_is_the_modifications_fault(network, monkeypatch):
    """It is called while a method examines the network, which is not to blame."""
    monkeypatch.setattr(Dimmed, "transform", lambda self, sample, scale, rng: sample["gone"])
    made, _ = done(network, step(Dimmed()), step(Scaled()))
    with pytest.raises(
        PluginError, match=r"^dimmed \(tests\): transform: expected an answer, got Ke"
    ):
        wrapped(lambda feeds, layers: feeds, made.around)({"x": np.ones((2, 3), np.float32)})


def test_facts_of_a_stack_say_whose_they_are(network):
    alone, _ = done(network, step(Liar()))
    assert alone.facts == {"shift": 1.0}
    stack, _ = done(network, step(Liar()), step(Transferred()), step(Scaled()))
    assert stack.facts["liar: shift"] == 1.0
    assert set(stack.facts) == {"liar: shift", "transferred: loss"}
    assert stack.samples_of == "transfer"


def test_marks_and_checkpoints_are_gathered(network, monkeypatch):
    @dataclass(frozen=True)
    class Marking(Modification):
        name = "marking"

        def modify(self, network, bench, rng):
            marked, claim = bench.mark(network, Spec("block-spread"), 0)
            bench.checkpoints.append(f"{bench.place.name}-0")
            return Modified(marked, marks=(claim,))

    registered(monkeypatch, Marking)
    made, _ = done(network, step(Marking()), step(Marking()))
    assert len(made.marks) == 2
    assert made.checkpoints == ("x-0-0", "x-1-0")
    assert made.network.digest != network.digest


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda w: {"conv1.weight": w["conv1.weight"] * np.nan}, "expected an answer that fits"),
        (lambda w: {"conv1.weight": w["conv1.weight"][0]}, "expected an answer that fits the netw"),
        (lambda w: {"gone": w["conv1.weight"]}, "expected an answer that fits the network"),
        (lambda w: {"head.weight": np.zeros((10, 64))}, "only the layers aimed at to change, got"),
        (lambda w: w["gone"], "modify: expected an answer, got KeyError: 'gone'"),
        (lambda w: w["conv1.weight"].sort(), "got a change of an array of it"),
    ],
)
def test_a_modification_that_breaks_its_contract_is_named(network, monkeypatch, answer, words):
    monkeypatch.setattr(Scaled, "modify_weights", lambda self, weights, rng: answer(weights))
    with pytest.raises(PluginError, match=words) as caught:
        done(network, step(Scaled(), "conv1.weight"))
    assert str(caught.value).startswith("scaled (tests): modify: ")


def test_relative_change_is_the_rms_over_the_pooled_deviation(rng):
    old = {"a": rng.normal(size=(4, 5)), "b": 3 + 2 * rng.normal(size=(7, 2))}
    new = {name: w + rng.normal(size=w.shape) for name, w in old.items()}
    energy = sum((x - y) ** 2 for n in old for x, y in zip(old[n].flat, new[n].flat, strict=True))
    spread = sum((x - w.mean()) ** 2 for w in old.values() for x in w.flat)
    assert relative_change(old, new) == pytest.approx(math.sqrt(energy / spread))
    assert relative_change({}, {}) == 0.0
    same = {"a": np.ones(3, np.float32)}
    assert relative_change(same, same) == 0.0


def test_the_change_of_another_architecture_is_none(network):
    other = ArrayNetwork.of({"conv1.weight": np.ones((2, 2))})
    assert change_of(network, other) is None
    assert change_of(network, other, ["head.bias"]) is None
    assert change_of(network, network) == 0.0


def test_specs_hold_all_that_a_step_is(network):
    made = replace(Scaled(), factor=3.0)
    assert Step(made.spec()).modification.options == {"factor": 3.0, "noise": 0.0}
