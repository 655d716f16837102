"""What happens to a run when the process dies or the disk is full, at every point where it may."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.datasets.digits import Digits
from nnw_onnx.errors import DatasetError, InferenceError, NnwError, RunError, UnavailableError
from nnw_onnx.records import Environment, InjectionRecord, TrialRecord
from nnw_onnx.reports import documents
from nnw_onnx.runs import context as contexts
from nnw_onnx.runs import cost, evaluate, guard, injections, mishaps, trial
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.keys import save_key
from nnw_onnx.runs.prepare import Prepared, prepare
from nnw_onnx.runs.store import RECORDS, Store
from nnw_onnx.vocabulary import Batch, Samples

from .breaking import Death, breaking
from .here import Here

TINY = """
title = "Tiny"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 1
payload_sizes = [16]
[dataset]
name = "digits"
limit = 40
preprocessing = { scale = 0.0625 }
[control]
wrong_keys = 2
[preview]
samples = 0
[cost]
cells = 1
sessions = 1
repetitions = 5
[[methods]]
name = "block-spread"
[[modifications]]
name = "gaussian-noise"
intensities = [0.1]
"""
MEASURED_ELSEWHERE = {"environment.json", ".lock"}
"""What tells of the moment and not of the networks."""


def carried_out(prepared: Prepared, folder: Path, **options: bool) -> Path:
    context = dataclasses.replace(prepared.context, folder=folder)
    moved = dataclasses.replace(prepared, context=context)
    evaluate.run(moved, progress=False, tell=lambda line: None, **options)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in MEASURED_ELSEWHERE)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@dataclass
class Replayed:
    """A run whose tasks are known, so that carrying it out takes milliseconds.

    Attributes:
        whole: the files of the undisturbed run.
        done: identities of the tasks that were carried out since this was emptied.
    """

    prepared: Prepared
    whole: dict[str, bytes]
    done: list[str]


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Iterator[Replayed]:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY)
    prepared = prepare(read_evaluation(folder / "tiny.toml"), folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_engine", lambda prepared: Here())
        patch.setattr(evaluate, "Serial", lambda **options: Here())
        run = Store(carried_out(prepared, folder / "run"))
        made = {
            r.identity: (nnw.load_key(run.key_path(r.identity)), run)
            for r in run.records(InjectionRecord)
        }
        done: list[str] = []
        replay, here = _replayed(run, done, made), run.read(Environment)
        for module, function in ((injections, "_made"), (trial, "run_trial"), (cost, "run_cost")):
            patch.setattr(module, function, replay)
        patch.setattr(evaluate, "describe_environment", lambda *asked: here)
        patch.setattr(os, "fsync", lambda descriptor: None)  # that it is called is what matters
        yield Replayed(prepared, contents(folder / "run"), done)


def _replayed(run: Store, done: list[str], made: dict[str, Any]) -> Callable[..., Any]:
    known = {r.identity: r for model in RECORDS for r in run.records(model)}

    def replay(context: contexts.Context, task: Any, bench: object = None) -> Any:
        if task.identity in made:
            original = contexts.network_of(context, task.network)
            save_key(made[task.identity][0], context.store.key_path(task.identity))
            network = run.load_network(task.identity, original)
            context.store.save_network(task.identity, network, original)
        done.append(task.identity)
        return known[task.identity]

    return replay


def recorded(folder: Path) -> set[str]:
    store = Store(folder)
    found = {r.identity for model in RECORDS for r in store.records(model)}
    if not store.exists:
        return found
    waiting = store.finished()
    kept = {i for i in waiting.identities() if any(waiting.record(i, model) for model in RECORDS)}
    return found | kept


def places(measured: Replayed, folder: Path) -> int:
    """Number of points at which a run can be broken."""
    with breaking() as points:
        carried_out(measured.prepared, folder)
    assert contents(folder) == measured.whole
    return len(points.passed)


@pytest.mark.parametrize("full", [False, True], ids=["death", "full disk"])
def test_a_run_that_is_broken_anywhere_goes_on_to_the_same_files(measured, tmp_path, full):
    number = places(measured, tmp_path / "whole")
    assert number > 60
    for at in range(1, number + 1):
        folder = tmp_path / "run"
        ends = pytest.raises(RunError if full else Death)
        with ends as caught, breaking(at, full=full) as points:
            carried_out(measured.prepared, folder)
        if full:
            assert "No space left on device" in str(caught.value)
            assert "\n" not in str(caught.value)
        before = recorded(folder)
        measured.done.clear()
        carried_out(measured.prepared, folder)
        assert contents(folder) == measured.whole, f"broken at {at}: {points.passed[at - 1]}"
        assert not before & {*measured.done}
        shutil.rmtree(folder)


def test_a_report_that_is_broken_anywhere_is_written_again(measured, tmp_path, monkeypatch):
    files = [("report.html", "<p>"), ("figures/a.svg", "<svg/>"), ("tables/all.csv", "a,b")]
    monkeypatch.setattr(documents, "_contents", lambda report: files)

    def written(folder: Path) -> dict[str, bytes]:
        documents.write_documents(None, folder)  # type: ignore[arg-type]  # nothing is drawn
        with Store(folder).locked():
            return contents(folder)

    with breaking() as points:
        whole = written(tmp_path)
    for at in range(1, len(points.passed) + 1):
        (tmp_path / str(at)).mkdir()
        with breaking(at), suppress(Death):
            written(tmp_path / str(at))
        assert written(tmp_path / str(at)) == whole


def copied(measured: Replayed, folder: Path) -> Path:
    for name, content in measured.whole.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_what_an_ended_process_has_left_is_put_away(measured, tmp_path):
    folder = copied(measured, tmp_path / "run")
    (folder / "progress").mkdir()
    for name in (
        ".0123456789abcdef.tmp", "keys/.0123456789abcdef.tmp", "progress/x",
        "networks/.x.onnx.77.0.3.tmp", "networks/.x.onnx.77.1.0.tmp",
    ):  # fmt: skip
        (folder / name).write_bytes(b"half")
    (folder / ".mine.tmp").write_bytes(b"somebody's own")
    carried_out(measured.prepared, folder)
    assert contents(folder) == {**measured.whole, ".mine.tmp": b"somebody's own"}


def test_what_a_worker_leaves_while_the_run_goes_on_is_put_away(measured, tmp_path, monkeypatch):
    def measured_here(*asked: object) -> Environment:
        (tmp_path / "run" / "keys" / ".0123456789abcdef.tmp").write_bytes(b"secret")
        return here(*asked)

    here = evaluate.describe_environment
    monkeypatch.setattr(evaluate, "describe_environment", measured_here)
    assert contents(carried_out(measured.prepared, tmp_path / "run")) == measured.whole


def test_a_line_that_was_copied_counts_once(measured, tmp_path):
    folder = copied(measured, tmp_path / "run")
    path = folder / "records.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, *rest, first]))
    records = Store(folder).records(TrialRecord)
    assert len(records) == len(rest) + 1
    other = records[0].model_copy(update={"status": "failed", "reason": "x"})
    path.write_bytes(first + other.model_dump_json().encode() + b"\n")
    with pytest.raises(
        RunError, match=r"records.jsonl, line 2: expected one record of a task, got"
    ):
        Store(folder).records(TrialRecord)


def test_records_are_in_the_order_of_the_plan_and_of_its_tasks_only(measured, tmp_path, caplog):
    folder = copied(measured, tmp_path / "run")
    path = folder / "records.jsonl"
    records = Store(folder).records(TrialRecord)
    strange = records[0].model_copy(update={"identity": "0" * 64})
    Store(folder).rewrite(TrialRecord, [strange, *reversed(records)])
    carried_out(measured.prepared, folder)
    assert path.read_bytes() == measured.whole["records.jsonl"]
    assert "trials: 1 records of tasks that this run no longer has are left out" in caplog.text


@pytest.mark.parametrize("name", ["keys", "networks"])
def test_a_key_or_network_that_is_gone_stops_the_run(measured, tmp_path, name):
    folder = copied(measured, tmp_path / "run")
    context = dataclasses.replace(measured.prepared.context, folder=folder)
    (mark,) = Store(folder).records(InjectionRecord)
    next((folder / name).iterdir()).unlink()
    get = {
        "keys": lambda: contexts.claim_of(context, mark.identity),
        "networks": lambda: contexts.injected_network(context, 0, mark.identity),
    }[name]
    words = rf"{name}/{mark.identity[:16]}: expected the {name[:-1]} that this run has made, got: "
    with pytest.raises(UnavailableError, match=words):
        get()


def context_with(measured: Replayed, folder: Path, **changes: Any) -> contexts.Context:
    folder.mkdir(exist_ok=True)
    return dataclasses.replace(measured.prepared.context, folder=folder, **changes)


def raised(error: NnwError, cause: BaseException) -> NnwError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EMFILE])
def test_a_fault_of_the_machine_is_no_record(measured, tmp_path, number):
    context = context_with(measured, tmp_path / "run")
    error = raised(InferenceError("x"), OSError(number, os.strerror(number), "/a/b"))
    with pytest.raises(UnavailableError) as caught:
        mishaps.expect_available(context, raised(InferenceError("y"), error))
    assert str(caught.value) == (
        f"run: expected a machine that goes on working, got: {os.strerror(number)} (b); mend that "
        "and give the same command again, which goes on; what is done is kept"
    )


def test_a_fault_of_a_trial_stays_one(measured, tmp_path):
    context = context_with(measured, tmp_path / "run")
    forbidden = PermissionError(errno.EACCES, "Permission denied", "/root")
    for cause in (ValueError("x"), forbidden, OSError("no image")):
        mishaps.expect_available(context, raised(InferenceError("y"), cause))


def test_data_that_cannot_be_read_any_more_stop_the_run(measured, tmp_path):
    context = context_with(measured, tmp_path / "run")
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/7.png")
    with pytest.raises(UnavailableError, match=r"got: No such file or directory \(7.png\)"):
        mishaps.expect_available(context, raised(DatasetError("y"), gone))


def test_a_network_that_is_gone_stops_the_run(measured, tmp_path):
    context = context_with(measured, tmp_path / "run", networks=(tmp_path / "gone.onnx",))
    with pytest.raises(UnavailableError) as caught:
        mishaps.expect_available(context, InferenceError("killed by signal 7"))
    assert str(caught.value).startswith(
        "gone.onnx: expected what the run reads to stay, got: none any more; mend that"
    )


def test_data_that_are_others_or_gone_are_told(measured):
    data = measured.prepared.context.data
    other = dataclasses.replace(data, digest="0" * 64)
    with pytest.raises(UnavailableError, match="digits: expected the data that the plan was made"):
        contexts.load_samples(other)
    spec = dataclasses.replace(data.dataset, name="npz", options={"path": "/gone.npz"})
    with pytest.raises(UnavailableError, match="npz: expected the data that .*, got: .*gone.npz"):
        contexts.load_samples(dataclasses.replace(other, dataset=spec))


class Gone(Samples):
    digest = "x"

    def __len__(self) -> int:
        return 1

    def read(self, indices: Any) -> Batch:
        return Path("/gone.png").read_bytes()  # type: ignore[return-value]  # never gets there


def test_a_file_of_the_data_that_is_gone_is_no_fault_of_the_plug_in():
    samples = guard.GuardedSamples(Digits(), Gone())
    with pytest.raises(DatasetError) as caught:
        samples.read(np.arange(1))
    assert str(caught.value).endswith(
        ": expected data that can be read, got: No such file or directory; put them back or mend "
        "them"
    )


def test_what_failed_is_tried_again_where_that_is_asked(measured, tmp_path):
    folder = copied(measured, tmp_path / "run")
    store = Store(folder)
    trials = store.records(TrialRecord)
    bad = trials[1].model_copy(update={"status": "failed", "reason": "took longer than 1 s"})
    store.rewrite(TrialRecord, [trials[0], bad, *trials[2:]])
    carried_out(measured.prepared, folder)
    assert store.records(TrialRecord)[1] == bad
    measured.done.clear()
    carried_out(measured.prepared, folder, retry_failed=True)
    assert measured.done == [bad.identity]
    assert contents(folder) == measured.whole


def test_an_injection_that_failed_and_the_trials_without_it_are_made_anew(measured, tmp_path):
    folder = copied(measured, tmp_path / "run")
    store, prepared = Store(folder), measured.prepared
    (mark,) = store.records(InjectionRecord)
    failed = injections.failed(SimpleNamespace(**vars(mark)), "ran out of memory")
    store.rewrite(InjectionRecord, [failed])
    alone = [t for t in store.records(TrialRecord) if t.injection is None]
    store.rewrite(TrialRecord, [alone[0].model_copy(update={"identity": "1" * 64})])
    carried_out(prepared, folder, retry_failed=True)
    assert contents(folder) == measured.whole


def test_a_report_goes_elsewhere_where_the_run_folder_cannot_be_written(
    measured, tmp_path, monkeypatch
):
    folder = copied(measured, tmp_path / "run")
    monkeypatch.setattr(documents, "_contents", lambda report: [("report.html", "<p>")])
    with breaking(1, full=True), pytest.raises(RunError) as caught:
        nnw.report(folder)
    assert str(caught.value) == (
        f"{folder}: expected a folder that the report can be written into, got: No space left on "
        "device; mend that, or give another with 'nnw report --into'"
    )
    nnw.report(folder, into=tmp_path / "elsewhere")
    assert contents(folder) == measured.whole
    assert contents(tmp_path / "elsewhere") == {"report.html": b"<p>"}
