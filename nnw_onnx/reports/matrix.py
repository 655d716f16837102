"""The matrix: Modifications by technologies, by family, each family with the least that is found.

Few technologies are columns, the best first; many are rows, in the order of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnw_onnx.measures.results import (
    Cell,
    Level,
    Point,
    Resistance,
    Setting,
    Tally,
    Technology,
    Weakest,
)
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
    """A Modification across all technologies, or what a family of them comes to.

    Attributes:
        code: of the Modification; "" of a family.
        label: its name; of a family "Robustness".
        tested: its Intensities.
        entries: one a technology.
        key: for machines.
    """

    code: str
    label: str
    tested: str
    entries: tuple[Entry, ...]
    key: str = ""

    @property
    def is_sum(self) -> bool:
        """Whether it is what a family comes to."""
        return not self.code


@dataclass(frozen=True)
class Bar:
    """Settings survived of one technology (noticed of an integrity method); the gap is open.

    Attributes:
        of: settings that count for it.
        least: least share found in any of them; "" where nothing is found or lost.
        where: the setting in which that is.
        again: the same two numbers re-synchronised; "" where that changes nothing.
        ranked: whether it was attacked by somebody who knows the method.
        words: what good and bad are called.
    """

    survived: int
    lost: int
    open: int
    of: int
    least: str
    where: str
    again: str
    ranked: bool
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
        bars=tuple(_bar(report, t) for t in columns),
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
        own = [s for s in (report.settings[i] for i in report.rows) if s.family == family]
        rows = [_row(report, order, setting) for setting in own]
        if family in {f.family for t in report.technologies for f in t.families}:
            rows = [*_sums(report, order, family, title), *rows]
        if rows:
            yield title, tuple(rows)


def _sums(report: Report, order: tuple[int, ...], family: str, title: str) -> Iterator[Row]:
    """What a family comes to, and once more re-synchronised where that is something else."""
    found = [
        next((f for f in report.technologies[i].families if f.family == family), None)
        for i in order
    ]
    plain = [None if f is None else f.plain for f in found]
    again = [None if f is None else f.resynchronised or f.plain for f in found]
    tried = any(f is not None and f.resynchronised for f in found)
    same = tried and plain == again
    tested = "least share found; settings survived" + ("; re-synchronised the same" * same)
    yield _sum_row(report, order, plain, ("Robustness", title, tested, family))
    if tried and not same:
        key = f"{family}_resynchronised"
        tested = "channels put back in order before claims are heard"
        yield _sum_row(report, order, again, ("Re-synchronised", title, tested, key))


def _sum_row(
    report: Report,
    order: tuple[int, ...],
    found: Sequence[Resistance | None],
    called: tuple[str, str, str, str],
) -> Row:
    """A row from its label, the title of the family, what stands below the label, and its key."""
    label, title, tested, key = called
    entries = (_sum(report, i, f, f"{label}, {title}") for i, f in zip(order, found, strict=True))
    return Row("", label, tested, tuple(entries), key)


def _sum(report: Report, technology: int, found: Resistance | None, title: str) -> Entry:
    label = report.technologies[technology].label
    if found is None:
        none = "not tried"
        return Entry("no", "", none, title=f"{label} · {title}: {none}", said=none)
    tally, weakest = found.tally, found.weakest
    if weakest is None:
        word = "no verdict" if tally.usable else "none surely usable"
        if tally.noticed + tally.unnoticed:
            word = f"{tally.noticed} of {tally.usable} noticed"
        return Entry("no", "", word, title=f"{label} · {title}: {word}", said=word)
    least, where = words.percent(weakest.found, 0), spot(report, weakest)
    counted = f"{tally.survived} of {tally.usable} survived"
    style = _style(tally)
    return Entry(
        style=style,
        sign=style,
        top=least,
        below=f"{tally.survived}/{tally.usable}",
        title=f"{label} · {title}: least found {least} under {where}; {counted}",
        said=f"least found {least}",
        under=f"{counted}; least under {where}" if tally.survived < tally.usable else counted,
    )


def _style(tally: Tally) -> str:
    if tally.lost:
        return "pa" if tally.survived else "lo"
    return "sv" if tally.survived == tally.usable else "ud"


def spot(report: Report, found: Weakest) -> str:
    """The setting in which least is found, with its Intensity."""
    setting = report.settings[found.setting]
    at = names.intensity(setting.levels[found.level], setting)
    return f"{setting.label} {at}".rstrip()


def _row(report: Report, order: tuple[int, ...], setting: Setting) -> Row:
    tested = " ".join(names.marked(level, setting) for level in setting.levels)
    return Row(
        setting.code,
        setting.label,
        f"{tested} {names.unit_of(setting)}".strip(),
        tuple(_entry(report, report.cell(t, setting.index)) for t in order),
    )


def _entry(report: Report, cell: Cell) -> Entry:
    setting = report.settings[cell.setting].of(cell.technology)
    technology = report.technologies[cell.technology]
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
        under=_under(point, shown, where) + _again(report, cell),
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


def _again(report: Report, cell: Cell) -> str:
    """The least that is found once networks are put back in order, where that is something else."""
    levels = report.settings[cell.setting].of(cell.technology).levels
    points = report.points_of(cell.technology, cell.setting)
    again = report.again(cell.technology, cell.setting)
    both = [
        (points[row.level], row.point)
        for row in again
        if row.point.tested and levels[row.level].counts
    ]
    if all(plain.found == put_back.found for plain, put_back in both):
        return ""
    least = min((put_back for _, put_back in both), key=lambda p: p.found / p.tested)
    return f"; re-synchronised {least.found}/{least.tested} found"


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


def _put_back(technology: Technology) -> str:
    found = technology.whole_resynchronised
    if found is None or found.weakest is None or found == technology.whole:
        return ""
    least = words.percent(found.weakest.found, 0)
    return f"{found.tally.survived} survived, least found {least}"


def _bar(report: Report, technology: Technology) -> Bar:
    tally, whole_of = technology.tally, technology.whole
    weakest = None if whole_of is None else whole_of.weakest
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
        tally.usable,
        "" if weakest is None else words.percent(weakest.found, 0),
        "" if weakest is None else spot(report, weakest),
        _put_back(technology),
        technology.attacked or told,
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
