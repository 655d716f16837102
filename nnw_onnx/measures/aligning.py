"""What runs have in common: without equal networks, data and levels nothing can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nnw_onnx.errors import RunError
from nnw_onnx.measures.compared import ComparedSetting
from nnw_onnx.measures.results import Level, Setting
from nnw_onnx.measures.run import Run
from nnw_onnx.measures.usability import counts_at, intensities, settings
from nnw_onnx.records import Plan, SettingRecord

Place = tuple[int, float | None]
"""A setting's number in its run, and the Intensity."""

Member = tuple[int, int]
"""A run, and a technology of it."""


@dataclass(frozen=True)
class Named:
    """A run that takes part.

    Attributes:
        name: of its folder.
        run: its records.
        networks: number of a network in this run -> in the first one.
    """

    name: str
    run: Run
    networks: dict[int, int] = field(default_factory=dict)

    @cached_property
    def rows(self) -> tuple[Setting, ...]:
        """Its settings with what they leave of the unwatermarked networks."""
        return settings(self.run)

    def record_of(self, key: str) -> SettingRecord | None:
        """The setting that does the same, or None."""
        return next(
            (s for s in self.run.plan.settings if setting_key(self.run.plan, s) == key), None
        )


@dataclass(frozen=True)
class Aligned:
    """Runs of the same networks, and the settings that all of them have.

    Attributes:
        runs: with their networks numbered as in the first.
        settings: in common, numbered from 0.
        places: of each run (outer) and setting (inner), its number in that run.
        left_out: settings that are not in common, and why.
    """

    runs: tuple[Named, ...]
    settings: tuple[ComparedSetting, ...]
    places: tuple[tuple[int, ...], ...]
    left_out: tuple[str, ...]

    def in_the_way(
        self,
        setting: int,
        intensity: float | None,
        members: Sequence[Member],
        counts: Callable[[Level], bool],
    ) -> Level | None:
        """A level of a setting in common that keeps it from counting; None where it counts.

        It has to count in every run. A Modification that does something else to each technology is
        an attack of its own on each: where it ruins the networks of one it does not succeed there,
        so that it is enough if it leaves those of another usable.
        """
        own: list[Level] = []
        for run, (named, places) in enumerate(zip(self.runs, self.places, strict=True)):
            levels = named.rows[places[setting]].levels
            level = next(level for level in levels if level.intensity == intensity)
            if level.own:
                own += [level.of(technology) for where, technology in members if where == run]
            elif not counts(level):
                return level
        return None if not own or any(map(counts, own)) else own[0]

    def usable_at(
        self, setting: ComparedSetting, limit: float, members: Sequence[Member]
    ) -> list[bool]:
        """By level: whether it counts, see `in_the_way`, if so much may be lost."""
        measure = self.runs[0].run.headline
        return [
            self.in_the_way(
                setting.index, shared.intensity, members, lambda x: counts_at(x, measure, limit)
            )
            is None
            for shared in setting.levels
        ]


def aligned(given: Sequence[tuple[str, Run]]) -> Aligned:
    """Runs that can be compared.

    Raises:
        RunError: they differ in networks, data set, measure of quality or false-positive rate.
    """
    first = given[0][1].plan
    for name, run in given[1:]:
        _check_same(given[0][0], first, name, run.plan)
    runs = tuple(Named(name, run, _numbered(run.plan, first)) for name, run in given)
    left_out: list[str] = []
    found = list(_common(runs, left_out))
    return Aligned(
        runs,
        tuple(setting for setting, _ in found),
        tuple(tuple(numbers[i] for _, numbers in found) for i in range(len(runs))),
        tuple(left_out),
    )


def setting_key(plan: Plan, record: SettingRecord) -> str:
    """What a setting does, whatever it is called; of one that trains also on what and how."""
    steps = [
        [step.modification.model_dump(mode="json"), step.aim, step.family] for step in record.steps
    ]
    told: list[object] = [steps, record.swept, record.copies]
    if record.trains:
        data = {k: v for k, v in plan.sources.items() if k.startswith("data of ")}
        told += [plan.evaluation.get("training"), data]
    return json.dumps(told, sort_keys=True)


def _numbered(plan: Plan, first: Plan) -> dict[int, int]:
    """Number of each network -> that of the same network in the first run."""
    own = sorted(plan.networks, key=lambda n: (n.sha256, n.index))
    others = sorted(first.networks, key=lambda n: (n.sha256, n.index))
    return {n.index: other.index for n, other in zip(own, others, strict=True)}


def _check_same(name: str, first: Plan, other_name: str, other: Plan) -> None:
    """Refuse runs whose numbers do not mean the same."""
    seen: tuple[tuple[str, Callable[[Plan], object]], ...] = (
        ("networks", lambda p: sorted(n.sha256 for n in p.networks)),
        ("a data set", lambda p: (p.dataset.digest, p.dataset.split)),
        ("a measure of quality", lambda p: p.measures[0]),
        ("a false-positive rate", lambda p: p.false_positive_rate),
    )
    for what, get in seen:
        if get(first) != get(other):
            raise RunError(
                f"{other_name}: expected {what} like {name}, got other ones; compare runs of the "
                "same networks on the same data at one level"
            )


def _common(
    runs: Sequence[Named], left_out: list[str]
) -> Iterator[tuple[ComparedSetting, tuple[int, ...]]]:
    """Settings that all runs have, each with its number in every run."""
    first, number = runs[0], 0
    for record in first.run.plan.settings:
        key = setting_key(first.run.plan, record)
        alike = [found for named in runs if (found := named.record_of(key)) is not None]
        if len(alike) < len(runs):
            missing = next(n.name for n in runs if n.record_of(key) is None)
            left_out.append(f"{record.label}: not comparable, {missing} has no such Modification")
            continue
        shared = [x for x in intensities(record) if all(x in intensities(r) for r in alike)]
        if not shared:
            left_out.append(f"{record.label}: not comparable, the runs have no Intensity in common")
            continue
        yield _setting(number, runs, alike, shared), tuple(r.index for r in alike)
        number += 1
    for named in runs[1:]:
        left_out += [
            f"{record.label}: not comparable, {first.name} has no such Modification"
            for record in named.run.plan.settings
            if first.record_of(setting_key(named.run.plan, record)) is None
        ]


def _setting(
    number: int,
    runs: Sequence[Named],
    alike: Sequence[SettingRecord],
    shared: Sequence[float | None],
) -> ComparedSetting:
    rows = [named.rows[record.index] for named, record in zip(runs, alike, strict=True)]
    levels = [{level.intensity: level for level in row.levels} for row in rows]
    parameter = rows[0].parameter
    unit = "" if parameter is None or parameter.unit == "ratio" else parameter.unit
    return ComparedSetting(
        index=number,
        code=rows[0].code,
        label=rows[0].label,
        family=rows[0].family,
        unit=unit,
        levels=tuple(levels[0][x] for x in shared),
        usable=tuple(all(found[x].counts for found in levels) for x in shared),
    )
