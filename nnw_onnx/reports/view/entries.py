"""A run in the list: what was evaluated, how good the networks are, what was found."""

from __future__ import annotations

from nnw_onnx.reports import names, sentences
from nnw_onnx.reports.matrix import Entry, Matrix, matrix
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.view.finding import Place
from nnw_onnx.reports.view.opening import Opened
from nnw_onnx.reports.words import Shown
from nnw_onnx.vocabulary import Json


def entry(place: Place, opened: Opened) -> dict[str, Json]:
    """A run in the list."""
    report = opened.report
    called = names.technology_names(report)
    drawn = matrix(report, called)
    complete = report.completeness
    return {
        **_named(place),
        "title": report.title,
        "task": opened.run.plan.task.name,
        "data": report.dataset.plugin.name,
        "networks": [network.name for network in report.networks],
        "payloads": report.payloads,
        "trials": len(opened.run.trials),
        "unfinished": ""
        if complete.complete
        else f"{complete.tests_found:,} of {complete.tests_planned:,} tests",
        "qualities": _qualities(report),
        "settings": [
            {"label": s.label, "steps": [step.modification.name for step in s.steps]}
            for s in report.settings
        ],
        "technologies": _technologies(report, drawn),
        "order": list(report.order),
        "verdicts": [str(verdict) for verdict in sentences.verdicts(report, called)],
        "warnings": [notice.name for notice in report.notices],
    }


def damaged(place: Place, reason: str) -> dict[str, Json]:
    """A run that cannot be shown, in the list."""
    return {**_named(place), "reason": reason}


def cell(made: Entry) -> dict[str, Json]:
    """A cell of the matrix: class of the style sheet, sign, both lines, the whole in a sentence."""
    return {
        "style": made.style,
        "sign": made.sign,
        "top": made.top,
        "below": made.below,
        "title": made.title,
    }


def bar(drawn: Matrix, column: int) -> dict[str, Json]:
    """Settings survived by a technology, and the bar that shows it."""
    found = drawn.bars[column]
    return {
        "text": f"{found.survived} of {found.of} {found.words[0]}",
        "least": found.least,
        "where": found.where,
        "good": found.good,
        "bad": found.bad,
        "from": found.bad_from,
        "title": found.title,
        "ranked": found.ranked,
    }


def _named(place: Place) -> dict[str, Json]:
    return {
        "key": place.key,
        "name": place.name,
        "changed": place.changed,
        "version": place.version,
    }


def _qualities(report: Report) -> list[Json]:
    """Of the unwatermarked networks by measure, the headline first: name, mean, both ends."""
    known = {m.name: Shown(m) for m in report.measures}
    made: list[Json] = []
    for found in report.base:
        shown, mean = known.get(found.measure), found.quality.value
        if shown is None:
            continue
        ends = ""
        if found.lowest is not None and found.highest is not None and found.lowest < found.highest:
            ends = f"{shown.value(found.lowest, unit=False)} to {shown.value(found.highest)}"
        value = "not measured" if mean is None else shown.value(mean)
        made.append({"measure": found.measure, "value": value, "ends": ends})
    return made


def _technologies(report: Report, drawn: Matrix) -> list[Json]:
    """By technology, in the order of the plan."""
    columns = {technology: column for column, technology in enumerate(drawn.order)}
    rows = {row.code: row for _, group in drawn.groups for row in group if not row.is_sum}
    made: list[Json] = []
    for technology in report.technologies:
        column = columns[technology.index]
        entries = [rows[s.code].entries[column] for s in report.settings]
        made.append(
            {
                "name": drawn.heads[column].row,
                "method": technology.record.method.name,
                "survived": bar(drawn, column),
                "loss": cell(drawn.loudness[column]),
                "cells": [[e.style, e.sign, e.said] for e in entries],
            }
        )
    return made
