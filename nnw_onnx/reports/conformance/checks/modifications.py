"""Clauses of the table of Modifications: one for each of its rows."""

from __future__ import annotations

from nnw_onnx.measures.results import Level, Setting
from nnw_onnx.reports import names
from nnw_onnx.reports.conformance.answers import Answer, apart, met, not_measured, not_met
from nnw_onnx.reports.conformance.checks.common import AGAIN
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import listed, plural


def modification(report: Report, number: int, otherwise: str = "") -> Answer:
    """A row of the table: tried, and with an Intensity inside its range.

    Args:
        report: of the run.
        number: of the row, from 0.
        otherwise: what is done in another way than this version of the standard says.
    """
    own = [s for s in report.settings if len(s.steps) == 1 and s.steps[0].number == number]
    if not own:
        return apart("the evaluation does not ask for it")
    anchor = f"m{own[0].code}"
    if not _tried(report, own):
        if not any(level.applies for s in own for level in s.levels):
            reason = next((v.reason for s in own for v in s.levels if v.reason), None)
            return apart(reason or "it can do nothing to these networks", anchor)
        return not_measured(f"there is no test of it; {AGAIN}", anchor)
    if otherwise:
        return not_met(otherwise, anchor)
    inside, outside = _levels(own, outside=False), _levels(own, outside=True)
    said = f"{plural(len(inside), 'Intensity', 'Intensities')} inside the range of the table"
    if outside:
        said += f"; {listed(outside)} outside, which are marked so"
    return met(said, anchor) if inside else not_met(said, anchor)


def _tried(report: Report, own: list[Setting]) -> bool:
    places = {s.index for s in own}
    return any(p.tested for p in report.points if p.setting in places)


def _levels(own: list[Setting], *, outside: bool) -> list[str]:
    return [
        _named(level, s)
        for s in own
        for level in s.levels
        if level.applies and level.outside is outside
    ]


def _named(level: Level, setting: Setting) -> str:
    return names.intensity(level, setting) or setting.label
