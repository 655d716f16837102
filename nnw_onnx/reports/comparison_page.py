"""A comparison as one self-contained page, in the form of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnw_onnx.measures.compared import ClaimResult, Comparison, Group, Standing
from nnw_onnx.measures.results import Value
from nnw_onnx.reports import comparison, words
from nnw_onnx.reports.axes import Linear, percent
from nnw_onnx.reports.comparison_limits import limits_line, limits_table
from nnw_onnx.reports.comparison_tables import grid, label_of, places, tables, turned
from nnw_onnx.reports.forms import Table
from nnw_onnx.reports.losses import Tick
from nnw_onnx.reports.templating import templates
from nnw_onnx.reports.words import DASH, Shown
from nnw_onnx.version import __version__

_MOST_ROWS = 66
"""Claims of a group that are drawn; more are in the tables."""
_MOST_SETTINGS = 8
"""Columns of a grid of many technologies; more settings are further tables below."""
_VERDICTS = {
    "first": "first is better",
    "second": "second is better",
    "equivalent": "equivalent",
    "tied": "tied",
    "not comparable": "not comparable",
}
_SIGNS = {"first": "sv", "second": "sv", "equivalent": "nt", "tied": "ud", "not comparable": "nd"}


@dataclass(frozen=True)
class PlotRow:
    """One row of a figure; places are percentages of the width.

    Attributes:
        name: what it is about.
        text: the number in words.
        limits: its limits in words.
        verdict: what follows, with its `sign`.
        sign: of the verdict.
        dot: place of the number, or "".
        left: place of the lower limit, or "".
        right: of the upper one.
        ones: places of single networks.
        style: class of bar and dot.
        why: a title.
    """

    name: str
    text: str
    limits: str
    verdict: str
    sign: str
    dot: str
    left: str
    right: str
    ones: tuple[str, ...]
    style: str = ""
    why: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure: its axis, the band of no importance (or none), and rows."""

    ticks: tuple[Tick, ...]
    band: tuple[str, str] | None
    rows: tuple[PlotRow, ...]


@dataclass(frozen=True)
class Part:
    """What the page has of a group."""

    title: str
    told: tuple[str, ...]
    standings: Plot
    limits: Table
    claims: Plot | None
    grids: tuple[Table, ...]
    left_out: tuple[str, ...]


def page(found: Comparison) -> str:
    """The page of a comparison."""
    parts = [
        Part(
            title=group.title,
            told=(*comparison.verdicts(found, group), *filter(None, [limits_line(found, group)])),
            standings=_standings(found, group),
            limits=limits_table(found, group),
            claims=_claims(found, group),
            grids=_grids(found, group),
            left_out=group.left_out,
        )
        for group in found.groups
    ]
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(
            found=found,
            version=__version__,
            lead=comparison.lead(found),
            strength=comparison.strength(found),
            unranked=comparison.unranked(found),
            parts=parts,
            tables=[t for t in tables(found) if t.name != "attacks"],
            margin=words.number(100 * found.equivalence),
            symbol_margin=words.number(100 * found.symbol_equivalence),
            usable=Shown(found.measure).usable(),
        )
    )


def _grids(found: Comparison, group: Group) -> tuple[Table, ...]:
    """Setting by setting, in as many tables as the settings take where they are columns."""
    made = grid(found, group)
    if not made.rows:
        return ()
    return made.parts(_MOST_SETTINGS) if turned(group) else (made,)


def _standings(found: Comparison, group: Group) -> Plot:
    axis = Linear(0.0, 100.0)
    ticks = tuple(
        Tick(percent(axis.at(v)), f"{v:g}", "" if v else "zero") for v in range(0, 101, 20)
    )
    return Plot(ticks, None, tuple(_standing(found, s, axis) for s in group.standings))


def _standing(found: Comparison, standing: Standing, axis: Linear) -> PlotRow:
    rank = standing.rank
    between = " [{} to {}]".format(*map(words.number, rank.limits)) if rank.limits else ""
    mean = rank.reason if rank.value is None else f"mean rank {words.number(rank.value)}{between}"
    return _row(
        label_of(found, standing.contestant),
        standing.score,
        axis,
        verdict=places(standing) if standing.best is None else f"place {places(standing)}",
        sign="",
        why=mean or "",
    )


def _claims(found: Comparison, group: Group) -> Plot | None:
    if len(group.results) > _MOST_ROWS:
        return None
    values = [
        abs(100 * x)
        for r in group.results
        for x in (r.difference.value, r.difference.low, r.difference.high)
        if x is not None
    ]
    step = _step(max([5.0, *values]))
    end = step * math.ceil(max([5.0, *values]) / step)
    axis = Linear(-end, end)
    count = round(end / step)
    ticks = tuple(
        Tick(percent(axis.at(step * k)), words.number(step * k), "" if k else "zero")
        for k in range(-count, count + 1)
    )
    low = axis.at(-100 * found.equivalence)
    band = (percent(low), percent(axis.at(100 * found.equivalence) - low))
    return Plot(ticks, band, tuple(_claim(found, r, axis) for r in group.results))


def _step(largest: float) -> float:
    return next(s for s in (5.0, 10.0, 25.0, 50.0) if largest <= 3 * s or s == 50.0)


def _claim(found: Comparison, result: ClaimResult, axis: Linear) -> PlotRow:
    claim = result.claim
    name = f"{label_of(found, claim.first)} − {label_of(found, claim.second)}"
    if claim.setting is not None:
        name += f", {found.settings[claim.setting].label}"
    verdict = _VERDICTS[result.verdict]
    if result.verdict != "not comparable":
        verdict += f", p {words.number(result.adjusted)}"
    style = {"tied": "open", "not comparable": "open"}.get(result.verdict, "")
    return _row(
        name,
        result.difference,
        axis,
        verdict=verdict,
        sign=_SIGNS[result.verdict],
        style=style,
        why=result.reason or "",
    )


def _row(
    name: str,
    value: Value,
    axis: Linear,
    *,
    verdict: str,
    sign: str,
    style: str = "",
    why: str = "",
) -> PlotRow:
    if value.value is None:
        return PlotRow(name, DASH, "", verdict, sign, "", "", "", (), style, value.reason or why)
    low, high = value.limits or (None, None)

    def at(share: float) -> str:
        return percent(axis.at(100 * share))

    between = "" if low is None or high is None else f"{_points([low])} to {_points([high])}"
    return PlotRow(
        name=name,
        text=_points([value.value]),
        limits=f"[{between}]" if between else "",
        verdict=verdict,
        sign=sign,
        dot=at(value.value),
        left="" if low is None else at(low),
        right="" if high is None else at(high),
        ones=tuple(dict.fromkeys(at(x) for x in value.individual)),
        style=style,
        why=why,
    )


def _points(values: Sequence[float]) -> str:
    return words.fixed(100 * values[0], 1)
