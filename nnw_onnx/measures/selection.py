"""Which trials belong to which technology, Modification and Intensity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nnw_onnx.measures.limits import NotMeasured
from nnw_onnx.records import (
    DecodingRecord,
    Group,
    InjectionRecord,
    Plan,
    PluginSpec,
    TrialRecord,
    Workflow,
)


def not_asked(plan: Plan, workflow: Workflow) -> NotMeasured | None:
    """Why a workflow has no numbers, where the plan leaves it out."""
    if workflow in plan.workflows:
        return None
    return NotMeasured(reason=f"not asked for: the evaluation leaves out the workflow {workflow}")


def twins_of(
    plan: Plan, group: Group, injections: Sequence[InjectionRecord]
) -> list[InjectionRecord]:
    """The twins of a technology, by network; technologies of the same training share them."""
    shared = {
        g.index
        for g in plan.groups
        if g.index == group.index or (group.training is not None and g.training == group.training)
    }
    found = {i.network: i for i in injections if i.twin and i.group in shared}
    return [found[network] for network in sorted(found)]


def marks_of(group: Group, injections: Sequence[InjectionRecord]) -> list[InjectionRecord]:
    """The watermarks of a technology, by network and payload; twins are none."""
    return sorted(
        (i for i in injections if i.group == group.index and not i.twin),
        key=lambda i: (i.network, i.payload_index),
    )


@dataclass(frozen=True)
class Setting:
    """A Modification without its Intensity, and the layers it is aimed at.

    Attributes:
        modification: name, or None for networks that were not modified.
        options: canonical JSON of its options except the Intensity.
        aim: "all", "carrier" or patterns.
    """

    modification: str | None
    options: str
    aim: str | None

    @classmethod
    def of(cls, trial: TrialRecord) -> Setting:
        """The setting of a trial."""
        spec = trial.modification
        if spec is None:
            return cls(None, "{}", None)
        rest = {k: v for k, v in spec.options.items() if k != "intensity"}
        return cls(spec.name, json.dumps(rest, sort_keys=True), trial.aim)


def intensity_of(spec: PluginSpec | None) -> float | None:
    """The Intensity of a Modification."""
    value = spec.options.get("intensity") if spec else None
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Marked:
    """A watermarked network after a Modification and the test with its own key, if there is one."""

    trial: TrialRecord
    injection: InjectionRecord
    decoding: DecodingRecord | None


@dataclass(frozen=True)
class Unmarked:
    """An unwatermarked network after a Modification and the tests with the keys of a technology.

    Several trials where the Modification is aimed at the carriers, which differ from key to key.
    """

    network: int
    repetition: int
    trials: tuple[TrialRecord, ...]
    decodings: tuple[tuple[InjectionRecord, DecodingRecord], ...]


@dataclass(frozen=True)
class Records:
    """The records of a run, with the look-ups that the measures need."""

    plan: Plan
    injections: tuple[InjectionRecord, ...]
    trials: tuple[TrialRecord, ...]

    @classmethod
    def without_twins(
        cls, plan: Plan, injections: Sequence[InjectionRecord], trials: Sequence[TrialRecord]
    ) -> Records:
        """The records of a run but those of twins, which carry no watermark to be tested."""
        twins = {i.identity for i in injections if i.twin}
        return cls(
            plan,
            tuple(i for i in injections if not i.twin),
            tuple(t for t in trials if t.injection not in twins),
        )

    @cached_property
    def by_identity(self) -> Mapping[str, InjectionRecord]:
        """Injections by identity."""
        return {i.identity: i for i in self.injections}

    @cached_property
    def cells(self) -> Mapping[tuple[Setting, float | None], list[TrialRecord]]:
        """Trials by setting and Intensity, in the order of the records."""
        found: dict[tuple[Setting, float | None], list[TrialRecord]] = {}
        for trial in self.trials:
            key = (Setting.of(trial), intensity_of(trial.modification))
            found.setdefault(key, []).append(trial)
        return found

    @property
    def settings(self) -> list[Setting]:
        """Every setting with a Modification, in the order of the records."""
        return list(dict.fromkeys(s for s, _ in self.cells if s.modification is not None))

    def intensities(self, setting: Setting) -> list[float]:
        """Every Intensity of a setting."""
        return [value for s, value in self.cells if s == setting and value is not None]

    def marked(self, trials: Sequence[TrialRecord], group: int) -> list[Marked]:
        """The watermarked networks of a technology, by network, payload and repetition."""
        found = []
        for trial in trials:
            injection = self.by_identity.get(trial.injection or "")
            if injection is None or injection.group != group:
                continue
            own = [d for d in trial.decodings if d.injection == injection.identity]
            found.append(Marked(trial, injection, own[0] if own else None))
        return sorted(
            found,
            key=lambda m: (m.injection.network, m.injection.payload_index, m.trial.repetition),
        )

    def unmarked(self, trials: Sequence[TrialRecord], group: int) -> list[Unmarked]:
        """The unwatermarked networks as a technology sees them, by network and repetition."""
        parts: dict[tuple[int, int], list[TrialRecord]] = {}
        for trial in trials:
            if trial.injection is None and self._concerns(trial, group):
                parts.setdefault((trial.network, trial.repetition), []).append(trial)
        return [
            Unmarked(network, repetition, tuple(found), self._decodings(found, group))
            for (network, repetition), found in sorted(parts.items(), key=lambda item: item[0])
        ]

    def _decodings(
        self, trials: Sequence[TrialRecord], group: int
    ) -> tuple[tuple[InjectionRecord, DecodingRecord], ...]:
        pairs = [
            (self.by_identity[d.injection], d)
            for t in trials
            for d in t.decodings
            if d.injection in self.by_identity and self.by_identity[d.injection].group == group
        ]
        return tuple(sorted(pairs, key=lambda pair: pair[0].payload_index))

    def _concerns(self, trial: TrialRecord, group: int) -> bool:
        """Whether an unwatermarked trial is one of a technology's.

        A Modification may depend on the technology, as an overwriting by the same method does. A
        trial that was not done has no decodings: aimed at a carrier, it concerns the technologies
        with that carrier.
        """
        if trial.group is not None:
            return trial.group == group
        groups = {
            self.by_identity[d.injection].group
            for d in trial.decodings
            if d.injection in self.by_identity
        }
        if groups:
            return group in groups
        if trial.aim != "carrier":
            return True
        return any(
            i.group == group and i.network == trial.network and i.layers == trial.layers
            for i in self.injections
        )
