"""The page of tasks: its table is complete, and its task is short and is evaluated."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.vocabulary import Task

from ..readme import sessions  # noqa: TID252 - the README is carried out in the same way

PAGE = (sessions.ROOT / "docs" / "pages" / "tasks.md").read_text(encoding="utf-8")
FILES = {b.file: b.text for b in sessions.BLOCKS.blocks(PAGE) if b.file}
ROWS = re.findall(
    r"^\| \[?`([\w-]+)`(?:\]\([^)]+\))? \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE
)
EVALUATION = """
title = "A task of one's own"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 1
payload_sizes = [64]
[dataset]
name = "digits"
limit = 100
preprocessing = { scale = 0.0625 }
[task]
name = "top-three"
[control]
wrong_keys = 0
[cost]
cells = 0
[preview]
samples = 0
[[methods]]
name = "presence"
[[modifications]]
name = "l1-pruning"
intensities = [30]
"""


def test_the_table_has_every_task_with_its_measures() -> None:
    told = {task: measures.split(", ") for task, measures, _ in ROWS}
    ours = {n: plugins.load(Task, n) for n in plugins.names("tasks")}
    ours = {n: t for n, t in ours.items() if t.__module__.startswith("nnw_onnx")}
    assert set(told) == set(ours)
    measured = {n: [m.name for m in t.measures] for n, t in ours.items() if n != "torchmetrics"}
    assert {name: told[name] for name in measured} == measured


def test_the_table_names_data_sets_that_there_are() -> None:
    named = {name for *_, sets in ROWS for name in re.findall(r"`([\w-]+)`", sets)}
    assert named <= set(plugins.names("datasets"))


def test_a_task_of_ones_own_takes_less_than_thirty_lines() -> None:
    assert len(FILES["top_three.py"].splitlines()) < 30


def test_it_is_evaluated_like_any_other(tmp_path: Path) -> None:
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    # What an installer leaves behind: the module, and its entry points.
    info = tmp_path / f"top_three-{project['version']}.dist-info"
    info.mkdir()
    (tmp_path / "top_three.py").write_text(FILES["top_three.py"], encoding="utf-8")
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    ((group, entries),) = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "own.toml").write_text(EVALUATION, encoding="utf-8")
    known = sessions.environment(tmp_path)
    path = f"{tmp_path}{os.pathsep}{known['PYTHONPATH']}"
    command = [sys.executable, "-m", "nnw_onnx", "evaluate", "own.toml", "--run-folder", "run"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**known, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert [m["name"] for m in report["measures"]] == ["top-3 accuracy"]
    assert 0.97 < report["base"][0]["quality"]["value"] <= 1
