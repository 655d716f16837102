"""`nnw view`: one line of answer, a served page or a folder, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from ..fuzz.run_folders import write_run  # noqa: TID252 - shared by several rooms' tests
from ..measures.made import invented  # noqa: TID252 - likewise


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "runs" / "one", *invented(1, 1, 1, 1, 20).parts)
    return tmp_path / "runs"


def test_a_folder_is_written(nnw, runs, tmp_path):
    answer = nnw("view", runs, "--out", tmp_path / "page")
    assert answer.status == 0
    assert answer.out == f"page: {tmp_path / 'page' / 'index.html'}, 1 run in 6 files\n"
    assert answer.err == ""


def test_it_is_written_again_only_when_asked_to(nnw, runs, tmp_path):
    page = tmp_path / "page"
    assert nnw("view", runs, "--out", page).status == 0
    again = nnw("view", runs, "--out", page)
    assert again.status == 2
    assert "or --force to write it anew" in again.err
    assert nnw("view", runs, "--out", page, "--force").status == 0


def test_a_folder_without_runs_is_refused(nnw, tmp_path):
    answer = nnw("view", tmp_path, "--no-browser")
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert "expected a folder with runs, got no plan.json" in answer.err


def test_force_without_out_is_refused(nnw, runs):
    answer = nnw("view", runs, "--force")
    assert answer.err == "nnw: error: --force: expected --out with it, got none; leave it out\n"


@pytest.fixture
def served(runs):
    """A process that serves them, which ends with the test however that ends."""
    command = [sys.executable, "-m", "nnw_onnx", "view", str(runs), "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process")
def test_it_is_served_until_it_is_interrupted(served):
    process = served
    line = process.stdout.readline()
    address = line.split()[1].rstrip(",")
    assert line == f"page: {address}, 1 run; Ctrl-C ends it\n"
    with urllib.request.urlopen(f"{address}data/runs.js", timeout=20) as answer:
        assert answer.read().startswith(b"nnwView.runs([{")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "nnw: no longer served\n")
