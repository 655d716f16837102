"""The matrix: Modifications by technologies, the same denominator for all.

Few technologies are columns, the best first; many are rows, in the order of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nnw_onnx.measures.results import Cell, Level, Point, Setting, Tally, Technology
from nnw_onnx.reports import names, words
from nnw_onnx.reports.axes import percent
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.words import Shown

# The sign of a status is also its class in the style sheet; "" has no sign, and a word instead.
SIGNS = {
    "outlives": "ol",
    "survives": "sv",
    "partly": "pa",
    "lost": "lo",
    "noticed": "nt",
    "unnoticed": "nn",
    "undecided": "ud",
    "unusable": "un",
    "undetectable": "nd",
}
MEANINGS = {
    "outlives": "survives all, and outlives the network's usability",
    "survives": "survives every setting that leaves the network usable",
    "partly": "survives up to here, lost at the next Intensity",
    "lost": "lost at the weakest Intensity tested",
    "noticed": "an integrity method: every Intensity is noticed, as it is for",
    "unnoticed": "an integrity method: the change up to here goes unnoticed",
    "undecided": "undecided beyond here",
    "unusable": "no setting surely leaves the network usable: no verdict; found of tested",
    "undetectable": "no network could ever be found: Symbol Error Rate instead",
    "void": "the Modification or the watermark itself is not in: neither survived nor lost",
    "failed": "ended with an error",
    "not run": "no record",
    "n/a": "not applicable: it can do nothing to these networks, or was not asked for",
}
_SAMPLES = {
    "outlives": "0.3",
    "survives": "0.3",
    "partly": "50",
    "lost": "0.1",
    "noticed": "9/9",
    "unnoticed": "0.1",
    "undecided": "≥0.3",
    "unusable": "9/15",
    "undetectable": "SER",
}
_MOST_COLUMNS = 13
"""Columns of a turned matrix beside the names: more of them are further blocks below."""
SUMS = 3
"""Columns of a turned matrix before the Modifications."""
_LOUDNESS = {"negligible": "sv", "not shown": "ud", "noticeable": "lo"}


@dataclass(frozen=True)
class Chip:
    """One Intensity in the strip of a cell."""

    sign: str
    text: str
    below: str
    dead: bool
    title: str


@dataclass(frozen=True)
class Entry:
    """A cell as it is drawn.

    Attributes:
        style: class of the style sheet.
        sign: symbol, or "".
        top: first line.
        below: second line.
        note: number of a reason, or None.
        title: the whole in a sentence.
        said: first line where there is room for words; `under` the second.
        chips: all Intensities, likewise.
    """

    style: str
    sign: str
    top: str
    below: str = ""
    note: int | None = None
    title: str = ""
    said: str = ""
    under: str = ""
    chips: tuple[Chip, ...] = ()


@dataclass(frozen=True)
class Row:
    """A Modification across all technologies."""

    code: str
    label: str
    tested: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Bar:
    """Settings survived of one technology (noticed of an integrity method); the gap is open.

    Attributes:
        words: what good and bad are called.
    """

    survived: int
    lost: int
    open: int
    title: str
    good: str
    bad: str
    bad_from: str
    words: tuple[str, str] = ("survived", "lost")


@dataclass(frozen=True)
class Block:
    """Columns of a turned matrix that stand side by side; the sums are in the first only."""

    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    first: bool

    @property
    def columns(self) -> int:
        """How many there are beside the names."""
        sums = (SUMS if self.groups else 1) if self.first else 0
        return sums + sum(len(rows) for _, rows in self.groups)


@dataclass(frozen=True)
class Matrix:
    """The whole matrix.

    Attributes:
        few: whether cells have room for words.
        turned: whether technologies are rows.
        order: places of the technologies in the plan, as they are shown.
        heads: their names; everything else by technology is in the same order.
        bars: first row.
        loudness: row of imperceptibility.
        alarms: row of false alarms.
        groups: title of a family, with its rows.
        key: (style, sign, sample, meaning) of every status that occurs.
        notes: reasons, numbered from 1.
    """

    few: bool
    turned: bool
    order: tuple[int, ...]
    heads: tuple[Name, ...]
    bars: tuple[Bar, ...]
    loudness: tuple[Entry, ...]
    alarms: tuple[Entry, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    key: tuple[tuple[str, str, str, str], ...]
    notes: tuple[str, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The groups of a turned matrix in as many tables as it takes, at most 13 columns each."""
        made: list[list[tuple[str, tuple[Row, ...]]]] = [[]]
        room = _MOST_COLUMNS - SUMS
        for title, rows in self.groups:
            for start in range(0, len(rows), _MOST_COLUMNS - SUMS):
                piece = rows[start : start + _MOST_COLUMNS - SUMS]
                if len(piece) > room:
                    made.append([])
                    room = _MOST_COLUMNS
                made[-1].append((title, piece))
                room -= len(piece)
        return tuple(Block(tuple(groups), first=i == 0) for i, groups in enumerate(made))


