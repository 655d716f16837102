"""Imperceptibility as a forest plot: one row a technology, the margin as a band."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnw_onnx.measures.results import Technology
from nnw_onnx.reports import words
from nnw_onnx.reports.axes import Linear, percent
from nnw_onnx.reports.matrix import sign
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.words import DASH, Shown

_WIDEST = 8
"""Margins that the axis has at most on each side; what is beyond has an arrow at the edge."""
_SIGNS = {"negligible": "survives", "not shown": "undecided", "noticeable": "lost"}


@dataclass(frozen=True)
class Tick:
    """A line across all rows: its place, what it says (or ""), and its class."""

    at: str
    text: str
    style: str = ""


@dataclass(frozen=True)
class LossRow:
    """One technology; places are percentages of the width.

    Attributes:
        name: short name.
        quality: without and with, in words.
        loss: with its limits, in words.
        verdict: at the margin, with its `sign`.
        dot: place of the mean, or "".
        left: place of the lower limit, or "" where there are none.
        right: of the upper one.
        beyond: "left" or "right" where the mean lies beyond the axis.
        pairs: places of single networks.
        style: class of bar and dot.
        why: what it is compared with, or why there is no number.
    """

    name: Name
    quality: str
    loss: str
    verdict: str
    sign: str
    dot: str
    left: str
    right: str
    beyond: str
    pairs: tuple[str, ...]
    style: str
    why: str


@dataclass(frozen=True)
class Forest:
    """The plot of a measure: ticks, margin and rows."""

    ticks: tuple[Tick, ...]
    band: tuple[str, str]
    rows: tuple[LossRow, ...]


def forest(report: Report, called: tuple[Name, ...]) -> Forest | None:
    """Losses of the headline measure, or None where none was asked for.

    Args:
        report: what is shown.
        called: short name of each technology, in the order of the plan.
    """
    shown = Shown(report.headline)
    asked = [t for t in (report.technologies[i] for i in report.order) if t.imperceptibility_asked]
    if not asked:
        return None
    margin = shown.factor * report.headline.negligible
    axis = _axis(asked, shown, margin)
    step = margin if axis.high - axis.low <= 8 * margin else 2 * margin
    return Forest(
        ticks=tuple(_ticks(axis, margin, step)),
        band=(percent(axis.at(-margin)), percent(axis.at(margin) - axis.at(-margin))),
        rows=tuple(_row(t, called[t.index], shown, axis) for t in asked),
    )


def _axis(asked: list[Technology], shown: Shown, margin: float) -> Linear:
    """Whole margins around everything, two on each side at least and not more than some."""
    ends = [
        min(_WIDEST, max(-_WIDEST, shown.factor * value / margin))
        for t in asked
        for value in (*(t.imperceptibility.loss.limits or ()), t.imperceptibility.loss.value)
        if value is not None
    ]
    low, high = math.floor(min([-2, *ends])), math.ceil(max([2, *ends]))
    return Linear(margin * low, margin * high)


def _ticks(axis: Linear, margin: float, step: float) -> list[Tick]:
    count = math.floor(axis.high / step + 1e-9)
    first = math.ceil(axis.low / step - 1e-9)
    values = {step * k: words.number(step * k) for k in range(first, count + 1)}
    values |= {edge: words.number(edge) for edge in (-margin, margin)}
    return [
        Tick(percent(axis.at(value)), text, "zero" if not value else _edge(value, margin))
        for value, text in sorted(values.items())
    ]


def _edge(value: float, margin: float) -> str:
    return "edge" if math.isclose(abs(value), margin) else ""


def _row(technology: Technology, name: Name, shown: Shown, axis: Linear) -> LossRow:
    found = technology.imperceptibility
    against = "the twin, the same training without a watermark"
    why = f"beside {against if found.reference == 'twin' else 'the network it was put into'}"
    loss = found.loss
    if loss.value is None:
        return LossRow(
            name, DASH, DASH, "not measured", "", "", "", "", "", (), "", loss.reason or why
        )
    value, limits = shown.factor * loss.value, loss.limits
    between = f" [{' to '.join(shown.loss(v, more=1) for v in limits)}]" if limits else ""
    low, high = (percent(axis.at(shown.factor * v)) for v in limits) if limits else ("", "")
    return LossRow(
        name=name,
        quality=_quality(technology, shown),
        loss=shown.loss(loss.value, more=1) + between,
        verdict=found.verdict,
        sign=sign(_SIGNS.get(found.verdict, "")),
        dot=percent(axis.at(value)),
        left=low,
        right=high,
        beyond="" if axis.holds(value) else "right" if value > 0 else "left",
        pairs=tuple(
            dict.fromkeys(percent(axis.at(shown.factor * pair.loss)) for pair in found.pairs)
        ),
        style={"noticeable": "bad", "not shown": "open"}.get(found.verdict, ""),
        why=f"{found.verdict} for {found.scope}, {why}",
    )


def _quality(technology: Technology, shown: Shown) -> str:
    before = technology.imperceptibility.before.value
    after = technology.imperceptibility.after.value
    if before is None or after is None:
        return DASH
    return f"{shown.value(before, unit=False)} → {shown.value(after)}"
