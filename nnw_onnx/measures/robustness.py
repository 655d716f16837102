"""Robustness: false alarms, missed detections and Symbol Error Rate after each Modification.

Clause "Robustness" of NNW-NNT, for one technology, setting and Intensity at a time, over
M x (D + 1) networks. Where some networks could not be measured, ratios are over those that were,
and the counts say how many there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from nnw_onnx.math.clusters import effective_number, intraclass_correlation
from nnw_onnx.measures.decisions import Judge
from nnw_onnx.measures.limits import Nested, Single, average, failures, median, rate
from nnw_onnx.measures.localisation import localisation
from nnw_onnx.measures.results import PlaceCount, Point, PointStatus, Share, Value
from nnw_onnx.measures.run import Run, Test, asked, why_none
from nnw_onnx.measures.scores import quality_loss
from nnw_onnx.measures.usability import NO_UNMARKED, quality_of
from nnw_onnx.records import Status, TechnologyRecord, TrialRecord

SURVIVAL = 0.95
"""Smallest share of watermarks found that counts as surviving."""
NEW_MARK_IN = 0.05
"""Largest Symbol Error Rate of the last further watermark at which an overwriting counts as one."""
NOT_IN = "no mark is found before any Modification, so that none can survive or be lost"
NO_MARKED = "no watermarked network could be tested"
_DIFFERENT = "differs from network to network"
_CALIBRATED = "the unwatermarked networks are what the Detector is calibrated on"


@dataclass(frozen=True)
class Where:
    """A setting at an Intensity; all None where nothing was modified."""

    setting: int | None = None
    level: int | None = None
    intensity: float | None = None


@dataclass(frozen=True)
class _Found:
    """What was tested at a point."""

    run: Run
    technology: TechnologyRecord
    judge: Judge
    where: Where
    own: Sequence[Test]
    foreign: Sequence[Test]
    marked: Sequence[TrialRecord]
    plain: Sequence[TrialRecord]

    @property
    def expected(self) -> int:
        """Tests on watermarked networks: M x D x repetitions, or M x copies x repetitions."""
        plan, setting = self.run.plan, self.where.setting
        if setting is None:
            return self.run.expected
        copies = plan.settings[setting].copies
        claims = plan.payloads if copies == 1 else min(copies, plan.payloads)
        return len(plan.networks) * claims * plan.repetitions

    def answers(self, tests: Iterable[Test]) -> list[tuple[Test, bool]]:
        """Tests with their answers, those without one left out."""
        return [(t, found) for t in tests if (found := self.judge.found(t)) is not None]


class _Rates(TypedDict):
    """The part of a point that follows from the answers of the Detector."""

    found_rate: Value
    missed_rate: Value
    false_alarm_rate: Value
    fn_ratio: Share
    fp_ratio: Share
    alarms: tuple[int, ...]
    icc: float | None
    marks: float | None


def point(run: Run, technology: TechnologyRecord, judge: Judge, where: Where) -> Point:
    """One technology at one point."""
    place = (where.setting, where.intensity)
    index = technology.index
    twins = run.modified_twins(technology, place)
    found = _Found(
        run,
        technology,
        judge,
        where,
        run.own_tests(index, place),
        run.foreign_tests(index, place),
        run.marked(index, place),
        twins or run.plain(index, place),
    )
    return _point(found)


def _point(found: _Found) -> Point:
    run, where, index = found.run, found.where, found.technology.index
    own, foreign = found.answers(found.own), found.answers(found.foreign)
    mixed = run.innocent_tests(index, (where.setting, where.intensity))
    innocent = found.answers(mixed)
    ser, plain_ser = _symbols(found.own, NO_MARKED), _symbols(found.foreign, NO_UNMARKED)
    new, last = _new_marks(found.marked)
    status, reason = _status(found, own, last)
    trials = [t for t in found.marked if t.status == "done"]
    elsewhere = sorted({t.quality_of for t in trials if t.quality_of is not None})
    modified = where.setting is not None
    return Point(
        technology=index,
        setting=where.setting,
        level=where.level,
        intensity=where.intensity,
        status=status,
        reason=reason,
        found=sum(yes for _, yes in own),
        tested=len(own),
        expected=found.expected,
        gone=sum(t.verdict.status == "not-applicable" for t, _ in own),
        innocents=len(innocent) or None,
        accused=sum(yes for _, yes in innocent) if innocent else None,
        noticed=_noticed(found.technology, own) if found.technology.kind == "integrity" else None,
        **_rates(found, own, foreign),
        ser=ser,
        ser_unwatermarked=plain_ser,
        ser_all=_of_all(ser, plain_ser, run.plan.payloads),
        bit_errors=_bits(found.own),
        log10_p=_evidence(found, found.own, NO_MARKED),
        log10_p_unwatermarked=_evidence(found, found.foreign, NO_UNMARKED),
        loss=_loss(run, found.marked, NO_MARKED, modified),
        loss_unwatermarked=_loss(run, found.plain, NO_UNMARKED, modified),
        quality=quality_of(trials, run.headline, why_none(run.plan, NO_MARKED)),
        quality_of=" and ".join(elsewhere) or None,
        change=_mean(trials, lambda t: t.change, "nothing was modified"),
        ser_new_marks=new,
        ser_last_new_mark=last,
        places=_places(found.technology, found.own),
        place_right=_place_right(found),
        localisation=localisation(found.own),
        facts=_facts(trials),
        failures=failures(_outcomes(found)),
    )


def _rates(
    found: _Found, own: Sequence[tuple[Test, bool]], foreign: Sequence[tuple[Test, bool]]
) -> _Rates:
    """FP and FN under both normalisations (standard.md section 10, items 1 and 2), at one level."""
    hit = Nested.of(_singles(own, float))
    missed = Nested.of(_singles(own, lambda yes: float(not yes)))
    calibrated = found.judge.calibrated
    alarm = Nested.of(() if calibrated else _singles(foreign, float))
    networks = hit.units + len({t.trial.network for t, _ in foreign})
    correlation = intraclass_correlation([*hit.rows.values()])
    payloads = hit.units / len(hit.rows) if hit.rows else 0
    return {
        "found_rate": rate(hit, NO_MARKED, events=True),
        "missed_rate": rate(missed, NO_MARKED, events=True),
        "false_alarm_rate": rate(alarm, _CALIBRATED if calibrated else NO_UNMARKED, events=True),
        "fn_ratio": _share(sum(sum(row) for row in missed.rows.values()), networks),
        "fp_ratio": _share(sum(alarm.means), networks),
        "alarms": tuple(n for n, m in zip(alarm.rows, alarm.means, strict=True) if m > 0),
        "icc": correlation,
        "marks": None
        if correlation is None
        else effective_number(len(hit.rows), payloads, correlation),
    }


def _singles(
    answers: Iterable[tuple[Test, bool]], number: Callable[[bool], float]
) -> Iterable[Single]:
    return ((t.trial.network, t.unit, number(yes)) for t, yes in answers)


def _share(events: float, networks: int) -> Share:
    return Share(events=events, of=networks, value=events / networks if networks else None)


def _status(
    found: _Found, own: Sequence[tuple[Test, bool]], last: Value
) -> tuple[PointStatus, str | None]:
    if not asked(found.run.plan, found.technology.robustness):
        return "n/a", f"the evaluation leaves out the workflow {found.technology.robustness}"
    if not own:
        return _nothing(found)
    if last.value is not None and last.value > NEW_MARK_IN:
        return "void", (
            "the overwriting is none: the last of its new watermarks is not in (its Symbol Error "
            f"Rate is {last.value:.0%}, the most that counts is {NEW_MARK_IN:.0%})"
        )
    if found.technology.kind == "integrity" and found.where.setting is not None:
        return _told(_noticed(found.technology, own), len(own), found.expected)
    return _decided(found, sum(yes for _, yes in own), len(own))


def _decided(found: _Found, hits: int, tested: int) -> tuple[PointStatus, str | None]:
    if not found.judge.what.ever:
        return "undetectable", found.judge.what.reason
    if found.where.setting is not None and not is_in(found.run, found.technology, found.judge):
        return "void", NOT_IN
    return _survived(hits, tested, found.expected)


def is_in(run: Run, technology: TechnologyRecord, judge: Judge) -> bool:
    """Whether any mark is found before any Modification, or none of them was looked for.

    A training can end without its mark. What was never found cannot be lost by a Modification.
    """
    answers = [judge.found(test) for test in run.own_tests(technology.index, (None, None))]
    return any(answers) or all(answer is None for answer in answers)


def _survived(hits: int, tested: int, expected: int) -> tuple[PointStatus, str | None]:
    """Undecided only while tests that were not done could still tip it."""
    expected = max(expected, tested)
    if hits >= SURVIVAL * expected:
        return "survives", None
    if hits + expected - tested < SURVIVAL * expected:
        return "lost", None
    return "undecided", (
        f"only {tested} of {expected} tests on watermarked networks were done: the others could "
        "tip the verdict"
    )


def _told(noticed: int, tested: int, expected: int) -> tuple[PointStatus, str | None]:
    """As `_survived`, of an integrity method that tells of the change."""
    words: dict[PointStatus, PointStatus] = {"survives": "noticed", "lost": "unnoticed"}
    status, reason = _survived(noticed, tested, expected)
    return words.get(status, status), reason


def _noticed(technology: TechnologyRecord, own: Sequence[tuple[Test, bool]]) -> int:
    """Tests in which an integrity method says No, or names a place that was changed."""
    return sum(not yes or _named(technology, test) is not None for test, yes in own)


def _nothing(found: _Found) -> tuple[PointStatus, str]:
    """Why there is not a single answer."""
    marks = found.run.marks(found.technology.index)
    outcomes = failures(_outcomes_of(found.marked, found.own))
    outcomes = outcomes or failures((i.status, i.reason) for i in marks)
    if not outcomes:
        return "not run", "there is no record"
    words: dict[Status, PointStatus] = {
        "failed": "failed",
        "not-applicable": "n/a",
        "skipped": "n/a",
    }
    return words.get(outcomes[0].status, "not run"), outcomes[0].reason


def _outcomes(found: _Found) -> list[tuple[Status, str | None]]:
    marked = _outcomes_of(found.marked, found.own)
    return marked + _outcomes_of(found.plain, found.foreign)


def _outcomes_of(
    trials: Sequence[TrialRecord], tests: Sequence[Test]
) -> list[tuple[Status, str | None]]:
    outcomes: list[tuple[Status, str | None]] = [(t.status, t.reason) for t in trials]
    return outcomes + [(t.verdict.status, t.verdict.reason) for t in tests]


def _symbols(tests: Sequence[Test], otherwise: str) -> Value:
    """Symbol Error Rate: differing Symbols / Symbols, before any code."""
    singles: list[Single] = [
        (t.trial.network, t.unit, t.verdict.errors / t.verdict.symbols)
        for t in tests
        if t.verdict.status == "done"
        if t.verdict.errors is not None and t.verdict.symbols
    ]
    return rate(Nested.of(singles), _why_none(tests, otherwise))


def _why_none(tests: Sequence[Test], otherwise: str) -> str:
    gone = [t.verdict for t in tests if t.verdict.status == "not-applicable"]
    if gone:
        reason = "the carrier does not exist in any of the networks"
        return f"{reason}: {gone[0].reason}" if gone[0].reason else reason
    return "no Symbols are read" if any(t.verdict.status == "done" for t in tests) else otherwise


def _bits(tests: Sequence[Test]) -> Value:
    singles: list[Single] = [
        (t.trial.network, t.unit, min(1.0, t.verdict.bit_errors / t.verdict.bits))
        for t in tests
        if t.verdict.status == "done" and t.verdict.bit_errors is not None and t.verdict.bits
    ]
    return rate(Nested.of(singles), "there is no code between Payload and Symbols")


def _of_all(marked: Value, plain: Value, payloads: int) -> Value:
    """The standard's mean over M (D + 1) networks."""
    if marked.value is None or plain.value is None:
        return Value.missing(marked.reason or plain.reason or NO_UNMARKED)
    mean = (payloads * marked.value + plain.value) / (payloads + 1)
    return Value(value=mean, networks=marked.networks)


