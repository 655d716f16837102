"""What is to be done, as small values: workers rebuild everything else from them by name.

An identity covers everything that its thing follows from, and nothing else: editing the margin of
an evaluation, or adding a setting, leaves all other injections and trials what they were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

from nnw_onnx import plugins
from nnw_onnx.records import InjectionRecord, SettingRecord, TechnologyRecord
from nnw_onnx.runs import calls
from nnw_onnx.runs.checks import intensities_of, made_step
from nnw_onnx.runs.collecting import uncollected
from nnw_onnx.runs.elsewhere import MarkedFile
from nnw_onnx.runs.references import Reference
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.sources import Sources
from nnw_onnx.runs.tables import Evaluation, ModificationTable
from nnw_onnx.runs.training import recipe_fields
from nnw_onnx.vocabulary import (
    Claims,
    Code,
    Json,
    Method,
    Modification,
    Step,
    Technology,
    Trial,
)

CARRIER = "@carrier"


@dataclass(frozen=True)
class InjectionTask:
    """One payload to be put into one network by one technology.

    Attributes:
        identity: SHA-256 (hex) of everything that it follows from.
        network: index of the network.
        technology: index of the technology.
        payload_index: 0 ... D-1.
        twin: whether nothing is to be put in: the same training without a watermark.
        elsewhere: whether the watermarked network is a file that others have made.
    """

    identity: str
    network: int
    technology: int
    payload_index: int
    twin: bool = False
    elsewhere: bool = False


def plan_injections(
    seed: int,
    payloads: int,
    technologies: Sequence[Technology],
    sha256: Sequence[str],
    sources: Sources,
    marked: Sequence[MarkedFile] = (),
    references: Sequence[Reference | None] = (),
) -> list[InjectionTask]:
    """M x D tasks for every technology; the D payloads of a size are the same for every network.

    One that is put in by training has a twin for each network before them, which it shares with
    those of the same recipe. Of one that was put in elsewhere there are as many as there are files.
    """
    tasks: list[InjectionTask] = []
    trainings: list[dict[str, object]] = []
    for index, technology in enumerate(technologies):
        if files := [mark for mark in marked if mark.technology == index]:
            tasks += [
                InjectionTask(m.identity, m.network, index, m.payload_index, elsewhere=True)
                for m in files
            ]
            continue
        fields = injection_fields(technology, sources)
        twins = ("training", "data")
        training: dict[str, object] = {key: fields[key] for key in twins if key in fields}
        if technology.recipe and training not in trainings:
            trainings.append(training)
            tasks += [
                InjectionTask(
                    identity(purpose="twin", seed=seed, network=digest, **training),
                    network, index, 0, twin=True,
                )
                for network, digest in enumerate(sha256)
            ]  # fmt: skip
        tasks += [
            InjectionTask(
                identity(
                    purpose="injection", seed=seed, network=digest, payload_index=payload,
                    **fields, **_reference(technology, network, references),
                ),
                network, index, payload,
            )
            for network, digest in enumerate(sha256)
            for payload in range(payloads)
        ]  # fmt: skip
    return tasks


def _reference(
    technology: Technology, network: int, references: Sequence[Reference | None]
) -> dict[str, object]:
    """What the choice of a carrier depends on beside the network; nothing where it does not."""
    found = references[network] if network < len(references) else None
    return {} if found is None or technology.recipe else {"reference": found.sha256}


def injection_fields(technology: Technology, sources: Sources) -> dict[str, object]:
    """What every injection of a technology follows from, beside seed, network and payload.

    Secrets follow from it, so what is not given has no field: a method without code, layers and
    files makes the same marks as before there were any.
    """
    method = plugins.create(Method, technology.method)
    fields: dict[str, object] = {
        "method": sources.fields(method),
        "payload_size": technology.size,
        **sources.samples(method),
    }
    if technology.recipe is not None:
        recipe = recipe_fields(technology.recipe)
        fields |= {"training": {"start": technology.start, **recipe}}
        fields["data"] = dict(sources.data)["training"]
    if technology.code is not None:
        fields["code"] = sources.fields(plugins.create(Code, technology.code))
    if technology.layers:
        fields["layers"] = list(technology.layers)
    return fields


def trial_steps(
    table: ModificationTable, intensity: float | None
) -> tuple[tuple[Step, Modification], ...]:
    """The steps of a setting at one of its Intensities, with their Modifications made."""
    found = []
    for step in table.stack:
        made = made_step(step, intensity)
        aimed = step.layers or "all"
        layers = (f"@{aimed}",) if isinstance(aimed, str) else aimed
        found.append((Step(made.spec(), layers if made.aims else ()), made))
    return tuple(found)


@dataclass(frozen=True)
class Planner:
    """What the trials of an evaluation follow from.

    Attributes:
        evaluation: its configuration.
        technologies: under test.
        settings: as the plan records them.
        sha256: digests of the networks.
        sources: digests of everything else that is named.
        common: stands for what all trials share: data, task, how networks are run.
        training: stands for how networks are trained, for trials that train.
        controls: indices of technologies whose wrong keys are tried.
    """

    evaluation: Evaluation
    technologies: Sequence[TechnologyRecord]
    settings: Sequence[SettingRecord]
    sha256: Sequence[str]
    sources: Sources
    common: str
    training: str = ""
    controls: Sequence[int] = ()

    def trials(self, injections: Sequence[InjectionRecord]) -> list[Trial]:
        """Every network without Modification, then each setting at each Intensity.

        Twins are run without Modification only, and watermarks of a robustness workflow that is
        not asked for likewise.
        """
        found: list[tuple[tuple[int, ...], Trial]] = []
        with uncollected():
            for cells in self._settings():
                marks = self._marks(injections, modified=cells[0].base.setting is not None)
                for network, of_network in enumerate(marks):
                    planned = list(self._planned(cells, network, of_network))
                    found += zip(map(_order, planned), self._controlled(planned), strict=True)
        # Repetition by repetition, so that a run that is cut off has whole draws of all networks.
        found.sort(key=itemgetter(0))
        return [trial for _, trial in found]

    def _settings(self) -> Iterator[list[_Cell]]:
        yield [_Cell(Trial("", 0))]
        for index, table in enumerate(self.evaluation.modifications):
            yield [
                self._cell(index, place, table, intensity)
                for place, intensity in enumerate(intensities_of(table))
            ]

    def _cell(
        self, setting: int, place: int, table: ModificationTable, intensity: float | None
    ) -> _Cell:
        made = trial_steps(table, intensity)
        steps = tuple(step for step, _ in made)
        return _Cell(
            Trial("", 0, copies=table.copies, steps=steps, setting=setting, intensity=intensity),
            place,
            self.evaluation.repetitions,
            aims=any(CARRIER in step.layers for step in steps),
            depends=any("method" in calls.needs(modification) for _, modification in made),
            fields=tuple(self._step(step, modification) for step, modification in made),
        )

    def _marks(self, injections: Sequence[InjectionRecord], *, modified: bool) -> list[_Marks]:
        """Of each network, the injections that were done and are asked for."""
        # Records come from a folder, which may be of others.
        done = [i for i in injections if i.status == "done" and i.network < len(self.sha256)]
        if modified:
            done = [i for i in done if not i.twin and self._asked(i)]
        found = [_Marks() for _ in self.sha256]
        for mark in done:
            found[mark.network].own.append(mark)
            for network in () if mark.twin else self._hearing(mark):
                found[network].claims.append(mark)
        return found

    def _planned(self, cells: Sequence[_Cell], network: int, marks: _Marks) -> Iterator[_Planned]:
        """The trials of one network under one setting, unwatermarked first."""
        for cell in cells:
            base = replace(cell.base, network=network)
            if base.setting is not None and not marks.own and not marks.claims:
                continue
            once = [
                *_unwatermarked(base, marks.claims, cell), *_watermarked(base, marks.own, cell),
            ]  # fmt: skip
            for repetition in range(cell.repetitions):
                yield from (_Planned(trial, runs, cell, repetition) for trial, runs in once)

    def _asked(self, injection: InjectionRecord) -> bool:
        return self.technologies[injection.technology].robustness in self.evaluation.workflows

    def _hearing(self, injection: InjectionRecord) -> Sequence[int]:
        """The networks that hear this claim unwatermarked.

        A fingerprint is of the network itself, so its negatives are the other networks.
        """
        if self.technologies[injection.technology].kind != "fingerprint":
            return (injection.network,)
        return [network for network in range(len(self.sha256)) if network != injection.network]

    def _controlled(self, trials: Sequence[_Planned]) -> Iterator[Trial]:
        """The trials of one network and setting, with its wrong keys dealt out evenly.

        Dealing them out over the Intensities too keeps the control as cheap as a trial: a key costs
        about a millisecond, and every setting of every network still meets all of them.
        """
        keys, runs = self.evaluation.control.wrong_keys, sum(planned.runs for planned in trials)
        place = 0
        for planned in trials:
            wrong: Iterable[Claims] = ()
            if planned.runs:
                wrong = self._wrong(place * keys // runs, (place + 1) * keys // runs)
                place += 1
            yield self._identified(planned, (*planned.trial.claims, *wrong))

    def _wrong(self, first: int, stop: int) -> Iterator[Claims]:
        if stop > first:
            for index in self.controls:
                yield Claims("wrong", technology=index, count=stop - first, first=first)

    def _identified(self, planned: _Planned, claims: tuple[Claims, ...]) -> Trial:
        trial = planned.trial
        digest = identity(
            purpose="trial",
            common=self.common,
            network=self.sha256[trial.network],
            parents=trial.parents,
            copies=trial.copies,
            payload=trial.payload,
            steps=planned.cell.fields,
            claims=[vars(claim) for claim in claims],
            technology=None if trial.technology is None else self._described[trial.technology],
            repetition=planned.repetition,
        )
        return replace(trial, identity=digest, claims=claims, repetition=planned.repetition)

    @cached_property
    def _described(self) -> list[dict[str, object]]:
        return [technology.model_dump(mode="json") for technology in self.technologies]

    def _step(self, step: Step, made: Modification) -> dict[str, object]:
        """What a step follows from, samples and trainings included."""
        fields: dict[str, object] = {
            **step_fields(step, self.sources), "samples": self.sources.samples(made),
        }  # fmt: skip
        if {"trainer", "method"} & set(calls.needs(made)):
            fields["training"] = self.training
        return fields


def step_fields(step: Step, sources: Sources) -> dict[str, Json]:
    """A step as seeds and identities hash it."""
    modification = plugins.create(Modification, step.modification)
    return {**sources.fields(modification), "layers": list(step.layers)}


@dataclass(frozen=True)
class _Cell:
    """One setting at one Intensity, or no Modification.

    Where a setting aims at the carrier or depends on the technology, it differs from technology to
    technology, and so the unwatermarked network is modified once for each carrier and technology.

    Attributes:
        base: what all its trials share.
        place: of the Intensity in the setting.
        repetitions: how many there are.
        aims: whether the setting aims at the carrier.
        depends: whether it depends on the technology.
        fields: of each step, what identities hash.
    """

    base: Trial
    place: int = 0
    repetitions: int = 1
    aims: bool = False
    depends: bool = False
    fields: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True)
class _Marks:
    """The injections that one network carries, and those whose claims it hears unwatermarked."""

    own: list[InjectionRecord] = field(default_factory=list)
    claims: list[InjectionRecord] = field(default_factory=list)


_Runs = tuple[Trial, bool]
"""A trial, and whether it runs: not where it aims at the carrier of a mark that has none."""


class _Planned(NamedTuple):
    """A trial without its identity, whether it runs, its cell, and which repetition it is."""

    trial: Trial
    runs: bool
    cell: _Cell
    repetition: int


def _unwatermarked(base: Trial, claims: Sequence[InjectionRecord], cell: _Cell) -> list[_Runs]:
    together: dict[tuple[tuple[str, ...], int | None], list[str]] = defaultdict(list)
    for mark in claims:
        carrier = mark.layers if cell.aims else ()
        together[carrier, mark.technology if cell.depends else None].append(mark.identity)
    return [
        (
            replace(base, technology=technology, claims=_heard(heard)),
            bool(carrier) or not cell.aims,
        )
        for (carrier, technology), heard in together.items()
    ] or [(base, not cell.aims)]


def _watermarked(base: Trial, marks: Sequence[InjectionRecord], cell: _Cell) -> list[_Runs]:
    """A trial for each watermark, or one for the copies of the first recipients."""
    return [
        (
            replace(
                base,
                parents=tuple(mark.identity for mark in group),
                payload=group[0].payload_index,
                technology=group[0].technology if cell.depends else None,
                claims=(
                    *_heard([mark.identity for mark in group if not mark.twin]),
                    *_heard(_innocent(marks, group)),
                ),
            ),
            bool(group[0].layers) or not cell.aims,
        )
        for group in _parents(marks, base.copies)
    ]


def _parents(marks: Sequence[InjectionRecord], copies: int) -> list[list[InjectionRecord]]:
    if copies == 1:
        return [[mark] for mark in marks]
    by_technology: dict[int, list[InjectionRecord]] = defaultdict(list)
    for mark in sorted(marks, key=lambda m: m.payload_index):
        by_technology[mark.technology].append(mark)
    # Where an injection failed there may be too few; that is told with the injections.
    return [every[:copies] for every in by_technology.values() if len(every) >= copies]


def _innocent(marks: Sequence[InjectionRecord], group: Sequence[InjectionRecord]) -> list[str]:
    """Recipients of a mixture's technology whose copies are not in it."""
    if len(group) == 1:
        return []
    return [
        mark.identity
        for mark in marks
        if mark.technology == group[0].technology and not mark.twin and mark not in group
    ]


def _heard(identities: Sequence[str]) -> tuple[Claims, ...]:
    return (Claims("injections", tuple(identities)),) if identities else ()


def _order(planned: _Planned) -> tuple[int, ...]:
    trial, cell = planned.trial, planned.cell
    setting = -1 if trial.setting is None else trial.setting
    return setting, cell.place, planned.repetition, trial.network