def matrix(report: Report, called: tuple[Name, ...]) -> Matrix:
    """The matrix of a report.

    Args:
        report: what is shown.
        called: short name of each technology, in the order of the plan.
    """
    turned = len(report.technologies) > names.CROWDED
    order = tuple(range(len(report.technologies))) if turned else report.order
    columns = [report.technologies[i] for i in order]
    return Matrix(
        few=len(columns) <= names.FEW,
        turned=turned,
        order=order,
        heads=tuple(called[i] for i in order),
        bars=tuple(_bar(t.tally) for t in columns),
        loudness=tuple(_loudness(t, Shown(report.headline)) for t in columns),
        alarms=tuple(_alarms(t, len(report.networks)) for t in columns),
        groups=tuple(_groups(report, order)),
        key=tuple(_key(report)),
        notes=report.notes,
    )


def sign(status: str) -> str:
    """The symbol of a status, or "" for those that are told in a word."""
    return SIGNS.get(status, "")


def _groups(report: Report, order: tuple[int, ...]) -> Iterator[tuple[str, tuple[Row, ...]]]:
    for family, title in names.FAMILIES.items():
        rows = [s for s in (report.settings[i] for i in report.rows) if s.family == family]
        if rows:
            yield title, tuple(_row(report, order, setting) for setting in rows)


def _row(report: Report, order: tuple[int, ...], setting: Setting) -> Row:
    tested = " ".join(names.marked(level, setting) for level in setting.levels)
    return Row(
        setting.code,
        setting.label,
        f"{tested} {names.unit_of(setting)}".strip(),
        tuple(_entry(report, report.cell(t, setting.index)) for t in order),
    )


def _entry(report: Report, cell: Cell) -> Entry:
    setting, technology = report.settings[cell.setting], report.technologies[cell.technology]
    head = f"{technology.label} · {setting.label}"
    reason = report.notes[cell.note - 1] if cell.note else ""
    if cell.level is None:
        title = f"{head}: {cell.status}. {reason}"
        return Entry("no", "", cell.status, "", cell.note, title, cell.status, reason)
    level = setting.levels[cell.level]
    points = report.points_of(cell.technology, cell.setting)
    shown, point = Shown(report.headline), points[cell.level]
    where = names.intensity(level, setting)
    return Entry(
        style="no" if cell.status == "undetectable" else SIGNS[cell.status],
        sign=SIGNS[cell.status],
        top=_top(cell, setting, point),
        below=_below(cell.status, point, shown),
        note=cell.note,
        title=f"{head} {where}: {_found(point)}{_losing(point, shown)}",
        said=_said(cell, setting, point),
        under=_under(point, shown, where),
        chips=tuple(
            _chip(x, p, setting, shown) for x, p in zip(setting.levels, points, strict=True)
        )
        if len(points) > 1
        else (),
    )


def _under(point: Point, shown: Shown, where: str) -> str:
    """Loss beside the quality that is left, where there is room for words."""
    if point.loss.value is None:
        return ""
    at = f" at {where}" if where else ""
    left = "" if point.quality.value is None else f", {shown.value(point.quality.value)} left"
    return f"loss {shown.loss(point.loss.value)}{at}{left}"


def _found(point: Point) -> str:
    """The count, and down to where it is known of other networks."""
    if point.noticed is not None and point.setting is not None:
        return f"{point.noticed} of {point.tested} noticed"
    low = point.found_rate.low if point.found else None
    least = "" if low is None else f" (at least {words.percent(low, 0)} with 95 % confidence)"
    return f"{point.found} of {point.tested} found{least}"


