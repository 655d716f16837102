"""The option --provider: what it reaches, and what it says where there is no such provider."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx.api import arguments, gating
from nnw_onnx.cli import completion
from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import SessionSettings
from nnw_onnx.runs import single
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.suspect import isolated

Nnw = Callable[..., Any]
NOWHERE = "providers: expected some of "
CURE = "got nowhere; correct the name, or install the distribution of onnxruntime that has it"

EVALUATION = """
networks = [{model}]
payloads = 1
payload_sizes = [16]
[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}
[[methods]]
name = "block-spread"
"""


@pytest.fixture
def evaluation(model: Path, tmp_path: Path) -> Path:
    """The file of an evaluation that says nothing of providers."""
    path = tmp_path / "small.toml"
    path.write_text(EVALUATION.format(model=json.dumps(str(model))), encoding="utf-8")
    return path


def test_one_that_is_not_there_is_told_in_one_line(
    nnw: Nnw, model: Path, marked: tuple[Path, Path], evaluation: Path, tmp_path: Path
) -> None:
    (tmp_path / "gate.toml").write_text(f"key = {json.dumps(str(marked[1]))}\n")
    trained = ("--training", evaluation, "-o", tmp_path / "out.onnx")
    for words in (
        ("detect", marked[0], "--key", marked[1]),
        ("decode", marked[0], "--key", marked[1]),
        ("gate", tmp_path / "gate.toml", marked[0]),
        ("modify", model, "--modification", "quantizing", "--intensity", "4", *trained),
        ("inject", model, "--key-out", tmp_path / "k.npz", *trained),
        ("evaluate", evaluation, "--run-folder", tmp_path / "run"),
    ):
        answer = nnw(*words, "--provider", "nowhere")
        (line,) = [x for x in answer.err.splitlines() if x.startswith("nnw: error")]
        assert answer.status == 2
        assert NOWHERE in line
        assert line.endswith(CURE)
    assert not (tmp_path / "out.onnx").exists()


def test_where_no_network_is_run_it_is_refused(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out.onnx", "--modification", "quantizing", "--intensity", "4")
    answer = nnw("modify", model, *out, "--provider", "cpu")
    assert answer.status == 2
    assert "--provider: expected --training beside it, got none" in answer.err
    with pytest.raises(nnw_onnx.NnwError, match=r"providers: expected a training beside them, .*"):
        nnw_onnx.modify(model, "quantizing", 4, providers=["cpu"])


def test_it_is_said_once(nnw: Nnw) -> None:
    given = ("--set", "session.providers=['cpu']")
    answer = nnw("evaluate", "digits", "--provider", "cpu", *given)
    assert "--provider: expected session.providers once, got it by --set too" in answer.err
    assert "got --provider; leave it out" in nnw("evaluate", "--from", "r", "--provider", "cpu").err


def test_answers_come_from_it(model: Path, marked: tuple[Path, Path], nnw: Nnw) -> None:
    feeds = {"input": np.zeros((1, 1, 8, 8), np.float32)}
    with pytest.raises(InferenceError, match=NOWHERE):
        isolated(nnw_onnx.open(model), settings=SessionSettings(("nowhere",)))(feeds, ())
    expected = nnw("detect", marked[0], "--key", marked[1])
    assert nnw("detect", marked[0], "--key", marked[1], "--provider", "cpu") == expected


def test_it_replaces_what_a_configuration_says(
    evaluation: Path, monkeypatch: pytest.MonkeyPatch, marked: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = read_evaluation(evaluation, None, {"session.threads": 2})
    how = single.how_to_train(asked, None, None, lambda words: None, ["cuda:1", "cpu"])
    assert how is not None
    session = how.evaluation.session
    assert session.providers == ("CUDAExecutionProvider:1", "CPUExecutionProvider")
    assert session.threads == 2
    tried = []
    monkeypatch.setattr(arguments, "_try", tried.append)
    seen = []
    monkeypatch.setattr(gating._Under, "asked", lambda under: seen.append(under.wanted) or ())
    (tmp_path / "gate.toml").write_text(
        f"key = {json.dumps(str(marked[1]))}\n[session]\nproviders = ['tensorrt']\n"
    )
    for providers, full in (((), "Tensorrt"), (("cuda",), "CUDA")):
        nnw_onnx.gate(tmp_path / "gate.toml", marked[0], providers=providers)
        assert seen[-1].session.providers == tried[-1] == (f"{full}ExecutionProvider",)


def test_the_shell_proposes_short_names() -> None:
    assert "cuda" in completion.providers("cu")
