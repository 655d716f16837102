"""A table and its forms: CSV (plain numbers) and Markdown; for LaTeX see `latex`.

Names come from model files and configurations, so every form escapes what it would obey.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nnw_onnx.measures.results import Share, Value
from nnw_onnx.records import MeasureRecord
from nnw_onnx.reports import words
from nnw_onnx.reports.columns import Column, Entry, Form, Of, unit_of
from nnw_onnx.reports.words import Shown
from nnw_onnx.text import harmless, one_line

_NUMBERED = "Intensity"
# The wide forms too: spreadsheets take them for the plain ones.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&-])")


@dataclass(frozen=True)
class Item:
    """One cell: a value of a column, as a reader and as a machine wants it.

    Attributes:
        entry: the value, in the units of the records.
        form: how it is printed.
        measure: whose units qualities and losses have.
    """

    entry: Entry
    form: Form
    measure: MeasureRecord

    @property
    def plain(self) -> float | int | str | bool | None:
        """The bare value."""
        return self.entry.value if isinstance(self.entry, Value | Share) else self.entry

    @property
    def limits(self) -> tuple[float, float] | None:
        """Its limits, where it has any that hold."""
        return self.entry.limits if isinstance(self.entry, Value) else None

    @property
    def reason(self) -> str:
        """Why there is no number."""
        missing = isinstance(self.entry, Value) and self.entry.value is None
        return (self.entry.reason or "") if isinstance(self.entry, Value) and missing else ""

    @property
    def text(self) -> str:
        """The number or word; a dash where there is none."""
        value = self.plain
        if value is None or value == "":
            return words.DASH
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value if isinstance(value, str) else self.number(value)

    @property
    def between(self) -> str:
        """The limits in words, or ""."""
        found = self.limits
        return f"{self.number(found[0])} to {self.number(found[1])}" if found else ""

    def number(self, value: float) -> str:
        """A number in the form of the column."""
        shown = Shown(self.measure)
        forms: dict[Form, Callable[[float], str]] = {
            Form.COUNT: lambda x: f"{x:,.0f}" if float(x).is_integer() else words.number(x),
            Form.SHARE: lambda x: words.fixed(100 * x, 1),
            Form.QUALITY: lambda x: shown.value(x, unit=False),
            Form.LOSS: lambda x: shown.loss(x, more=1),
            Form.SECONDS: words.seconds,
            Form.BYTES: words.memory,
            Form.RATIO: lambda x: words.fixed(x, 3),
            Form.EVIDENCE: words.evidence,
        }
        return forms.get(self.form, words.number)(value)


@dataclass(frozen=True)
class Head:
    """A column of a table: its key for machines, its heading with the unit, how it is set."""

    key: str
    text: str
    numeric: bool
    limits: bool
    lead: bool = False
    """Whether it says what the row is about, and so stands before every part of a split table."""
    roomy: bool = False
    """Whether its words get twice the room on paper: names that a row is found by."""


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        name: file name without suffix.
        caption: one sentence.
        heads: columns.
        rows: items in the order of the columns.
        paper: keys of the columns that a page of paper has room for; all where it is empty.
        once: keys of the columns that readers get as a line below where all rows say the same.
        below: such lines.
    """

    name: str
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Item, ...], ...]
    paper: frozenset[str] = frozenset()
    once: frozenset[str] = frozenset()
    below: tuple[str, ...] = ()

    def brief(self) -> Table:
        """The table for readers: no columns that are empty, only those that paper has room for."""
        same = {i: text for i, head in enumerate(self.heads) if (text := self._same(i, head))}
        kept = [
            i
            for i, head in enumerate(self.heads)
            if (not self.paper or head.key in self.paper)
            and i not in same
            and any(row[i].plain not in (None, "") for row in self.rows)
        ]
        return Table(
            self.name,
            self.caption,
            tuple(self.heads[i] for i in kept),
            tuple(tuple(r[i] for i in kept) for r in self.rows),
            below=(*self.below, *(f"{self.heads[i].text}: {same[i]}." for i in same)),
        )

    def _same(self, place: int, head: Head) -> str:
        """What every row of such a column says, or ""."""
        found = {row[place].plain for row in self.rows}
        alike = head.key in self.once and len(self.rows) > 1 and len(found) == 1
        return str(found.pop() or "") if alike else ""

    def parts(self, most: int) -> tuple[Table, ...]:
        """The table in as many as it takes, at most so many columns each beside the leading one."""
        rest = range(1, len(self.heads))
        if len(rest) <= most:
            return (self,)
        pieces = [(0, *rest[start : start + most]) for start in range(0, len(rest), most)]
        return tuple(
            replace(
                self,
                heads=tuple(self.heads[i] for i in piece),
                rows=tuple(tuple(row[i] for i in piece) for row in self.rows),
            )
            for piece in pieces
        )


