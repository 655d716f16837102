"""compare and plan-power, on two runs that are as small as they can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnw_onnx.cli.main import main

pytestmark = pytest.mark.xdist_group("two runs to compare")

Nnw = Callable[..., Any]

SMALL = """
title = "Small"
networks = [{networks}]
payloads = 1
payload_sizes = [24]
[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}
{methods}
[[modifications]]
name = "quantizing"
intensities = [8, 4]
[preview]
samples = 0
[cost]
cells = 0
[engine]
name = "serial"
"""


def evaluated(folder: Path, name: str, methods: list[str], networks: list[Path]) -> Path:
    """The folder of a finished run of these methods."""
    path = folder / f"{name}.toml"
    tables = "\n".join(f'[[methods]]\nname = "{method}"' for method in methods)
    listed = ", ".join(json.dumps(str(network)) for network in networks)
    path.write_text(SMALL.format(networks=listed, methods=tables), encoding="utf-8")
    assert main(["evaluate", str(path), "--run-folder", str(folder / name)]) == 0
    return folder / name


@pytest.fixture(scope="module")
def runs(
    model: Path, other_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """Two runs of the same networks, in another order, and one of others."""
    folder = tmp_path_factory.mktemp("compare")
    both = [model, other_model]
    return (
        evaluated(folder, "one", ["block-spread", "uchida"], both),
        evaluated(folder, "two", ["levels"], both[::-1]),
        evaluated(folder, "other", ["levels"], [model]),
    )


def test_methods_of_one_run_are_compared(nnw: Nnw, runs: tuple[Path, Path, Path]) -> None:
    told = nnw("compare", runs[0])
    assert told.status == 1  # two networks can never show anything
    assert told.out.startswith("2 technologies of 1 run, 2 networks × 1 Payloads")
    assert "none can be significant after Holm. That takes 6 networks, or fewer claims." in told.out
    assert "24 bits  block-spread, 24 bits" in told.out
    assert "24 bits: places by success are the same where a loss up to 2, 5 or 10" in told.out
    assert "Place, loss up to" not in told.out  # the page has the table


def test_runs_are_compared(nnw: Nnw, runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    told = nnw("compare", runs[0], runs[1], "--out", tmp_path / "out", "--format", "json")
    found = json.loads(told.out)
    assert [c["label"] for c in found["contestants"]] == [
        "one: block-spread, 24 bits",
        "one: uchida, 24 bits",
        "two: levels, 24 bits",
    ]
    assert found["claims"] == 3
    assert (tmp_path / "out" / "comparison.html").is_file()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8")) == found
    again = nnw("compare", runs[0], runs[1], "--format", "json")
    assert again.out == told.out


@pytest.mark.parametrize(
    ("form", "beginning"),
    [("html", "<!doctype html>"), ("csv", "technology,"), ("markdown", "# "), ("latex", "% ")],
)
def test_forms(nnw: Nnw, runs: tuple[Path, Path, Path], form: str, beginning: str) -> None:
    assert nnw("compare", runs[0], "--format", form).out.lstrip().startswith(beginning)


def test_one_size_only(nnw: Nnw, runs: tuple[Path, Path, Path]) -> None:
    told = nnw("compare", runs[0], "--bits", "64")
    assert "There is no claim to test" in told.out
    assert told.status == 1


def test_what_cannot_be_compared_is_refused(
    nnw: Nnw, runs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    told = nnw("compare", runs[0], runs[2])
    assert told.status == 2
    assert "other: expected networks like one, got other ones" in told.err
    twice = nnw("compare", runs[0], runs[0])
    assert "runs: expected different run folders" in twice.err
    assert nnw("compare", tmp_path).status == 2
    (tmp_path / "file").write_text("")
    told = nnw("compare", runs[0], "--out", tmp_path / "file")
    assert "--out: expected a folder, got the file" in told.err


def test_power_of_an_evaluation(nnw: Nnw) -> None:
    told = nnw("plan-power", "digits")
    assert told.status == 1
    assert "no claim can ever be significant: that takes 6 networks" in told.out
    assert nnw("plan-power", "digits", "--networks", "12").status == 0


def test_power_without_an_evaluation(nnw: Nnw) -> None:
    words = ("--networks", "12", "--payloads", "3", "--claims", "45", "--format", "json")
    found = json.loads(nnw("plan-power", *words).out)
    assert (found["needed"], found["decidable"]) == (11, True)
    assert nnw("plan-power", "--networks", "10", "--claims", "45").status == 1


def test_power_of_nothing(nnw: Nnw) -> None:
    assert "expected an evaluation or --networks, got neither" in nnw("plan-power").err
    both = nnw("plan-power", "digits", "--claims", "3")
    assert "--claims: expected an evaluation or a number of claims, got both" in both.err


def test_the_report_has_cards_and_visibility(runs: tuple[Path, Path, Path]) -> None:
    report = json.loads((runs[0] / "report.json").read_text("utf-8"))
    assert set(report["cards"]) == {"block-spread", "uchida"}
    seen = [t["visibility"] for t in report["technologies"]]
    assert all(0 < v["weights"]["value"] < 1 for v in seen)
    assert {v["verdict"] for v in seen} == {"not measured"}
    assert "fewer than 6 networks" in seen[0]["auc"]["reason"]
    page = (runs[0] / "report.html").read_text("utf-8")
    assert "Visibility in the weights" in page
    assert "Dies of" in page
    assert "Chosen because" in page
