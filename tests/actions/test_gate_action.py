"""The GitHub Action of the gate: its own steps, carried out as a runner does."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import nnw_onnx as nnw

from ..readme import sessions  # noqa: TID252 - its `nnw` is this source tree

yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
FOLDER = sessions.ROOT / ".github" / "actions" / "gate"
BASH = shutil.which("bash")
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")
GATE = """
key = "key.npz"
[payload]
bits = 8
"""


@dataclass
class Runner:
    """Carries out a composite action: inputs, conditions, environment, outputs."""

    folder: Path
    inputs: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.action: dict[str, Any] = yaml.safe_load((FOLDER / "action.yml").read_text())
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir(exist_ok=True)

    def value(self, text: str) -> str:
        """A text with its expressions worked out."""
        return EXPRESSION.sub(lambda found: self._worked_out(found[1]), text)

    def _worked_out(self, expression: str) -> str:
        left, equals, right = expression.partition(" == ")
        if equals:
            return str(self._worked_out(left) == right.strip("'")).lower()
        if expression == "github.action_path":
            return str(FOLDER)
        kind, _, name = expression.partition(".")
        assert kind == "inputs", expression
        known = self.action["inputs"][name]
        given = self.inputs.get(name, known.get("default"))
        assert given is not None or not known.get("required"), name
        return str(given or "")

    def run(self) -> subprocess.CompletedProcess[str]:
        """Every step, until one fails; the last one that ran."""
        for step in self.action["runs"]["steps"]:
            if self.value(step.get("if", "true")) != "true":
                continue
            # A step runs nothing that somebody else has written.
            assert "${{" not in step["run"]
            assert step["shell"] == "bash"
            given = {name: self.value(text) for name, text in step.get("env", {}).items()}
            files = {
                "GITHUB_OUTPUT": self.folder / "out",
                "GITHUB_STEP_SUMMARY": self.folder / "sum",
            }
            done = subprocess.run(
                [BASH or "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.folder,
                env={
                    **sessions.environment(self.folder),
                    **given,
                    **{k: str(v) for k, v in files.items()},
                    "TMPDIR": str(self.temporary),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            self.calls.append(step["name"])
            if done.returncode:
                return done
        return done

    @property
    def outputs(self) -> dict[str, str]:
        """What the steps have set."""
        lines = (self.folder / "out").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A repository with a marked network, its key and a gate."""
    sessions.furnish(tmp_path)
    marked = nnw.inject(tmp_path / "model.onnx", "mine, 2026", seed=1)
    marked.network.save(tmp_path / "marked.onnx")
    nnw.save_key(marked.claim, tmp_path / "key.npz")
    (tmp_path / "gate.toml").write_text(GATE)
    return tmp_path


def test_a_network_goes_out(place: Path) -> None:
    runner = Runner(place, {"config": "gate.toml", "model": "marked.onnx", "install": "false"})
    done = runner.run()
    assert done.returncode == 0, done.stderr
    assert "2 of 2 checks passed" in done.stdout
    assert runner.calls == ["Check"]
    assert runner.outputs == {"passed": "true", "sarif": "nnw-gate/gate.sarif"}
    assert {p.name for p in (place / "nnw-gate").iterdir()} == {"gate.sarif", "gate.xml", "gate.md"}
    assert (place / "sum").read_text() == (place / "nnw-gate" / "gate.md").read_text()
    wired = {name: output["value"] for name, output in runner.action["outputs"].items()}
    assert wired == {name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in runner.outputs}


def test_a_network_does_not_go_out(place: Path) -> None:
    inputs = {
        "config": "gate.toml",
        "model": "model.onnx",
        "install": "false",
        "folder": "my checks",
    }
    runner = Runner(place, inputs)
    done = runner.run()
    assert done.returncode == 1
    assert runner.outputs["passed"] == "false"
    assert "**failed**" in (place / "sum").read_text()
    assert (place / "my checks" / "gate.xml").exists()


def test_what_could_not_be_checked_fails_too(place: Path) -> None:
    (place / "nnw-gate").mkdir()
    (place / "nnw-gate" / "gate.md").write_text("of an earlier run")
    runner = Runner(place, {"config": "absent.toml", "model": "marked.onnx", "install": "false"})
    assert runner.run().returncode == 2
    assert runner.outputs["passed"] == "false"
    assert not (place / "sum").exists()


def test_a_key_from_a_secret_is_read_and_removed(place: Path) -> None:
    key = place / "key.npz"
    text = base64.b64encode(key.read_bytes()).decode()
    key.unlink()
    (place / "gate.toml").write_text(f'network = "marked.onnx"\n{GATE}')
    runner = Runner(place, {"config": "gate.toml", "key-base64": text, "install": "false"})
    done = runner.run()
    assert done.returncode == 0, done.stderr
    # Made for its owner alone: nnw warns of a key that others can read.
    assert "expected a key that only its owner can read" not in done.stderr
    assert not list(runner.temporary.rglob("*.npz"))
    assert text not in done.stdout + done.stderr


def test_inputs_are_never_run(place: Path) -> None:
    trick = '$(touch tricked); `touch tricked`"; touch tricked; "'
    runner = Runner(place, {"config": trick, "model": trick, "key": trick, "install": "false"})
    assert runner.run().returncode == 2
    dashed = Runner(place, {"config": "gate.toml", "model": "--help", "install": "false"})
    assert dashed.run().returncode == 2
    assert not (place / "tricked").exists()


def test_it_installs_the_version_that_it_comes_with(place: Path) -> None:
    """With a `python` that only says what it is asked for."""
    said = place / "said"
    script = place / "bin" / "python"
    script.write_text(f'#!/bin/sh\necho "$@" >> "{said}"\n')
    script.chmod(0o700)
    runner = Runner(place, {"config": "gate.toml", "model": "marked.onnx"})
    assert runner.run().returncode == 0
    assert runner.calls == ["Install nnw-onnx", "Check"]
    *words, where = said.read_text().split()
    assert words == ["-m", "pip", "install", "--quiet"]
    assert (Path(where).resolve() / "pyproject.toml").is_file()


def test_what_it_says_of_itself_is_whole(place: Path) -> None:
    action = Runner(place).action
    assert action["runs"]["using"] == "composite"
    assert all(given["description"].endswith(".") for given in action["inputs"].values())
    text = (FOLDER / "action.yml").read_text()
    used = {found.partition(".")[2].split(" ")[0] for found in EXPRESSION.findall(text)}
    assert set(action["inputs"]) <= used
