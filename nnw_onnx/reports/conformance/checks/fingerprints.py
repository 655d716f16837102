"""Clauses on fingerprints: methods that put nothing in and find a network again all the same."""

from __future__ import annotations

from nnw_onnx.measures.results import Technology
from nnw_onnx.reports.conformance.answers import Answer, apart, each, met, not_measured, not_met
from nnw_onnx.reports.conformance.checks.common import (
    AGAIN,
    failed,
    fingerprints,
    nothing_put_in,
    put_in,
    tested,
)
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import plural


def computed(report: Report) -> Answer:
    """The fingerprint of every network is computed."""
    return each(
        fingerprints(report),
        lambda t: put_in(t.injections, "fingerprint", "technologies"),
        nothing_put_in("fingerprint"),
    )


def modified(report: Report) -> Answer:
    """Fingerprints are extracted again from modified networks."""

    def ask(technology: Technology) -> Answer:
        points = tested(report, technology)
        if not points:
            return apart("the evaluation asks for no Modification of them")
        broken = next(filter(None, map(failed, points)), "")
        short = sum(p.tested < p.expected for p in points)
        if broken:
            return not_met(broken, "robustness")
        if short:
            return not_measured(f"tests are missing in {short} settings; {AGAIN}", "robustness")
        return met(f"in {plural(len(points), 'setting')}", "robustness")

    return each(fingerprints(report), ask, nothing_put_in("fingerprint"))


def searched(report: Report) -> Answer:
    """A Matcher searches a repository; here one fingerprint is tested after the other."""
    why = "each fingerprint is tested by itself; there is no repository that is searched"
    return each(
        fingerprints(report), lambda _: not_met(why, "method"), nothing_put_in("fingerprint")
    )
