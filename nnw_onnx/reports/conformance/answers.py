"""Answers to a clause: of a whole run, and joined from those of its technologies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nnw_onnx.measures.results import Technology
from nnw_onnx.reports.model import ClauseStatus
from nnw_onnx.reports.words import listed

_GRAVEST: tuple[ClauseStatus, ...] = ("not met", "not measured", "met", "not about this run")
_SAID = 3
"""Different reasons, and names before one, that a person reads."""


@dataclass(frozen=True)
class Answer:
    """What a run says to a clause.

    Attributes:
        status: see `ClauseStatus`.
        reason: why, with the numbers; no full stop at its end.
        anchor: `id` of the section or table of the page where it is seen.
    """

    status: ClauseStatus
    reason: str
    anchor: str


def met(reason: str, anchor: str) -> Answer:
    """The run does what is asked."""
    return Answer("met", reason, anchor)


def not_met(reason: str, anchor: str) -> Answer:
    """The run does something else, or less."""
    return Answer("not met", reason, anchor)


def not_measured(reason: str, anchor: str) -> Answer:
    """The records do not tell."""
    return Answer("not measured", reason, anchor)


def apart(reason: str, anchor: str = "conformance") -> Answer:
    """Nothing in the run is what the clause speaks of."""
    return Answer("not about this run", reason, anchor)


def each(
    technologies: Iterable[Technology], ask: Callable[[Technology], Answer], otherwise: Answer
) -> Answer:
    """One answer for all technologies: the gravest of theirs, with who gives it.

    Args:
        technologies: that are asked.
        ask: what.
        otherwise: the answer where there are none.
    """
    answers = [(t.label, ask(t)) for t in technologies]
    if not answers:
        return otherwise
    gravest = min((a.status for _, a in answers), key=_GRAVEST.index)
    given: dict[str, list[str]] = {}
    for label, answer in answers:
        if answer.status == gravest:
            given.setdefault(answer.reason, []).append(label)
    anchor = next(a.anchor for _, a in answers if a.status == gravest)
    return Answer(gravest, _said(given, len(answers)), anchor)


def _said(given: dict[str, list[str]], asked: int) -> str:
    """Each reason with whose it is; whose is not said where it is everybody's."""
    parts = [
        reason if len(labels) == asked else f"{listed(labels, _SAID)}: {reason}"
        for reason, labels in given.items()
    ]
    more = f"; and {len(parts) - _SAID} more reasons" if len(parts) > _SAID else ""
    return "; ".join(parts[:_SAID]) + more
