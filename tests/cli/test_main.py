"""The frame around every command: help, version, mistakes, interruption."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nnw_onnx
from nnw_onnx.cli.main import COMMANDS, GROUPS, application, main
from nnw_onnx.errors import NnwError

Nnw = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]


def test_version(nnw: Nnw) -> None:
    assert nnw("--version") == (0, f"nnw-onnx {nnw_onnx.__version__}\n", "")


def test_without_a_command_the_help_is_shown(nnw: Nnw) -> None:
    bare, asked = nnw(), nnw("--help")
    assert bare.status == asked.status == 0
    assert bare.out == asked.out
    assert all(command in bare.out for command in COMMANDS)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_a_short_help_with_an_example(nnw: Nnw, command: str) -> None:
    answer = nnw(command, "--help")
    assert answer.status == 0
    assert f"Example: nnw {command}" in answer.out
    assert len(answer.out.splitlines()) < 40
    assert "..." not in next(
        line for line in nnw("--help").out.splitlines() if line.startswith(f"  {command} ")
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evalute"], "No such command 'evalute'. Did you mean 'evaluate'?; see 'nnw --help'"),
        (["detect", "x"], "Missing option '--key'; see 'nnw detect --help'"),
        (["list", "--fromat", "json"], "No such option: --fromat"),
        (["list", "--format", "yaml"], "'yaml' is not one of 'text', 'json'"),
        (
            ["modify", "x", "-o", "y", "--modification", "jpeg", "--intensity", "much"],
            "--intensity",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    nnw: Nnw, words: list[str], message: str
) -> None:
    answer = nnw(*words)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("nnw: error: ")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert "Value error" not in answer.err


def failing_with(error: BaseException) -> Callable[..., Any]:
    def command(*arguments: Any, **options: Any) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (NnwError("expected this,\n got that; do so"), 2, "error: expected this, got that; do so"),
        (
            PermissionError(errno.EACCES, "Permission denied", "out.onnx"),
            2,
            "error: out.onnx: expected a file or folder that can be used, got: Permission denied; "
            "check its name, its rights and the space that is left",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_no_traceback_for_what_a_person_can_mend(
    nnw: Nnw, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, message: str
) -> None:
    monkeypatch.setattr(nnw_onnx, "open", failing_with(error), raising=False)
    assert nnw("layers", "x.onnx") == (status, "", f"nnw: {message}\n")


def test_the_module_runs_like_the_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nnw_onnx", "list", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nnw: error: list: expected one of methods, ")


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`nnw ... | head -0`: neither a traceback nor a message, and the status is the answer."""
    script = f"{sys.executable} -m nnw_onnx list methods | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_main_is_the_entry_point_of_the_application() -> None:
    assert callable(main)
    whole = application()
    assert {command.name for command in whole.registered_commands} == set(COMMANDS)
    assert {group.name for group in whole.registered_groups} == set(GROUPS)


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_a_command_is_loaded_alone(name: str) -> None:
    alone = application([name, "--help"])
    loaded = [*alone.registered_commands, *alone.registered_groups]
    assert [made.name for made in loaded] == [name]
