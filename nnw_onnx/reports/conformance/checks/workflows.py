"""Clauses on AI Workflows, and on what no run can tell of."""

from __future__ import annotations

from nnw_onnx.measures.results import Technology
from nnw_onnx.records import Workflow
from nnw_onnx.reports.conformance.answers import Answer, apart, each, met, not_measured
from nnw_onnx.reports.conformance.checks.common import tested
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import plural


def workflow(report: Report, name: Workflow) -> Answer:
    """A workflow's inputs go in, and its outputs come out.

    Args:
        report: of the run.
        name: "NNW-NTI", ...
    """
    own = [
        t for t in report.technologies if name in (t.record.imperceptibility, t.record.robustness)
    ]
    if not own:
        return apart(f"no technology of this run is evaluated by {name}", "technologies")
    if name not in report.workflows:
        return apart("the evaluation leaves it out", "environment")
    if name in ("NNW-NTI", "NNW-WTI"):
        return each(own, _inferences, apart(""))
    return each(own, lambda t: _payloads(report, t), apart(""))


def _inferences(technology: Technology) -> Answer:
    """Unwatermarked and watermarked inference."""
    found = technology.imperceptibility
    if not found.pairs:
        why = found.before.reason or found.after.reason or "no pair of networks was run"
        return not_measured(why, "imperceptibility")
    return met(f"both inferences of {plural(len(found.pairs), 'network')}", "imperceptibility")


def _payloads(report: Report, technology: Technology) -> Answer:
    """Retrieved Payload and count of errors."""
    if not technology.record.decodes:
        return not_measured("it has no Payload that is retrieved: only yes or no", "robustness")
    read = [p for p in tested(report, technology) if p.ser.value is not None]
    if not read:
        return not_measured("no Payload of a modified network was read", "robustness")
    return met(f"Payloads and errors of {plural(len(read), 'setting')}", "robustness")


def never(report: Report, why: str) -> Answer:
    """A clause that is about no run at all.

    Args:
        report: of the run.
        why: what it is about instead.
    """
    return apart(why)


def unread(report: Report, why: str) -> Answer:
    """A clause whose text was not at hand.

    Args:
        report: of the run.
        why: what was not.
    """
    return not_measured(why, "conformance")
