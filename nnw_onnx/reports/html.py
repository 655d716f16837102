"""One self-contained HTML page: no script, nothing fetched, light and dark, also on paper."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nnw_onnx.measures.trainings import GroupTraining
from nnw_onnx.reports import canvas, tables, views, words
from nnw_onnx.reports.canvas import Figure, Section
from nnw_onnx.reports.forms import Table
from nnw_onnx.reports.model import Report, Verdict
from nnw_onnx.reports.plots import figures

QUESTIONS = (
    ("imperceptibility", "Imperceptibility", "What does the watermark cost the task?"),
    ("robustness", "Robustness", "What does the watermark survive?"),
    ("cost", "Computational Cost", "What does it take?"),
)
_VARIABLES = {
    canvas.PAPER: "card",
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
    numbers: tuple[Table, ...]


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
        workflows=_workflows(report),
        trainings=_trainings(report),
        injection_costs=tables.turned(tables.injection_table(report).for_readers),
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
    numbers = tuple(table.for_readers for table in _numbers(report, figure))
    return Shown(figure, inline(figure, figure.name), numbers)


def _numbers(report: Report, figure: Figure) -> list[Table]:
    """The tables behind a figure."""
    match figure.section:
        case "imperceptibility":
            return [tables.imperceptibility_table(report), views.pairs_table(report)]
        case "robustness":
            single = views.results_table(report, figure.key or 0)
            return [views.sweep_table(report, figure.key or 0), *([single] if single else [])]
        case "evidence":
            return [views.evidence_table(report)]
        case "cost":
            return [tables.cost_table(report)]
        case "training":
            return [views.epochs_table(report, figure.key or 0)]


def _trainings(report: Report) -> list[tuple[int, str, list[tuple[str, str]]]]:
    """The trainings: position, technology, and the recipe in words with what it took."""
    return [
        (position, found.label, words.recipe(found.recipe) + _took(found))
        for position, found in enumerate(report.trainings)
    ]


def _took(found: GroupTraining) -> list[tuple[str, str]]:
    marked = [run for run in found.runs if not run.twin]
    if not marked:
        return [("Trainings", "none was recorded")]
    batches = sorted({run.batches for run in marked})
    steps = f"{batches[0]:,}" if len(batches) == 1 else f"{batches[0]:,} to {batches[-1]:,}"
    twins = words.plural(len(found.runs) - len(marked), "twin")
    return [
        ("Trainings", f"{words.plural(len(marked), 'watermarked network')}, {twins}"),
        ("Batches in all", steps),
        ("Device", ", ".join(sorted({run.device for run in found.runs}))),
    ]


def _workflows(report: Report) -> dict[str, list[tuple[str, str]]]:
    """Aspect -> each workflow in words, with the technologies that went through it."""
    found: dict[str, dict[str, list[str]]] = {"imperceptibility": {}, "robustness": {}}
    for group in report.groups:
        found["imperceptibility"].setdefault(group.imperceptibility, []).append(group.label)
        found["robustness"].setdefault(group.robustness, []).append(group.label)
    return {
        aspect: [(_workflow(report, name), "; ".join(labels)) for name, labels in groups.items()]
        for aspect, groups in found.items()
    }


def _workflow(report: Report, name: str) -> str:
    missing = "" if name in report.workflows else f" ({words.NOT_ASKED})"
    return f"{words.workflow(name)}{missing}"


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
        ("Technologies", "; ".join(g.label for g in report.groups)),
        (
            "Data set",
            f"{dataset.get('name', 'unknown')}, {dataset.get('split', 'unknown')} split, "
            f"{entries if entries is None else format(entries, ',')} samples of {shape}",
        ),
        ("False-positive rate", f"{report.false_positive_rate:g}"),
        ("Profile", report.profile),
        ("Workflows asked for", ", ".join(report.workflows)),
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
