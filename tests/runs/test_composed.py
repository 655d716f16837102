"""Networks around the one under evaluation: three thirds of a network are as good as the whole."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.reports import documents
from nnw_onnx.runs import composed, suspect
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.repeating import repeated
from nnw_onnx.runs.store import Store
from nnw_onnx.vocabulary import TensorInfo

from .test_kinds import Run

pytestmark = pytest.mark.xdist_group("networks around")

EVALUATION = """
title = "Thirds"
networks = ["{network}"]
payloads = 2
payload_sizes = [24]
[dataset]
name = "digits"
limit = 150
preprocessing = {{ scale = 0.0625, layout = "flat" }}
{composed}
[[methods]]
name = "block-spread"
[[modifications]]
name = "l1-pruning"
intensities = [50]
[[modifications]]
name = "input-noise"
intensities = [0.1]
[control]
wrong_keys = 0
[cost]
cells = 0
"""
AROUND = '[composed]\nbefore = ["first.onnx"]\nafter = ["last.onnx"]\n'


def _dense(path: Path, layers, *, relu: bool = True) -> None:
    """A network of full layers; a ReLU behind each, but for the last where `relu` is off."""
    nodes, weights, above = [], [], "input"
    for place, (matrix, bias) in enumerate(layers):
        weights += [
            numpy_helper.from_array(matrix.astype(np.float32), f"w{place}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{place}"),
        ]
        last = place == len(layers) - 1
        name = "output" if last and not relu else f"s{place}"
        nodes.append(helper.make_node("Gemm", [above, f"w{place}", f"b{place}"], [name]))
        if not last or relu:
            above = "output" if last else f"r{place}"
            nodes.append(helper.make_node("Relu", [name], [above]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("input", len(layers[0][0])), ("output", len(layers[-1][1])))
    ]
    graph = helper.make_graph(nodes, "dense", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three layers of a trained network: as a whole, and each by itself."""
    folder = tmp_path_factory.mktemp("thirds")
    bunch = load_digits()
    made = MLPClassifier((48, 48), max_iter=60, random_state=0, early_stopping=True)
    made.fit(bunch.data[::2] / 16, bunch.target[::2])
    layers = list(zip(made.coefs_, made.intercepts_, strict=True))
    _dense(folder / "whole.onnx", layers, relu=False)
    _dense(folder / "first.onnx", layers[:1])
    _dense(folder / "middle.onnx", layers[1:2])
    _dense(folder / "last.onnx", layers[2:], relu=False)
    return folder


