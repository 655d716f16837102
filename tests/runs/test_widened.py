"""An evaluation of a method whose networks have a class that their task does not have."""

from __future__ import annotations

import pytest

from nnw_onnx import plugins
from nnw_onnx.graph import open_network
from nnw_onnx.measures.decisions import judge_of
from nnw_onnx.measures.run import Run
from nnw_onnx.records import InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs.cost import plan_costs, run_cost
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.quality import adds_classes
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.tables import CostTable
from nnw_onnx.vocabulary import Method, Spec

from . import trained

CONFIGURATION = """
title = "A class more"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 1
[dataset]
name = "digits"
limit = 200
preprocessing = { scale = 0.0625 }
[training]
initial_epochs = 20
batch_size = 64
learning_rate = 0.03
[[methods]]
name = "zhong"
labels = "new"
count = 20
[methods.training]
epochs = 5
own_per_batch = 16
[[modifications]]
name = "overwriting"
method = "zhong"
intensities = [1]
[control]
wrong_keys = 2
[preview]
samples = 0
[cost]
cells = 0
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("widened")
    path = trained.configuration(folder, CONFIGURATION)
    return Store(trained.carried_out(path, folder / "run"))


def marks(store):
    """The injection and its twin."""
    twin, own = sorted(store.records(InjectionRecord), key=lambda one: not one.twin)
    return own, twin


def test_only_the_watermarked_network_has_the_class(store):
    zhong, twin = marks(store)
    assert zhong.status == twin.status == "done"
    plain = open_network(trained.MODEL)
    assert store.load_network(zhong.identity, plain).outputs[0].shape[1] == 11
    assert store.load_network(twin.identity, plain).outputs[0].shape[1] == 10
    assert (zhong.changed_weights, zhong.change) == (None, None)


def test_its_quality_is_that_of_the_ten_classes(store):
    """Also where an unmarked network gets the class from who overwrites it."""
    zhong, twin = marks(store)
    trials = store.records(TrialRecord)
    for trial in trials:
        assert trial.status == "done", trial.reason
        assert trial.quality["top-1 accuracy"] > 0.8
    without = [trial.injection for trial in trials if trial.setting is None]
    assert set(without) == {None, zhong.identity, twin.identity}
    assert {trial.injection for trial in trials if trial.setting == 0} == {None, zhong.identity}


def test_a_network_without_the_class_is_not_asked_further(store):
    zhong, _ = marks(store)
    for trial in store.records(TrialRecord):
        for verdict in trial.verdicts:
            has_class = trial.injection == zhong.identity or trial.setting is not None
            assert verdict.status == ("done" if has_class else "not-applicable")
            if trial.injection is not None and trial.setting is None:
                assert verdict.statistic >= 15


def test_its_detector_can_say_yes(store):
    """The unmarked network lacks the class; overwritten by the same method it has another's."""
    injections, trials = (tuple(store.records(x)) for x in (InjectionRecord, TrialRecord))
    run = Run(store.read(Plan), injections, trials)
    judge = judge_of(run, run.plan.technologies[0])
    others = [t.verdict.statistic for t in run.foreign_tests(0, (0, 1))]
    assert judge.negatives == tuple(sorted([0.0, *others]))
    assert (judge.what.ever, judge.what.negatives) == (True, 1 + len(others))
    assert "of which 1 lack what is asked for and count as 0" in judge.what.reason
    (own,) = run.own_tests(0, (None, None))
    assert own.verdict.statistic > max(others)
    assert judge.found(own) is True
    assert {judge.found(t) for t in run.foreign_tests(0, (None, None))} == {False}


def test_the_cost_of_its_training_is_measured_beside_that_of_the_task(store):
    """The class is there with the watermark only, as in the trainings of the run."""
    prepared = prepare(read_evaluation(store.folder.parent / "trained.toml"), store.folder)
    table = CostTable(cells=1, sessions=1, training_batches=10)
    tasks = plan_costs(prepared.context, store.records(InjectionRecord), table)
    record = run_cost(prepared.context, next(t for t in tasks if t.operation == "injection"))
    assert (record.status, record.reason) == ("done", None)
    assert record.seconds > 0 < record.baseline_seconds


def test_which_methods_add_classes():
    assert adds_classes([Spec("uchida"), Spec("zhong")])
    assert not adds_classes([Spec("uchida"), Spec("adi")])
    assert not adds_classes([])
    assert plugins.widens(plugins.create(Method, Spec("zhang"))) is None
