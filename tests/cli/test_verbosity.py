"""-q and -v behind every command."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import nnw_onnx
from nnw_onnx.cli import output
from nnw_onnx.cli.main import COMMANDS

from .conftest import Nnw


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_both(nnw: Nnw, command: str) -> None:
    told = nnw(command, "--help").out
    assert "-q, --quiet" in told
    assert "-v, --verbose" in told


def test_quiet_leaves_the_answer_alone(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    words = ("--modification", "gaussian-noise", "--intensity", "2")
    loud = nnw("modify", model, "-o", tmp_path / "a.onnx", *words)
    quiet = nnw("modify", model, "-o", tmp_path / "b.onnx", *words, "-q")
    assert "warning: " in loud.err
    assert quiet.err == ""
    assert quiet.out == loud.out.replace("a.onnx", "b.onnx")
    refused = nnw("layers", tmp_path / "absent.onnx", "--quiet")
    assert (refused.status, refused.err.count("\n")) == (2, 1)


def test_verbose_tells_steps_and_where_an_error_comes_from(
    nnw: Nnw, model: Path, tmp_path: Path
) -> None:
    told = nnw("layers", model, "-v")
    assert (told.status, told.out) == (0, nnw("layers", model).out)
    assert f"opened {model}: " in told.err
    assert nnw_onnx.open(model).sha256 in told.err
    refused = nnw("layers", tmp_path / "absent.onnx", "-v")
    assert "nnw: Traceback (most recent call last):" in refused.err
    assert refused.err.splitlines()[-1].startswith("nnw: error: ")
    assert "Traceback" not in nnw("layers", tmp_path / "absent.onnx").err


def test_not_both(nnw: Nnw, model: Path) -> None:
    answer = nnw("layers", model, "-q", "-v")
    assert answer == (2, "", "nnw: error: -q: expected -q or -v, got both; leave one out\n")


def test_a_command_leaves_the_logger_as_it_was(nnw: Nnw, model: Path) -> None:
    before = output.LOGGER.level, list(output.LOGGER.handlers)
    nnw("layers", model, "-v")
    assert (output.LOGGER.level, output.LOGGER.handlers) == before
    assert any(isinstance(handler, logging.NullHandler) for handler in output.LOGGER.handlers)
