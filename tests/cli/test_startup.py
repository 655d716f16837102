"""What a command does not need, it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nnw_onnx as nnw

UNREAD = {
    "onnxruntime",
    "sklearn",
    "matplotlib",
    "scipy",
    "rich",
    "PIL",
    "tqdm",
    "jinja2",
    "pebble",
    "psutil",
    "filelock",
    "concurrent.futures",
    "multiprocessing",
    "tomllib",
    "nnw_onnx.records",
    "nnw_onnx.vocabulary.modifications",
    "nnw_onnx.vocabulary.plans",
    "nnw_onnx.vocabulary.training",
    "nnw_onnx.runs.tables",
    "nnw_onnx.runs.modify",
    "nnw_onnx.runs.inject",
    "nnw_onnx.runs.shared",
    "nnw_onnx.inference.isolation",
    "nnw_onnx.inference.sessions",
    "nnw_onnx.graph.changes",
    "nnw_onnx.graph.channels",
    "nnw_onnx.graph.inventory",
    "nnw_onnx.graph.runnable",
    "nnw_onnx.graph.saving",
    "nnw_onnx.graph.storing",
    "nnw_onnx.cli.commands_run",
}
"""What reading weights needs nothing of: runtimes, statistics, what draws, and what writes."""
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import gc, json, os, sys
from nnw_onnx.__main__ import run
status = run()
facts = {
    "status": status,
    "modules": sorted(sys.modules),
    "frozen": gc.get_freeze_count(),
    "spin": os.environ["OPENBLAS_THREAD_TIMEOUT"],
}
print(json.dumps(facts), file=sys.stderr)
"""


def imported(*words: str | Path) -> set[str]:
    """Names of the modules that one command imports in a fresh interpreter."""
    return set(facts(*words)["modules"])


def facts(*words: str | Path) -> dict:
    """What is so in a fresh interpreter after one command."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["status"] == 0
    return found


@pytest.fixture(scope="module", params=["block-spread", "uchida", "emmark", "lsb"])
def held(request, model, tmp_path_factory) -> tuple[Path, str, Path]:
    """The words that give a network with a mark of this method, and its key, to a command."""
    folder = tmp_path_factory.mktemp(request.param)
    made = nnw.inject(model, nnw.Payload.from_text("mine"), method=request.param, seed=1)
    made.network.save(folder / "marked.onnx")
    nnw.save_key(made.claim, folder / "key.npz")
    return folder / "marked.onnx", "--key", folder / "key.npz"


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "onnx", "onnx_ir", "onnxruntime", "scipy", "sklearn", "matplotlib"}
    modules = imported("--help")
    assert "typer" in modules
    assert not modules & (heavy | {"pydantic", "rich", "jinja2", "sympy", "PIL", "psutil"})


def test_decode_imports_only_what_it_reads_the_file_with(held: tuple[Path, str, Path]) -> None:
    modules = imported("decode", *held)
    assert "numpy" in modules
    assert not modules & UNREAD


def test_detect_imports_no_more_where_nothing_is_run(held: tuple[Path, str, Path]) -> None:
    modules = imported("detect", *held, "--no-run")
    assert "numpy" in modules
    assert not modules & UNREAD


def test_a_command_imports_no_other() -> None:
    commands = {name for name in imported("doctor", "--help") if ".cli.commands_" in name}
    assert commands == {"nnw_onnx.cli.commands_doctor"}


def test_nothing_is_looked_for_in_what_ends_with_the_process() -> None:
    found = facts("--version")
    assert found["frozen"] > 0
    assert found["spin"] == "20"


def test_a_setting_of_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "26")
    assert facts("--version")["spin"] == "26"
