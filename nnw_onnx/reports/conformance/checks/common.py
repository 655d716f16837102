"""What several checks ask of a report."""

from __future__ import annotations

from nnw_onnx.measures.results import InjectionSummary, Point, Technology
from nnw_onnx.reports.conformance.answers import Answer, apart, met, not_measured, not_met
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import plural

AGAIN = "the run is not whole: the same command goes on with it"


def watermarks(report: Report) -> list[Technology]:
    """Technologies that put something in."""
    return [t for t in report.technologies if t.record.kind != "fingerprint"]


def fingerprints(report: Report) -> list[Technology]:
    """Technologies that put nothing in."""
    return [t for t in report.technologies if t.record.kind == "fingerprint"]


def watermarked(report: Report) -> int:
    """M x D."""
    return len(report.networks) * report.payloads


def tested(report: Report, technology: Technology) -> list[Point]:
    """The points of a technology on M (D + 1) networks: modified one by one, not mixed of copies.

    Where a Modification can do nothing to the networks there is none.
    """
    return [
        p
        for p in report.points
        if p.technology == technology.index and p.status != "n/a" and p.setting is not None
        if report.settings[p.setting].copies == 1
    ]


def failed(point: Point) -> str:
    """Why a test of a point failed, or ""."""
    return next((f.reason for f in point.failures if f.status == "failed"), "")


def put_in(found: InjectionSummary, what: str, anchor: str) -> Answer:
    """Whether all injections (or enrolments) of a technology were done."""
    if found.done >= found.expected:
        return met(f"{plural(found.done, what)} of {found.expected}", anchor)
    if found.failures:
        first = found.failures[0]
        return not_met(f"{found.done} of {found.expected} {what}s: {first.reason}", anchor)
    return not_measured(f"{found.done} of {found.expected} {what}s; {AGAIN}", anchor)


def nothing_put_in(what: str = "watermark") -> Answer:
    """No technology of the kind is in the run."""
    return apart(f"no technology of this run is a {what}", "technologies")
