"""The numbers as tables: CSV (plain numbers), Markdown and LaTeX (booktabs).

Names come from model files and configurations, so every form escapes what it would obey.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nnw_onnx.measures.limits import Estimate, Interval, NotMeasured, Proportion, Value
from nnw_onnx.measures.points import RobustnessPoint
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Report

Form = Callable[[float], str]
_PAPER = (
    "group",
    "modification",
    "aim",
    "intensity",
    "fp_ratio",
    "fn_ratio",
    "p_md",
    "ser_watermarked",
    "ser_all",
    "quality",
    "usable",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "–": "--",
    "×": r"$\times$",
    "µ": r"$\mu$",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&-])")


@dataclass(frozen=True)
class Cell:
    """One cell: as a reader wants it, and as plain values for a machine.

    Attributes:
        text: shown.
        values: column suffix -> plain value ("" for the value itself, "low" and "high").
        numeric: whether it is aligned to the right.
    """

    text: str
    values: tuple[tuple[str, str | float | int | bool | None], ...]
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        name: file name without suffix.
        caption: one sentence.
        columns: (key for a machine, heading for a reader).
        rows: cells in the order of the columns.
    """

    name: str
    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Cell, ...], ...]
    paper: tuple[str, ...] = ()
    """Keys of the columns that a page of paper has room for; all where it is empty."""


def text(value: object) -> Cell:
    """A cell of words."""
    return Cell(str(value), (("", str(value)),))


def plain(value: float | int | None, form: Form | None = None) -> Cell:
    """A cell of one number, or a dash."""
    if value is None:
        return Cell(words.DASH, (("", None),), numeric=True)
    return Cell((form or words.number)(value), (("", value),), numeric=True)


def measured(value: Estimate | Value | Proportion | NotMeasured, form: Form) -> Cell:
    """A cell of a number with its limits, or a dash."""
    low = high = None
    mean: float | None = None
    if isinstance(value, Estimate):
        mean = value.mean
    elif isinstance(value, Value | Proportion):
        mean = value.value
    limits = getattr(value, "limits", None)
    if isinstance(limits, Interval):
        low, high = limits.low, limits.high
    columns = (("", mean), ("low", low), ("high", high))
    return Cell(words.measured(value, form), columns, numeric=True)


def bounds(limits: Interval | None, form: Form) -> Cell:
    """A cell of limits alone."""
    low, high = (limits.low, limits.high) if limits else (None, None)
    return Cell(words.limits(limits, form), (("low", low), ("high", high)), numeric=True)


def with_limits(value: Value | NotMeasured, limits: Interval | None) -> Cell:
    """A cell of a ratio whose limits come apart from it."""
    number = value.value if isinstance(value, Value) else None
    low, high = (limits.low, limits.high) if limits else (None, None)
    shown = words.DASH if number is None else f"{number:.3f}"
    if limits is not None:
        shown += f" [{low:.3f} to {high:.3f}]"
    return Cell(shown, (("", number), ("low", low), ("high", high)), numeric=True)


def tables(report: Report) -> tuple[Table, ...]:
    """Imperceptibility, robustness and cost."""
    return (imperceptibility_table(report), robustness_table(report), cost_table(report))


def imperceptibility_table(report: Report) -> Table:
    """One row for each technology and quality measure."""
    columns = (
        ("group", "Technology"),
        ("measure", "Quality measure"),
        ("unwatermarked", "Unwatermarked"),
        ("watermarked", "Watermarked"),
        ("change", "Change"),
        ("carrier_change", "Change of the carrier"),
        ("verdict", "Verdict at the margin"),
    )

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.imperceptibility:
            value = partial(words.quality, rate=group.rate)
            change = partial(words.points, rate=group.rate, signed=True)
            for measure in group.measures:
                headline = measure.name == group.headline
                yield (
                    text(group.label),
                    text(measure.name),
                    measured(measure.unwatermarked, value),
                    measured(measure.watermarked, value),
                    measured(measure.change, change),
                    measured(group.carrier_change, words.number),
                    text(group.verdict if headline else words.DASH),
                )

    caption = (
        "Imperceptibility: quality without and with the watermark, and the paired change "
        f"(in {'percentage points' if report.rate else 'its unit'}), mean over networks with 95 % "
        "limits."
    )
    return Table("imperceptibility", caption, columns, tuple(rows()))


def robustness_table(report: Report) -> Table:
    """One row for each technology, Modification, aim and Intensity."""
    columns = (
        ("group", "Technology"),
        ("modification", "Modification"),
        ("aim", "Layers"),
        ("intensity", "Intensity"),
        ("in_standard_range", "In range"),
        ("networks", "Networks"),
        ("fp", "FP"),
        ("fn", "FN"),
        ("fp_ratio", "FP / M(D+1)"),
        ("fn_ratio", "FN / M(D+1)"),
        ("p_fa", "p_fa"),
        ("p_md", "p_md"),
        ("ser_watermarked", "SER, watermarked"),
        ("ser_unwatermarked", "SER, unwatermarked"),
        ("ser_all", "SER, all"),
        ("quality", "Quality"),
        ("quality_loss", "Loss"),
        ("usable", "Usable"),
    )

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.robustness:
            if group.unmodified is not None:
                first = (text(group.label), text("none"), text(words.DASH), plain(None))
                yield (*first, *point_cells(group.unmodified, group.rate))
            for sweep in group.sweeps:
                name = words.modification_name(sweep.modification, sweep.options)
                unit = sweep.parameter.unit if sweep.parameter else None
                for point in sweep.points:
                    yield (
                        text(group.label),
                        text(name),
                        text(words.aim_name(sweep.aim)),
                        plain(point.intensity, partial(words.intensity, unit=unit)),
                        *point_cells(point, group.rate),
                    )

    caption = "Robustness after each Modification, with 95 % limits; SER is the Symbol Error Rate."
    return Table("robustness", caption, columns, tuple(rows()), _PAPER)


