"""What a worker does with a trial, without the worker."""

from __future__ import annotations

import base64
import dataclasses
import shutil
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.plugins import option
from nnw_onnx.records import InjectionRecord, TrialRecord
from nnw_onnx.runs import control, injections, recording, trial
from nnw_onnx.runs.context import network_of
from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.runs.plan import plan_injections
from nnw_onnx.runs.prepare import Prepared, prepare
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.vocabulary import Bench, Claims, Modification, Modified, Network, Parameter, Quality

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
BASE = {
    "networks": [str(MODELS / "cnn-0.onnx")],
    "payloads": 1,
    "payload_sizes": [16],
    "dataset": {"name": "digits", "limit": 300, "preprocessing": {"scale": 0.0625}},
    "methods": [{"name": "block-spread"}, {"name": "uchida"}],
    "control": {"wrong_keys": 0},
}


@dataclass(frozen=True)
class Run:
    """An evaluation whose injections are done in this process."""

    prepared: Prepared
    injected: list[InjectionRecord]

    def records(self, **wanted: object) -> list[TrialRecord]:
        """Records of the trials whose fields are as wanted."""
        trials = self.prepared.planner.trials(self.injected)
        chosen = [t for t in trials if all(getattr(t, k) == v for k, v in wanted.items())]
        assert chosen
        return [trial.run_trial(self.prepared.context, t) for t in chosen]


def run_of(folder: Path, **changes: object) -> Run:
    data = {**BASE, **changes}
    prepared = prepare(evaluation_from(data, "test", folder), folder / "run")
    context = prepared.context
    context.store.create()
    tasks = plan_injections(
        context.seed, data["payloads"], context.technologies, context.sha256, context.sources
    )
    return Run(prepared, [injections.run_injection(context, task) for task in tasks])


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Run:
    table = {"name": "gaussian-noise", "intensities": [0.1, 0.5]}
    return run_of(tmp_path_factory.mktemp("plain"), modifications=[table])


def test_an_injection_is_recorded_whole(plain):
    for record in plain.injected:
        assert (record.status, record.symbols, record.errors) == ("done", 16, 0)
        assert record.layers == ("conv3.weight",)
        assert 0 < record.change < 1
        assert record.changed_weights > 0
        assert len(record.commitment) == 64


def test_what_a_session_on_a_device_says_is_recorded(plain, monkeypatch):
    (record, *_) = plain.records(setting=None)
    assert record.facts == {}
    told = {"weights of the session": "inputs", "nodes on the CPU": "1 of 2: Sin x 1"}
    monkeypatch.setattr(Running, "facts", property(lambda run: told))
    (record, *_) = plain.records(setting=None)
    assert record.facts == told


def test_an_unmodified_trial_has_quality_scores_and_a_verdict_for_each_claim(plain):
    unmarked, *marked = plain.records(setting=None)
    assert unmarked.quality["top-1 accuracy"] > 0.95
    bits = np.unpackbits(np.frombuffer(base64.b64decode(unmarked.scores.data), np.uint8))
    assert unmarked.scores.form == "bits"
    assert bits[: unmarked.scores.n].mean() == unmarked.quality["top-1 accuracy"]
    assert [v.injection for v in unmarked.verdicts] == [i.identity for i in plain.injected]
    assert [[v.errors for v in record.verdicts] for record in marked] == [[0], [0]]
    verdict = marked[0].verdicts[0]
    assert (verdict.null.name, verdict.log10_p) == ("Bin(16, 1/2)", pytest.approx(-4.81647993))
    assert verdict.detected is False  # 16 bits never reach 1e-6
    assert marked[0].change is None


def test_every_modified_trial_keeps_its_scores_and_change(plain):
    for record in plain.records(setting=0):
        assert record.status == "done"
        assert record.scores.n == len(plain_samples(plain))
        assert record.change == pytest.approx(record.intensity, rel=0.05)
        assert record.outside_standard_range == (record.intensity == 0.5)
        assert len(record.layers[0]) == 4


def plain_samples(run: Run):
    from nnw_onnx.runs.context import load_samples

    return load_samples(run.prepared.context.data)


