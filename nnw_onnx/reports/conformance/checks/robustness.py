"""Clauses of the chapter Robustness, for watermarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnw_onnx.measures.results import Point, Technology
from nnw_onnx.reports.conformance.answers import (
    Answer,
    apart,
    each,
    met,
    not_measured,
    not_met,
)
from nnw_onnx.reports.conformance.checks.common import (
    AGAIN,
    failed,
    nothing_put_in,
    tested,
    watermarks,
)
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import listed, plural

_HERE = "robustness"


def modified(report: Report) -> Answer:
    """Each Modification at each Intensity, on all M (D + 1) networks."""
    wanted = len(report.networks) * (report.payloads + 1)

    def ask(points: Sequence[Point]) -> Answer:
        short = [p for p in points if p.fn_ratio.of < wanted]
        if not short:
            return met(f"{wanted} networks in each of {plural(len(points), 'setting')}", _HERE)
        broken = next(filter(None, map(failed, short)), "")
        said = f"fewer than {wanted} networks in {len(short)} of {len(points)} settings"
        if broken:
            return not_met(f"{said}: {broken}", _HERE)
        return not_measured(f"{said}; {AGAIN}", _HERE)

    return _each(report, ask)


def detector(report: Report) -> Answer:
    """The Detector says yes or no of every network; false ones are counted."""

    def ask(points: Sequence[Point]) -> Answer:
        unheard = sum(p.tested < p.expected for p in points)
        if unheard:
            return not_measured(f"tests are missing in {unheard} of {len(points)} settings", _HERE)
        blind = next((p for p in points if p.false_alarm_rate.value is None), None)
        if blind is not None:
            return not_measured(f"false positives: {blind.false_alarm_rate.reason}", _HERE)
        yes, no = sum(p.found for p in points), sum(p.tested - p.found for p in points)
        alarms = sum(p.fp_ratio.events for p in points)
        return met(f"{yes:,} TP, {no:,} FN, {alarms:.4g} FP over all settings", _HERE)

    return _each(report, ask)


def decoder(report: Report) -> Answer:
    """The Decoder reads every network: differing Symbols / Symbols, and their mean."""

    def ask(points: Sequence[Point]) -> Answer:
        read = [p for p in points if p.gone < p.tested or not p.tested]
        unread = [p for p in read if p.ser_all.value is None]
        if unread:
            reason = f"{unread[0].ser_all.reason}"
            return not_measured(f"{len(unread)} of {len(points)} settings: {reason}", _HERE)
        gone = len(points) - len(read)
        rest = f"; in {gone} the carrier is gone, with no Symbol left to read" if gone else ""
        said = f"Symbol Error Rates of {plural(len(read), 'setting')}"
        return met(f"{said}, and their mean over all networks{rest}", _HERE)

    reading = [t for t in watermarks(report) if t.record.decodes]
    return _each(report, ask, reading, "no technology of this run has Symbols that are read")


def ratios(report: Report) -> Answer:
    """FP and FN over M (D + 1), M x D and the mean Symbol Error Rate are in the report."""

    def ask(points: Sequence[Point]) -> Answer:
        lacking = [p for p in points if p.fn_ratio.value is None or p.fp_ratio.value is None]
        if lacking:
            return not_measured(f"none in {len(lacking)} of {len(points)} settings", _HERE)
        marked = len(report.networks) * report.payloads
        both = f"M (D + 1) = {len(report.networks) * (report.payloads + 1)}"
        return met(f"FP and FN divided by {both}, M D = {marked}, mean SER", _HERE)

    return _each(report, ask)


def intensities(report: Report) -> Answer:
    """The same again at every Intensity that is asked for."""
    swept = [s for s in report.settings if s.parameter is not None]
    if not report.settings:
        return apart("the evaluation asks for no Modification")
    if missing := report.completeness.missing:
        return not_measured(f"no record of {listed(missing, 3)}; {AGAIN}", "t-settings")
    count = sum(len(s.levels) for s in swept)
    said = f"{count} Intensities of {plural(len(swept), 'Modification')}"
    return met(said if swept else "no Modification of this run has a Parameter", "t-settings")


def types(report: Report) -> Answer:
    """The same again for every type that is asked for."""
    if not report.settings:
        return apart("the evaluation asks for no Modification")
    if missing := report.completeness.missing:
        return not_measured(f"no record of {listed(missing, 3)}; {AGAIN}", "t-settings")
    own = sum(any(step.number is not None for step in s.steps) for s in report.settings)
    others = len(report.settings) - own
    return met(f"{own} of the standard's table, {others} others", "t-settings")


def _each(
    report: Report,
    ask: Callable[[Sequence[Point]], Answer],
    technologies: Sequence[Technology] | None = None,
    none: str = "",
) -> Answer:
    """Asked of the points of each technology whose robustness is asked for."""
    chosen = watermarks(report) if technologies is None else technologies
    if not chosen:
        return apart(none, "technologies") if none else nothing_put_in()
    asked = [t for t in chosen if t.robustness_asked]
    if not asked:
        return apart("the evaluation leaves its workflows of Robustness out")
    if not report.settings:
        return apart("the evaluation asks for no Modification")

    def one(technology: Technology) -> Answer:
        points = tested(report, technology)
        if points:
            return ask(points)
        return apart("no Modification of this run can do anything to these networks", "t-settings")

    return each(asked, one, nothing_put_in())