def _evidence(found: _Found, tests: Sequence[Test], reason: str) -> Value:
    singles: list[Single] = [
        (t.trial.network, t.unit, p) for t in tests if (p := found.judge.log10_p(t)) is not None
    ]
    return median(singles, reason)


def _loss(run: Run, trials: Sequence[TrialRecord], reason: str, modified: bool) -> Value:
    if not modified:
        return Value.missing("nothing was modified")
    if any(t.quality_of is not None for t in trials):
        reason = "quality was measured on another data set, not on that of the evaluation"
    reason = why_none(run.plan, reason)
    return run.book.once(
        trials, lambda: quality_loss(run.pairs(trials), run.headline, reason, run.book)
    )


def _mean(
    trials: Sequence[TrialRecord], number: Callable[[TrialRecord], float | None], reason: str
) -> Value:
    singles = ((t.network, t.injection or "", x) for t in trials if (x := number(t)) is not None)
    return average(Nested.of(singles), reason)


def _new_marks(trials: Sequence[TrialRecord]) -> tuple[Value, Value]:
    """Symbol Error Rate of the further watermarks of an overwriting: of all, and of the last.

    Those before the last are overwritten by the later ones, so whether they were put in shows in
    the last.
    """
    shares = [(t, [m.errors / m.symbols for m in t.new_marks]) for t in trials if t.new_marks]
    none = "no further watermark was put in"
    every = Nested.of((t.network, t.injection, math.fsum(x) / len(x)) for t, x in shares)
    last = Nested.of((t.network, t.injection, x[-1]) for t, x in shares)
    return average(every, none), average(last, none)