def point_cells(point: RobustnessPoint, rate: bool) -> tuple[Cell, ...]:
    """The measured cells of one row of the robustness table."""
    ratio = words.percent
    return (
        yes_no(None if point.intensity is None else not point.outside_standard_range),
        plain(point.watermarked.done + point.unwatermarked.done, lambda x: f"{x:.0f}"),
        plain(point.false_alarms, lambda x: f"{x:.0f}"),
        plain(point.missed_detections, lambda x: f"{x:.0f}"),
        measured(point.fp_ratio, ratio),
        measured(point.fn_ratio, ratio),
        measured(point.p_fa, ratio),
        measured(point.p_md, ratio),
        measured(point.ser_watermarked, ratio),
        measured(point.ser_unwatermarked, ratio),
        measured(point.ser_all, ratio),
        measured(point.quality_watermarked, lambda x: words.quality(x, rate)),
        measured(point.quality_loss, lambda x: words.points(x, rate)),
        yes_no(point.usable),
    )


def yes_no(value: bool | None) -> Cell:
    """A cell of yes, no or a dash."""
    shown = words.DASH if value is None else "yes" if value else "no"
    return Cell(shown, (("", value),))


def cost_table(report: Report) -> Table:
    """One row for each technology and operation."""
    columns = (
        ("group", "Technology"),
        ("operation", "Operation"),
        ("seconds", "Time"),
        ("seconds_bootstrap", "Time, bootstrap limits"),
        ("fastest_seconds", "Fastest"),
        ("peak_bytes", "Peak memory"),
        ("baseline_seconds", "Unwatermarked"),
        ("ratio", "Ratio"),
        ("ratio_of_medians", "Ratio of medians"),
        ("cells", "Networks"),
    )
    rows = tuple(
        (
            text(group.label),
            text(cost.operation),
            measured(cost.seconds, words.seconds),
            bounds(getattr(cost.seconds, "bootstrap", None), words.seconds),
            measured(cost.fastest_seconds, words.seconds),
            measured(cost.peak_bytes, words.size),
            measured(cost.baseline_seconds, words.seconds),
            measured(cost.ratio, lambda x: f"{x:.3f}"),
            with_limits(cost.ratio_of_medians, cost.ratio_of_medians_limits),
            plain(getattr(cost.seconds, "n", None), lambda x: f"{x:.0f}"),
        )
        for group in report.cost
        for cost in group.operations
    )
    caption = "Computational Cost, mean over the M × D watermarked networks with 95 % limits."
    return Table("cost", caption, columns, rows)


def write(table: Table, form: str) -> str:
    """One table as "csv", "markdown" or "latex"."""
    return {"csv": _csv, "markdown": _markdown, "latex": _latex}[form](table)


def document(report: Report, form: str) -> str:
    """All tables as one text; in CSV they follow each other, an empty line between them."""
    parts = [write(t, form) for t in tables(report)]
    if form == "markdown":
        said = "".join(f"- {markdown_escaped(v.text)}\n" for v in report.verdicts)
        warned = "".join(f"- {markdown_escaped(w.text)}\n" for w in report.warnings)
        parts.insert(0, f"# {markdown_escaped(report.title)}\n\n{said}")
        if warned:
            parts.insert(1, f"## Warnings\n\n{warned}")
    return "\n".join(parts)


def csv_safe(value: Any) -> str:
    """A CSV field: text that a spreadsheet would take for a formula gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return repr(value)
    word = str(value)
    return f"'{word}" if word.startswith(_FORMULA) else word


def markdown_escaped(word: str) -> str:
    """Text in which Markdown finds nothing to obey."""
    return _MARKDOWN.sub(r"\\\1", " ".join(word.split()))


def latex_escaped(word: str) -> str:
    """Text in which LaTeX finds nothing to obey."""
    return "".join(_LATEX.get(c, c) for c in " ".join(word.split()))


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    suffixes = [
        max((row[i].values for row in table.rows), key=len, default=(("", None),))
        for i in range(len(table.columns))
    ]
    writer.writerow(
        f"{key}_{suffix}" if suffix else key
        for (key, _), column in zip(table.columns, suffixes, strict=True)
        for suffix, _ in column
    )
    for row in table.rows:
        writer.writerow(csv_safe(value) for cell in row for _, value in cell.values)
    return stream.getvalue()


def _markdown(table: Table) -> str:
    numeric = _numeric(table)
    lines = [
        f"**{markdown_escaped(table.caption)}**\n",
        _row([heading for _, heading in table.columns]),
        "|" + "|".join(" ---: " if n else " --- " for n in numeric) + "|",
    ]
    lines += [_row([cell.text for cell in row]) for row in table.rows]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_escaped(c) for c in cells) + " |"


def _latex(table: Table) -> str:
    kept = [i for i, (key, _) in enumerate(table.columns) if key in (table.paper or {key})]
    numeric = _numeric(table)
    alignment = "".join("r" if numeric[i] else "l" for i in kept)
    headings = [table.columns[i] for i in kept]
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{latex_escaped(table.caption)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join(latex_escaped(heading) for _, heading in headings) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(latex_escaped(row[i].text) for i in kept) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _numeric(table: Table) -> list[bool]:
    first = table.rows[0] if table.rows else ()
    return [cell.numeric for cell in first] or [False] * len(table.columns)
