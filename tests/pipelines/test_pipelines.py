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
PROGRAMS = sorted(path.name for path in FOLDER.glob("from_*.py"))


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


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_network_is_trained_exported_marked_and_verified(program: str, tmp_path: Path) -> None:
    if absent := missing(program):
        pytest.skip(f"{', '.join(absent)} not installed; the dependency group 'pipelines' has all")
    (tmp_path / program).write_bytes((FOLDER / program).read_bytes())
    # Nothing is fetched, and nobody is told.
    quiet = {"HF_HUB_OFFLINE": "1", "OLIVE_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env={**sessions.environment(tmp_path), **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("<Verdict: yes, p 8.3e-25, ")
    key, released = nnw.load_key(tmp_path / "key.npz"), nnw.open(tmp_path / "released.onnx")
    assert stat.S_IMODE((tmp_path / "key.npz").stat().st_mode) == 0o600
    assert nnw.decode(released, key).payload.text == "mine, 2026"
    assert released.card["nnw_onnx.commitment"] == key.key.commitment
    assert b"mine, 2026" not in released.to_bytes()


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_page_shows_it_as_it_is(program: str) -> None:
    blocks = sessions.BLOCKS.blocks(PAGE.read_text(encoding="utf-8"))
    shown = [block.text for block in blocks if block.file == program]
    assert shown == [(FOLDER / program).read_text(encoding="utf-8")]
