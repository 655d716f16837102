"""evaluate and report, on an evaluation that is as small as it can be."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nnw_onnx
from nnw_onnx.cli.main import main
from nnw_onnx.cli.options import parse_changes

pytestmark = pytest.mark.xdist_group("one run of the command line")

Nnw = Callable[..., Any]

SMALL = """
title = "Small"
networks = [{model}]
payloads = 1
payload_sizes = [16]
[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}
[[methods]]
name = "block-spread"
[[modifications]]
name = "quantizing"
intensities = [4]
[cost]
cells = 0
"""


@pytest.fixture(scope="module")
def small(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the small evaluation."""
    path = tmp_path_factory.mktemp("small") / "small.toml"
    path.write_text(SMALL.format(model=json.dumps(str(model))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run_folder(small: Path) -> Path:
    """The folder of a finished run."""
    folder = small.parent / "run"
    assert main(["evaluate", str(small), "--run-folder", str(folder)]) == 0
    return folder


def test_an_evaluation_ends_with_verdicts_and_the_report(
    nnw: Nnw, small: Path, run_folder: Path
) -> None:
    again = nnw("evaluate", small, "--run-folder", run_folder)
    assert again.status == 0
    assert "this evaluation is finished already, its report is written again" in again.err
    lines = again.out.splitlines()
    assert lines[-1] == f"report: {run_folder / 'report.html'}"
    assert (run_folder / "report.html").is_file()
    assert lines[0].startswith("1 technology under 1 Modification (1 setting), 1 network")
    assert any(line.startswith("block-spread 16 bits") for line in lines)


def test_an_evaluation_as_json(nnw: Nnw, small: Path, run_folder: Path) -> None:
    words = ("--run-folder", run_folder, "--format", "json")
    told = json.loads(nnw("evaluate", small, *words).out)
    assert told["report"] == str(run_folder / "report.html")
    assert told["summary"] == nnw("evaluate", small, *words[:2]).out.splitlines()[:-1]


@pytest.mark.parametrize(
    ("form", "beginning"),
    [("html", "<!doctype html>"), ("json", "{"), ("csv", ""), ("markdown", "#"), ("latex", "")],
)
def test_a_report_in_every_form(
    nnw: Nnw, run_folder: Path, tmp_path: Path, form: str, beginning: str
) -> None:
    answer = nnw("report", run_folder, "--format", form)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.lower().startswith(beginning)
    assert len(answer.out) > 200
    out = tmp_path / "out"
    assert nnw("report", run_folder, "--format", form, "-o", out).out == ""
    assert out.read_text(encoding="utf-8").strip() == answer.out.strip()


def test_a_report_is_drawn_again_without_running(nnw: Nnw, run_folder: Path) -> None:
    page = run_folder / "report.html"
    records = (run_folder / "records.jsonl").read_bytes()
    page.unlink()
    assert nnw("report", run_folder) == (0, f"report: {page}\n", "")
    assert page.is_file()
    assert (run_folder / "records.jsonl").read_bytes() == records


def test_out_needs_a_format(nnw: Nnw, run_folder: Path, tmp_path: Path) -> None:
    answer = nnw("report", run_folder, "-o", tmp_path / "x")
    assert answer == (
        2,
        "",
        "nnw: error: --out: expected --format with it, got none; add for example --format "
        "markdown\n",
    )


def test_a_folder_without_a_run_is_told(nnw: Nnw, tmp_path: Path) -> None:
    answer = nnw("report", tmp_path)
    assert answer.status == 2
    assert "give the folder that 'nnw evaluate' named" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("digts",), "got 'digts' (did you mean 'digits'?); see 'nnw list evaluations'"),
        (("no.toml",), "no.toml: expected a readable evaluation file"),
        (("digits", "--engine", "proceses"), "(did you mean 'processes'?)"),
    ],
)
def test_a_mistyped_evaluation(
    nnw: Nnw, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    answer = nnw("evaluate", *words, "--run-folder", tmp_path / "run")
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_presets_are_run_too_and_what_is_left_out_of_them_is_told(
    nnw: Nnw, small: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'summary = "own"\n[[modifications]]\nname = "float16"\n'
        '[[modifications]]\nname = "distillation"\nintensities = [1]\n'
    )
    answer = nnw("evaluate", small, "--run-folder", tmp_path / "run", "--preset", own)
    assert answer.status == 0
    assert "1 technology under 2 Modifications (2 settings)" in answer.out
    assert "parts of presets left out" in answer.out
    page = (tmp_path / "run" / "report.html").read_text()
    assert "own, Distillation: the evaluation has no table [training]" in page
    refused = nnw("evaluate", small, "--preset", "deploment")
    assert "presets: expected a TOML file or one of" in refused.err


def test_an_interruption_tells_how_to_go_on(
    nnw: Nnw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nnw_onnx, "evaluate", interrupt, raising=False)
    words = ("--run-folder", "run", "--engine", "processes", "--set", "session.threads=2")
    words += ("--preset", "mpai-nnt", "--preset", "my own.toml")
    answer = nnw("evaluate", "my own.toml", *words)
    assert answer == (
        130,
        "",
        "nnw: interrupted; what is done is kept, go on with: nnw evaluate 'my own.toml' "
        "--run-folder run --engine processes --set session.threads=2 --preset mpai-nnt "
        "--preset 'my own.toml'\n",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_a_run_that_can_go_on(
    nnw: Nnw, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)

    def stopped(*arguments: Any, **options: Any) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(nnw_onnx, "evaluate", stopped, raising=False)
    how = "interrupted" if name == "SIGINT" else f"stopped by {name}"
    assert nnw("evaluate", "mine.toml") == (
        128 + number,
        "",
        f"nnw: {how}; what is done is kept, go on with: nnw evaluate mine.toml\n",
    )
    assert signal.getsignal(number) is before


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
def test_a_second_signal_ends_at_once_and_nohup_stays() -> None:
    text = """
import signal
from nnw_onnx.cli.stopping import stoppable
signal.signal(signal.SIGHUP, signal.SIG_IGN)
try:
    with stoppable():
        signal.raise_signal(signal.SIGHUP)
        print("goes on", flush=True)
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
finally:
    print("never")
"""
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "goes on\n", "")


def test_warnings_go_to_stderr(nnw: Nnw, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(*arguments: Any, **options: Any) -> None:
        logging.getLogger("nnw_onnx").warning("accuracy is at chance")
        logging.getLogger("nnw_onnx.runs").info("epoch 1/8")
        raise KeyboardInterrupt

    monkeypatch.setattr(nnw_onnx, "evaluate", evaluate, raising=False)
    told = nnw("evaluate").err.splitlines()
    assert told[:2] == ["nnw: warning: accuracy is at chance", "nnw: epoch 1/8"]
    assert nnw("evaluate", "-q").err == ""


def test_a_key_is_set_on_the_command_line(nnw: Nnw, small: Path, tmp_path: Path) -> None:
    """What is set is part of the plan, so the run of the file alone is another one."""
    words = ("--run-folder", tmp_path / "run", "--set", "title=Smaller", "--set")
    answer = nnw("evaluate", small, *words, 'modifications.0.intensities=["8 bits"]')
    assert answer.status == 0
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["evaluation"]["title"] == "Smaller"
    assert plan["settings"][0]["intensities"] == [8]
    assert plan["settings"][0]["parameter"]["unit"] == "bits"
    refused = nnw("evaluate", small, "--run-folder", tmp_path / "run")
    assert "expected a run of this evaluation, got one of another" in refused.err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("0.5", 0.5), ("true", True), ("digits", "digits"), ('"x y"', "x y"),
        ("[1, 2]", [1, 2]), ("{ name = 'x' }", {"name": "x"}), ("", ""), ("a=b", "a=b"),
        ("1\n[engine]", "1\n[engine]"), ("[" * 5000, "[" * 5000),
    ],
)  # fmt: skip
def test_values_are_toml_or_texts(text: str, value: object) -> None:
    assert parse_changes([f"a.b={text}"]) == {"a.b": value}


def test_the_report_is_opened_where_there_is_a_screen(
    nnw: Nnw, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: not opened.append(url))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    page = run_folder / "report.html"
    monkeypatch.setattr(sys, "platform", "linux")
    blind = nnw("report", run_folder, "--open")
    assert (blind.status, opened) == (0, [])
    assert f"no browser can be started here; open {page} yourself" in blind.err
    monkeypatch.setenv("DISPLAY", ":0")
    assert nnw("report", run_folder, "--open") == (0, f"report: {page}\n", "")
    assert opened == [page.resolve().as_uri()]
