"""Scores of samples: what two networks of one test set say of each other, sample by sample."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math.statistics import least_half_width, sample_limits
from nnw_onnx.measures.limits import LOSS_CONFIDENCE, UNKNOWN, Nested, SampleError, loss
from nnw_onnx.measures.results import Value
from nnw_onnx.records import MeasureRecord, Scores, TrialRecord

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """The scores of one trial.

    Attributes:
        scores: (n,) numerator of the headline by sample.
        weights: (n,) denominator, or None for 1 each.
        right_or_wrong: whether the scores are 0 or 1.
    """

    scores: Numbers
    weights: Numbers | None
    right_or_wrong: bool

    @cached_property
    def ratio(self) -> float:
        """Sum of the scores / sum of the weights."""
        whole = self.scores.size if self.weights is None else self.weights.sum()
        return float(self.scores.sum() / whole) if whole else 0.0

    @cached_property
    def influence(self) -> Numbers:
        """(n,) linearised contribution of each sample to the ratio; its mean is 0."""
        if self.weights is None:
            return self.scores - self.ratio
        mean = float(self.weights.mean()) or 1.0
        result: Numbers = (self.scores - self.ratio * self.weights) / mean
        return result


def unpacked(scores: Scores | None) -> Answers | None:
    """The scores of a record, or None where they were not kept or do not fit."""
    if scores is None or scores.n == 0:
        return None
    try:
        data = base64.b64decode(scores.data, validate=True)
        weights = None if scores.weights is None else _floats(scores.weights, scores.n)
        if scores.form == "bits":
            if len(data) != math.ceil(scores.n / 8):
                return None
            bits = np.unpackbits(np.frombuffer(data, np.uint8), count=scores.n)
            return Answers(bits.astype(np.float64), weights, weights is None)
        return Answers(_floats(scores.data, scores.n), weights, False)
    except ValueError:
        # A run folder is untrusted: broken base64, a wrong length and numbers that are none are
        # the same as scores that were not kept.
        return None


def _floats(text: str, n: int) -> Numbers:
    found = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)
    if found.shape != (n,) or not np.isfinite(found).all():
        raise ValueError(f"scores: expected {n} finite numbers, got {found.size}; measure again")
    return found


@dataclass(frozen=True)
class Pair:
    """A network before and after: of a Modification, or of the watermark.

    Attributes:
        network: the unit.
        unit: what was repeated on it.
        before: its trial before.
        after: its trial after.
    """

    network: int
    unit: str
    before: TrialRecord
    after: TrialRecord


def lost(pair: Pair, measure: MeasureRecord) -> float | None:
    """Loss in a measure, positive where it got worse; None where one of the two has no value."""
    before, after = pair.before.quality.get(measure.name), pair.after.quality.get(measure.name)
    if before is None or after is None:
        return None
    return before - after if measure.better == "higher" else after - before


@dataclass(frozen=True)
class Book:
    """What is needed again and again, kept.

    Attributes:
        kept: scores of unmodified networks, since every other is compared with one.
        losses: losses by the trials behind them, since technologies share unwatermarked networks.
    """

    kept: dict[str, Answers | None] = field(default_factory=dict)
    losses: dict[tuple[str, ...], Value] = field(default_factory=dict)

    def once(self, trials: Sequence[TrialRecord], work: Callable[[], Value]) -> Value:
        """The loss of these trials, worked out when it is first asked for."""
        key = tuple(t.identity for t in trials)
        if key not in self.losses:
            self.losses[key] = work()
        return self.losses[key]

    def of(self, trial: TrialRecord) -> Answers | None:
        """The scores of a trial, or None."""
        if trial.setting is not None:
            return unpacked(trial.scores)
        if trial.identity not in self.kept:
            self.kept[trial.identity] = unpacked(trial.scores)
        return self.kept[trial.identity]


def sample_error(pairs: Sequence[Pair], measure: MeasureRecord, book: Book) -> SampleError:
    """The error over test samples of the mean headline loss of pairs, networks being given."""
    found = [(p, book.of(p.before), book.of(p.after)) for p in pairs]
    known = [(p, b, a) for p, b, a in found if b is not None and a is not None]
    sizes = {x.scores.size for _, b, a in known for x in (b, a)}
    if not known or len(known) < len(pairs) or len(sizes) != 1 or sizes == {1}:
        return UNKNOWN
    slope = _slope(known, measure.name)
    if slope is None:
        return UNKNOWN
    changes, n = _differences(known), sizes.pop()
    mean: Numbers = changes.mean(axis=0)
    error = abs(slope) * float(mean.std(ddof=1)) / math.sqrt(n)
    shared = slope * slope * _residual(changes) / changes.size
    if not all(x.right_or_wrong for _, b, a in known for x in (b, a)):
        return SampleError(error, _left_open(changes, measure), shared=shared)
    worse = 1.0 if measure.better == "higher" else -1.0
    lost = worse * np.mean([b.scores - a.scores for _, b, a in known], axis=0)
    alone = sample_limits(lost, LOSS_CONFIDENCE) if len(changes) == 1 else None
    return SampleError(error, least_half_width(n, LOSS_CONFIDENCE), alone, shared)


def _left_open(changes: Numbers, measure: MeasureRecord) -> float:
    """Half width that (M, n) differences leave at least: 0 where any is none.

    Where no sample changed, the share of other samples that would have is known up to a bound only,
    and each changes the measure by no more than its range (by about that, of the jackknife's).
    """
    if changes.any() or measure.low is None or measure.high is None:
        return 0.0
    return (measure.high - measure.low) * least_half_width(changes.shape[1], LOSS_CONFIDENCE)


def _differences(known: Sequence[tuple[Pair, Answers, Answers]]) -> Numbers:
    """(M, n) influence before - after of each network and sample, means over a network's pairs."""
    sums: dict[int, tuple[Numbers, int]] = {}
    for pair, before, after in known:
        total, count = sums.get(pair.network, (np.zeros(1), 0))
        sums[pair.network] = (total + (before.influence - after.influence), count + 1)
    return np.array([total / count for total, count in sums.values()])


def _residual(changes: Numbers) -> float:
    """Variance of (M, n) numbers that neither the network nor the sample explains."""
    networks, samples = changes.shape
    if networks < 2:
        return 0.0
    alone = changes - changes.mean(axis=1, keepdims=True) - changes.mean(axis=0) + changes.mean()
    freedom: int = (networks - 1) * (samples - 1)
    return float((alone**2).sum()) / freedom


def _slope(known: Sequence[tuple[Pair, Answers, Answers]], name: str) -> float | None:
    """Change of the headline with the ratio of the scores: 1 where it is that ratio.

    A headline may be a monotone function of it, as perplexity is; then the slope is taken between
    the networks at hand, since the records do not hold the function.
    """
    ratios = np.array([r for _, b, a in known for r in (b.ratio, a.ratio)])
    headlines = np.array(
        [t.quality[name] for p, _, _ in known for t in (p.before, p.after) if name in t.quality]
    )
    if headlines.size != ratios.size:
        return None
    if np.allclose(ratios, headlines, rtol=1e-5, atol=1e-6):
        return 1.0
    spread = ratios - ratios.mean()
    square = float(spread @ spread)
    return float(spread @ (headlines - headlines.mean())) / square if square > 0 else None


def quality_loss(pairs: Sequence[Pair], measure: MeasureRecord, reason: str, book: Book) -> Value:
    """The mean headline loss of pairs with its 90 % limits over networks and samples."""
    measured = [(p, x) for p in pairs if (x := lost(p, measure)) is not None]
    nested = Nested.of((p.network, p.unit, x) for p, x in measured)
    samples = sample_error([p for p, _ in measured], measure, book)
    return loss(nested, reason, samples)


def changed_answers(pair: Pair, book: Book) -> tuple[int, int] | None:
    """(right before and wrong after, the reverse); None where answers are not right or wrong."""
    before, after = book.of(pair.before), book.of(pair.after)
    if before is None or after is None or before.scores.size != after.scores.size:
        return None
    if not (before.right_or_wrong and after.right_or_wrong):
        return None
    difference = before.scores - after.scores
    return int(np.count_nonzero(difference > 0)), int(np.count_nonzero(difference < 0))
