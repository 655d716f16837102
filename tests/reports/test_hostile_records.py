"""Reports of run folders that somebody else has written: extreme numbers and hostile names."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import nnw_onnx as nnw
from nnw_onnx.cli.main import main
from nnw_onnx.errors import RunError
from nnw_onnx.reports import FORMATS, render
from nnw_onnx.text import document, harmless

from ..fuzz.run_folders import TEXTS, write_run  # noqa: TID252 - shared by two rooms' tests
from ..measures.made import invented  # noqa: TID252 - shared by two rooms' tests

NASTY = "".join(t for t in TEXTS if len(t) < 100)
FILES = ("plan.json", "injections.jsonl", "records.jsonl", "costs.jsonl", "environment.json")
# What is compared with other records, or is one of a few words.
KEPT = re.compile(
    r"identity|injection|copies|status|sha256|operation|.*workflows|kind|access|better|stronger"
    r"|family|environment_class|form|data|weights|digest|schema_version|.*measure|guard|name"
    r"|imperceptibility|robustness|start|seed|option|quality|headline|way|use"
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", *invented(2, 2, 1, 1, 20).parts)
    return tmp_path / "run"


def rewritten(run: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Each record of a file, changed."""
    records = [json.loads(line) for line in (run / name).read_text().splitlines()]
    lines = [json.dumps(change(record)) for record in records]
    (run / name).write_text("\n".join(lines) + "\n")


def nasty(value: Any, key: str = "") -> Any:
    """The record with every text in it hostile, but for those that must be what they are."""
    if isinstance(value, dict):
        return {k: nasty(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [nasty(v, key) for v in value]
    return NASTY + value if isinstance(value, str) and not KEPT.fullmatch(key) else value


@pytest.fixture
def hostile(run: Path) -> Path:
    for name in FILES:
        rewritten(run, name, nasty)

    def facts(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "facts": {NASTY: 1.0, f"{NASTY}2": NASTY}}

    rewritten(run, "records.jsonl", facts)
    return run


def commands(text: str) -> set[str]:
    return {c for c in text if c != "\n" and harmless(c) != c}


def test_no_document_commands_a_terminal_or_a_page(hostile: Path) -> None:
    report = nnw.report(hostile)
    for form in FORMATS:
        assert not commands(render(report, form)), form
    written = [
        p for p in hostile.rglob("*") if p.suffix in (".svg", ".html", ".csv", ".md", ".tex")
    ]
    assert len(written) > 10
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert not commands(text), path.name
        assert document(text) == text
        if path.suffix == ".svg":
            ElementTree.fromstring(text)


@pytest.mark.parametrize("form", ["markdown", "json"])
def test_nothing_reaches_the_terminal_either(
    hostile: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    assert main(["report", str(hostile), "--format", form]) == 0
    out, err = capsys.readouterr()
    assert not commands(out + err)
    assert "x1b" in out or "u001b" in out


def test_json_says_what_the_records_say(hostile: Path) -> None:
    report = nnw.report(hostile)
    assert json.loads(render(report, "json")) == report.model_dump(mode="json")


def test_no_cell_is_a_formula(hostile: Path) -> None:
    nnw.report(hostile)
    cells = [
        cell
        for path in hostile.rglob("*.csv")
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        for cell in row
    ]
    number = re.compile(r"-?[\d.]+(e[-+]?\d+)?")
    started = [c for c in cells if c[:1] in tuple("=+-@＝＋－＠") and not number.fullmatch(c)]
    assert cells
    assert not started


def test_no_element_of_a_page_comes_from_a_name(hostile: Path, run: Path) -> None:
    class Elements(HTMLParser):
        found: set[str]

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.found |= {tag, *(f"@{name}" for name, _ in attributes)}

    parser = Elements()
    parser.found = set()
    parser.feed(render(nnw.report(hostile), "html"))
    assert "h1" in parser.found
    assert not {x for x in parser.found if x == "script" or x.startswith("@on")}


EXTREMES = (5e-324, 1e-300, -0.0, 0.0, 1e-15, 1e15, -1e15, 1e308, -1, 2**53, 2**63, 10**400)
NUMBERS = {
    "plan.json": (
        "false_positive_rate", "payloads", "seed", "wrong_keys", "measures.0.low", "session.x",
        "measures.0.high", "measures.0.chance", "measures.0.negligible", "measures.0.usable_loss",
        "dataset.entries", "networks.0.weights", "technologies.0.payload_size", "evaluation.x",
        "technologies.0.alphabet", "settings.0.intensities.0", "settings.0.parameter.high",
    ),
    "costs.jsonl": (
        "baseline_seconds", "seconds", "minimum", "repetitions", "ratio", "peak_bytes", "batch",
        "device_peak_bytes", "baseline_bytes",
    ),
    "records.jsonl": (
        "quality.top-1 accuracy", "change", "chance", "intensity", "verdicts.0.log10_p",
        "verdicts.0.statistic", "verdicts.0.symbols", "verdicts.0.errors", "scores.n",
        "verdicts.0.null.chance", "verdicts.0.null.log10_least", "verdicts.0.null.symbols",
    ),
    "injections.jsonl": ("symbols", "errors", "change", "changed_weights"),
    "environment.json": ("memory_bytes", "cpu.cores", "settings.x"),
}  # fmt: skip
ALWAYS = {
    ("costs.jsonl", "baseline_seconds", 5e-324), ("plan.json", "false_positive_rate", 5e-324),
    ("environment.json", "memory_bytes", 10**400), ("environment.json", "settings.x", 10**400),
    ("plan.json", "measures.0.negligible", 5e-324), ("costs.jsonl", "ratio", 5e-324),
}  # fmt: skip


def extremes() -> list[tuple[str, str, float]]:
    """Numbers at their extremes: a few of them, and all where `NNW_FUZZ` asks for it."""
    every = {(n, f, x) for n, fields in NUMBERS.items() for f in fields for x in EXTREMES}
    some = every if os.environ.get("NNW_FUZZ") else {*sorted(every)[:: len(every) // 12], *ALWAYS}
    return sorted(some)


def placed(value: Any, path: list[str], number: float) -> Any:
    """The record with this number at a place, where it has the place that this is in."""
    if not path:
        return number
    key = int(path[0]) if isinstance(value, list) else path[0]
    if isinstance(value, list) and key < len(value):
        return [placed(v, path[1:], number) if i == key else v for i, v in enumerate(value)]
    if isinstance(value, dict) and (key in value or len(path) == 1):
        return {**value, key: placed(value.get(key), path[1:], number)}
    return value


@pytest.mark.parametrize(("name", "field", "number"), extremes())
def test_extreme_numbers_are_reported_or_refused(
    run: Path, name: str, field: str, number: float
) -> None:
    rewritten(run, name, lambda record: placed(record, field.split("."), number))
    said = answer(run)
    assert said is None or ("\n" not in said and said.startswith(f"{name}, line 1: expected"))


def answer(run: Path) -> str | None:
    try:
        report = nnw.report(run)
        for form in FORMATS:
            render(report, form)
    except RunError as error:
        return str(error)
    return None


def test_a_time_that_no_clock_tells_is_none(run: Path) -> None:
    """The smallest number that a float holds was an internal error."""
    rewritten(run, "costs.jsonl", lambda record: {**record, "baseline_seconds": 5e-324})
    assert nnw.report(run).technologies[0].cost is not None
    rewritten(run, "plan.json", lambda record: {**record, "false_positive_rate": 5e-324})
    with pytest.raises(RunError, match=r"plan\.json, line 1: .* false_positive_rate"):
        nnw.report(run)
