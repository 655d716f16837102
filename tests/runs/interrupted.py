"""A stage whose first task does not end while the others do, for a process that is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.records import TrialRecord
from nnw_onnx.runs.context import Context, Source
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.stage import Stage
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.tables import Evaluation
from nnw_onnx.vocabulary import Engine, Spec

TABLES = {"networks": ["none.onnx"], "dataset": {"name": "digits"}, "methods": [{"name": "uchida"}]}


@dataclass(frozen=True)
class Numbered:
    """A task that notes that it was begun; the first one ends when it may."""

    identity: str
    number: int


TASKS = [Numbered(identity(number=n), n) for n in range(6)]


def carried_out(context: Context, task: Numbered) -> TrialRecord:
    with (context.folder / "begun.txt").open("a") as file:
        file.write(f"{task.number}\n")
    while task.number == 0 and not (context.folder / "may-end").exists():
        time.sleep(0.01)
    return record_of(task)


def record_of(task: Numbered) -> TrialRecord:
    return TrialRecord(identity=task.identity, status="done", network=task.number)


def failed(task: Numbered, reason: str) -> TrialRecord:
    return TrialRecord(identity=task.identity, status="failed", network=task.number, reason=reason)


def begun(folder: Path) -> list[int]:
    """Numbers of the tasks in the order in which they were begun."""
    path = folder / "begun.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def stage(folder: Path, engine: Engine) -> Iterator[TrialRecord]:
    context = Context(folder, (), (), Source(Spec("digits"), "test"), Spec("accuracy"), 1, 0.01)
    made = Stage(Store(folder), TrialRecord, "trials", progress=False)
    asked = Evaluation.model_validate(TABLES)
    return made.run(engine, carried_out, context, TASKS, failed, asked)
