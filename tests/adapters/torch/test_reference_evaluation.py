"""Classes of the reference software's contract, evaluated unchanged beside a method of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.cli.main import main
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import permissions, spending
from nnw_onnx.measures.cost import measure_operation, measure_training_elsewhere
from nnw_onnx.records import InjectionRecord, Plan, TrialRecord
from nnw_onnx.reports import render
from nnw_onnx.reports.names import shortened, technology_names
from nnw_onnx.runs.store import Store

pytestmark = pytest.mark.xdist_group("reference classes")

CLASSES = Path(__file__).resolve().parents[2] / "reference_classes"
DIGITS = Path(__file__).resolve().parents[3] / "models" / "digits"
FILES = (CLASSES / "mean_projection.py", CLASSES / "noise_triggers.py")
CONFIGURATION = """
title = "Classes"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 1
payload_sizes = [32]
preview = {{ samples = 0 }}
cost = {{ cells = 0 }}
control = {{ wrong_keys = 10 }}

[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}

[training]
limit = 600
batch_size = 32
learning_rate = 0.02

[[methods]]
name = "reference-decoder"
file = "{classes}/mean_projection.py"
class_name = "MeanProjection"
dictionary = {{ layer = "conv3.weight", strength = 0.1 }}
[methods.training]
epochs = 4

[[methods]]
name = "reference-detector"
file = "{classes}/noise_triggers.py"
class_name = "NoiseTriggers"
access = "answers"
[methods.dictionary]
triggers = 20
shape = [1, 8, 8]
steps = 40
learning_rate = 1e-3
hold = 1.0
threshold = 0.6

[[methods]]
name = "uchida"
strength = 0.1
carrier = "mean"
layer = "conv3.weight"
[methods.training]
epochs = 4