@pytest.fixture(scope="module")
def as_worker():
    """Networks run in this process, as they do in a worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "parent_process", lambda: "somebody")
        composed._asking.cache_clear()
        yield
        composed._asking.cache_clear()


def _carried_out(folder: Path, where: Path, network: str, around: str) -> Run:
    for name in ("whole", "first", "middle", "last"):
        (where / f"{name}.onnx").write_bytes((folder / f"{name}.onnx").read_bytes())
    return Run(where, EVALUATION.format(network=network, composed=around))


@pytest.fixture(scope="module")
def run(folder, as_worker, tmp_path_factory) -> Run:
    return _carried_out(folder, tmp_path_factory.mktemp("run"), "middle.onnx", AROUND)


def _quality(run: Run, setting: str, *, marked: bool) -> dict[str, float]:
    (found,) = {
        tuple(t.quality.items())
        for t in run.trials
        if run.setting(t) == setting and (t.injection is not None) == marked
    }
    return dict(found)


def test_parts_have_the_quality_of_the_whole(folder, run, tmp_path):
    alone = _carried_out(folder, tmp_path, "whole.onnx", "")
    whole = _quality(alone, "", marked=False)
    assert whole["top-1 accuracy"] > 0.8
    assert _quality(run, "", marked=False) == pytest.approx(whole)
    assert run.plan.dataset.entries == alone.plan.dataset.entries
    assert run.plan.dataset.digest != alone.plan.dataset.digest
    assert run.plan.dataset.shapes == {"input": (48,)}


def test_only_the_network_under_evaluation_is_marked_and_modified(folder, run):
    assert {layer for i in run.injections for layer in i.layers} == {"w0"}
    assert {layers for t in run.trials for layers in t.layers if layers} == {("w0",)}
    assert open_network(folder / "middle.onnx").layers[0].shape == (48, 48)
    pruned = [t for t in run.trials if run.setting(t) == "l1-pruning"]
    assert {t.status for t in pruned} == {"done"}
    assert all(v.detected for v in run.verdicts("block-spread", ""))


def test_what_is_fed_is_no_signal_any_more(run):
    """Features of a network before have no range that noise could be relative to."""
    noisy = [t for t in run.trials if run.setting(t) == "input-noise"]
    assert {t.status for t in noisy} == {"not-applicable"}


def test_report_and_plan_name_what_is_around(run):
    assert run.plan.dataset.before == ("first.onnx",)
    assert run.plan.dataset.after == ("last.onnx",)
    assert {"network 0 before: first.onnx", "network 0 after: last.onnx"} <= set(run.plan.sources)
    assert run.plan.evaluation["composed"] == {"before": ["first.onnx"], "after": ["last.onnx"]}
    shown = documents.render(run.report, "html")
    assert "first.onnx → the network under evaluation → last.onnx" in shown


def _prepared(folder, text):
    path = folder / "e.toml"
    path.write_text(text)
    return prepare(read_evaluation(path), folder / "other")


def test_conformance_says_what_the_network_was_evaluated_within(run):
    told = {c.profile: c for c in run.report.conformance}["nnt-1.1"]
    (clause,) = [c for c in told.clauses if c.id == "imp-semantics"]
    assert (clause.status, clause.reason) == ("met", "evaluated within first.onnx and last.onnx")


def _prepared(folder, text):
    path = folder / "e.toml"
    path.write_text(text)
    return prepare(read_evaluation(path), folder / "other")


def test_other_networks_around_are_another_evaluation(folder, as_worker):
    plain = EVALUATION.format(network="middle.onnx", composed=AROUND)
    swapped = plain.replace("last.onnx", "whole.onnx").replace("first.onnx", "middle.onnx")
    first = _prepared(folder, plain).plan
    assert first.evaluation_sha256 == _prepared(folder, plain).plan.evaluation_sha256
    with pytest.raises(ConfigurationError, match=r"expected .* got"):
        _prepared(folder, swapped)
    again = plain.replace('after = ["last.onnx"]', 'after = ["middle.onnx", "last.onnx"]')
    assert _prepared(folder, again).plan.evaluation_sha256 != first.evaluation_sha256


def test_a_run_is_repeated_with_the_networks_around(folder, run, tmp_path):
    """They are found by name and digest in folders that are given."""
    run.store.write(run.plan)
    again = repeated(run.store.folder, [folder])
    assert again.composed is not None
    assert again.composed.before == (str(folder / "first.onnx"),)
    assert again.composed.after == (str(folder / "last.onnx"),)
    assert prepare(again, tmp_path / "again").plan.evaluation_sha256 == run.plan.evaluation_sha256
    (tmp_path / "first.onnx").write_bytes((folder / "last.onnx").read_bytes())
    lost = Store(tmp_path / "lost")
    lost.create()
    lost.write(run.plan)
    for name in ("middle", "last"):
        (tmp_path / f"{name}.onnx").write_bytes((folder / f"{name}.onnx").read_bytes())
    with pytest.raises(
        RunError, match=r"first.onnx: expected the network of the run .* got another"
    ):
        repeated(tmp_path / "lost")


@pytest.mark.parametrize(
    ("around", "message"),
    [
        ("[composed]\n", r"composed: expected networks before or after, got none; name them"),
        (
            '[composed]\nbefore = ["no.onnx"]\n',
            r"composed.before.0: expected one ONNX file for .*n",
        ),
        ('[composed]\nafter = ["*.onnx"]\n', r"composed.after.0: expected one ONNX file .* got 4;"),
        ('[composed]\nafter = [""]\n', r"composed.after"),
        ('[composed]\nbehind = ["last.onnx"]\n', r"composed.behind: expected one of the keys"),
    ],
)
def test_what_is_wrong_is_told(folder, around, message):
    with pytest.raises(ConfigurationError, match=message):
        _prepared(folder, EVALUATION.format(network="middle.onnx", composed=around))


def test_nothing_trains_in_front_of_other_networks(folder):
    text = EVALUATION.format(network="middle.onnx", composed=AROUND)
    trained = text.replace('"block-spread"', '"adi"\n[methods.training]\nepochs = 1')
    with pytest.raises(ConfigurationError, match=r"composed.after: expected none where something"):
        _prepared(folder, trained)


def _info(*names):
    return [TensorInfo(name, ("n", 2), "float32") for name in names]


@pytest.mark.parametrize(
    ("inputs", "told", "known", "expected"),
    [
        (["input"], ["output"], ["input"], {"input": "output"}),
        (["hidden", "mask"], ["hidden"], ["ids", "mask"], {"hidden": "hidden", "mask": "mask"}),
        (["mask", "x"], ["hidden", "more"], ["mask"], {"x": "hidden", "mask": "mask"}),
        (["b", "a"], ["a", "b", "c"], [], {"a": "a", "b": "b"}),
        (["x", "y"], ["a", "b", "c"], [], {"x": "a", "y": "b"}),
        (["a", "y"], ["a", "b"], [], {"a": "a", "y": "b"}),
    ],
)
def test_values_find_their_inputs(inputs, told, known, expected):
    values = {name: np.array([i]) for i, name in enumerate(told)}
    earlier = {name: np.array([10 + i]) for i, name in enumerate(known)}
    found = composed.connected("n", _info(*inputs), values, earlier)
    assert list(found) == inputs
    assert found == {
        name: (values if source in values else earlier)[source] for name, source in expected.items()
    }


def test_an_input_without_a_value_is_told():
    message = r"composed: expected a value for each input of b.onnx, got none for 'y' from a; corr"
    with pytest.raises(ConfigurationError, match=message):
        composed.connected("b.onnx", _info("x", "y"), {"a": np.zeros(1)}, {})


def test_outside_of_workers_networks_run_in_processes_of_their_own(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: None)
    monkeypatch.setattr(
        suspect,
        "isolated",
        lambda network, settings: lambda feeds, layers: asked.append(network) or feeds,
    )
    composed._asking.cache_clear()
    chain = composed.chain_of([folder / "first.onnx"], SessionSettings(), 8)
    feeds = {"input": np.zeros((1, 64), np.float32)}
    assert chain.answers(feeds, {}).keys() == {"input"}
    assert [network.path.name for network in asked] == ["first.onnx"]
    composed._asking.cache_clear()


def test_samples_are_read_in_any_order(folder, as_worker):
    rng = np.random.Generator(np.random.PCG64(0))
    given = ArraySamples({"x": rng.random((9, 64), np.float32)}, np.arange(9))
    chain = composed.chain_of([folder / "first.onnx"], SessionSettings(), 4)
    samples = composed.ComposedSamples(given, chain).fitted(_info("h"))
    assert samples.scale is None
    whole = samples.read(np.arange(9))
    some = samples.read(np.array([7, 0, 7]))
    np.testing.assert_array_equal(some.feeds["h"], whole.feeds["h"][[7, 0, 7]])
    assert some.targets.tolist() == [7, 0, 7]


def test_a_network_around_that_was_exchanged_is_refused(folder, tmp_path):
    file = tmp_path / "x.onnx"
    file.write_bytes((folder / "first.onnx").read_bytes())
    chain = composed.chain_of([file], SessionSettings(), 4)
    file.write_bytes((folder / "middle.onnx").read_bytes())
    with pytest.raises(RunError, match=r"x.onnx: expected the network that the plan was made for"):
        _ = chain.networks