def table(
    name: str,
    caption: str,
    leads: Sequence[str],
    columns: Sequence[Column[Of]],
    sources: Iterable[tuple[Sequence[str | float | None], Of, MeasureRecord]],
    paper: frozenset[str] = frozenset(),
    once: frozenset[str] = frozenset(),
) -> Table:
    """A table of declared columns.

    Args:
        name: file name without suffix.
        caption: one sentence.
        leads: headings of what stands before the columns, such as "Technology" or "Intensity".
        columns: what is shown.
        sources: for each row what leads it, the value that it is read from, and the measure.
        paper: see `Table`.
        once: see `Table`.
    """
    found = [(lead, [c.get(source) for c in columns], measure) for lead, source, measure in sources]
    heads = [
        Head(text.lower().replace(" ", "_"), text, text == _NUMBERED, False, lead=True)
        for text in leads
    ]
    for i, column in enumerate(columns):
        limits = any(isinstance(entries[i], Value) for _, entries, _ in found)
        measure = found[0][2] if found and len({m.unit for *_, m in found}) == 1 else None
        text, numeric = headed(column, measure), column.form != Form.WORDS
        heads.append(Head(column.key, text, numeric, limits, lead=not leads and i == 0))
    return Table(
        name,
        caption,
        tuple(heads),
        tuple(
            (
                *(Item(word, _lead_form(word), measure) for word in lead),
                *(Item(e, c.form, measure) for e, c in zip(entries, columns, strict=True)),
            )
            for lead, entries, measure in found
        ),
        paper,
        once,
    )


def _lead_form(lead: str | float | None) -> Form:
    return Form.WORDS if isinstance(lead, str) else Form.NUMBER


def headed(column: Column[Of], measure: MeasureRecord | None) -> str:
    """A heading with its unit, where numbers do not bring theirs with them."""
    own = column.form in (Form.SECONDS, Form.BYTES, Form.EVIDENCE)
    if own or (measure is None and column.form in (Form.QUALITY, Form.LOSS)) or measure is None:
        return column.heading
    unit = unit_of(column.form, measure)
    return f"{column.heading}, {unit}" if unit and column.form is not Form.RATIO else column.heading


def rows_as_csv(heads: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows of named values as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([csv_safe(row[head]) for head in heads] for row in rows)
    return stream.getvalue()


def csv_safe(value: object) -> str:
    """A CSV field: text that a spreadsheet would take for a formula gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return repr(value)
    word = harmless(str(value))
    return f"'{word}" if word.startswith(_FORMULA) else word


def markdown_escaped(word: str) -> str:
    """Text in which Markdown finds nothing to obey."""
    return _MARKDOWN.sub(r"\\\1", one_line(word))


def as_csv(made: Table) -> str:
    """A table for machines: one observation a row, one bare number or word a field."""
    heads: list[str] = []
    for head in made.heads:
        heads += [head.key, f"{head.key}_low", f"{head.key}_high"] if head.limits else [head.key]
    rows = []
    for row in made.rows:
        values: dict[str, object] = {}
        for head, item in zip(made.heads, row, strict=True):
            low, high = item.limits or (None, None)
            values |= {head.key: item.plain, f"{head.key}_low": low, f"{head.key}_high": high}
        rows.append(values)
    return rows_as_csv(heads, rows)


def written(item: Item) -> str:
    """A number with its limits, or a word; a unit that all three have stands once, at the end."""
    if not item.limits:
        return item.text
    low, high = map(item.number, item.limits)
    units = {text.rpartition(" ")[2] for text in (item.text, low, high) if " " in text}
    if len(units) == 1 and all(" " in text for text in (item.text, low, high)):
        (unit,) = units
        value, low, high = (text.removesuffix(f" {unit}") for text in (item.text, low, high))
        return f"{value} [{low} to {high}] {unit}"
    return f"{item.text} [{low} to {high}]"


def as_markdown(made: Table) -> str:
    """A table for readers."""
    made = made.brief()
    lines = [
        f"**{markdown_escaped(made.caption)}**\n",
        _row([head.text for head in made.heads]),
        "|" + "|".join(" ---: " if head.numeric else " --- " for head in made.heads) + "|",
        *(_row([written(item) for item in row]) for row in made.rows),
        *(f"\n{markdown_escaped(text)}" for text in made.below),
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_escaped(c) for c in cells) + " |"
