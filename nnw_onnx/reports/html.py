"""One self-contained HTML page: no script, nothing fetched, light and dark, also on paper."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nnw_onnx.reports import canvas, tables, views, words
from nnw_onnx.reports.canvas import Figure, Section
from nnw_onnx.reports.model import Report, Verdict
from nnw_onnx.reports.plots import figures

QUESTIONS = (
    ("imperceptibility", "Imperceptibility", "What does the watermark cost the task?"),
    ("robustness", "Robustness", "What does the watermark survive?"),
    ("cost", "Computational Cost", "What does it take?"),
)
_VARIABLES = {
    canvas.INK: "ink",
    canvas.MUTED: "muted",
    canvas.GRID: "grid",
    canvas.BAND: "band",
    canvas.CONTROL: "control",
    **{value: f"series-{i + 1}" for i, value in enumerate(canvas.SERIES)},
}


@dataclass(frozen=True)
class Shown:
    """A figure as the page needs it."""

    figure: Figure
    svg: Markup
    numbers: tuple[tables.Table, ...]


def html(report: Report, drawn: Sequence[Figure] | None = None) -> str:
    """The page of a report.

    Args:
        report: what to show.
        drawn: its figures, where they exist already.
    """
    environment = Environment(
        loader=PackageLoader("nnw_onnx.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [_shown(report, figure) for figure in (figures(report) if drawn is None else drawn)]
    return environment.get_template("report.html.j2").render(
        report=report,
        words=words,
        questions=QUESTIONS,
        verdicts=_by_aspect(report.verdicts),
        sections={s: [f for f in shown if f.figure.section == s] for s in get_args(Section)},
        overview=views.overview(report),
        networks=views.networks_table(report),
        facts=_facts(report),
        environment=_environment(report),
        configuration=json.dumps(report.configuration, indent=2, ensure_ascii=False),
    )


def inline(figure: Figure, prefix: str) -> Markup:
    """A figure's SVG for the page: its own identifiers, colours that follow light and dark."""
    svg = re.sub(r"^<\?xml.*?\?>\s*", "", figure.svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    for value, name in _VARIABLES.items():
        svg = svg.replace(f": {value}", f": var(--{name})")
    return Markup(svg)  # noqa: S704 - drawn by us, its text escaped


def _shown(report: Report, figure: Figure) -> Shown:
    return Shown(figure, inline(figure, figure.name), tuple(_numbers(report, figure)))


def _numbers(report: Report, figure: Figure) -> list[tables.Table]:
    """The tables behind a figure."""
    if figure.key is not None:
        single = views.results_table(report, figure.key)
        return [views.sweep_table(report, figure.key), *([single] if single else [])]
    if figure.section == "imperceptibility":
        return [tables.imperceptibility_table(report), views.pairs_table(report)]
    if figure.section == "evidence":
        return [views.evidence_table(report)]
    if figure.section == "cost":
        return [tables.cost_table(report)]
    return []


def _by_aspect(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    return {key: [v for v in verdicts if v.aspect == key] for key, _, _ in QUESTIONS}


def _facts(report: Report) -> list[tuple[str, str]]:
    """What was evaluated, at a glance."""
    dataset = report.dataset
    shape = " × ".join(str(n) for n in dataset.get("shape", ()))
    entries = dataset.get("entries")
    facts = [
        ("Unwatermarked networks, M", str(len(report.networks))),
        ("Payloads each, D", str(report.payloads)),
        ("Watermarked networks", f"{len(report.networks) * report.payloads} for each technology"),
        ("Technologies", ", ".join(g.label for g in report.groups)),
        (
            "Data set",
            f"{dataset.get('name', 'unknown')}, {dataset.get('split', 'unknown')} split, "
            f"{entries if entries is None else format(entries, ',')} samples of {shape}",
        ),
        ("False-positive rate", f"{report.false_positive_rate:g}"),
        ("Profile", report.profile),
    ]
    if report.repetitions > 1:
        facts.insert(3, ("Repetitions of each Modification", str(report.repetitions)))
    return facts


def _environment(report: Report) -> list[tuple[str, str]]:
    known = report.environment
    if known is None:
        return []
    return [
        ("Class of the standard", known.environment_class),
        ("System", known.system),
        ("CPU", _joined(known.cpu)),
        ("GPU", "; ".join(_joined(gpu) for gpu in known.gpus) or "none used"),
        ("Memory", words.size(known.memory_bytes)),
        ("Settings", _joined(known.settings)),
        ("Versions", _joined(known.versions)),
    ]


def _joined(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {_value(v)}" for k, v in values.items())


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)
