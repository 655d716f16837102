"""What the Tab key proposes, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.cli import completion
from nnw_onnx.cli.main import application
from nnw_onnx.runs.evaluation import shipped

WITHOUT_DETECTION = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"
"""Of typer: the shell is named instead of looked for."""


def proposed(*words: str) -> list[str]:
    """The proposals of bash's completion for the last word of a command line."""
    asked = {
        "_NNW_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("nnw", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "nnw_onnx"], env={**os.environ, **asked}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.stdout.split()


def test_a_shell_is_told_commands_plug_ins_and_layers(model: Path) -> None:
    assert proposed("det") == ["detect"]
    assert proposed("inject", "m.onnx", "--method", "u") == ["uchida"]
    kernels = [x.name for x in nnw_onnx.open(model).layers if x.name.startswith("conv2")]
    assert sorted(proposed("inject", str(model), "--layer", "conv2")) == sorted(kernels)
    assert proposed("inject", "absent.onnx", "--layer", "c") == []
    assert proposed("inject", "a.onnx", "--method", "uchida", "--option", "s") == ["strength="]


@pytest.mark.parametrize(
    ("propose", "group"),
    [
        (completion.methods, "methods"),
        (completion.codes, "codes"),
        (completion.modifications, "modifications"),
        (completion.datasets, "datasets"),
        (completion.tasks, "tasks"),
        (completion.engines, "engines"),
    ],
)
def test_names_of_plug_ins(propose, group: str) -> None:
    assert propose("") == plugins.names(group)
    first = plugins.names(group)[0]
    assert first in propose(first[:2])
    assert propose("no such") == []


def test_groups_and_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completion.groups("e") == ["engines", "evaluations"]
    (tmp_path / "mine.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert completion.evaluations("") == [*shipped(), "mine.toml"]
    assert completion.evaluations("mi") == ["mine.toml"]
    assert completion.groups("p") == ["presets"]
    assert completion.presets("mpai") == ["mpai-nnt", "mpai-testbed"]


class Context:
    """What a shell has typed so far."""

    def __init__(self, **params: object) -> None:
        self.params = params


def test_options_are_those_of_the_plug_in() -> None:
    assert completion.options(Context(method="uchida"), "mar") == ["margin="]
    assert "scheme=" in completion.options(Context(modification="quantizing"), "")
    assert completion.options(Context(method="none such"), "") == []
    assert completion.options(Context(), "bud") == ["budget="]


def test_what_is_listed_is_of_the_group() -> None:
    assert completion.listed(Context(what="methods"), "uch") == ["uchida"]
    assert completion.listed(Context(what="codes"), "") == plugins.names("codes")
    assert completion.listed(Context(what="presets"), "mpai-n") == ["mpai-nnt"]
    assert completion.listed(Context(what="evaluations"), "") == [*shipped()]
    assert completion.listed(Context(what="no such"), "") == []
    assert completion.listed(Context(what=None), "") == []


def test_the_script_for_a_shell_is_shown() -> None:
    assert application().info.name == "nnw"
    done = subprocess.run(
        [sys.executable, "-m", "nnw_onnx", "--show-completion", "bash"], capture_output=True,
        text=True, check=False, env={**os.environ, WITHOUT_DETECTION: "1"},
    )  # fmt: skip
    assert done.returncode == 0
    assert "_NNW_COMPLETE=complete_bash" in done.stdout
