"""Evaluations that ask for no quality: no network runs, and nothing is said of imperceptibility."""

from __future__ import annotations

from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.records import TrialRecord
from nnw_onnx.runs import evaluate
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.suspect import Running

from .here import Here

TEXT = """
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 2
payload_sizes = [32]
{quality}
[dataset]
name = "digits"
limit = 40
preprocessing = {{ scale = 0.0625 }}
[control]
wrong_keys = 4
[cost]
cells = 0
[[methods]]
name = "uchida"
[[modifications]]
name = "l1-pruning"
intensities = [50]
"""
LEFT_OUT = "the evaluation leaves quality out (quality = false)"


def planned(folder: Path, quality: str):
    folder.mkdir()
    (folder / "e.toml").write_text(TEXT.format(quality=quality))
    return prepare(read_evaluation(folder / "e.toml"), folder / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose networks may answer nothing."""
    prepared = planned(tmp_path_factory.mktemp("without") / "x", "quality = false")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_engine", lambda prepared: Here())
        patch.setattr(Running, "_session", lambda *asked: pytest.fail("a session was made"))
        evaluate.run(prepared, progress=False, tell=lambda line: None)
    return prepared.context.folder


def test_no_network_runs_and_marks_are_read(run):
    trials = Store(run).records(TrialRecord)
    assert len(trials) == 6
    assert all(t.status == "done" and not t.quality and t.scores is None for t in trials)
    own = [v for t in trials if t.injection for v in t.verdicts]
    assert all(v.errors == 0 for v in own)


def test_the_report_says_what_was_not_measured(run):
    report = nnw.report(run)
    (technology,) = report.technologies
    found = technology.imperceptibility
    assert (found.verdict, found.loss.value, found.loss.reason) == ("not measured", None, LEFT_OUT)
    assert {b.quality.reason for b in report.base} == {LEFT_OUT}
    (level,) = report.settings[0].levels
    assert (level.usability, level.reason) == ("undecided", LEFT_OUT)
    answers = {c.id: (c.status, c.reason) for c in nnw.conform(run).clauses}
    for clause in ("imp-unmarked-quality", "imp-marked-run", "imp-same-measures", "imp-reported",
                   "imp-test-set", "imp-annex", "aiw-nti"):  # fmt: skip
        status, reason = answers[clause]
        assert status == "not measured"
        assert LEFT_OUT in reason


def test_runs_that_measure_it_are_as_they_were_before_it_could_be_left_out(tmp_path):
    plain, asked, without = (
        planned(tmp_path / name, text)
        for name, text in (("a", ""), ("b", "quality = true"), ("c", "quality = false"))
    )
    assert plain.plan.evaluation_sha256 == asked.plan.evaluation_sha256
    assert plain.plan.evaluation_sha256 != without.plan.evaluation_sha256
    names = {evaluate.default_folder(p.evaluation) for p in (plain, asked, without)}
    assert len(names) == 2
