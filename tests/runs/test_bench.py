"""What an owner or an attacker has to work with in a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from nnw_onnx.errors import ConfigurationError, ModelFileError, PluginError
from nnw_onnx.graph import open_network
from nnw_onnx.runs.bench import Place, RunBench, Trainings
from nnw_onnx.runs.inject import symbol_errors
from nnw_onnx.runs.suspect import Running
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import Bench, Job, Payload, Recipe, Spec, Technology

from .faulty import Plain, registered
from .surroundings import MODEL, Around, Noting

HERE = Place("here", "title", "draw")


@pytest.fixture(scope="module")
def network():
    return open_network(MODEL)


@pytest.fixture(autouse=True)
def plugins_there(monkeypatch):
    registered(monkeypatch, Plain, Noting)
    Noting.jobs.clear()


def bench_of(network, around=None, **changes) -> RunBench:
    return RunBench(around or Around(), network, replace(HERE, **changes))


def test_it_is_a_bench(network):
    bench: Bench = bench_of(network, layers=("conv1.weight",))
    assert bench.layers == ("conv1.weight",)
    assert bench.recipe == Recipe()
    assert (bench.loss, bench.initial_epochs) == ("cross-entropy", 10.0)


@pytest.mark.parametrize(
    ("trainings", "ask", "words"),
    [
        (None, lambda b: b.recipe, r"expected a table \[training\] in the configuration, got none"),
        (None, lambda b: b.train(b._network, None), r"expected a table \[training\]"),
        (
            Trainings(Spec("noting"), Recipe(), None),
            lambda b: b.loss,
            "task: expected one whose networks can be trained, got one without a loss",
        ),
        (
            Trainings(Spec("noting"), Recipe(), "mse"),
            lambda b: b.initial_epochs,
            "training.initial_epochs: expected the epochs of the networks' initial training",
        ),
        (None, lambda b: b.original, "original: expected the network before any watermark, got no"),
        (None, lambda b: b.copies, "copies: expected those of several recipients, got none; give"),
        (None, lambda b: b.mark(b._network, None, 0), "method: expected that of the further"),
    ],
)
def test_what_is_not_there_says_what_to_add(network, trainings, ask, words):
    with pytest.raises(ConfigurationError, match=words):
        ask(bench_of(network, Around(trainings=trainings)))


def test_samples_are_fitted_and_kept(network):
    bench = bench_of(network)
    samples = bench.samples()
    assert list(samples.read(np.arange(1)).feeds) == [network.inputs[0].name]
    assert bench.samples() is samples
    assert bench.samples("transfer").digest != samples.digest


def test_answers_are_those_of_the_network_asked(network, rng):
    feeds = {"x": rng.normal(size=(3, 1, 8, 8)).astype(np.float32)}
    other = network.with_weights({"head.weight": 0 * network.weights["head.weight"]})
    bench = bench_of(network)
    expected = Running(network, Around().settings, 16)(feeds)
    name = network.outputs[0].name
    assert np.array_equal(bench.run(network, feeds)[name], expected[name])
    assert np.allclose(bench.run(other, feeds)[name], network.weights["head.bias"], atol=1e-6)
    assert np.array_equal(bench.run(network, feeds)[name], expected[name])
    assert "conv1.weight" in bench.run(network, feeds, ["conv1.weight"])


def test_trainings_have_names_of_their_own_and_the_output_of_the_task(network):
    around = Around(trainings=Trainings(Spec("noting"), Recipe(), "mse", output=3))
    bench = bench_of(network, around)
    job = Job(bench.samples(), Recipe(), "mse", 1)
    bench.train(network, job)
    bench.train(network, job)
    assert bench.checkpoints == around.names == ["here-0", "here-1"]
    assert [noted.output for noted in Noting.jobs] == [3, 3]


def test_a_trainer_that_breaks_its_contract_is_named(network, monkeypatch):
    bench = bench_of(network)
    job = Job(bench.samples(), Recipe(), "mse", 1)
    for answer, words in (
        (lambda *a, **k: None, "train: expected a Trained, got NoneType"),
        (lambda *a, **k: 1 / 0, "train: expected an answer, got ZeroDivisionError: division"),
    ):
        monkeypatch.setattr(Noting, "train", answer)
        with pytest.raises(PluginError, match=rf"^noting \(tests\): {words}"):
            bench.train(network, job)


def test_gradients_come_from_the_trainer(network):
    feeds = {"x": np.array([[-2.0, 3.0]])}
    assert bench_of(network).gradient(network, feeds, np.zeros(1))["x"].tolist() == [[-1.0, 1.0]]


def test_other_networks_are_opened_by_name(network):
    assert bench_of(network).open("cnn-1.onnx").path.name == "cnn-1.onnx"


def test_external_data_go_through_a_file_too(network, tmp_path, rng):
    """A converter that stores the weights beside the model."""

    def outside(source: Path, target: Path) -> None:
        model = onnx.load(source)
        onnx.save(model, target, save_as_external_data=True, location="w.bin", size_threshold=0)

    made = bench_of(network).through_file(network, outside)
    assert (made.path.parent / "w.bin").is_file()
    assert np.array_equal(made.weights["conv3.weight"], network.weights["conv3.weight"])
    feeds = {"x": rng.normal(size=(2, 1, 8, 8)).astype(np.float32)}
    told = [Running(n, Around().settings, 2)(feeds) for n in (network, made)]
    assert np.array_equal(*(next(iter(values.values())) for values in told))
    made.save(tmp_path / "kept.onnx")
    kept = made.path.parent.parent
    del made
    assert not kept.exists()
    assert open_network(tmp_path / "kept.onnx").layers == network.layers


def test_a_changed_network_is_written_as_it_is_now(network):
    zeros = network.with_weights({"head.weight": 0 * network.weights["head.weight"]})

    def copy(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())

    made = bench_of(network).through_file(zeros, copy)
    assert not made.weights["head.weight"].any()


def test_what_is_written_is_untrusted(network):
    bench = bench_of(network)
    with pytest.raises(PluginError, match="expected a model at the path that was given, got none"):
        bench.through_file(network, lambda source, target: None)
    with pytest.raises(ModelFileError):
        bench.through_file(network, lambda source, target: target.write_bytes(b"no model"))


def test_only_networks_of_files_can_be_run_and_written(network):
    with pytest.raises(PluginError, match="expected a network as it was given, or one made of it"):
        bench_of(network).run(ArrayNetwork.of({}), {})


TECHNOLOGY = Technology(Spec("plain"), 20, code=Spec("repetition", {"times": 3}))


def test_a_further_mark_is_by_the_technology_with_its_code(network):
    bench = bench_of(network, technology=TECHNOLOGY)
    marked, claim = bench.mark(network, None, 0)
    assert (claim.key.method.name, claim.key.carries, claim.key.size) == ("plain", 20, 60)
    assert symbol_errors(claim, bench.suspect_of(marked)) == 0
    again, same = bench_of(network, technology=TECHNOLOGY).mark(network, None, 0)
    assert (same, again.digest) == (claim, marked.digest)
    other = bench.mark(network, None, 1)[1]
    elsewhere = bench_of(network, technology=TECHNOLOGY, draw="x").mark(network, None, 0)[1]
    assert len({c.key.secret for c in (claim, other, elsewhere)}) == 3
    assert len({c.payload for c in (claim, other, elsewhere)}) == 3


def test_all_methods_meet_the_same_further_payloads(network):
    """So that an overwriting differs between methods in nothing but the method."""
    claims = [
        bench_of(network, technology=Technology(Spec(name), 20)).mark(network, None, 0)[1]
        for name in ("plain", "uchida")
    ]
    assert claims[0].payload == claims[1].payload
    assert claims[0].key.secret == claims[1].key.secret


def test_a_further_mark_by_another_method_has_the_same_size(network):
    bench = bench_of(network, technology=TECHNOLOGY)
    assert bench.mark(network, Spec("uchida"), 0)[1].key.size == 20
    alone = bench_of(network).mark(network, Spec("uchida"), 0)[1]
    assert alone.key.size == 64
    none = bench_of(network, technology=replace(TECHNOLOGY, code=None, size=0))
    assert none.mark(network, Spec("uchida"), 0)[1].key.size == 64


def test_the_recipe_of_a_further_mark_may_be_changed(network, monkeypatch):
    from .test_inject import Learning

    registered(monkeypatch, Plain, Noting, Learning)
    technology = Technology(Spec("learning"), 24, recipe=Recipe(epochs=1))
    bench_of(network, technology=technology).mark(network, None, 0, {"epochs": 5.0})
    assert Noting.jobs[-1].recipe == Recipe(epochs=5.0)


def test_a_further_mark_by_training_is_trained_from_the_network_as_it_is(network, monkeypatch):
    from .test_inject import Learning

    registered(monkeypatch, Plain, Noting, Learning)
    Noting.starts.clear()
    technology = Technology(Spec("learning"), 24, recipe=Recipe(epochs=1), start="scratch")
    bench = bench_of(network, technology=technology)
    marked, claim = bench.mark(network, None, 2)
    assert Noting.starts[0].digest == network.digest
    assert bench.checkpoints == ["here-mark-2-0"]
    assert symbol_errors(claim, bench.suspect_of(marked)) == 0
    assert isinstance(claim.payload, Payload)
