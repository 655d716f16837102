"""The pre-commit hook of the gate, run by pre-commit itself."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nnw_onnx as nnw

from ..readme import sessions  # noqa: TID252 - its `nnw` is this source tree

yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
HOOKS = sessions.ROOT / ".pre-commit-hooks.yaml"
needs_pre_commit = pytest.mark.skipif(
    importlib.util.find_spec("pre_commit") is None or shutil.which("git") is None,
    reason="pre-commit or git is not installed",
)


def test_it_is_a_manifest_that_names_a_command() -> None:
    (hook,) = yaml.safe_load(HOOKS.read_text())
    assert hook["entry"].split() == ["nnw", "gate"]
    assert (hook["id"], hook["language"], hook["pass_filenames"]) == ("nnw-gate", "python", False)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a repository, of nobody's settings but its own."""
    return subprocess.run(
        words,
        cwd=folder,
        env={
            **sessions.environment(folder), "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1",
            "PRE_COMMIT_HOME": str(folder.parent / "pre-commit"),
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.invalid",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.invalid",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def committed(folder: Path, *names: str) -> str:
    """The commit of a new repository with these files."""
    for words in (("init", "-q"), ("add", "--", *names), ("commit", "-q", "-m", "x")):
        assert command(folder, "git", *words).returncode == 0
    return command(folder, "git", "rev-parse", "HEAD").stdout.strip()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A repository in which the hook is used."""
    hooks, folder = tmp_path / "hooks", tmp_path / "repository"
    hooks.mkdir()
    folder.mkdir()
    sessions.furnish(folder)
    shutil.copy(HOOKS, hooks)
    revision = committed(hooks, HOOKS.name)
    marked = nnw.inject(folder / "model.onnx", "mine, 2026", seed=1)
    marked.network.save(folder / "marked.onnx")
    nnw.save_key(marked.claim, folder / "key.npz")
    (folder / "gate.toml").write_text('network = "marked.onnx"\nkey = "key.npz"\n')
    # Language `python` would make an environment of its own from an index, which tests do not have.
    hook = {"id": "nnw-gate", "args": ["gate.toml"], "language": "system", "verbose": True}
    wanted = {"repos": [{"repo": hooks.as_uri(), "rev": revision, "hooks": [hook]}]}
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(wanted))
    committed(folder, ".pre-commit-config.yaml", "gate.toml")
    return folder


@needs_pre_commit
def test_pre_commit_holds_back_what_does_not_pass(place: Path) -> None:
    check = (sys.executable, "-m", "pre_commit", "run", "--color", "never")
    assert command(place, "git", "add", "marked.onnx").returncode == 0
    good = command(place, *check)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "nnw gate" in good.stdout
    assert "passed: mark: 80 of 80" in good.stdout
    assert command(place, "git", "commit", "-q", "-m", "marked").returncode == 0
    shutil.copy(place / "model.onnx", place / "marked.onnx")
    assert command(place, "git", "add", "marked.onnx").returncode == 0
    bad = command(place, *check)
    assert bad.returncode == 1
    assert "failed: mark: " in bad.stdout
    assert "- exit code: 1" in bad.stdout


@needs_pre_commit
def test_other_files_are_none_of_its_business(place: Path) -> None:
    (place / "notes.txt").write_text("x")
    assert command(place, "git", "add", "notes.txt").returncode == 0
    skipped = command(place, sys.executable, "-m", "pre_commit", "run", "--color", "never")
    assert skipped.returncode == 0
    assert "no files to check" in skipped.stdout
