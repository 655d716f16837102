"""The README tells the truth: its commands run, in order, and print what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx.runs import presets

from . import sessions

pytestmark = pytest.mark.xdist_group("one session of the README")

ROOT = sessions.ROOT
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = sessions.BLOCKS.blocks(TEXT)


def shrink(evaluation: Path) -> None:
    """Change a new evaluation as its first line says one may, so that it takes seconds."""
    text = evaluation.read_text(encoding="utf-8")
    for given, less in (("payloads = 5", "payloads = 1"), ("cells = 2 ", "cells = 0 ")):
        assert given in text
        text = text.replace(given, less)
    evaluation.write_text(f"{text}\n[control]\nwrong_keys = 20\n", encoding="utf-8")


def test_lines_are_compared() -> None:
    assert sessions.similar("yes: 80 of 80 ... 8.3e-25 (a", "yes: 79 of 80 symbols: 1.1e-24 (a")
    assert not sessions.similar("yes: 80 of 80", "no: 41 of 80")


def test_the_start_is_two_commands() -> None:
    commands = [c for b in BLOCKS if b.heading == "Start" for c in b.commands]
    assert len(commands) == 2
    assert commands[0] == "pip install . && nnw evaluate"
    assert "pytest" in commands[1]


def test_every_command_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    """One test, because each command needs what the ones before it wrote."""

    def after(command: str) -> None:
        if command.startswith("nnw new-evaluation"):
            shrink(tmp_path / "mine.toml")

    sessions.furnish(tmp_path)
    assert sessions.carry_out(TEXT, tmp_path, after) >= 10


def test_every_table_of_an_evaluation_is_one() -> None:
    """What the page shows of a configuration is taken by the reader of configurations."""
    assert sessions.read_tables(TEXT) >= 1


def test_every_preset_is_told() -> None:
    told = (
        (ROOT / "docs/pages/researcher.md")
        .read_text(encoding="utf-8")
        .partition("| preset |")[2]
        .partition("\n\n")[0]
    )
    assert sorted(re.findall(r"`([a-z0-9-]+)`", told)) == sorted(presets.shipped())


def test_links_lead_somewhere() -> None:
    sessions.check_links(ROOT / "README.md")


@pytest.mark.parametrize(
    ("method", "axis", "survives"),
    [
        ("uchida", 0, False),
        ("uchida", 1, False),
        ("block-spread", 0, False),
        ("block-spread", 1, False),
    ],
)
def test_the_limitation_about_permutations_is_true(method: str, axis: int, survives: bool) -> None:
    marked = nnw_onnx.inject(
        ROOT / "models/digits/cnn-0.onnx",
        nnw_onnx.Payload.from_text("mine"),
        method=method,
        seed=1,
    )
    name = marked.key.layers[0]
    weights = marked.network.weights[name]
    order = np.roll(np.arange(weights.shape[axis]), 1)
    permuted = marked.network.with_weights({name: weights.take(order, axis=axis)})
    assert nnw_onnx.detect(marked.network, marked.claim).detected
    assert bool(nnw_onnx.detect(permuted, marked.claim)) is survives
