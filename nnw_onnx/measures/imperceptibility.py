"""Imperceptibility: what the watermark costs in task quality, and how much it changes the carrier.

Clause "Imperceptibility" of NNW-NNT: M unwatermarked networks and M x D watermarked ones answer the
same test set. Answers are paired sample by sample. Quality is taken to be better when larger, as
for every headline measure; a loss is the quality before minus the quality after.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nnw_onnx.arrays import statistics
from nnw_onnx.measures.limits import (
    SHARE,
    Estimate,
    Failure,
    Interval,
    Measured,
    NotMeasured,
    ResultModel,
    failures,
    over_networks,
)
from nnw_onnx.records import Group, InjectionRecord, Plan, TrialRecord

Verdict = Literal["negligible", "noticeable", "inconclusive", "not-measured"]


class Equivalence(ResultModel):
    """Two one-sided tests (TOST) of a loss against the margin."""

    status: Literal["measured"] = "measured"
    loss: float
    limits: Interval
    """95 % limits of the loss."""
    limits_90: Interval
    """90 % limits: inside the margin means equivalent at 5 %."""
    p_value: float | None
    """TOST p-value; None where the networks do not differ at all."""
    equivalent: bool


MeasuredEquivalence = Annotated[Equivalence | NotMeasured, Field(discriminator="status")]


class PairedAnswers(ResultModel):
    """The answers of a pair of networks to the same samples."""

    status: Literal["measured"] = "measured"
    samples: int
    lost: int
    """Right before, wrong after."""
    gained: int
    """Wrong before, right after."""
    standard_error: float
    mcnemar_p: float
    """Exact two-sided McNemar test."""
    equivalence: Equivalence


MeasuredAnswers = Annotated[PairedAnswers | NotMeasured, Field(discriminator="status")]


class QualityPair(ResultModel):
    """One network without and with one watermark."""

    network: int
    payload_index: int
    before: float
    after: float
    loss: float
    """before - after."""
    answers: MeasuredAnswers
    carrier_change: float | None
    """RMS change of the carrier / its standard deviation."""


class QualityMeasure(ResultModel):
    """One quality measure without and with the watermark."""

    name: str
    unwatermarked: Measured
    watermarked: Measured
    change: Measured
    """After - before, paired, the networks being the units."""


class GroupImperceptibility(ResultModel):
    """Imperceptibility of one technology."""

    group: int
    label: str
    headline: str | None
    """Name of the headline quality measure."""
    rate: bool
    """Whether the headline is a rate of right answers, in 0 ... 1."""
    margin: float
    """Largest loss that counts as negligible."""
    networks: int
    """Networks with at least one pair."""
    watermarked: int
    """Pairs measured, of at most M x D."""
    verdict: Verdict
    """Negligible: the 90 % limits over networks and those over samples, each on its own, lie within
    the margin; other networks with other samples at once are covered by neither."""
    loss: Measured
    """Mean loss of the headline measure, the networks being the units."""
    over_networks: MeasuredEquivalence
    """The test with the networks as units: for other networks of the same kind."""
    over_samples: MeasuredEquivalence
    """The test with the test samples as units: for these networks and other samples."""
    stated: MeasuredEquivalence
    """The one of the two with the wider limits: what may be said of the loss."""
    stated_over: Literal["networks", "test samples"] | None
    """The units of that one."""
    samples_needed: int | None
    """Fewest test samples that could show a loss of nothing to be negligible."""
    pairs: tuple[QualityPair, ...]
    measures: tuple[QualityMeasure, ...]
    carrier_change: Measured
    """Detectability: relative RMS change of the carrier."""
    changed_weights: Measured
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Pair:
    injection: InjectionRecord
    before: TrialRecord
    after: TrialRecord


def imperceptibility(
    plan: Plan, injections: Sequence[InjectionRecord], trials: Sequence[TrialRecord]
) -> tuple[GroupImperceptibility, ...]:
    """Imperceptibility of every technology of the plan."""
    unmodified = {
        (t.network, t.injection): t for t in trials if t.modification is None and t.status == "done"
    }
    refused = {t.injection: t for t in trials if t.modification is None and t.status != "done"}
    return tuple(_group(plan, group, injections, unmodified, refused) for group in plan.groups)


def headline_of(trial: TrialRecord) -> float | None:
    """Value of the headline quality measure of a trial."""
    return trial.quality.get(trial.headline) if trial.headline else None


def answers(trial: TrialRecord, samples: int | None) -> NDArray[np.bool_] | None:
    """Right answers (samples,) of a trial, or None where they were not kept or do not fit."""
    if trial.correct is None or samples is None:
        return None
    try:
        packed = np.frombuffer(base64.b64decode(trial.correct, validate=True), np.uint8)
    except binascii.Error:
        return None
    if packed.size != math.ceil(samples / 8):
        return None
    return np.unpackbits(packed, count=samples).astype(np.bool_)


def samples_of(plan: Plan) -> int | None:
    """Number of test samples."""
    entries = plan.dataset.get("entries")
    return entries if isinstance(entries, int) and entries > 0 else None


def _group(
    plan: Plan,
    group: Group,
    injections: Sequence[InjectionRecord],
    unmodified: Mapping[tuple[int, str | None], TrialRecord],
    refused: Mapping[str | None, TrialRecord],
) -> GroupImperceptibility:
    own = sorted(
        (i for i in injections if i.group == group.index),
        key=lambda i: (i.network, i.payload_index),
    )
    done = [i for i in own if i.status == "done"]
    pairs = [
        _Pair(i, unmodified[i.network, None], unmodified[i.network, i.identity])
        for i in done
        if {(i.network, None), (i.network, i.identity)} <= unmodified.keys()
    ]
    pairs = [p for p in pairs if headline_of(p.before) is not None]
    samples = samples_of(plan)
    described = [_described(p, samples, plan.margin) for p in pairs]
    outcomes = [(i.status, i.reason) for i in own]
    outcomes += [(t.status, t.reason) for i in done if (t := refused.get(i.identity)) is not None]
    loss = _by_network([(p.network, p.loss) for p in described])
    networks = _equivalence_over_networks(loss, plan.margin)
    over_samples = _equivalence_over_samples(pairs, samples, plan.margin)
    stated, units = _stated(networks, over_samples)
    rate = any(p.before.correct is not None for p in pairs)
    return GroupImperceptibility(
        group=group.index,
        label=group.label,
        headline=pairs[0].before.headline if pairs else None,
        rate=rate,
        margin=plan.margin,
        networks=len(loss),
        watermarked=len(pairs),
        verdict=_verdict(networks, over_samples, plan.margin),
        loss=over_networks(loss, "no pair of networks was measured"),
        over_networks=networks,
        over_samples=over_samples,
        stated=stated,
        stated_over=units,
        samples_needed=statistics.samples_for_equivalence(plan.margin)
        if rate and plan.margin < 1
        else None,
        pairs=tuple(described),
        measures=_measures(pairs, SHARE if rate else None),
        carrier_change=_carrier([(i.network, i.change) for i in done]),
        changed_weights=_carrier([(i.network, i.changed_weights) for i in done]),
        failures=failures(outcomes),
    )


def _by_network(values: Sequence[tuple[int, float]]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for network, value in values:
        found[network].append(value)
    return dict(found)


def _carrier(values: Sequence[tuple[int, float | None]]) -> Estimate | NotMeasured:
    known = [(network, float(value)) for network, value in values if value is not None]
    return over_networks(_by_network(known), "no injection succeeded", (0.0, math.inf))


def _described(pair: _Pair, samples: int | None, margin: float) -> QualityPair:
    before, after = headline_of(pair.before), headline_of(pair.after)
    assert before is not None
    assert after is not None
    return QualityPair(
        network=pair.injection.network,
        payload_index=pair.injection.payload_index,
        before=before,
        after=after,
        loss=before - after,
        answers=_paired(pair, samples, margin),
        carrier_change=pair.injection.change,
    )


def _paired(pair: _Pair, samples: int | None, margin: float) -> PairedAnswers | NotMeasured:
    before, after = answers(pair.before, samples), answers(pair.after, samples)
    if before is None or after is None:
        return NotMeasured(reason="the answers to the single samples were not kept")
    found = statistics.paired_difference(before, after)
    wide, narrow = found.limits(0.95), found.limits(0.90)
    error = found.standard_error
    return PairedAnswers(
        samples=found.n,
        lost=found.lost,
        gained=found.gained,
        standard_error=error,
        mcnemar_p=found.p_value,
        equivalence=Equivalence(
            loss=found.difference,
            limits=Interval.of(wide),
            limits_90=Interval.of(narrow),
            p_value=statistics.sample_equivalence_p(
                before.astype(float) - after.astype(float), margin
            ),
            equivalent=statistics.inside(narrow, margin),
        ),
    )


def _equivalence_over_networks(
    loss: Mapping[int, Sequence[float]], margin: float
) -> Equivalence | NotMeasured:
    means = np.array([np.mean(v) for _, v in sorted(loss.items())])
    if means.size < 2:
        return NotMeasured(reason=f"a test over networks needs two, there are {means.size}")
    wide = statistics.mean_limits(means, 0.95)
    narrow = statistics.mean_limits(means, 0.90)
    error = float(means.std(ddof=1)) / math.sqrt(means.size)
    mean = float(means.mean())
    p_value = statistics.equivalence_p(mean, error, margin, means.size - 1)
    return Equivalence(
        loss=mean,
        limits=Interval.of(wide),
        limits_90=Interval.of(narrow),
        p_value=p_value if error > 0 else None,
        equivalent=statistics.inside(narrow, margin),
    )


def _equivalence_over_samples(
    pairs: Sequence[_Pair], samples: int | None, margin: float
) -> Equivalence | NotMeasured:
    answered = [(answers(p.before, samples), answers(p.after, samples)) for p in pairs]
    known = [
        x.astype(float) - y.astype(float) for x, y in answered if x is not None and y is not None
    ]
    if not known:
        return NotMeasured(reason="the answers to the single samples were not kept")
    mean = np.mean(known, axis=0)
    wide, narrow = statistics.sample_limits(mean, 0.95), statistics.sample_limits(mean, 0.90)
    return Equivalence(
        loss=float(mean.mean()),
        limits=Interval.of(wide),
        limits_90=Interval.of(narrow),
        p_value=statistics.sample_equivalence_p(mean, margin),
        equivalent=statistics.inside(narrow, margin),
    )


def _verdict(
    networks: Equivalence | NotMeasured, samples: Equivalence | NotMeasured, margin: float
) -> Verdict:
    tests = [t for t in (networks, samples) if isinstance(t, Equivalence)]
    if not tests:
        return "not-measured"
    if all(t.equivalent for t in tests):
        return "negligible"
    return "noticeable" if all(t.limits.low > margin for t in tests) else "inconclusive"


def _stated(
    networks: Equivalence | NotMeasured, samples: Equivalence | NotMeasured
) -> tuple[Equivalence | NotMeasured, Literal["networks", "test samples"] | None]:
    if isinstance(networks, Equivalence) and isinstance(samples, Equivalence):
        if _width(samples) > _width(networks):
            return samples, "test samples"
        return networks, "networks"
    if isinstance(networks, Equivalence):
        return networks, "networks"
    return samples, "test samples" if isinstance(samples, Equivalence) else None


def _width(test: Equivalence) -> float:
    return test.limits.high - test.limits.low


def _measures(
    pairs: Sequence[_Pair], bounds: statistics.Limits | None
) -> tuple[QualityMeasure, ...]:
    names = list(dict.fromkeys(name for p in pairs for name in p.before.quality))
    return tuple(_measure(name, pairs, bounds) for name in names)


def _measure(name: str, pairs: Sequence[_Pair], bounds: statistics.Limits | None) -> QualityMeasure:
    values = [
        (p.injection.network, p.before.quality[name], p.after.quality[name])
        for p in pairs
        if name in p.before.quality and name in p.after.quality
    ]
    reason = "the measure is missing after the injection"
    return QualityMeasure(
        name=name,
        unwatermarked=over_networks(_by_network([(n, b) for n, b, _ in values]), reason, bounds),
        watermarked=over_networks(_by_network([(n, a) for n, _, a in values]), reason, bounds),
        change=over_networks(_by_network([(n, a - b) for n, b, a in values]), reason),
    )
