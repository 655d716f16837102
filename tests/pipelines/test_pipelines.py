"""From training to release, for each exporter: the programs beside this file run as they are."""

from __future__ import annotations

import ast
import importlib.util
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import nnw_onnx as nnw

from ..readme import sessions  # noqa: TID252 - pages are read in the same way

FOLDER = Path(__file__).parent
PAGE = sessions.ROOT / "docs" / "pages" / "pipelines.md"
MODEL = sessions.ROOT / "models" / "digits" / "cnn-0.onnx"
PROGRAMS = sorted(p.name for p in FOLDER.glob("*.py") if not p.name.startswith("test_"))


def missing(program: str) -> list[str]:
    """Packages that a program imports and that are not installed."""
    named: list[str] = []
    for node in ast.parse((FOLDER / program).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            named.append(node.module)
    roots = dict.fromkeys(name.partition(".")[0] for name in named)
    return [root for root in roots if importlib.util.find_spec(root) is None]


def carried_out(words: list[str], folder: Path) -> str:
    """The last line that Python prints in a folder; nothing is fetched, and nobody is told."""
    quiet = {"HF_HUB_OFFLINE": "1", "OLIVE_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**sessions.environment(folder), **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_network_is_exported_marked_verified_and_passes_the_gate(
    program: str, tmp_path: Path
) -> None:
    if absent := missing(program):
        pytest.skip(f"{', '.join(absent)} not installed; the dependency group 'pipelines' has all")
    for name in (program, "gate.toml"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(MODEL.read_bytes())
    assert carried_out([program], tmp_path).startswith("<Verdict: yes, p 8.3e-25, ")
    key, released = nnw.load_key(tmp_path / "key.npz"), nnw.open(tmp_path / "released.onnx")
    assert stat.S_IMODE((tmp_path / "key.npz").stat().st_mode) == 0o600
    assert nnw.decode(released, key).payload.text == "mine, 2026"
    assert released.card["nnw_onnx.commitment"] == key.key.commitment
    assert b"mine, 2026" not in released.to_bytes()
    passed = carried_out(["-m", "nnw_onnx", "gate", "gate.toml", "released.onnx"], tmp_path)
    assert passed == "5 of 5 checks passed"


@pytest.mark.parametrize("file", [*PROGRAMS, "gate.toml"])
def test_the_page_shows_it_as_it_is(file: str) -> None:
    blocks = sessions.BLOCKS.blocks(PAGE.read_text(encoding="utf-8"))
    shown = [block.text for block in blocks if block.file == file]
    assert shown == [(FOLDER / file).read_text(encoding="utf-8")]
