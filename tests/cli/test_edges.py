"""The edges of the program: closed streams, devices, bugs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnw_onnx.cli import main as program
from nnw_onnx.cli.main import main


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which $NNW is the program."""
    environment = {**os.environ, "NNW": f"{sys.executable} -m nnw_onnx"}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("$NNW detect {marked} --key {key} >&-", 0),
        ("$NNW detect absent.onnx --key {key} 2>&-", 2),
        ("$NNW layers absent.onnx 2>/dev/full", 2),
        ("$NNW detect {marked} --key {key} </dev/null | head -n 0; exit ${{PIPESTATUS[0]}}", 0),
    ],
)
def test_closed_streams_do_not_change_the_answer(marked, tmp_path, line, status):
    answer = shell(line.format(marked=marked[0], key=marked[1]), tmp_path)
    assert "Traceback" not in answer.stderr
    assert answer.returncode == status


def test_a_bug_is_an_error_and_not_the_answer_no(nnw, monkeypatch, model):
    def broken(*words, **options):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(program, "application", lambda words: broken)
    assert main(["layers", str(model)]) == 2


def test_memory_that_is_not_there_is_one_line(nnw, monkeypatch, model, capsys):
    def hungry(*words, **options):
        raise MemoryError

    monkeypatch.setattr(program, "application", lambda words: hungry)
    assert main(["layers", str(model)]) == 2
    assert "expected enough memory, got none left" in capsys.readouterr().err


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_only_regular_files_are_overwritten(nnw, model, tmp_path, force):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("pipe", "dangling"):
        answer = nnw(
            "inject", model, "-o", tmp_path / "o.onnx", "--key-out", tmp_path / name, *force
        )
        assert answer.status == 2
        assert "--key-out: expected a new file, got existing" in answer.err
        assert "or --force" not in answer.err
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--payload-bits", "99999999999999999999"), "expected 1 to 1048576 bits"),
        (("--payload-bits", "0"), "expected 1 to 1048576 bits"),
        (("--payload", "\udcff"), "expected a text that UTF-8 can hold"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_payloads_that_cannot_be(nnw, model, tmp_path, words, message):
    answer = nnw(
        "inject", model, "-o", tmp_path / "o.onnx", "--key-out", tmp_path / "k.npz", *words
    )
    assert answer.status == 2
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_payload_too_short_to_detect_is_told(nnw, model, tmp_path):
    out, key = tmp_path / "o.onnx", tmp_path / "k.npz"
    answer = nnw("inject", model, "-o", out, "--key-out", key, "--payload", "ab")
    assert answer.status == 0
    assert "16 symbols can be decoded but never detected" in answer.err
    answer = nnw("detect", out, "--key", key)
    assert answer.status == 1
    assert answer.out.startswith("no, it cannot be shown: 16 of 16 symbols match the payload\n")
    assert "with 16 symbols, even when all match (p = 1.5e-5): it takes 20\n" in answer.out


def test_the_intensity_is_given_once(nnw, model, tmp_path):
    words = ("--modification", "quantizing", "--intensity", "4", "--option", "intensity=3")
    answer = nnw("modify", model, "-o", tmp_path / "o.onnx", *words)
    assert answer.status == 2
    assert "intensity: expected it once" in answer.err
