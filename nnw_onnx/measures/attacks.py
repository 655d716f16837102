"""When an attack counts: the Detector says No, and the network is still worth having."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.measures.aligning import Aligned, Member, Named
from nnw_onnx.measures.compared import Attack
from nnw_onnx.measures.decisions import Judge
from nnw_onnx.measures.exact_level import found_exactly
from nnw_onnx.measures.limits import Nested, rate
from nnw_onnx.measures.results import PointStatus, Value
from nnw_onnx.measures.robustness import NO_MARKED, Where, point
from nnw_onnx.measures.run import Run, Test
from nnw_onnx.measures.scores import Pair, lost
from nnw_onnx.records import TechnologyRecord, TrialRecord

_WITHOUT: tuple[PointStatus, ...] = ("void", "failed", "not run", "n/a", "undetectable")


@dataclass(frozen=True)
class Entry:
    """A technology that takes part.

    Attributes:
        number: among all that take part.
        run: number of its run.
        named: its run.
        technology: as the plan has it.
        judge: of its Detector.
        label: name for people.
        attacked: whether it was attacked adaptively, without which it is not ranked.
    """

    number: int
    run: int
    named: Named
    technology: TechnologyRecord
    judge: Judge
    label: str
    attacked: bool = False


@dataclass(frozen=True)
class Answer:
    """What was said of one network, and what is left of it.

    Attributes:
        network: in the first run.
        unit: what repetitions are averaged over.
        found: whether the Detector said Yes.
        loss: of quality; -infinity where it was measured on another data set, where nothing can be
            lost.
    """

    network: int
    unit: str
    found: bool
    loss: float


@dataclass(frozen=True)
class Met:
    """What one technology met in one setting at one Intensity, by network of the first run.

    Attributes:
        answers: of the Detector, one a test.
        success: share of watermarks not found in networks that are still usable.
        lost: share not found.
        symbols: Symbol Error Rate by network and Payload, where Symbols are read.
        ser: Symbol Error Rate.
        missing: why it has no result; "" where it has.
    """

    answers: Sequence[Answer]
    success: Nested
    lost: Nested
    symbols: Nested
    ser: Value
    missing: str = ""

    def at_limit(self, limit: float) -> Met:
        """The same if a loss up to `limit` still counted as usable."""
        return replace(self, success=_success(self.answers, limit))


@dataclass(frozen=True)
class Attacked:
    """What the technologies of a group met.

    Attributes:
        networks: M.
        met: by place in the group, setting and level.
        counting: levels of each setting that count, see `Aligned.in_the_way`; settings without any
            are left out.
        left_out: what does not count, and why.
    """

    networks: int
    members: int
    met: Mapping[tuple[int, int, int], Met]
    counting: Mapping[int, Sequence[int]]
    left_out: tuple[str, ...]

    @property
    def settings(self) -> list[int]:
        """Numbers of the settings that count."""
        return list(self.counting)

    def complete(self, setting: int, level: int) -> bool:
        """Whether all have a result of every network there."""
        found = [self.met[k, setting, level] for k in range(self.members)]
        return all(not m.missing and len(m.success.rows) == self.networks for m in found)

    def at_limit(self, common: Aligned, members: Sequence[Entry], limit: float) -> Attacked:
        """The same if a loss up to `limit` still counted as usable; nothing is said of the rest."""
        counting = {
            s.index: levels
            for s in common.settings
            if (
                levels := [
                    i
                    for i, usable in enumerate(common.usable_at(s, limit, _numbers(members)))
                    if usable and self.complete(s.index, i)
                ]
            )
        }
        met = {place: m.at_limit(limit) for place, m in self.met.items()}
        return replace(self, met=met, counting=counting, left_out=())

    def scores(self, setting: int | None) -> NDArray[np.float64] | None:
        """(M, K) success of attacks: mean over Intensities, then settings; None without any."""
        wanted = self.settings if setting is None else [s for s in self.counting if s == setting]
        if not wanted:
            return None
        return np.array(
            [
                [
                    fmean(
                        fmean(fmean(self.met[k, s, i].success.rows[n]) for i in self.counting[s])
                        for s in wanted
                    )
                    for k in range(self.members)
                ]
                for n in range(self.networks)
            ]
        )


def attacked(common: Aligned, members: Sequence[Entry]) -> Attacked:
    """What the technologies of a group met, and which settings count for all of them."""
    networks = len(common.runs[0].run.plan.networks)
    met: dict[tuple[int, int, int], Met] = {}
    counting: dict[int, list[int]] = {}
    left_out: list[str] = []
    for setting in common.settings:
        for i, level in enumerate(setting.levels):
            where = _named(setting.label, level.intensity, setting.unit)
            for k, entry in enumerate(members):
                met[k, setting.index, i] = _met(common, entry, setting.index, level.intensity)
            short = next(
                (
                    f"{e.label}: {found.missing or 'not all networks were tested'}"
                    for k, e in enumerate(members)
                    if (found := met[k, setting.index, i]).missing
                    or len(found.success.rows) < networks
                ),
                "",
            )
            if why := _unusable(common, members, setting.index, level.intensity):
                left_out.append(f"{where}: {why}")
            elif short:
                left_out.append(f"{where}: {short}")
            else:
                counting.setdefault(setting.index, []).append(i)
    return Attacked(networks, len(members), met, counting, tuple(left_out))


def attacks_of(common: Aligned, members: Sequence[Entry], found: Attacked) -> Iterator[Attack]:
    """Every technology under every setting at every Intensity."""
    for setting in common.settings:
        for i, level in enumerate(setting.levels):
            for k, entry in enumerate(members):
                met = found.met[k, setting.index, i]
                counts = i in found.counting.get(setting.index, ())
                yield Attack(
                    contestant=entry.number,
                    setting=setting.index,
                    level=i,
                    intensity=level.intensity,
                    counts=counts,
                    success=rate(met.success, met.missing or NO_MARKED),
                    lost=rate(met.lost, met.missing or NO_MARKED),
                    ser=met.ser,
                    reason=None if counts else met.missing or "it does not count for all",
                )


def usable(run: Run, trial: TrialRecord) -> bool | None:
    """Whether one network is still usable; None where its quality was not measured."""
    loss = _loss(run, trial)
    return None if loss is None else loss <= run.headline.usable_loss


def _loss(run: Run, trial: TrialRecord) -> float | None:
    """What one network lost; None where its quality was not measured.

    On another data set, after a transfer, quality has nothing to be compared with: it counts.
    """
    if trial.quality_of is not None:
        return -math.inf
    before = run.unmodified.get((trial.network, trial.injection))
    if before is None:
        return None
    return lost(Pair(trial.network, trial.injection or "", before, trial), run.headline)


def _met(common: Aligned, entry: Entry, setting: int, intensity: float | None) -> Met:
    run = entry.named.run
    number = common.places[entry.run][setting]
    where = (number, intensity)
    told = point(run, entry.technology, entry.judge, Where(number, 0, intensity))
    if told.status in _WITHOUT:
        reason = f"{told.status}: {told.reason}" if told.reason else told.status
        return Met((), Nested({}), Nested({}), Nested({}), told.ser, reason)
    tests = run.own_tests(entry.technology.index, where)
    answers = [
        Answer(entry.named.networks[t.trial.network], t.unit, found, loss)
        for t in tests
        if (found := found_exactly(entry.judge, t)) is not None
        if (loss := _loss(run, t.trial)) is not None
    ]
    return Met(
        answers,
        _success(answers, run.headline.usable_loss),
        Nested.of((a.network, a.unit, float(not a.found)) for a in answers),
        _symbols(tests, entry.named.networks),
        told.ser,
    )


def _success(answers: Sequence[Answer], limit: float) -> Nested:
    return Nested.of((a.network, a.unit, float(not a.found and a.loss <= limit)) for a in answers)


def _symbols(tests: Sequence[Test], networks: Mapping[int, int]) -> Nested:
    return Nested.of(
        (networks[t.trial.network], t.unit, t.verdict.errors / t.verdict.symbols)
        for t in tests
        if t.verdict.status == "done" and t.verdict.errors is not None and t.verdict.symbols
    )


def _unusable(
    common: Aligned, members: Sequence[Entry], setting: int, intensity: float | None
) -> str:
    """Why a level does not count; "" where it does."""
    level = common.in_the_way(setting, intensity, _numbers(members), lambda x: x.counts)
    if level is None:
        return ""
    return f"{level.usability}, {level.reason}" if level.reason else level.usability


def _numbers(members: Sequence[Entry]) -> list[Member]:
    """Run and technology of each."""
    return [(entry.run, entry.technology.index) for entry in members]


def _named(label: str, intensity: float | None, unit: str) -> str:
    return label if intensity is None else f"{label} {intensity:g} {unit}".rstrip()