def _losing(point: Point, shown: Shown) -> str:
    """Loss and the quality that is left."""
    if point.loss.value is None:
        return ""
    left = "" if point.quality.value is None else f", quality {shown.value(point.quality.value)}"
    return f", loss {shown.loss(point.loss.value)} {shown.unit}".rstrip() + left


def _top(cell: Cell, setting: Setting, point: Point) -> str:
    level = setting.levels[cell.level or 0]
    if cell.status == "undetectable":
        return "SER" if point.ser.value is not None else words.DASH
    if cell.status == "unusable":
        return f"{point.found}/{point.tested}"
    if cell.status == "noticed":
        return f"{point.noticed}/{point.tested}"
    text = names.marked(level, setting)
    if cell.status == "undecided":
        return f"≥{text}" if cell.survived is not None and text else text
    return text or ("lost" if cell.status == "lost" else "kept") + ("†" if level.outside else "")


def _below(status: str, point: Point, shown: Shown) -> str:
    if status == "undetectable":
        return "" if point.ser.value is None else words.percent(point.ser.value, 0)
    return shown.loss(point.loss.value)


def _said(cell: Cell, setting: Setting, point: Point) -> str:
    where = names.intensity(setting.levels[cell.level or 0], setting)
    at, to = (f" at {where}", f" to {where}") if where else ("", "")
    several = len(setting.levels) > 1
    rate = point.ser.value
    kept = cell.survived is not None
    said = {
        "outlives": "outlives the network",
        "survives": "survives all" if several else f"survives{at}",
        "partly": f"survives{to}",
        "lost": f"lost{at}",
        "noticed": "noticed at all" if several else f"noticed{at}",
        "unnoticed": f"unnoticed{at}",
        "undecided": f"≥{where}, then undecided" if kept and where else f"undecided{at}",
        "unusable": "no usable network",
        "undetectable": "never found"
        + (f", SER {words.percent(rate, 0)}" if rate is not None else ""),
    }
    return said[cell.status]


def _chip(level: Level, point: Point, setting: Setting, shown: Shown) -> Chip:
    below = _below(point.status, point, shown)
    title = f"{_found(point)}{_losing(point, shown)}"
    text = names.marked(level, setting)
    dead = level.usability in ("unusable", "undecided")
    return Chip(SIGNS.get(point.status, "un"), text, below, dead, title)


def _bar(tally: Tally) -> Bar:
    whole = max(1, tally.usable)
    told = tally.noticed + tally.unnoticed > 0
    good, bad = (tally.noticed, tally.unnoticed) if told else (tally.survived, tally.lost)
    names_of = ("noticed", "unnoticed") if told else ("survived", "lost")
    title = (
        f"{good} {names_of[0]}, {bad} {names_of[1]}, {tally.undecided} undecided, "
        f"{tally.without_result} without result"
    )
    return Bar(
        good,
        bad,
        tally.undecided + tally.without_result,
        title,
        percent(good / whole),
        percent(bad / whole),
        percent(1 - bad / whole),
        names_of,
    )


def _loudness(technology: Technology, shown: Shown) -> Entry:
    found = technology.imperceptibility
    if found.loss.value is None or found.verdict == "not measured":
        word = "not measured" if technology.imperceptibility_asked else "not asked"
        return Entry("no", "", word, title=f"{technology.label}: {found.loss.reason or word}")
    style = _LOUDNESS[found.verdict]
    text = shown.loss(found.loss.value, more=1)
    scope = f"{found.verdict} for {found.scope}"
    return Entry(style, style, text, found.verdict, title=f"{technology.label}: {scope}")


def _alarms(technology: Technology, networks: int) -> Entry:
    if technology.alarms is None:
        reason = technology.detectability.reason or "calibrated on these networks"
        return Entry("no", "", "n/a", title=f"{technology.label}: {reason}")
    style = "lo" if technology.alarms else "sv"
    title = f"{technology.label}: found in {len(technology.alarms)} of {networks} without it"
    return Entry(style, style, f"{len(technology.alarms)}/{networks}", title=title)


def _key(report: Report) -> Iterator[tuple[str, str, str, str]]:
    met = {cell.status for cell in report.cells}
    for status, meaning in MEANINGS.items():
        if status in met:
            style = "no" if status == "undetectable" else SIGNS.get(status, "no")
            yield style, sign(status), _SAMPLES.get(status, status), meaning
