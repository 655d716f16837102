"""Imperceptibility: what the watermark costs in task quality, and how much it changes the carrier.

Clause "Imperceptibility" of NNW-NNT: M unwatermarked networks and M x D watermarked ones answer the
same test set. In the workflow NNW-NTI the unwatermarked ones are the networks that the watermark is
put into. In NNW-WTI, where training puts it in, they are the twins: the same training without a
watermark, so that what training on does to quality is not laid to the watermark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnw_onnx.math.statistics import mcnemar
from nnw_onnx.measures.limits import OTHER_NETWORKS, Nested, average, failures, loss
from nnw_onnx.measures.results import Imperceptibility, Loudness, PairResult, QualityRow, Value
from nnw_onnx.measures.run import Run, asked, why_none
from nnw_onnx.measures.scores import Pair, changed_answers, lost, quality_loss
from nnw_onnx.records import (
    InjectionRecord,
    MeasureRecord,
    Status,
    TechnologyRecord,
    TrialRecord,
)

_NO_PAIR = "no pair of networks was measured"
_TWIN = "the twin, which is the same training without a watermark,"
_Outcomes = list[tuple[Status, str | None]]


def imperceptibility(run: Run, technology: TechnologyRecord) -> Imperceptibility:
    """What the watermark of a technology costs."""
    workflow = technology.imperceptibility
    own, twins = run.marks(technology.index), run.twins(technology)
    done = [i for i in own if i.status == "done"] if asked(run.plan, workflow) else []
    original = _pairs(run, done, {n.index: None for n in run.plan.networks})
    trained = workflow == "NNW-WTI"
    pairs, reason, outcomes = original, _NO_PAIR, _outcomes(run, own)
    if trained:
        measured = {t.network: t.identity for t in twins if _trial(run, t.network, t.identity)}
        pairs, reason = _pairs(run, done, measured), _why_none(run, twins)
        outcomes += _outcomes(run, twins) + _absent(done, twins)
    if not asked(run.plan, workflow):
        reason, outcomes = f"the evaluation leaves out the workflow {workflow}", []
    reason = why_none(run.plan, reason)
    headline = _headline(run, pairs, reason)
    return Imperceptibility(
        workflow=workflow,
        reference="twin" if trained else "original",
        verdict=_verdict(headline.loss, run.headline.negligible),
        scope="other networks"
        if headline.loss.networks >= OTHER_NETWORKS
        else "the networks tested",
        margin=run.headline.negligible,
        before=headline.before,
        after=headline.after,
        loss=headline.loss,
        measures=(headline, *(_row(m, pairs, reason) for m in run.plan.measures[1:])),
        original=_headline(run, original, why_none(run.plan, _NO_PAIR)) if trained else None,
        pairs=tuple(_described(run, p) for p in pairs if lost(p, run.headline) is not None),
        carrier_change=_carrier([(i, i.change) for i in done]),
        changed_weights=_carrier([(i, i.changed_weights) for i in done]),
        failures=failures(outcomes),
    )


def _trial(run: Run, network: int, injection: str | None) -> TrialRecord | None:
    """The unmodified trial of a network, if it was done."""
    trial = run.unmodified.get((network, injection))
    return trial if trial is not None and trial.status == "done" else None


def _pairs(
    run: Run, done: Sequence[InjectionRecord], before: Mapping[int, str | None]
) -> list[Pair]:
    """Watermarked networks beside those that `before` names, by network."""
    return [
        Pair(i.network, i.identity, first, after)
        for i in done
        if i.network in before
        if (first := _trial(run, i.network, before[i.network])) is not None
        if (after := _trial(run, i.network, i.identity)) is not None
    ]


def _headline(run: Run, pairs: Sequence[Pair], reason: str) -> QualityRow:
    change = quality_loss(pairs, run.headline, reason, run.book)
    return _row(run.headline, pairs, reason).model_copy(update={"loss": change})


def _row(measure: MeasureRecord, pairs: Sequence[Pair], reason: str) -> QualityRow:
    known = [(p, x) for p in pairs if (x := lost(p, measure)) is not None]

    def mean(after: bool) -> Value:
        singles = (
            (p.network, p.unit, (p.after if after else p.before).quality[measure.name])
            for p, _ in known
        )
        return average(Nested.of(singles), reason)

    change = loss(Nested.of((p.network, p.unit, x) for p, x in known), reason)
    return QualityRow(measure=measure.name, before=mean(False), after=mean(True), loss=change)


def _verdict(change: Value, margin: float) -> Loudness:
    """Negligible only where the limits fit into the margin; without limits nothing is shown."""
    if change.value is None:
        return "not measured"
    if change.low is None or change.high is None:
        return "not shown"
    if -margin < change.low and change.high < margin:
        return "negligible"
    return "noticeable" if change.low > margin else "not shown"


def _described(run: Run, pair: Pair) -> PairResult:
    before = pair.before.quality[run.headline.name]
    after = pair.after.quality[run.headline.name]
    injection = run.by_identity[pair.unit]
    changed = changed_answers(pair, run.book)
    return PairResult(
        network=pair.network,
        payload_index=injection.payload_index,
        before=before,
        after=after,
        loss=before - after if run.headline.better == "higher" else after - before,
        lost=changed[0] if changed else None,
        gained=changed[1] if changed else None,
        mcnemar_p=mcnemar(*changed) if changed else None,
        change=injection.change,
    )


def _carrier(values: Sequence[tuple[InjectionRecord, float | None]]) -> Value:
    known = ((i.network, i.identity, float(x)) for i, x in values if x is not None)
    return average(Nested.of(known), "no injection into Weights was recorded")


def _outcomes(run: Run, injections: Sequence[InjectionRecord]) -> _Outcomes:
    """What became of injections, and of the trials of those that were done."""
    found: _Outcomes = [(i.status, i.reason) for i in injections]
    done = [(i.network, i.identity) for i in injections if i.status == "done"]
    return found + [(t.status, t.reason) for k in done if (t := run.unmodified.get(k))]


def _absent(done: Sequence[InjectionRecord], twins: Sequence[InjectionRecord]) -> _Outcomes:
    """One entry for each watermarked network whose twin has no record."""
    recorded = {t.network for t in twins}
    return [("skipped", f"{_TWIN} has no record") for i in done if i.network not in recorded]


def _why_none(run: Run, twins: Sequence[InjectionRecord]) -> str:
    """Why nothing was compared with a twin."""
    if not twins:
        return f"{_TWIN} has no record"
    if any(_trial(run, t.network, t.identity) for t in twins):
        return _NO_PAIR
    reason = next((r for s, r in _outcomes(run, twins) if s != "done"), None)
    return f"{_TWIN} was not measured: {reason or 'no reason was recorded'}"