def test_every_method_and_the_unwatermarked_network_meet_the_same_draw(plain):
    """Same noise on the same network: the change is that of the noise, to the last bit."""
    context = plain.prepared.context
    trials = plain.prepared.planner.trials(plain.injected)
    draws = {t.intensity: set() for t in trials if t.setting == 0}
    for t in trials:
        if t.setting == 0:
            draws[t.intensity].add(trial.draw_of(context, t, 0))
    assert [len(drawn) for drawn in draws.values()] == [1, 1]
    assert len(set.union(*draws.values())) == 2


def test_a_draw_depends_on_payload_repetition_network_seed_and_steps_so_far(plain):
    context = plain.prepared.context
    (first, *_) = [t for t in plain.prepared.planner.trials(plain.injected) if t.setting == 0]
    step = first.steps[0]
    twice = dataclasses.replace(first, steps=(step, step))
    base = trial.draw_of(context, first, 0)
    others = [
        trial.draw_of(context, dataclasses.replace(first, payload=1), 0),
        trial.draw_of(context, dataclasses.replace(first, repetition=1), 0),
        trial.draw_of(context, dataclasses.replace(first, copies=2), 0),
        trial.draw_of(dataclasses.replace(context, seed=1), first, 0),
        trial.draw_of(dataclasses.replace(context, sha256=("x",)), first, 0),
        trial.draw_of(context, twice, 1),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert trial.draw_of(context, twice, 0) == base
    elsewhere = dataclasses.replace(
        first, identity="x", parents=("y",), setting=3, claims=(), technology=1
    )
    assert (
        trial.draw_of(dataclasses.replace(context, false_positive_rate=0.1), elsewhere, 0) == base
    )


def test_editing_the_margin_changes_no_record(plain, tmp_path):
    tables = [
        {"name": "quantizing", "intensities": [2]},
        {"name": "gaussian-noise", "intensities": [0.1, 0.5]},
    ]
    other = run_of(tmp_path, modifications=tables, margin=0.2)
    expected = {r.identity: r.model_copy(update={"setting": 1}) for r in plain.records(setting=0)}
    got = {r.identity: r for r in other.records(setting=1)}
    assert got == expected


def test_a_stack_is_modified_step_by_step_and_measured_at_its_end(tmp_path):
    table = {
        "steps": [
            {"name": "gaussian-noise", "intensities": [0.2], "layers": ["conv1.weight"]},
            {"name": "l1-pruning", "intensity": 50, "layers": "carrier"},
        ]
    }
    run = run_of(tmp_path, modifications=[table])
    for record in run.records(setting=0):
        assert record.layers == (("conv1.weight",), ("conv3.weight",))
        assert record.status == "done"
        assert 0.2 < record.change < 1


def test_a_carrier_that_is_not_there_is_skipped_with_the_reason(plain):
    context = plain.prepared.context
    (first, *_) = [t for t in plain.prepared.planner.trials(plain.injected) if t.setting == 0]
    homeless = dataclasses.replace(
        first, steps=(dataclasses.replace(first.steps[0], layers=("@carrier",)),), claims=()
    )
    record = trial.run_trial(context, homeless)
    assert (record.status, record.quality, record.verdicts) == ("skipped", {}, ())
    assert "no layer of its own" in record.reason


@dataclass(frozen=True)
class Boom(Modification):
    """A Modification that does what it should not."""

    name = "boom"
    parameter = Parameter("X", "what it does wrong", "")
    intensity: int = option(help="which mistake")

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """See the class."""
        if self.intensity == 1:
            raise ZeroDivisionError("one over nothing")
        if self.intensity == 2:
            return network  # type: ignore[return-value]  # on purpose
        name = network.layers[0].name
        broken = np.full_like(network.weights[name], np.nan)
        return Modified(network.with_weights({name: broken}))


@pytest.fixture
def boom(monkeypatch):
    entry = EntryPoint("boom", f"{__name__}:Boom", "nnw_onnx.modifications")
    installed = {"modifications": {"boom": [entry]}}
    monkeypatch.setattr(plugins, "_third_party", lambda group: installed.get(group, {}))
    monkeypatch.setattr(plugins, "_imported", lambda entry, kind: Boom)


def test_a_modification_that_can_do_nothing_to_a_network_is_not_applicable(tmp_path):
    run = run_of(tmp_path, modifications=[{"name": "bn-folding"}])
    for record in run.records(setting=0):
        assert (record.status, record.verdicts) == ("not-applicable", ())
        assert "there is nothing to fold" in record.reason


@pytest.mark.usefixtures("boom")
def test_a_fault_of_a_plug_in_is_a_failed_record_that_names_it(tmp_path):
    run = run_of(tmp_path, modifications=[{"name": "boom", "intensities": [1, 2, 3]}])
    records = run.records(setting=0)
    assert len(records) == 3 * 3
    origin = " ".join(plugins.origin(Boom)).strip()
    for record in records:
        assert record.status == "failed"
        assert record.reason.startswith(f"boom ({origin}"), record.reason
        assert "\n" not in record.reason
    reasons = " ".join({record.reason for record in records})
    assert "ZeroDivisionError: one over nothing" in reasons


def test_wrong_keys_are_counted_and_found_no_more_often_than_by_chance(plain):
    context = plain.prepared.context
    network = network_of(context, 0)
    suspect_of = suspects(network, Running(network, context.settings, 64))
    for index in (0, 1):
        wrong = Claims("wrong", technology=index, count=400)
        record = control.control_of(context, 0, wrong, suspect_of)
        assert (record.technology, record.keys, record.symbols) == (index, 400, 400 * 16)
        # P(Bin(16, 1/2) >= 11) = 0.105 is the largest tail below 1/10 but for 12: 0.0384.
        assert abs(record.below[0] - 400 * 0.0384) < 4 * (400 * 0.0384) ** 0.5
        assert list(record.below) == sorted(record.below, reverse=True)
        assert record.detected == 0
        assert abs(record.errors - 3200) < 4 * (6400 / 4) ** 0.5
        halves = [
            control.control_of(
                context, 0, dataclasses.replace(wrong, first=f, count=200), suspect_of
            )
            for f in (0, 200)
        ]
        assert sum(h.errors for h in halves) == record.errors
        assert min(h.log10_least for h in halves) == record.log10_least


def test_wrong_keys_made_from_a_template_are_those_of_the_method(plain):
    """Putting a secret into a key that was made before is the same as making a key with it."""
    context = plain.prepared.context
    for index in (0, 1):
        template = control._template(context, 0, index)
        assert template.shared
        quick = list(control._wrong(context, 0, index, template, range(3)))
        for number, claim in enumerate(quick):
            made = control._made(context, 0, index, number)
            assert made.payload == claim.payload
            unbound = {"commitment": "", "opening": "", "notes": ()}
            assert dataclasses.replace(made.key, **unbound) == dataclasses.replace(
                claim.key, **unbound
            )


def test_scores_that_are_no_bits_are_kept_as_float32_with_their_weights():
    scores, weights = np.array([0.25, 3.5, -1.0]), np.array([1.0, 2.0, 4.0])
    kept = recording.scores_of(Quality({"x": 1.0}, scores, weights))
    assert (kept.form, kept.n) == ("float32", 3)
    assert np.array_equal(np.frombuffer(base64.b64decode(kept.data), "<f4"), scores)
    assert np.array_equal(np.frombuffer(base64.b64decode(kept.weights), "<f4"), weights)
    assert recording.scores_of(Quality({"x": 1.0})) is None
    weighted = recording.scores_of(Quality({"x": 1.0}, np.array([0.0, 1.0]), np.array([1.0, 2.0])))
    assert weighted.form == "float32"


def test_facts_are_numbers_or_words():
    told = {"a": 1, "b": 0.5, "c": "x", "d": True, "e": None, "f": [1, 2]}
    assert recording.facts_of(told) == {
        "a": 1, "b": 0.5, "c": "x", "d": "true", "e": "null", "f": "[1, 2]",
    }  # fmt: skip


def test_one_network_under_two_names_is_refused(tmp_path):
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(MODELS / "cnn-0.onnx", tmp_path / name)
    data = {
        "networks": ["*.onnx"],
        "dataset": {"name": "digits"},
        "methods": [{"name": "block-spread"}],
    }
    with pytest.raises(ConfigurationError, match=r"got a\.onnx under two names"):
        prepare(evaluation_from(data, "test", tmp_path), tmp_path)
