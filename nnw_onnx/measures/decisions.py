"""What Detectors answer: at one level for all, or calibrated on networks without the watermark.

Where a null distribution is known, the record holds the decision. Where none is, a statistic is
compared with those of networks that cannot carry the watermark: p = (1 + number of them that reach
it) / (1 + number of them), which is never below 1 / (number + 1).

Of some methods such a network cannot even be asked: the watermark adds what is asked for, such as a
class. It is then a network in which nothing is found, so it counts as one with the statistic 0: the
Detector says No to it, whatever the key, and a p-value is by its rank among all unwatermarked
networks, so no false alarm is left out. It counts once, since its other keys and Modifications say
the same thing again. It counts only where the claim's own network, after the same Modification,
could be asked: a carrier that the Modification removed from both says nothing. What a Yes means is
less than it seems: such networks tell nothing of those that got a class from somebody else.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from nnw_onnx.kit.evidence import size_of
from nnw_onnx.math import binomial
from nnw_onnx.math.clusters import excess_p
from nnw_onnx.measures.results import Control, ControlLevel, Detectability
from nnw_onnx.measures.run import Place, Run, Test
from nnw_onnx.records import ControlRecord, NullRecord, TechnologyRecord, VerdictRecord
from nnw_onnx.vocabulary import Null

_BELOW = (1e-1, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Judge:
    """Decides the tests of one technology.

    Attributes:
        what: what its Detector can ever say.
        negatives: statistics of networks that cannot carry the watermark, rising, with 0 for one
            that cannot be asked; empty where a null is known.
    """

    what: Detectability
    negatives: tuple[float, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether the unwatermarked networks were used up by calibration."""
        return self.what.negatives is not None

    def found(self, test: Test) -> bool | None:
        """The answer; No where the carrier does not exist, None where there is none."""
        verdict = test.verdict
        if verdict.status == "not-applicable":
            return False
        if verdict.status != "done":
            return None
        if verdict.detected is not None:
            return verdict.detected
        log10_p = self.log10_p(test)
        return None if log10_p is None else 10.0**log10_p <= self.what.level * (1 + 1e-9)

    def log10_p(self, test: Test) -> float | None:
        """Decimal logarithm of the p-value; 0 where the carrier does not exist."""
        verdict = test.verdict
        if verdict.status == "not-applicable":
            return 0.0
        if verdict.status != "done":
            return None
        if verdict.log10_p is not None:
            return min(0.0, verdict.log10_p)
        if verdict.statistic is None or not self.negatives:
            return None
        reached = len(self.negatives) - bisect_left(self.negatives, verdict.statistic)
        return math.log10((1 + reached) / (1 + len(self.negatives)))


def judge_of(run: Run, technology: TechnologyRecord) -> Judge:
    """The judge of a technology, from all tests of its claims."""
    tests = list(run.every_test(technology.index))
    own = [test.verdict for test, _ in tests]
    level = run.plan.false_positive_rate
    if any(_without_null(v) for v in own):
        foreign = [test.verdict for test, carried in tests if not carried]
        measured = [v.statistic or 0.0 for v in foreign if _without_null(v)]
        return _calibrated(measured, _never_asked(tests), own, level)
    return Judge(_known(own, level))


def _never_asked(tests: Sequence[tuple[Test, bool]]) -> int:
    """Unwatermarked networks that lack what a claim asks for, where its own network has it."""
    asked = {_asked(test) for test, carried in tests if carried and test.verdict.status == "done"}
    return len(
        {
            test.trial.network
            for test, carried in tests
            if not carried and test.verdict.status == "not-applicable" and _asked(test) in asked
            if test.trial.network == test.injection.network
        }
    )


def _asked(test: Test) -> tuple[str, Place]:
    """Whose claim was heard, and after which Modification."""
    return test.injection.identity, (test.trial.setting, test.trial.intensity)


def _without_null(verdict: VerdictRecord) -> bool:
    undecided = verdict.detected is None and verdict.log10_p is None
    return verdict.status == "done" and undecided and verdict.statistic is not None


def _calibrated(
    measured: Sequence[float], never_asked: int, own: Sequence[VerdictRecord], level: float
) -> Judge:
    """The judge by these statistics, and by so many networks that could not be asked."""
    negatives = sorted([0.0] * never_asked + list(measured))
    n = len(negatives)
    smallest = 1 / (n + 1)
    rests = f"no null is known: compared with {n} results of networks that cannot carry it"
    if never_asked:
        rests += (
            f", of which {never_asked} lack what is asked for and count as 0, which tells nothing "
            "of networks that have it from somebody else"
        )
    reason = f"{rests}; 1/{n + 1} is the smallest p-value there can be"
    what = Detectability(
        ever=n > 0,
        log10_least=math.log10(smallest),
        level=max(level, smallest),
        null=_name(own),
        negatives=n,
        reason=reason if n else "no null is known, and there are no networks to compare with",
    )
    return Judge(what, tuple(negatives))


