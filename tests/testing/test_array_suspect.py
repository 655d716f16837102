"""ArraySuspect shows what the access allows; ArrayBench has what it was given."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, PluginError
from nnw_onnx.testing import (
    ArrayBench,
    ArrayNetwork,
    ArraySuspect,
    ArrayTrainer,
    run,
    small_network,
    small_samples,
)
from nnw_onnx.vocabulary import Job, Recipe

NETWORK = ArrayNetwork.of({"fc": np.ones((2, 3))})
FEEDS = {"x": np.zeros((1, 3))}


def answer(network, feeds, layers=()):
    return {"y": np.zeros((1, 2)), **{name: np.ones((1, 2)) for name in layers}}


def test_each_access_shows_what_it_says():
    weights, inner, answers = (
        ArraySuspect(NETWORK, access, answer) for access in ("weights", "activations", "answers")
    )
    assert list(weights.weights) == list(inner.weights) == ["fc"]
    assert list(inner.run(FEEDS, ["fc"])) == ["y", "fc"]
    assert list(answers.run(FEEDS)) == ["y"]
    assert answers.layers == NETWORK.layers
    assert inner.asked == [(FEEDS, ("fc",))]
    with pytest.raises(PluginError, match="access 'answers' allows, got a question for weights; d"):
        _ = answers.weights
    with pytest.raises(PluginError, match="access 'answers' allows, got a question for activation"):
        answers.run(FEEDS, ["fc"])
    with pytest.raises(PluginError, match="access 'weights' allows, got a question for answers; d"):
        weights.run(FEEDS)


def test_what_is_not_there_is_told():
    with pytest.raises(CarrierNotFoundError, match="expected layers of this network, got odd; dec"):
        ArraySuspect(NETWORK, "activations", answer).run(FEEDS, ["odd"])
    with pytest.raises(PluginError, match="expected one that runs, got weights only; give answers"):
        ArraySuspect(NETWORK, "answers").run(FEEDS)


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        (lambda b: b.recipe, "recipe"),
        (lambda b: b.loss, "loss"),
        (lambda b: b.initial_epochs, "initial_epochs"),
        (lambda b: b.original, "original"),
        (lambda b: b.copies, "copies"),
        (lambda b: b.samples(), "samples"),
        (lambda b: b.samples("transfer"), "transfer"),
        (lambda b: b.run(NETWORK, FEEDS), "run"),
        (lambda b: b.gradient(NETWORK, FEEDS, np.zeros(1)), "trainer"),
        (lambda b: b.train(NETWORK, None), "trainer"),
        (lambda b: b.open("nnw:other"), "networks"),
        (lambda b: b.through_file(NETWORK, print), "through_file"),
        (lambda b: b.mark(NETWORK, None, 0), "mark"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_bench_without_it_says_what_to_give(ask, name):
    with pytest.raises(ConfigurationError, match=f"bench: expected .*; give ArrayBench {name}, or"):
        ask(ArrayBench())


def test_a_bench_gives_what_it_has():
    plain, samples, recipe = small_network(), small_samples(), Recipe(epochs=1)
    bench = ArrayBench(
        layers=("conv",), samples=samples, recipe=recipe, trainer=ArrayTrainer(), run=run,
        original=plain, copies=(plain,), initial_epochs=2.0, networks={"nnw:other": plain},
    )  # fmt: skip
    assert (bench.layers, bench.recipe, bench.initial_epochs) == (("conv",), recipe, 2.0)
    assert (bench.loss, bench.original, bench.copies) == ("cross-entropy", plain, (plain,))
    assert (bench.samples(), bench.open("nnw:other")) == (samples, plain)
    batch = samples.read(np.arange(4))
    assert bench.run(plain, batch.feeds, ["middle"])["middle"].shape == (4, 40, 1, 1)
    assert bench.gradient(plain, batch.feeds, batch.targets)["x"].shape == (4, 32, 3, 3)
    job = Job(samples, recipe, "cross-entropy", 0)
    assert bench.train(plain, job).batches == 2
    assert bench.jobs == [job]
