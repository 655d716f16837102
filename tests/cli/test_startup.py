"""What a command does not need, it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    assert not modules & {"onnxruntime", "sklearn", "matplotlib", "scipy.stats", "rich", "PIL"}
