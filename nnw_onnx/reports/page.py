"""One self-contained HTML page: no script, nothing fetched, light and dark, also on paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nnw_onnx.reports import sentences, words
from nnw_onnx.reports.cards import cards
from nnw_onnx.reports.costs import costs
from nnw_onnx.reports.definitions import definitions
from nnw_onnx.reports.drawing import Drawing
from nnw_onnx.reports.forms import Table
from nnw_onnx.reports.glossary import footnotes
from nnw_onnx.reports.grids import grids
from nnw_onnx.reports.losses import forest
from nnw_onnx.reports.matrix import Matrix
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.notices import reached
from nnw_onnx.reports.templating import templates
from nnw_onnx.reports.words import Shown

_SECTIONS = (
    ("losses", "imperceptibility", "Imperceptibility"),
    ("dots", "cost", "Computational Cost"),
    ("proofs", "evidence", "Evidence"),
    ("strips", "curves", "Curves"),
    ("numbers", "tables", "Tables"),
    ("conformance", "conformance", "Conformance"),
    ("report", "method", "Method, environment"),
)
_TABLES = (
    "base",
    "settings",
    "families",
    "strongest",
    "resynchronised",
    "imperceptibility",
    "quality",
    "cost",
    "controls",
    "controls_resynchronised",
    "places",
    "blocks",
    "rankings",
    "epochs",
)
_OTHERS = {"robustness": "grids", "imperceptibility": "visible"}
"""Further places of the page -> what it takes for them to be there."""
_MOST_ROWS = 200
"""Longer tables are files only."""


def page(report: Report, drawing: Drawing | None = None) -> str:
    """The page of a report; what was drawn of it already can be given."""
    drawing = drawing or Drawing(report)
    called, drawn, made = drawing.called, drawing.matrix, drawing.tables
    parts = {
        "report": report,
        "shown": Shown(report.headline),
        "drawn": drawn,
        "lead": sentences.lead(report),
        "base": sentences.base(report),
        "usable": sentences.usable(report),
        "verdicts": sentences.verdicts(report, called),
        "technologies": made["technologies"],
        "losses": forest(report, called),
        "visible": made.get("visibility"),
        "cards": cards(report),
        "dots": costs(report, called),
        "proofs": drawing.evidence,
        "strips": drawing.curves,
        "panel": drawing.panel,
        "numbers": _numbers(made),
        "conformance": report.conformance,
        "grids": grids(report, called),
        "definitions": definitions(report),
        "environment": tuple(_environment(report)),
        "footnotes": footnotes(_first_page(report, called, drawn)),
    }
    parts["homeless"] = _homeless(report, parts)
    parts["sections"] = [(target, name) for key, target, name in _SECTIONS if parts[key]]
    return templates().get_template("report.html.j2").render(parts)


def _first_page(report: Report, called: tuple[Name, ...], drawn: Matrix) -> Iterator[str]:
    """Texts in which words may stand that paper explains below."""
    yield from map(str, sentences.verdicts(report, called))
    for _, group in drawn.groups:
        yield from (entry.said or entry.top for row in group for entry in row.entries)
    yield from report.workflows


def _homeless(report: Report, parts: Mapping[str, Any]) -> list[str]:
    """Places that answers to clauses name, and that this report has no section or table of."""
    there = {"technologies", "conformance", "tables", "method", "environment"}
    there |= {target for key, target, _ in _SECTIONS if parts[key]}
    there |= {f"t-{t.name}" for t in parts["numbers"]}
    there |= {f"m{s.code}" for s in report.settings if parts["strips"]}
    there |= {name for name, part in _OTHERS.items() if parts[part]}
    named = {clause.anchor for c in report.conformance for clause in c.clauses}
    return sorted(named - there)


def _numbers(made: Mapping[str, Table]) -> tuple[Table, ...]:
    """The tables that the page shows as they are; those of robustness are grids."""
    known = (made[name] for name in _TABLES if name in made)
    return tuple(t for t in known if len(t.rows) <= _MOST_ROWS)


def _environment(report: Report) -> Iterator[tuple[str, str]]:
    yield from _data(report)
    known = report.environment
    if known is not None:
        yield "Class of the standard", known.environment_class
        yield "System", known.system
        yield "CPU", _joined({k: "unknown" if v is None else v for k, v in known.cpu.items()})
        yield "GPU", "; ".join(_joined(gpu) for gpu in known.gpus) or "none used"
        yield "Memory", words.size(known.memory_bytes)
        yield "Settings", _joined(known.settings)
        yield "Versions", _joined(known.versions)
    made = report.reproducibility
    seed = "" if made.seed is None else f", seed {made.seed}"
    yield "nnw-onnx", f"{made.package_version}{seed}"
    yield "Plug-ins", "; ".join(f"{name}: {of}" for name, of in made.plugins.items()) or "built in"
    if made.evaluation_sha256 and made.records_sha256:
        yield "Digest of the evaluation", made.evaluation_sha256
        yield "Digest of the records", made.records_sha256


def _data(report: Report) -> Iterator[tuple[str, str]]:
    weights = sorted({n.weights for n in report.networks})
    each = " to ".join(f"{w:,}" for w in (weights[:1] + weights[1:][-1:]))
    marked = len(report.networks) * report.payloads
    yield (
        "Networks",
        f"{len(report.networks)} unwatermarked with {each} Weights, "
        f"{marked} watermarked for each technology",
    )
    shares = sorted(x for n in report.networks if (x := reached(n)) is not None)
    if shares:
        ends = " to ".join(dict.fromkeys(words.percent(x) for x in (shares[0], shares[-1])))
        yield "Reached", f'"all" layers hold {ends} of the floating-point weights of a network'
    data, entries = report.dataset, f"{report.dataset.entries:,}"
    shapes = "; ".join(f"{k} {' × '.join(map(str, v))}" for k, v in data.shapes.items())
    yield "Data set", f"{data.plugin.name}, {data.split} split, {entries} samples of {shapes}"
    if data.before or data.after:
        yield "Composed", " → ".join([*data.before, "the network under evaluation", *data.after])
    yield "Workflows", ", ".join(f"{w} ({words.WORKFLOWS[w]})" for w in report.workflows)


def _joined(values: Mapping[str, object]) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {_value(v)}" for k, v in values.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({_joined({k: v for k, v in value.items() if v not in ('', None)})})"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
