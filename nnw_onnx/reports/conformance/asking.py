"""A profile asked of a run: each clause's check, called with the report."""

from __future__ import annotations

from nnw_onnx.reports.conformance.checks import CHECKS
from nnw_onnx.reports.conformance.clauses import Clause, Profile, departures, profiles
from nnw_onnx.reports.model import ClauseAnswer, Conformance, Report
from nnw_onnx.text import one_line

_LONGEST = 300
"""Characters of a reason: records may hold whole messages of runtimes."""


def conformances(report: Report) -> tuple[Conformance, ...]:
    """Every profile asked of a run, the default one first."""
    found: tuple[Conformance, ...] = ()
    for profile in profiles():
        # A profile may ask for what another one came to.
        found += (_asked(report.model_copy(update={"conformance": found}), profile),)
    return found


def _asked(report: Report, profile: Profile) -> Conformance:
    return Conformance(
        profile=profile.name,
        standard=profile.standard,
        clauses=tuple(_answer(report, profile, clause) for clause in profile.clauses),
    )


def _answer(report: Report, profile: Profile, clause: Clause) -> ClauseAnswer:
    found = CHECKS[clause.check](report, **clause.given)
    place = f"{profile.name}:{clause.id}"
    # What only informs can be left out, but cannot be broken.
    softened = clause.informative and found.status == "not met"
    return ClauseAnswer(
        id=clause.id,
        place=clause.place,
        asks=clause.asks,
        informative=clause.informative,
        status="not measured" if softened else found.status,
        reason=_cut(found.reason),
        anchor=found.anchor,
        departures=tuple(d.text for d in departures() if place in d.clauses),
    )


def _cut(reason: str) -> str:
    """The reason on one line, cut where it is long."""
    text = one_line(reason)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
