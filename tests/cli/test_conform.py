"""nnw conform: statuses, forms, and folders that are no run or a damaged one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nnw_onnx

from ..fuzz.run_folders import write_run  # noqa: TID252 - shared by two rooms' tests
from ..measures.made import invented, make_dataset  # noqa: TID252 - shared by two rooms' tests

Nnw = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run whose data set is too small."""
    write_run(tmp_path / "run", *invented(2, 4, samples=60).parts)
    return tmp_path / "run"


def test_what_is_not_met_comes_first_and_is_the_exit_status(nnw: Nnw, run: Path) -> None:
    answer = nnw("conform", run)
    assert (answer.status, answer.err) == (1, "")
    head, columns, first, *rest = answer.out.splitlines()
    assert head.startswith("NNW-NNT V1.1, Neural Network Traceability (nnt-1.1): ")
    assert columns.split() == ["answer", "clause", "why", "in", "report.html"]
    assert first.split("  ")[0] == "not met"
    assert first.endswith("#environment")
    words = [line.split("  ")[0] for line in (first, *rest)]
    order = ["not met", "not measured", "met", "not about this run"]
    assert words == sorted(words, key=order.index)


def test_nothing_that_is_not_met_is_status_0(nnw: Nnw, tmp_path: Path) -> None:
    made = invented(1, 3, samples=60)
    plan = made.plan.model_copy(update={"dataset": make_dataset(10_000, (10,))})
    # Of costs V1.0 asks for no limits.
    settings = tuple(s for s in plan.settings if s.steps[0].number != 1)
    assert len(settings) == 2
    kept = {s.index: i for i, s in enumerate(settings)}
    plan = plan.model_copy(
        update={"settings": tuple(s.model_copy(update={"index": kept[s.index]}) for s in settings)}
    )
    trials = tuple(
        t if t.setting is None else t.model_copy(update={"setting": kept[t.setting]})
        for t in made.trials
        if t.setting is None or t.setting in kept
    )
    write_run(tmp_path / "run", *made.but(plan=plan, trials=trials).parts)
    answer = nnw("conform", tmp_path / "run", "--profile", "ieee-3304")
    assert (answer.status, answer.err) == (0, "")
    assert "(nnw-1.0)" in answer.out
    assert " 0 not met," in answer.out
    assert nnw_onnx.conform(tmp_path / "run", "nnw-1.0")


@pytest.mark.parametrize("profile", ["nnt-1.1", "nnw-1.0", "tec-1.0"])
def test_json_is_what_python_gives(nnw: Nnw, run: Path, profile: str) -> None:
    answer = nnw("conform", run, "--profile", profile, "--format", "json")
    found = nnw_onnx.conform(run, profile)
    assert json.loads(answer.out) == found.model_dump(mode="json")
    assert answer.status == (0 if found else 1)
    assert found.profile == profile


def test_nothing_is_written(nnw: Nnw, run: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    nnw("conform", run)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_the_same_run_gives_the_same_answer(nnw: Nnw, run: Path) -> None:
    assert nnw("conform", run).out == nnw("conform", run).out


def refused(nnw: Nnw, words: list[str | Path], said: str) -> None:
    answer = nnw("conform", *words)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.splitlines() == [f"nnw: error: {said}"]


def test_an_unknown_profile_is_refused_before_anything_is_read(nnw: Nnw, tmp_path: Path) -> None:
    known = "nnt-1.1, nnw-1.0, tec-1.0, ieee-3304"
    said = f"profile: expected one of {known}; got 'x'; choose one of them"
    refused(nnw, [tmp_path / "no run", "--profile", "x"], said)


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_that_is_no_run(nnw: Nnw, tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "folder"
    if made:
        folder.mkdir()
    said = (
        f"{folder}: expected a run folder with plan.json, got none; give the folder that "
        "'nnw evaluate' named"
    )
    refused(nnw, [folder], said)


def test_an_old_run(nnw: Nnw, run: Path) -> None:
    (run / "plan.json").write_text('{"schema_version": 1}')
    said = (
        f"{run}: expected a run folder of form 2, got one of form 1; nnw-onnx 0.1 "
        "(pip install 'nnw-onnx<0.2') reads it"
    )
    refused(nnw, [run], said)


@pytest.mark.parametrize("name", ["injections.jsonl", "records.jsonl", "costs.jsonl"])
def test_a_damaged_record(nnw: Nnw, run: Path, name: str) -> None:
    path = run / name
    path.write_bytes(b'{"identity": 1}\n' + path.read_bytes())
    answer = nnw("conform", run)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"nnw: error: {name}, line 1: expected a record, got: identity: ")
    assert answer.err.count("\n") == 1


def test_a_last_record_that_was_cut_off_is_not_there(nnw: Nnw, run: Path) -> None:
    path = run / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    answer = nnw("conform", run, "--format", "json")
    told = {c["id"]: c["status"] for c in json.loads(answer.out)["clauses"]}
    assert told["rob-detector"] == "not measured"


def test_links_and_pipes_are_refused(nnw: Nnw, run: Path) -> None:
    (run / "environment.json").unlink()
    os.mkfifo(run / "environment.json")
    said = (
        f"{run}: expected plain files and folders, got a pipe, socket or device named "
        "'environment.json'; remove it if you know it, or do not use this folder"
    )
    refused(nnw, [run], said)


def test_what_records_say_is_harmless(nnw: Nnw, run: Path) -> None:
    lines = (run / "injections.jsonl").read_text().splitlines()
    first = json.loads(lines[0]) | {"status": "failed", "reason": "\x1b[2J\u202e\nx" * 10}
    (run / "injections.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    answer = nnw("conform", run)
    assert answer.status == 1
    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out
    assert "\\x1b[2J" in answer.out
