"""Imperceptibility: what the watermark costs in task quality, and how much it changes the carrier.

Clause "Imperceptibility" of NNW-NNT: M unwatermarked networks and M x D watermarked ones answer the
same test set. In the workflow NNW-NTI the unwatermarked ones are the networks that the watermark is
put into. In NNW-WTI, where training puts it in, they are the twins: the same training without a
watermark, so that what training on does to quality is not laid to the watermark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nnw_onnx.measures.comparison import Comparison, Pair, by_network, compared, nothing_compared
from nnw_onnx.measures.limits import (
    Estimate,
    Failure,
    Measured,
    NotMeasured,
    failures,
    over_networks,
)
from nnw_onnx.measures.selection import marks_of, not_asked, twins_of
from nnw_onnx.records import Group, InjectionRecord, Plan, Status, TrialRecord

_NO_PAIR = "no pair of networks was measured"
_TWIN = "the twin, which is the same training without a watermark"
_Outcomes = list[tuple[Status, str | None]]


class GroupImperceptibility(Comparison):
    """Imperceptibility of one technology: against the original networks, or against the twins."""

    group: int
    label: str
    workflow: Literal["NNW-NTI", "NNW-WTI"]
    """No Training or With Training Imperceptibility."""
    not_asked: NotMeasured | None = None
    """Why there are no numbers, where the plan leaves out the workflow."""
    reference: Literal["original", "twin"]
    """What the watermarked networks are compared with: the original network, or the same training
    without a watermark."""
    original: Comparison | None = None
    """Where the reference is the twin, the comparison with the original network; it includes what
    further training does."""
    twins: int | None = None
    """Networks whose twin was measured; None where there is none to measure."""
    margin: float
    """Largest loss that counts as negligible."""
    carrier_change: Measured
    """Detectability: relative RMS change of the carrier."""
    changed_weights: Measured
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Unmodified:
    """Trials without Modification, by (network, injection): those that were done, and the rest."""

    done: Mapping[tuple[int, str | None], TrialRecord]
    refused: Mapping[tuple[int, str | None], TrialRecord]

    def outcomes(self, injections: Sequence[InjectionRecord]) -> _Outcomes:
        """What became of injections, and of the trials of those that were done."""
        found: _Outcomes = [(i.status, i.reason) for i in injections]
        keys = [(i.network, i.identity) for i in injections if i.status == "done"]
        return found + [(t.status, t.reason) for k in keys if (t := self.refused.get(k))]


def imperceptibility(
    plan: Plan, injections: Sequence[InjectionRecord], trials: Sequence[TrialRecord]
) -> tuple[GroupImperceptibility, ...]:
    """Imperceptibility of every technology of the plan."""
    plain = [t for t in trials if t.modification is None]
    unmodified = _Unmodified(
        {(t.network, t.injection): t for t in plain if t.status == "done"},
        {(t.network, t.injection): t for t in plain if t.status != "done"},
    )
    return tuple(_group(plan, group, injections, unmodified) for group in plan.groups)


def _group(
    plan: Plan, group: Group, injections: Sequence[InjectionRecord], unmodified: _Unmodified
) -> GroupImperceptibility:
    own, twins = marks_of(group, injections), twins_of(plan, group, injections)
    refusal = not_asked(plan, group.imperceptibility)
    trained = group.imperceptibility == "NNW-WTI"
    done = [i for i in own if i.status == "done" and refusal is None]
    original = compared(plan, _with_original(done, unmodified), _NO_PAIR)
    found, outcomes = original, unmodified.outcomes(own)
    if refusal is not None:
        found, outcomes = nothing_compared(refusal.reason), []
    elif trained:
        found = compared(plan, _with_twins(done, twins, unmodified), _why_none(twins, unmodified))
        outcomes += unmodified.outcomes(twins) + _absent(done, twins)
    return GroupImperceptibility(
        **dict(found),
        group=group.index,
        label=group.label,
        workflow=group.imperceptibility,
        not_asked=refusal,
        reference="twin" if trained else "original",
        original=original if trained and refusal is None else None,
        twins=len(_measured_twins(twins, unmodified)) if trained and refusal is None else None,
        margin=plan.margin,
        carrier_change=_carrier([(i.network, i.change) for i in done], refusal),
        changed_weights=_carrier([(i.network, i.changed_weights) for i in done], refusal),
        failures=failures(outcomes),
    )


def _with_original(done: Sequence[InjectionRecord], unmodified: _Unmodified) -> list[Pair]:
    found = unmodified.done
    return [
        Pair(i, found[i.network, None], found[i.network, i.identity])
        for i in done
        if {(i.network, None), (i.network, i.identity)} <= found.keys()
    ]


def _with_twins(
    done: Sequence[InjectionRecord], twins: Sequence[InjectionRecord], unmodified: _Unmodified
) -> list[Pair]:
    before = _measured_twins(twins, unmodified)
    return [
        Pair(i, before[i.network], after)
        for i in done
        if i.network in before and (after := unmodified.done.get((i.network, i.identity)))
    ]


def _measured_twins(
    twins: Sequence[InjectionRecord], unmodified: _Unmodified
) -> dict[int, TrialRecord]:
    """Network -> trial of its twin."""
    return {
        t.network: unmodified.done[t.network, t.identity]
        for t in twins
        if t.status == "done" and (t.network, t.identity) in unmodified.done
    }


def _why_none(twins: Sequence[InjectionRecord], unmodified: _Unmodified) -> str:
    """Why nothing was compared with a twin."""
    if not twins:
        return f"{_TWIN}, has no record"
    if _measured_twins(twins, unmodified):
        return _NO_PAIR
    reason = next((r for s, r in unmodified.outcomes(twins) if s != "done"), None)
    return f"{_TWIN}, was not measured: {reason or 'no reason was recorded'}"


def _absent(done: Sequence[InjectionRecord], twins: Sequence[InjectionRecord]) -> _Outcomes:
    """One entry for each watermarked network whose twin has no record."""
    recorded = {t.network for t in twins}
    return [("skipped", f"{_TWIN}, has no record") for i in done if i.network not in recorded]


def _carrier(
    values: Sequence[tuple[int, float | None]], refusal: NotMeasured | None
) -> Estimate | NotMeasured:
    if refusal is not None:
        return refusal
    known = [(network, float(value)) for network, value in values if value is not None]
    return over_networks(by_network(known), "no injection succeeded", (0.0, math.inf))