[[modifications]]
M_ID = 1
P = 50
"""


def written(folder: Path, classes: Path = CLASSES) -> Path:
    path = folder / "classes.toml"
    path.write_text(CONFIGURATION.format(classes=classes))
    return path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> nnw.Evaluated:
    folder = tmp_path_factory.mktemp("evaluated")
    with nnw.allow_code(*FILES):
        return nnw.evaluate(written(folder), run_folder=folder / "run", progress=False)


def test_both_are_put_in_and_found_as_our_own_method_is(evaluated):
    store = Store(evaluated.folder)
    injections = [i for i in store.records(InjectionRecord) if not i.twin]
    assert [i.status for i in injections] == ["done"] * 3
    theirs, triggers, ours = injections
    assert (theirs.symbols, triggers.symbols, ours.symbols) == (32, 0, 32)
    assert theirs.errors <= 2
    assert ours.errors <= 2
    assert len(theirs.training.epochs) == 4
    assert theirs.training.epochs[-1].penalty < theirs.training.epochs[0].penalty
    assert theirs.training.batches == ours.training.batches
    trials = store.records(TrialRecord)
    assert {trial.status for trial in trials} == {"done"}
    unmarked = next(t for t in trials if t.injection is None and t.setting is None)
    assert [v.detected for v in unmarked.verdicts] == [False] * 3
    for mark in injections:
        trial = next(t for t in trials if t.injection == mark.identity and t.setting is None)
        assert trial.verdicts[0].detected is True


def test_batches_and_start_are_those_of_our_own_training(evaluated):
    """The loss of the first epoch differs by what the two marks do to it, and by no more."""
    injections = Store(evaluated.folder).records(InjectionRecord)
    twin, theirs, _, ours = injections
    first = [i.training.epochs[0].loss for i in (twin, theirs, ours)]
    assert max(first) - min(first) < 0.05


def test_the_plan_holds_the_digests_of_the_code_and_no_folder(evaluated):
    plan = Store(evaluated.folder).read(Plan)
    for index, file in enumerate(FILES):
        digest = permissions.digest_of(file)
        assert plan.sources[f"methods.{index}: {file.name}"] == digest
    assert str(CLASSES) not in plan.model_dump_json()


def test_the_workflows_are_those_that_the_classes_go_through(evaluated):
    plan = Store(evaluated.folder).read(Plan)
    found = [(t.imperceptibility, t.robustness) for t in plan.technologies]
    assert found == [("NNW-WTI", "NNW-NIR"), ("NNW-NTI", "NNW-WIR"), ("NNW-WTI", "NNW-NIR")]


def test_the_report_has_the_names_of_the_classes_whole(evaluated):
    report = evaluated.report
    names = [str(name) for name in technology_names(report)]
    assert names[:2] == ["MeanProjection 32 bits, by training", "NoiseTriggers no Payload"]
    labels = [t.label for t in report.technologies]
    assert labels[:2] == ["MeanProjection, 32 bits, by training", "NoiseTriggers"]
    page = render(report, "html")
    assert "refere-" not in page
    (setting,) = report.settings
    assert (setting.code, setting.label, setting.parameter.letter) == ("1", "L1 pruning", "P")


@pytest.mark.parametrize(
    ("name", "room", "short"),
    [
        ("MeanProjection", 14, "MeanProjection"),
        ("MeanProjection", 7, "MeaPro"),
        ("TheirVeryOwnMethod", 7, "TVOM"),
        ("uchida", 7, "uchida"),
    ],
)
def test_a_name_in_humps_is_shortened_at_them(name, room, short):
    assert shortened(name, room) == short


def test_one_class_with_two_dictionaries_is_told_apart_by_what_differs(evaluated):
    report = evaluated.report
    first = report.technologies[0]
    method = first.record.method
    dictionary = {**method.options["dictionary"], "strength": 0.5}
    changed = method.model_copy(update={"options": {**method.options, "dictionary": dictionary}})
    other = first.model_copy(update={"record": first.record.model_copy(update={"method": changed})})
    both = report.model_copy(update={"technologies": (first, other)})
    names = [name.variant for name in technology_names(both)]
    assert names == ["32 bits, strength 0.1, by training", "32 bits, strength 0.5, by training"]


def test_a_detector_of_its_own_is_decided_at_no_level(evaluated):
    triggers = evaluated.report.technologies[1].detectability
    assert triggers.own_threshold
    assert triggers.reason.startswith("it decides by a threshold of its own: its false alarms")
    assert not evaluated.report.technologies[0].detectability.own_threshold


def test_another_file_is_another_plan(evaluated, tmp_path):
    for file in FILES:
        (tmp_path / file.name).write_text(f"{file.read_text()}\n# changed\n")
    path = written(tmp_path, tmp_path)
    with (
        nnw.allow_code(*tmp_path.glob("*.py")),
        pytest.raises(nnw.NnwError, match="expected a run of this evaluation, got one of another"),
    ):
        nnw.evaluate(path, run_folder=evaluated.folder, progress=False)


def test_nothing_runs_without_leave(tmp_path, capsys):
    path = written(tmp_path)
    words = ["evaluate", str(path), "--run-folder", str(tmp_path / "run")]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "nnw: error: methods.0: mean_projection.py: expected leave to run this code" in told
    assert "methods.1: noise_triggers.py: expected leave to run this code of your own" in told
    assert main(["--allow-code", str(FILES[0]), *words]) == 2
    assert "methods.1: noise_triggers.py: expected leave" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert permissions.permitted() == ()


def test_leave_for_a_file_that_is_not_there_is_told(capsys):
    assert main(["--allow-code", "absent.py", "list", "methods"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "nnw: error: absent.py: expected a file of code that may run, got: No such"
    )


def test_a_way_that_a_class_has_not_is_told_before_anything_runs(tmp_path):
    path = written(tmp_path)
    text = path.read_text().replace(
        '[methods.training]\nepochs = 4\n\n[[methods]]\nname = "ref', '\n[[methods]]\nname = "ref'
    )
    path.write_text(text)
    with (
        nnw.allow_code(*FILES),
        pytest.raises(ConfigurationError, match=r"methods\.0: MeanProjection .*: Embedder: expec"),
    ):
        nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)


def test_nothing_stands_before_a_network_that_a_class_runs_itself(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text().replace("M_ID = 1\nP = 50", 'name = "input-flip"'))
    with pytest.raises(ConfigurationError, match="because NoiseTriggers runs the network itself"):
        nnw.read_evaluation(path)


def test_a_class_that_fails_is_a_failed_record_with_its_name(tmp_path):
    code = FILES[1].read_text().replace("right = ", "right = 1 / 0  # ")
    (tmp_path / "noise_triggers.py").write_text(code)
    (tmp_path / "mean_projection.py").write_text(FILES[0].read_text())
    path = written(tmp_path, tmp_path)
    text = path.read_text()
    first, second = (
        text.index("[[methods]]"),
        text.index('[[methods]]\nname = "reference-detector"'),
    )
    third = text.index('[[methods]]\nname = "uchida"')
    path.write_text(text[:first] + text[second:third].replace("steps = 40", "steps = 1"))
    with (
        nnw.allow_code(tmp_path / "noise_triggers.py"),
        pytest.raises(nnw.NnwError, match="expected trials that can be measured"),
    ):
        nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)
    records = Store(tmp_path / "run").records(TrialRecord)
    assert {r.status for r in records} == {"failed"}
    wanted = (
        "NoiseTriggers (noise_triggers.py): Detector: expected an answer, got ZeroDivisionError"
    )
    assert records[0].reason.startswith(wanted)


def test_a_network_marked_elsewhere_is_read_with_its_class(evaluated, tmp_path):
    """The key names no folder, so that the class may lie anywhere by now."""
    store = Store(evaluated.folder)
    theirs = next(i for i in store.records(InjectionRecord) if i.technology == 0 and not i.twin)
    key = tmp_path / "key.npz"
    key.write_bytes(store.key_path(theirs.identity).read_bytes())
    key.chmod(0o600)
    plain = nnw.open(DIGITS / "cnn-0.onnx")
    store.load_network(theirs.identity, plain).save(tmp_path / "theirs.onnx")
    moved = tmp_path / "moved.py"
    moved.write_text(FILES[0].read_text())
    (tmp_path / "elsewhere.toml").write_text(f"""