def _known(own: Sequence[VerdictRecord], level: float) -> Detectability:
    known = [v.null for v in own if v.status == "done" and v.null is not None]
    nulls = list(dict.fromkeys(_frozen(null) for null in known))
    ever = not nulls or any(n.reaches(level) for n in nulls)
    bounds = [n.log10_least for n in nulls if n.log10_least is not None]
    least = min(bounds) if bounds and len(bounds) == len(nulls) else None
    own_threshold = any(v.detected is not None and v.log10_p is None for v in own)
    reason = None
    if not nulls:
        reason = "no test was answered"
    elif own_threshold:
        reason = "it decides by a threshold of its own: its false alarms are counted, not bounded"
    elif not ever and least is not None:
        reason = f"p = {10.0**least:.2g} at best: the Detector can never say Yes at {level:g}"
        sizes = [size for null in nulls if (size := size_of(null, level)) is not None]
        if sizes:
            reason += f"; it takes {max(size.symbols for size in sizes)} Symbols"
    return Detectability(
        ever=ever,
        log10_least=least,
        level=level,
        attained=_attained(nulls, level),
        ser_limit=_ser_limit(nulls, level),
        null=_name(own),
        reason=reason,
        own_threshold=own_threshold,
    )


def _frozen(null: NullRecord) -> Null:
    # A run folder is untrusted: a probability above 1 would overflow where it is used.
    least = None if null.log10_least is None else min(0.0, null.log10_least)
    return Null(null.name, null.symbols, null.chance, least)


def _name(own: Sequence[VerdictRecord]) -> str:
    names = Counter(v.null.name for v in own if v.status == "done" and v.null is not None)
    return names.most_common(1)[0][0] if names else ""


def _threshold(nulls: Sequence[Null], level: float) -> tuple[int | None, int, Fraction] | None:
    """Fewest right Symbols that are a Yes (or None), of how many, and the chance of one.

    None where the count differs between networks, or where the statistic is no count.
    """
    if len(nulls) != 1 or not nulls[0].symbols or not nulls[0].chance or nulls[0].chance >= 1:
        return None
    n, chance = nulls[0].symbols, Fraction(nulls[0].chance).limit_denominator(1 << 20)
    if not 0 < chance < 1 or n > 1 << 14:
        return None
    return binomial.threshold(n, level, chance), n, chance


def _attained(nulls: Sequence[Null], level: float) -> float | None:
    """Chance of a Yes of a count at this level; None where it differs or is no count."""
    found = _threshold(nulls, level)
    if found is None:
        return None
    least, n, chance = found
    return 0.0 if least is None else binomial.tail(least, n, chance).p_value


def _ser_limit(nulls: Sequence[Null], level: float) -> float | None:
    """Largest Symbol Error Rate that is a Yes, likewise; None too where none is."""
    found = _threshold(nulls, level)
    return None if found is None or found[0] is None else 1 - found[0] / found[1]


def control_of(run: Run, technology: TechnologyRecord) -> Control | None:
    """The wrong keys of a technology over all networks and settings, or None without any.

    Every setting meets the same keys, whose results therefore hang together. Within one setting
    they are independent: the exact binomial test is made there, and Bonferroni's bound over the
    settings holds whatever hangs together.
    """
    index = technology.index
    settings: dict[int | None, list[ControlRecord]] = defaultdict(list)
    for trial in run.trials:
        settings[trial.setting] += [c for c in trial.controls if c.technology == index and c.keys]
    groups = [group for group in settings.values() if group]
    found = [control for group in groups for control in group]
    if not found:
        return None
    level, symbols = run.plan.false_positive_rate, sum(c.symbols for c in found)
    at_level = _level(groups, level, lambda c: c.detected)
    return Control(
        keys=sum(c.keys for c in found),
        detected=at_level.count,
        expected=at_level.expected,
        p_value=at_level.p_value,
        levels=tuple(_level(groups, p, _below(i)) for i, p in enumerate(_BELOW)),
        log10_least=min(c.log10_least for c in found),
        ser=sum(c.errors for c in found) / symbols if symbols else None,
        ser_expected=1 - 1 / technology.alphabet if symbols and technology.alphabet else None,
    )


def _below(place: int) -> Callable[[ControlRecord], int]:
    return lambda control: control.below[place]


def _level(
    groups: Sequence[Sequence[ControlRecord]], level: float, count: Callable[[ControlRecord], int]
) -> ControlLevel:
    totals = [(sum(count(c) for c in group), sum(c.keys for c in group)) for group in groups]
    least = min(excess_p(events, keys, level) for events, keys in totals)
    return ControlLevel(
        level=level,
        count=sum(events for events, _ in totals),
        expected=level * sum(keys for _, keys in totals),
        p_value=min(1.0, len(groups) * least),
    )
