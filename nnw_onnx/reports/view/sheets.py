"""A run as its page shows it: matrix, every level of every cell, the facts of each technology."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnw_onnx.measures.results import Level, Point, Setting, Technology
from nnw_onnx.reports import columns, names, sentences, words
from nnw_onnx.reports.columns import Column, Form, Of
from nnw_onnx.reports.forms import Item, headed
from nnw_onnx.reports.matrix import Entry, Matrix, Row, matrix
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.view.entries import bar, cell
from nnw_onnx.reports.view.opening import Opened
from nnw_onnx.vocabulary import Json

QUANTITIES = ("found_rate", "ser", "log10_p", "quality", "loss", "false_alarm_rate")
"""Columns of robustness that the matrix can show instead of verdicts."""
_HIDDEN = frozenset({"technology", "method"})


def sheet(opened: Opened) -> dict[str, Json]:
    """All of a run but its records."""
    report = opened.report
    called = names.technology_names(report)
    drawn = matrix(report, called)
    return {
        "title": report.title,
        "lead": sentences.lead(report),
        "base": [list(found) for found in sentences.base(report)],
        "usable": sentences.usable(report),
        "verdicts": [[v.subject, v.text] for v in sentences.verdicts(report, called)],
        "warnings": [[n.name, n.text] for n in report.notices],
        "about": [list(pair) for pair in _about(report)],
        "families": [[key, title] for key, title in names.FAMILIES.items()],
        "key": [list(line) for line in drawn.key],
        "levels": _heads(columns.ROBUSTNESS, report),
        "quantities": _quantities(report),
        "settings": [_setting(report.settings[i], drawn) for i in report.rows],
        "order": list(report.order),
        "technologies": [_technology(report, drawn, i) for i in range(len(report.technologies))],
    }


def _about(report: Report) -> Iterator[tuple[str, str]]:
    """What was evaluated; without the seed, from which keys follow, and without the machine."""
    data = report.dataset
    shapes = "; ".join(f"{k} {' × '.join(map(str, v))}" for k, v in data.shapes.items())
    yield "Networks", words.listed([n.name for n in report.networks], 12)
    yield (
        "Data set",
        f"{data.plugin.name}, {data.split} split, {data.entries:,} samples of {shapes}",
    )
    yield "Payloads", f"{report.payloads} for each network"
    yield "Workflows", ", ".join(f"{w} ({words.WORKFLOWS[w]})" for w in report.workflows)
    yield "False-positive rate", words.number(report.false_positive_rate)
    if report.left_out:
        left = [f"{one.label} ({one.preset}): {one.reason}" for one in report.left_out]
        yield "Left out", words.listed(left, 6, "; ")
    yield "nnw-onnx", report.reproducibility.package_version


def _heads(shown: Sequence[Column[Of]], report: Report) -> list[Json]:
    return [[c.key, headed(c, report.headline), c.form is not Form.WORDS] for c in shown]


def _quantities(report: Report) -> list[Json]:
    """Key and heading of what the matrix can show, where there is a number of it."""
    made: list[Json] = []
    for column in columns.ROBUSTNESS:
        if column.key in QUANTITIES and any(
            _item(column, p, report).plain is not None for p in report.points
        ):
            made.append([column.key, headed(column, report.headline)])
    return made


def _setting(setting: Setting, drawn: Matrix) -> dict[str, Json]:
    row = _row(setting, drawn)
    return {
        "index": setting.index,
        "code": setting.code,
        "label": setting.label,
        "family": setting.family,
        "tested": row.tested,
        "steps": [step.summary for step in setting.steps],
    }


def _row(setting: Setting, drawn: Matrix) -> Row:
    return next(row for _, rows in drawn.groups for row in rows if row.code == setting.code)


def _technology(report: Report, drawn: Matrix, index: int) -> dict[str, Json]:
    technology = report.technologies[index]
    column = drawn.order.index(index)
    return {
        "name": drawn.heads[column].row,
        "full": technology.label,
        "method": technology.record.method.name,
        "survived": bar(drawn, column),
        "loss": cell(drawn.loudness[column]),
        "alarms": cell(drawn.alarms[column]),
        "facts": _facts(report, technology),
        "unmodified": _levels(report, [(None, technology.unmodified)], None),
        "cells": {
            str(setting.index): _cell(report, index, setting, drawn, column)
            for setting in report.settings
        },
    }


def _cell(
    report: Report, technology: int, setting: Setting, drawn: Matrix, column: int
) -> dict[str, Json]:
    made = _row(setting, drawn).entries[column]
    own = setting.of(technology)
    points = report.points_of(technology, setting.index)
    return {
        **cell(made),
        "said": made.said,
        "under": made.under,
        "reason": _reason(report, made),
        "chips": [[c.sign, c.text, c.below, c.dead, c.title] for c in made.chips],
        "levels": _levels(report, list(zip(own.levels, points, strict=True)), own),
    }


def _reason(report: Report, made: Entry) -> str:
    return report.notes[made.note - 1] if made.note else ""


def _levels(
    report: Report, found: Sequence[tuple[Level | None, Point]], setting: Setting | None
) -> list[Json]:
    """By Intensity: what it is called, whether networks are usable at it, and every quantity."""
    return [
        {
            "at": names.intensity(level, setting) if level and setting else "",
            "usability": level.usability if level else "",
            "items": [_written(_item(c, point, report)) for c in columns.ROBUSTNESS],
        }
        for level, point in found
    ]


def _facts(report: Report, technology: Technology) -> list[Json]:
    """What is known of a technology whatever the Modification, by title."""
    hidden = technology.imperceptibility if technology.imperceptibility_asked else None
    sources = (
        _section("Technology", columns.TECHNOLOGIES, technology, report),
        _section("Imperceptibility", columns.IMPERCEPTIBILITY, hidden, report),
        _section("Visibility without the key", columns.VISIBILITY, technology.visibility, report),
        _section("Wrong keys", columns.CONTROLS, technology.control, report),
        _section(
            "Computational Cost",
            columns.COST,
            technology.cost if technology.cost.cells else None,
            report,
        ),
    )
    return [section for section in sources if section[1]]


def _section(
    title: str, shown: Sequence[Column[Of]], source: Of | None, report: Report
) -> list[Json]:
    if source is None:
        return [title, []]
    rows = [
        [headed(column, report.headline), _written(item)]
        for column in shown
        if column.key not in _HIDDEN and (item := _item(column, source, report)).plain is not None
    ]
    return [title, rows]


def _item(column: Column[Of], source: Of, report: Report) -> Item:
    return Item(column.get(source), column.form, report.headline)


def _written(item: Item) -> Json:
    """A number or word; with its limits, where it has any."""
    if item.plain is None:
        return [None, item.reason] if item.reason else None
    return [item.text, item.between] if item.between else item.text
