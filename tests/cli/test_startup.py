"""What a command does not need, it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    "nnw_onnx.records",
    "nnw_onnx.runs.tables",
    "nnw_onnx.runs.modify",
    "nnw_onnx.runs.inject",
    "nnw_onnx.graph.changes",
    "nnw_onnx.graph.storing",
    "nnw_onnx.cli.commands_run",
}
"""What reading weights needs nothing of: runtimes, statistics, what draws, and what writes."""
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from nnw_onnx.cli.main import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""


def imported(*words: str | Path) -> set[str]:
    """Names of the modules that one command imports in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    status, modules = json.loads(done.stderr.splitlines()[-1])
    assert status == 0
    return set(modules)


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "onnx", "onnx_ir", "onnxruntime", "scipy", "sklearn", "matplotlib"}
    modules = imported("--help")
    assert "typer" in modules
    assert not modules & (heavy | {"pydantic", "rich", "jinja2", "sympy", "PIL", "psutil"})


def test_decode_imports_only_what_it_reads_the_file_with(marked: tuple[Path, Path]) -> None:
    modules = imported("decode", marked[0], "--key", marked[1])
    assert "numpy" in modules
    assert not modules & UNREAD


def test_detect_imports_no_more_where_nothing_is_run(marked: tuple[Path, Path]) -> None:
    modules = imported("detect", marked[0], "--key", marked[1], "--no-run")
    assert "numpy" in modules
    assert not modules & UNREAD


def test_a_command_imports_no_other() -> None:
    commands = {name for name in imported("doctor", "--help") if ".cli.commands_" in name}
    assert commands == {"nnw_onnx.cli.commands_doctor"}
