"""What is to be done, as small values: workers rebuild everything else from them by name.

An identity covers everything that its thing follows from, and nothing else: editing the margin of
an evaluation, or adding a setting, leaves all other injections and trials what they were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from nnw_onnx import plugins
from nnw_onnx.records import InjectionRecord, SettingRecord, TechnologyRecord
from nnw_onnx.runs import calls
from nnw_onnx.runs.checks import intensities_of, made_step
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
        found: list[Trial] = []
        for cells in self._settings():
            for network in range(len(self.sha256)):
                planned = [
                    trial
                    for cell in cells
                    for repetition in range(self.evaluation.repetitions if cell.table else 1)
                    for trial in self._cell(replace(cell, network=network), injections, repetition)
                ]
                found += [self._identified(trial) for trial in self._controlled(planned)]
        # Repetition by repetition, so that a run that is cut off has whole draws of all networks.
        return sorted(found, key=lambda trial: _order(trial, self.settings))

    def _settings(self) -> Iterator[list[_Cell]]:
        yield [_Cell()]
        for index, table in enumerate(self.evaluation.modifications):
            yield [_Cell(index, table, intensity) for intensity in intensities_of(table)]

    def _cell(
        self, cell: _Cell, injections: Sequence[InjectionRecord], repetition: int
    ) -> list[_Planned]:
        """The trials of one network under one setting at one Intensity, unwatermarked first."""
        done = [i for i in injections if i.status == "done" and (not i.twin or cell.table is None)]
        if cell.table is not None:
            done = [i for i in done if self._asked(i)]
        own = [i for i in done if i.network == cell.network]
        claims = [i for i in done if not i.twin and self._is_heard(i, cell.network)]
        if cell.table is not None and not own and not claims:
            return []
        made = trial_steps(cell.table, cell.intensity) if cell.table else ()
        base = Trial(
            "", cell.network, copies=cell.table.copies if cell.table else 1,
            steps=tuple(step for step, _ in made), setting=cell.setting,
            intensity=cell.intensity, repetition=repetition,
        )  # fmt: skip
        apart = _Apart(
            aims=any(CARRIER in step.layers for step in base.steps),
            depends=any("method" in calls.needs(modification) for _, modification in made),
        )
        return [*_unwatermarked(base, claims, apart), *_watermarked(base, own, apart)]

    def _asked(self, injection: InjectionRecord) -> bool:
        return self.technologies[injection.technology].robustness in self.evaluation.workflows

    def _is_heard(self, injection: InjectionRecord, network: int) -> bool:
        """Whether an unwatermarked network hears this claim.

        A fingerprint is of the network itself, so its negatives are the other networks.
        """
        fingerprint = self.technologies[injection.technology].kind == "fingerprint"
        return (injection.network == network) != fingerprint

    def _controlled(self, trials: Sequence[_Planned]) -> list[Trial]:
        """The trials of one network and setting, with its wrong keys dealt out evenly.

        Dealing them out over the Intensities too keeps the control as cheap as a trial: a key costs
        about a millisecond, and every setting of every network still meets all of them.
        """
        keys = self.evaluation.control.wrong_keys
        places = [place for place, planned in enumerate(trials) if planned.runs]
        bounds = {
            place: (n * keys // len(places), (n + 1) * keys // len(places))
            for n, place in enumerate(places)
        }
        return [
            replace(planned.trial, claims=(*planned.trial.claims, *self._wrong(*bounds[place])))
            if place in bounds
            else planned.trial
            for place, planned in enumerate(trials)
        ]

    def _wrong(self, first: int, stop: int) -> Iterator[Claims]:
        if stop > first:
            for index in self.controls:
                yield Claims("wrong", technology=index, count=stop - first, first=first)

    def _identified(self, trial: Trial) -> Trial:
        technology = None if trial.technology is None else self.technologies[trial.technology]
        return replace(
            trial,
            identity=identity(
                purpose="trial",
                common=self.common,
                network=self.sha256[trial.network],
                parents=list(trial.parents),
                copies=trial.copies,
                payload=trial.payload,
                steps=[self._step(step) for step in trial.steps],
                claims=[asdict(claims) for claims in trial.claims],
                technology=technology and technology.model_dump(mode="json"),
                repetition=trial.repetition,
            ),
        )

    def _step(self, step: Step) -> dict[str, object]:
        """What a step follows from, samples and trainings included."""
        made = plugins.create(Modification, step.modification)
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
    """One network under one setting at one Intensity; without a table, unmodified."""

    setting: int | None = None
    table: ModificationTable | None = None
    intensity: float | None = None
    network: int = 0


@dataclass(frozen=True)
class _Apart:
    """Whether a setting aims at the carrier, and whether it depends on the technology.

    Then it differs from technology to technology, and so the unwatermarked network is modified
    once for each carrier and technology.
    """

    aims: bool
    depends: bool


@dataclass(frozen=True)
class _Planned:
    """A trial, and whether it runs: not where it aims at the carrier of a mark that has none."""

    trial: Trial
    runs: bool = True


def _unwatermarked(base: Trial, claims: Sequence[InjectionRecord], apart: _Apart) -> list[_Planned]:
    together: dict[tuple[tuple[str, ...], int | None], list[str]] = defaultdict(list)
    for mark in claims:
        carrier = mark.layers if apart.aims else ()
        together[carrier, mark.technology if apart.depends else None].append(mark.identity)
    return [
        _Planned(
            replace(base, technology=technology, claims=_heard(heard)),
            runs=bool(carrier) or not apart.aims,
        )
        for (carrier, technology), heard in together.items()
    ] or [_Planned(base, runs=not apart.aims)]


def _watermarked(base: Trial, marks: Sequence[InjectionRecord], apart: _Apart) -> list[_Planned]:
    """A trial for each watermark, or one for the copies of the first recipients."""
    return [
        _Planned(
            replace(
                base,
                parents=tuple(mark.identity for mark in group),
                payload=group[0].payload_index,
                technology=group[0].technology if apart.depends else None,
                claims=(
                    *_heard([mark.identity for mark in group if not mark.twin]),
                    *_heard(_innocent(marks, group)),
                ),
            ),
            runs=bool(group[0].layers) or not apart.aims,
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


def _order(trial: Trial, settings: Sequence[SettingRecord]) -> tuple[int, int, int, int]:
    if trial.setting is None:
        return (-1, 0, 0, trial.network)
    at = settings[trial.setting].intensities
    place = at.index(trial.intensity) if trial.intensity is not None else 0
    return (trial.setting, place, trial.repetition, trial.network)