preview = {{ samples = 0 }}
cost = {{ cells = 0 }}
[[networks]]
file = "{DIGITS / "cnn-0.onnx"}"
marked = "theirs.onnx"
key = "key.npz"
[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}
""")
    path = tmp_path / "elsewhere.toml"
    with pytest.raises(
        ConfigurationError, match=r"methods\.0: mean_projection\.py: expected leave"
    ):
        nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)
    with nnw.allow_code(moved):
        done = nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)
    assert done.report.technologies[0].label == "MeanProjection, 32 bits, made elsewhere"
    (record,) = Store(done.folder).records(InjectionRecord)
    assert (record.status, record.errors) == ("done", theirs.errors)


def test_overwriting_puts_in_another_mark_of_the_class(tmp_path):
    path = written(tmp_path)
    text = path.read_text().replace("M_ID = 1\nP = 50", "M_ID = 6\nW = 1")
    second = text.index('[[methods]]\nname = "reference-detector"')
    path.write_text(text[:second] + text[text.index("[[modifications]]") :])
    with nnw.allow_code(*FILES):
        done = nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)
    trial = Store(done.folder).records(TrialRecord)[-1]
    assert trial.status == "done"
    assert trial.new_marks[0].symbols == 32


def test_cost_is_that_of_the_other_process():
    def operation() -> None:
        spending.spend({"seconds": 2.5, "peak_bytes": 100, "baseline_bytes": 7})

    cost = measure_operation(operation)
    assert (cost.seconds, cost.minimum, cost.repetitions) == (2.5, 2.5, 5)
    assert (cost.memory.peak_bytes, cost.memory.baseline_bytes) == (100, 7)
    assert cost.memory.allocated_bytes is None

    def original(lap, end) -> None:
        lap()
        lap()
        end()

    training = measure_training_elsewhere(operation, original, batches=5)
    assert training.seconds(5) == 0.5
    assert training.memory.allocated_bytes is None
    with pytest.raises(ConfigurationError, match="expected another process that tells what"):
        measure_training_elsewhere(lambda: None, original, batches=5)


def test_the_dictionary_is_in_the_report_as_it_was_given(evaluated):
    told = json.loads(render(evaluated.report, "json"))
    record = told["technologies"][0]["record"]
    assert record["method"]["options"]["dictionary"] == {"layer": "conv3.weight", "strength": 0.1}
    assert record["title"] == "MeanProjection"


@pytest.mark.shared_data
def test_on_cifar10_a_class_does_what_our_own_method_does(shared_data, tmp_path):
    """The same idea at the same strength in the same layer: every bit is read from both."""
    settings = {
        "networks": ["nnw:cifar10/fast-0.onnx"], "cost.cells": 0, "training.limit": 2000,
        "dataset.limit": 500, "preview.samples": 0,
    }  # fmt: skip
    with nnw.allow_code(*FILES):
        done = nnw.evaluate(
            CLASSES / "cifar10.toml",
            data=shared_data / "cifar10" / "cifar10_jpeg_imagefolder.tar.gz",
            run_folder=tmp_path / "run",
            settings=settings,
            progress=False,
        )
    store = Store(done.folder)
    _, theirs, triggers, ours = store.records(InjectionRecord)
    assert (theirs.symbols, theirs.errors) == (ours.symbols, ours.errors) == (64, 0)
    assert triggers.status == "done"
    trials = store.records(TrialRecord)
    assert {trial.status for trial in trials} == {"done"}
    plain = [trial for trial in trials if trial.setting is None]
    quality = {trial.injection: next(iter(trial.quality.values())) for trial in plain}
    assert abs(quality[theirs.identity] - quality[ours.identity]) < 0.05
    for trial in (t for t in trials if t.injection in (theirs.identity, ours.identity)):
        assert (trial.verdicts[0].errors, trial.verdicts[0].detected) == (0, True)
