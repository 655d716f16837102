"""The records of a run, arranged as the measures ask for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nnw_onnx.measures.scores import Book, Pair
from nnw_onnx.records import (
    InjectionRecord,
    MeasureRecord,
    Plan,
    TechnologyRecord,
    TrialRecord,
    VerdictRecord,
    Workflow,
)

Place = tuple[int | None, float | None]
"""Setting and Intensity; (None, None) where nothing was modified."""


NO_QUALITY = "the evaluation leaves quality out (quality = false)"


@dataclass(frozen=True)
class Test:
    """One claim on one network.

    Attributes:
        trial: the network, after a Modification or none.
        injection: whose claim was heard.
        verdict: what was said.
    """

    trial: TrialRecord
    injection: InjectionRecord
    verdict: VerdictRecord

    @property
    def unit(self) -> str:
        """What repetitions of the same are averaged over."""
        return self.injection.identity


_Own = dict[tuple[int, Place], dict[tuple[str, int], Test]]
_Foreign = dict[tuple[int, Place], list[Test]]


@dataclass(frozen=True)
class Run:
    """The records of a run.

    Attributes:
        plan: what was planned.
        injections: every injection, enrolment and twin.
        trials: every trial.
        book: scores of the trials.
    """

    plan: Plan
    injections: tuple[InjectionRecord, ...]
    trials: tuple[TrialRecord, ...]
    book: Book = field(default_factory=Book)

    @property
    def headline(self) -> MeasureRecord:
        """The measure that networks are judged by."""
        return self.plan.measures[0]

    @property
    def guard(self) -> MeasureRecord | None:
        """The measure that a collapsed network cannot keep."""
        return next((m for m in self.plan.measures if m.name == self.plan.guard), None)

    @property
    def expected(self) -> int:
        """Watermarked networks of a technology: M x D."""
        return len(self.plan.networks) * self.plan.payloads

    @cached_property
    def by_identity(self) -> Mapping[str, InjectionRecord]:
        """Injections by identity."""
        return {i.identity: i for i in self.injections}

    @cached_property
    def unmodified(self) -> Mapping[tuple[int, str | None], TrialRecord]:
        """Trials without Modification by network and injection."""
        return {(t.network, t.injection): t for t in self.trials if t.setting is None}

    def marks(self, technology: int) -> list[InjectionRecord]:
        """The watermarks of a technology by network and payload; twins are none."""
        own = (i for i in self.injections if i.technology == technology and not i.twin)
        return sorted(own, key=lambda i: (i.network, i.payload_index))

    def twins(self, technology: TechnologyRecord) -> list[InjectionRecord]:
        """The twins of a technology by network; technologies of the same training share them."""
        if technology.training is None:
            return []
        same = {t.index for t in self.plan.technologies if t.training == technology.training}
        found = {i.network: i for i in self.injections if i.twin and i.technology in same}
        return [found[network] for network in sorted(found)]

    def marked(self, technology: int, place: Place) -> list[TrialRecord]:
        """The watermarked networks of a technology at a place."""
        return self._marked.get((technology, place), [])

    def plain(self, technology: int, place: Place) -> list[TrialRecord]:
        """The unwatermarked networks as a technology sees them.

        They are several of one network where a Modification is aimed at carriers, which differ from
        key to key, and not all where it depends on the technology, as an overwriting by the same
        method does. A trial that was not done has no verdicts and concerns all technologies.
        """
        return [
            t
            for t, heard in self._plain.get(place, [])
            if technology == t.technology
            or (t.technology is None and technology in (heard or {technology}))
        ]

    def unwatermarked(self, place: Place) -> list[TrialRecord]:
        """Every unwatermarked network at a place, those of all technologies."""
        return [t for t, _ in self._plain.get(place, [])]

    def modified_twins(self, technology: TechnologyRecord, place: Place) -> list[TrialRecord]:
        """The twins of a technology at a place, where they were modified."""
        own = {i.identity for i in self.twins(technology)}
        return [t for t in self._twins.get(place, []) if t.injection in own]

    def own_tests(self, technology: int, place: Place) -> list[Test]:
        """Each claim on the networks that carry it, once a repetition.

        A network made of several copies hears the claims of all of them; where several such
        networks are the same, a claim counts once.
        """
        return list(self._tests[0].get((technology, place), {}).values())

    def innocent_tests(self, technology: int, place: Place) -> list[Test]:
        """Claims of recipients whose copies are not in the mixture that hears them."""
        return self._tests[2].get((technology, place), [])

    def foreign_tests(self, technology: int, place: Place) -> list[Test]:
        """Each claim on unwatermarked networks."""
        return self._tests[1].get((technology, place), [])

    def every_test(self, technology: int) -> Iterator[tuple[Test, bool]]:
        """Each test of a technology's claims, and whether the network carries it."""
        own, foreign, _ = self._tests
        for (t, _), tests in own.items():
            yield from ((test, True) for test in tests.values() if t == technology)
        for (t, _), rest in foreign.items():
            yield from ((test, False) for test in rest if t == technology)

    def outside(self, place: Place) -> bool:
        """Whether a place is outside the range of the standard's table."""
        return place in self._outside

    def pairs(self, trials: Sequence[TrialRecord]) -> list[Pair]:
        """Modified networks beside the same before; without those measured on other data."""
        return [
            Pair(t.network, t.injection or "", before, t)
            for t in trials
            if t.status == "done" and t.quality_of is None
            if (before := self.unmodified.get((t.network, t.injection))) is not None
            if before.status == "done"
        ]

    @cached_property
    def _tests(self) -> tuple[_Own, _Foreign, _Foreign]:
        """Tests on networks that carry what is claimed, on unwatermarked ones, and on mixtures."""
        own: _Own = defaultdict(dict)
        foreign: _Foreign = defaultdict(list)
        innocent: _Foreign = defaultdict(list)
        for trial in self.trials:
            for verdict in trial.verdicts:
                injection = self.by_identity.get(verdict.injection)
                if injection is None:
                    continue
                test, where = Test(trial, injection, verdict), (injection.technology, _place(trial))
                if trial.injection is None:
                    foreign[where].append(test)
                elif verdict.injection in (trial.injection, *trial.copies):
                    own[where].setdefault((verdict.injection, trial.repetition), test)
                else:
                    innocent[where].append(test)
        return own, foreign, innocent

    @cached_property
    def _marked(self) -> Mapping[tuple[int, Place], list[TrialRecord]]:
        found: dict[tuple[int, Place], list[TrialRecord]] = defaultdict(list)
        for trial in self.trials:
            injection = self.by_identity.get(trial.injection or "")
            if injection is not None and not injection.twin:
                found[injection.technology, _place(trial)].append(trial)
        return found

    @cached_property
    def _outside(self) -> set[Place]:
        return {_place(t) for t in self.trials if t.outside_standard_range}

    @cached_property
    def _plain(self) -> Mapping[Place, list[tuple[TrialRecord, set[int]]]]:
        """Unwatermarked networks, and the technologies whose claims they heard."""
        found: dict[Place, list[tuple[TrialRecord, set[int]]]] = defaultdict(list)
        for trial in self.trials:
            if trial.injection is None:
                known = (self.by_identity.get(v.injection) for v in trial.verdicts)
                heard = {i.technology for i in known if i is not None}
                found[_place(trial)].append((trial, heard))
        return found

    @cached_property
    def _twins(self) -> Mapping[Place, list[TrialRecord]]:
        found: dict[Place, list[TrialRecord]] = defaultdict(list)
        for trial in self.trials:
            injection = self.by_identity.get(trial.injection or "")
            if injection is not None and injection.twin:
                found[_place(trial)].append(trial)
        return found


def _place(trial: TrialRecord) -> Place:
    return trial.setting, trial.intensity


def asked(plan: Plan, workflow: Workflow) -> bool:
    """Whether the plan asks for a workflow."""
    return workflow in plan.workflows


def why_none(plan: Plan, reason: str) -> str:
    """Why a quality was not measured: another reason counts only where it was asked for."""
    return reason if plan.quality else NO_QUALITY