def _named(technology: TechnologyRecord, test: Test) -> str | None:
    """The layer that a test names: the strongest evidence, or what an integrity method misses.

    An integrity method has evidence that places are as they were, so that a change is where it has
    least of it; where all places are alike and it still says Yes, none is named.
    """
    places = test.verdict.places
    if not places:
        return None
    if technology.kind != "integrity":
        return places[0].layer
    least = min(places, key=lambda p: p.statistic)
    alike = least.statistic == max(p.statistic for p in places)
    return None if alike and test.verdict.detected is not False else least.layer


def _places(technology: TechnologyRecord, tests: Sequence[Test]) -> tuple[PlaceCount, ...]:
    named = Counter(name for t in tests if (name := _named(technology, t)) is not None)
    return tuple(PlaceCount(layer=name, tests=n) for name, n in named.most_common())


def _place_right(found: _Found) -> Value | None:
    if found.technology.kind != "integrity":
        return None
    singles = (
        (t.trial.network, t.unit, float(name in aimed))
        for t in found.own
        if (name := _named(found.technology, t)) is not None
        if (aimed := {layer for step in t.trial.layers for layer in step})
    )
    return rate(Nested.of(singles), "no place was named, or nothing was aimed at", events=True)


def _facts(trials: Sequence[TrialRecord]) -> dict[str, float | str]:
    """What the Modifications say: numbers as means over networks, words where they all agree."""
    names = dict.fromkeys(name for t in trials for name in t.facts)
    return {name: _fact(name, trials) for name in names}


def _fact(name: str, trials: Sequence[TrialRecord]) -> float | str:
    said = [t for t in trials if name in t.facts]
    words = {w for t in said if isinstance(w := t.facts[name], str)}
    numbers = [(t.network, t.injection, x) for t in said if not isinstance(x := t.facts[name], str)]
    if words:
        return words.pop() if len(words) == 1 and not numbers else _DIFFERENT
    return average(Nested.of(numbers), "").value or 0.0
