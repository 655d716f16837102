"""The tables of robustness on the page: one a Modification, Intensities across."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nnw_onnx.measures.results import Level, Point, Setting
from nnw_onnx.reports import columns, names
from nnw_onnx.reports.columns import Column
from nnw_onnx.reports.forms import Item
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.words import fixed, percent

_KEYS = ("found", "fp_ratio", "ser", "bit_errors", "log10_p", "quality", "loss")
_WIDE = 4
"""From so many Intensities on, limits stand below their number in print."""


@dataclass(frozen=True)
class GridRow:
    """One technology: (number, limits) for each column of each Intensity, or why there is none."""

    name: Name
    items: tuple[tuple[str, str], ...]
    why: str


@dataclass(frozen=True)
class Grid:
    """The table of one Modification."""

    code: str
    caption: str
    levels: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[GridRow, ...]
    wide: bool


def grids(report: Report, called: tuple[Name, ...]) -> tuple[Grid, ...]:
    """A table for each Modification, in the order of the matrix.

    Args:
        report: what is shown.
        called: short name of each technology, in the order of the plan.
    """
    shown = [c for c in columns.ROBUSTNESS if c.key in _KEYS and _needed(report, c)]
    return tuple(_grid(report, report.settings[i], called, shown) for i in report.rows)


def _needed(report: Report, column: Column[Point]) -> bool:
    """Bits only where there is a code; evidence only where nobody reads Symbols."""
    if column.key == "bit_errors":
        return any(t.record.code is not None or t.record.alphabet > 2 for t in report.technologies)
    if column.key == "log10_p":
        return not any(t.record.decodes for t in report.technologies)
    if column.key == "ser":
        return any(t.record.decodes for t in report.technologies)
    return True


def _grid(
    report: Report, setting: Setting, called: tuple[Name, ...], shown: list[Column[Point]]
) -> Grid:
    heads = [
        (names.marked(level, setting) or "once")
        + (f" {unit}" if (unit := names.unit_of(setting)) and level.intensity is not None else "")
        + _left_of(level)
        for level in setting.levels
    ]
    return Grid(
        code=setting.code,
        caption=setting.label,
        levels=tuple(heads),
        heads=tuple("found" if c.key == "found" else c.short for c in shown),
        rows=tuple(_row(report, setting, i, called[i], shown) for i in report.order),
        wide=len(setting.levels) >= _WIDE,
    )


def _left_of(level: Level) -> str:
    """What a level leaves of the networks, where it does not count for everybody."""
    if level.usability == "differs":
        return ", usable for some"
    return "" if level.counts else f", {level.usability}"


def _row(
    report: Report, setting: Setting, technology: int, name: Name, shown: list[Column[Point]]
) -> GridRow:
    points = report.points_of(technology, setting.index)
    if not any(p.tested for p in points):
        reasons = dict.fromkeys(f"{p.status}: {p.reason}" if p.reason else p.status for p in points)
        return GridRow(name, (), "; ".join(reasons))
    return GridRow(name, tuple(_items(report, points, shown)), "")


def _items(
    report: Report, points: tuple[Point, ...], shown: list[Column[Point]]
) -> Iterator[tuple[str, str]]:
    for point in points:
        for column in shown:
            item = Item(column.get(point), column.form, report.headline)
            match column.key:
                case "found" if point.noticed is not None:
                    yield f"{point.noticed}/{point.tested}", "noticed"
                case "found":
                    yield f"{point.found}/{point.tested}", _least(point)
                case "fp_ratio":
                    yield fixed(point.fp_ratio.events, 0 if _whole(point) else 1), ""
                case "loss":
                    yield item.text, item.between
                case _:
                    yield item.text, ""


def _least(point: Point) -> str:
    """Down to where the share found is known of other networks."""
    low = point.found_rate.low if point.found else None
    return "" if low is None else f"≥ {percent(low, 0)}"


def _whole(point: Point) -> bool:
    return float(point.fp_ratio.events).is_integer()
