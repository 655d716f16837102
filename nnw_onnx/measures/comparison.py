"""Quality of watermarked networks beside that of others, answer by answer.

Answers are paired sample by sample. Quality is taken to be better when larger, as for every
headline measure; a loss is the quality before minus the quality after.
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
    Interval,
    Measured,
    NotMeasured,
    ResultModel,
    over_networks,
)
from nnw_onnx.records import InjectionRecord, Plan, TrialRecord

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


class Comparison(ResultModel):
    """Watermarked networks beside those that they are compared with, on the same test samples."""

    headline: str | None
    """Name of the headline quality measure."""
    rate: bool
    """Whether the headline is a rate of right answers, in 0 ... 1."""
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


@dataclass(frozen=True)
class Pair:
    """A watermarked network (`after`) and the one that it is compared with (`before`)."""

    injection: InjectionRecord
    before: TrialRecord
    after: TrialRecord


def compared(plan: Plan, pairs: Sequence[Pair], reason: str) -> Comparison:
    """The comparison of pairs of networks; pairs without a headline quality are left out.

    Args:
        plan: data set and margin.
        pairs: which networks.
        reason: said where there is no pair.
    """
    pairs = [p for p in pairs if None not in (headline_of(p.before), headline_of(p.after))]
    if not pairs:
        return nothing_compared(reason)
    samples, margin = samples_of(plan), plan.margin
    described = [_described(p, samples, margin) for p in pairs]
    loss = by_network([(p.network, p.loss) for p in described])
    networks = _equivalence_over_networks(loss, margin)
    over_samples = _equivalence_over_samples(pairs, samples, margin)
    stated, units = _stated(networks, over_samples)
    rate = any(p.before.correct is not None for p in pairs)
    return Comparison(
        headline=pairs[0].before.headline,
        rate=rate,
        networks=len(loss),
        watermarked=len(pairs),
        verdict=_verdict(networks, over_samples, margin),
        loss=over_networks(loss, reason),
        over_networks=networks,
        over_samples=over_samples,
        stated=stated,
        stated_over=units,
        samples_needed=statistics.samples_for_equivalence(margin) if rate and margin < 1 else None,
        pairs=tuple(described),
        measures=_measures(pairs, SHARE if rate else None),
    )


def nothing_compared(reason: str) -> Comparison:
    """A comparison without a pair."""
    none = NotMeasured(reason=reason)
    return Comparison(
        headline=None,
        rate=False,
        networks=0,
        watermarked=0,
        verdict="not-measured",
        loss=none,
        over_networks=none,
        over_samples=none,
        stated=none,
        stated_over=None,
        samples_needed=None,
        pairs=(),
        measures=(),
    )


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


def by_network(values: Sequence[tuple[int, float]]) -> dict[int, list[float]]:
    """Network -> its values."""
    found: dict[int, list[float]] = defaultdict(list)
    for network, value in values:
        found[network].append(value)
    return dict(found)


def _described(pair: Pair, samples: int | None, margin: float) -> QualityPair:
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


def _paired(pair: Pair, samples: int | None, margin: float) -> PairedAnswers | NotMeasured:
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
    pairs: Sequence[Pair], samples: int | None, margin: float
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
    pairs: Sequence[Pair], bounds: statistics.Limits | None
) -> tuple[QualityMeasure, ...]:
    names = list(dict.fromkeys(name for p in pairs for name in p.before.quality))
    return tuple(_measure(name, pairs, bounds) for name in names)


def _measure(name: str, pairs: Sequence[Pair], bounds: statistics.Limits | None) -> QualityMeasure:
    values = [
        (p.injection.network, p.before.quality[name], p.after.quality[name])
        for p in pairs
        if name in p.before.quality and name in p.after.quality
    ]
    reason = "the measure is missing after the injection"
    return QualityMeasure(
        name=name,
        unwatermarked=over_networks(by_network([(n, b) for n, b, _ in values]), reason, bounds),
        watermarked=over_networks(by_network([(n, a) for n, _, a in values]), reason, bounds),
        change=over_networks(by_network([(n, a - b) for n, b, a in values]), reason),
    )
