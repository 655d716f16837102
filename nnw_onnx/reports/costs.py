"""Computational Cost as dot plots: one axis for each quantity, the number beside each dot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nnw_onnx.measures.results import Cost, Technology, Value
from nnw_onnx.reports import columns, words
from nnw_onnx.reports.axes import Linear, Log, percent, rounded_up
from nnw_onnx.reports.columns import Column, Form
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.words import DASH

_SHOWN = {
    "injection": "one injection",
    "batch": "ring: without a watermark",
    "epochs": "",
    "detection": "one network",
    "decoding": "one network",
    "memory": "above the baseline",
    "inference_ratio": "run in turn",
}


@dataclass(frozen=True)
class Dot:
    """A number on its axis: places in percent ("" where there is none)."""

    text: str
    at: str = ""
    left: str = ""
    right: str = ""
    ring: str = ""
    title: str = ""


@dataclass(frozen=True)
class CostColumn:
    """One quantity: heading, what it is of, its axis in words, and grid lines (place, class)."""

    title: str
    note: str
    axis: str
    grid: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Costs:
    """The table of dot plots; rows hold one Dot a column."""

    columns: tuple[CostColumn, ...]
    rows: tuple[tuple[Name, tuple[Dot, ...]], ...]


def costs(report: Report, called: tuple[Name, ...]) -> Costs | None:
    """The costs of all technologies, or None where none was measured.

    Args:
        report: what is shown.
        called: short name of each technology, in the order of the plan.
    """
    across = [report.technologies[i] for i in report.order]
    drawn = [
        (column, axis)
        for column in columns.COST
        if column.key in _SHOWN and (axis := _axis(column, across)) is not None
    ]
    if not drawn:
        return None
    return Costs(
        tuple(_column(column, axis) for column, axis in drawn),
        tuple((called[t.index], tuple(_dot(c, a, t) for c, a in drawn)) for t in across),
    )


def _value(column: Column[Cost], technology: Technology) -> Value:
    entry = column.get(technology.cost)
    return entry if isinstance(entry, Value) else Value.missing("not measured")


def _axis(column: Column[Cost], across: list[Technology]) -> Linear | Log | None:
    values = [v.value for v in (_value(column, t) for t in across) if v.value is not None]
    if not values:
        return None
    if column.form is Form.RATIO:
        reach = max(0.1, min(1.0, rounded_up(max(*(abs(v - 1) for v in values), 0.01))))
        return Linear(1 - reach, 1 + reach)
    if column.form is Form.NUMBER:
        return Linear(0, rounded_up(max(*values, 1)))
    positive = [v for v in values if v > 0]
    return Log.around(positive) if positive else None


def _column(column: Column[Cost], axis: Linear | Log) -> CostColumn:
    if isinstance(axis, Log):
        form = words.size if column.form is Form.BYTES else words.seconds
        grid = tuple((percent(tick), "") for tick in axis.ticks())
        ends = f"{form(10.0**axis.low, 1)} to {form(10.0**axis.high, 1)}"
    else:
        zero = 1.0 if column.form is Form.RATIO else axis.low
        grid = ((percent(axis.at(zero)), "zero"),)
        ends = f"{words.number(axis.low)} to {words.number(axis.high)}"
    return CostColumn(column.heading, _SHOWN[column.key], f"axis {ends}", grid)


def _form(column: Column[Cost]) -> Callable[[float], str]:
    forms: dict[Form, Callable[[float], str]] = {
        Form.SECONDS: words.seconds,
        Form.BYTES: words.memory,
        Form.RATIO: lambda x: words.fixed(x, 2),
    }
    return forms.get(column.form, words.number)


def _dot(column: Column[Cost], axis: Linear | Log, technology: Technology) -> Dot:
    value, form = _value(column, technology), _form(column)
    if value.value is None:
        return Dot(_absent(column, technology), title=value.reason or "")
    plain = technology.cost.batch_plain.value if column.key == "batch" else None
    place = _place(axis, value.value)
    limits = value.limits if column.form is Form.RATIO else None
    between = f"{form(value.limits[0])} to {form(value.limits[1])}" if value.limits else ""
    left, right = (_place(axis, v) for v in limits) if limits else ("", "")
    ring = "" if plain is None else _place(axis, plain)
    return Dot(form(value.value), place, left, right, ring, between or (value.reason or ""))


def _absent(column: Column[Cost], technology: Technology) -> str:
    if column.key == "injection" and technology.trained:
        return "by training →"
    return "never in" if column.key == "epochs" and technology.cost.never_in else DASH


def _place(axis: Linear | Log, value: float) -> str:
    if isinstance(axis, Log) and value <= 0:
        return "0%"
    return percent(axis.at(value)) if math.isfinite(value) else ""
