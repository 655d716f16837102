"""A table and its forms: CSV (plain numbers), Markdown and LaTeX (booktabs).

Names come from model files and configurations, so every form escapes what it would obey.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnw_onnx.measures.limits import Estimate, Interval, NotMeasured, Proportion, Value
from nnw_onnx.reports import words

Form = Callable[[float], str]
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

    @property
    def said(self) -> bool:
        """Whether the cell says anything."""
        return any(value not in (None, "") for _, value in self.values)


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        name: file name without suffix.
        caption: one sentence.
        columns: (key for a machine, heading for a reader).
        rows: cells in the order of the columns.
        paper: keys of the columns that a page of paper has room for; all where it is empty.
        optional: keys of the columns that a reader is spared where they are empty.
    """

    name: str
    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Cell, ...], ...]
    paper: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def for_readers(self) -> Table:
        """The table without optional columns that are empty."""
        kept = [
            i
            for i, (key, _) in enumerate(self.columns)
            if key not in self.optional or any(row[i].said for row in self.rows)
        ]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )


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


def count(value: int | None) -> Cell:
    """A cell of a count, or a dash."""
    return plain(value, lambda x: f"{x:,.0f}")


def maybe(value: str | None) -> Cell:
    """A cell of words, or a dash."""
    return Cell(value or words.DASH, (("", value or None),))


def yes_no(value: bool | None) -> Cell:
    """A cell of yes, no or a dash."""
    shown = words.DASH if value is None else "yes" if value else "no"
    return Cell(shown, (("", value),))


def write(table: Table, form: str) -> str:
    """One table as "csv", "markdown" or "latex"."""
    if form == "csv":
        return _csv(table)
    return {"markdown": _markdown, "latex": _latex}[form](table.for_readers)


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
        values = [dict(cell.values) for cell in row]
        writer.writerow(
            csv_safe(cell.get(suffix))
            for cell, column in zip(values, suffixes, strict=True)
            for suffix, _ in column
        )
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
    """Whether a column is aligned to the right."""
    return [any(row[i].numeric for row in table.rows) for i in range(len(table.columns))]
