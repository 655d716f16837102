"""Warnings: what limits what the report can say. None of them blocks anything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nnw_onnx.measures.limits import FEW_NETWORKS, OTHER_NETWORKS, failures
from nnw_onnx.measures.results import DatasetSize, Level, Point, Setting, Technology
from nnw_onnx.measures.robustness import NOT_IN
from nnw_onnx.measures.run import Run
from nnw_onnx.measures.usability import base_quality
from nnw_onnx.records import CostRecord, NetworkRecord, VerdictRecord
from nnw_onnx.reports.model import Completeness, Notice
from nnw_onnx.reports.words import listed, percent, plural
from nnw_onnx.vocabulary.networks import ON_THE_CPU, SESSION_WEIGHTS

_TOO_OFTEN = 1e-4
"""Probability below which wrong keys that were found are too many for chance: what is wrong then is
the null distribution, or the key."""


_LEFT_OUT = ("not-applicable", "skipped")
_NEARLY_ALL = 0.95
"""Share of the weights that Modifications of all layers reach, below which that is warned of."""
_STABLE = 1.25
"""Ratio of times between two sessions from which on they are called unstable."""


@dataclass(frozen=True)
class Material:
    """What warnings are drawn from."""

    run: Run
    technologies: Sequence[Technology]
    settings: Sequence[Setting]
    points: Sequence[Point]
    sizes: Sequence[DatasetSize]
    completeness: Completeness
    costs: Sequence[CostRecord]

    def where(self, point: Point) -> str:
        """A point in words."""
        label = self.technologies[point.technology].label
        if point.setting is None:
            return f"{label}, unmodified"
        return f"{label}, {self.named(point.setting, point.intensity)}"

    def named(self, setting: int, intensity: float | None) -> str:
        """A setting at an Intensity in words."""
        label = self.settings[setting].label
        return label if intensity is None else f"{label} {intensity:g}"

    @property
    def every(self) -> Iterator[Point]:
        """Every point, those of unmodified networks first."""
        yield from (t.unmodified for t in self.technologies)
        yield from self.points


def notices(material: Material) -> tuple[Notice, ...]:
    """Every warning that applies, the gravest first."""
    checks: tuple[Callable[[Material], Iterator[Notice]], ...] = (
        _false_alarms,
        _wrong_keys,
        _incomplete,
        _chance,
        _round_trip,
        _not_in,
        _void,
        _no_twin,
        _undetectable,
        _calibrated,
        _failed,
        _few,
        _undecided,
        _not_attacked,
        _left_out,
        _inverted,
        _no_carrier,
        _reach,
        _elsewhere,
        _on_the_cpu,
        _two_ways,
        _not_applicable,
        _unstable,
        _ties,
        _outside,
        _dataset_size,
    )
    return tuple(notice for check in checks for notice in check(material))


def _false_alarms(material: Material) -> Iterator[Notice]:
    found = [f"{material.where(p)}: networks {_list(p.alarms)}" for p in material.every if p.alarms]
    if found:
        text = "A watermark was found in networks that carry none."
        yield Notice(code="false-alarm", name="false alarms", text=text, details=tuple(found))


def _wrong_keys(material: Material) -> Iterator[Notice]:
    found = [
        f"{t.label}{where}: {level.count} of {control.keys} wrong keys have p <= {level.level:g}, "
        f"{level.expected:.3g} are expected at most (p = {level.p_value:.1g})"
        for t in material.technologies
        for where, control in (("", t.control), (", re-synchronised", t.control_resynchronised))
        if control
        for level in control.levels
        if level.p_value < _TOO_OFTEN
    ]
    if found:
        text = (
            "Wrong keys are found more often than chance allows: the null distribution of the "
            "method does not hold, and its p-values cannot be believed."
        )
        yield Notice(code="wrong-keys", name="wrong keys found", text=text, details=tuple(found))


def _incomplete(material: Material) -> Iterator[Notice]:
    found = material.completeness
    if found.complete:
        return
    text = (
        f"This run is incomplete: {found.tests_found:,} of {found.tests_planned:,} tests on "
        "watermarked networks were answered."
    )
    details = tuple(f"no record: {name}" for name in found.missing)
    yield Notice(code="incomplete", name="incomplete", text=text, details=details)


def _chance(material: Material) -> Iterator[Notice]:
    run, base = material.run, base_quality(material.run)[0]
    if base.quality.value is None or base.chance is None:
        return
    lowest = base.lowest if run.headline.better == "higher" else base.highest
    worst = run.headline.better == "higher" and (lowest or 0.0) <= base.chance
    worst |= run.headline.better == "lower" and (lowest or 0.0) >= base.chance
    if worst:
        text = (
            "An unwatermarked network is no better than guessing: check data set, preprocessing "
            "and order of the classes before believing anything below."
        )
        details = (f"{base.measure} {lowest:.4g}, guessing reaches {base.chance:.4g}",)
        yield Notice(code="chance-level", name="quality at chance", text=text, details=details)


def _round_trip(material: Material) -> Iterator[Notice]:
    found = [
        f"{t.label}: Symbol Error Rate {t.unmodified.ser.value:.2%}"
        for t in material.technologies
        if t.unmodified.ser.value
    ]
    if found:
        text = "A Payload could not be read back without error although nothing was modified."
        yield Notice(
            code="round-trip", name="read back with errors", text=text, details=tuple(found)
        )


def _void(material: Material) -> Iterator[Notice]:
    found = [
        f"{material.where(p)}: {p.reason}"
        for p in material.points
        if p.status == "void" and p.reason != NOT_IN
    ]
    if found:
        text = (
            "An overwriting is void, because its new watermarks are not in. What the old watermark "
            "survived there counts for nothing."
        )
        yield Notice(
            code="void-overwriting", name="void overwriting", text=text, details=tuple(found)
        )


def _not_in(material: Material) -> Iterator[Notice]:
    found = [
        f"{t.label}: in {t.unmodified.found} of {t.unmodified.tested}"
        for t in material.technologies
        if t.unmodified.tested and t.unmodified.found < t.unmodified.tested and t.detectability.ever
    ]
    if found:
        text = (
            "A watermark is not found in all the networks that it was put into, before any "
            "Modification. Where it is found in none, nothing is said of what it survives."
        )
        yield Notice(code="not-in", name="marks not in", text=text, details=tuple(found))


def _no_twin(material: Material) -> Iterator[Notice]:
    found = [
        f"{t.label}: {t.injections.twins_done} of {t.injections.twins_expected}"
        for t in material.technologies
        if t.imperceptibility_asked and t.injections.twins_done < t.injections.twins_expected
    ]
    if found:
        text = (
            "A twin, which is the same training without a watermark, is missing: without it a loss "
            "of quality cannot be told from what further training does."
        )
        yield Notice(code="no-twin", name="no twin", text=text, details=tuple(found))


def _undetectable(material: Material) -> Iterator[Notice]:
    found = [
        f"{t.label}: {t.detectability.reason}"
        for t in material.technologies
        if not t.detectability.ever
    ]
    if found:
        text = (
            f"A Detector can only answer No at the false-positive rate "
            f"{material.run.plan.false_positive_rate:g}, whatever the network."
        )
        yield Notice(
            code="never-detected", name="never detectable", text=text, details=tuple(found)
        )


def _calibrated(material: Material) -> Iterator[Notice]:
    found = [
        f"{t.label}: {t.detectability.reason}; decided at {t.detectability.level:.3g}"
        for t in material.technologies
        if t.detectability.negatives
    ]
    if found:
        text = (
            "A Detector has no known null distribution: it is calibrated on networks that cannot "
            "carry the watermark, so that its level is another and false alarms are no test of it."
        )
        yield Notice(
            code="calibrated", name="calibrated Detectors", text=text, details=tuple(found)
        )


def _failed(material: Material) -> Iterator[Notice]:
    run = material.run
    marks = [(i.status, i.reason) for i in run.injections if not i.twin]
    groups = (
        ("Injections", marks),
        ("Trainings without a watermark", [(i.status, i.reason) for i in run.injections if i.twin]),
        ("Trials", [(t.status, t.reason) for t in run.trials]),
        ("Cost measurements", [(c.status, c.reason) for c in material.costs]),
    )
    for name, outcomes in groups:
        # What does not apply is no failure; it has a notice of its own.
        found = failures((s, r) for s, r in outcomes if s not in _LEFT_OUT)
        if found:
            total = sum(f.count for f in found)
            text = f"{name} that were not done: {total} of {len(outcomes)}."
            details = tuple(f"{f.count} × {f.status}: {f.reason}" for f in found)
            yield Notice(
                code="not-done", name=f"{name.lower()} not done", text=text, details=details
            )


def _few(material: Material) -> Iterator[Notice]:
    networks = len(material.run.plan.networks)
    if networks < FEW_NETWORKS:
        tested = plural(networks, "network")
        said = f"What is said holds for the {tested} tested and for no others; rates"
        claim = said if networks < OTHER_NETWORKS else "Rates"
        text = (
            f"{claim} have no limits but where an event never (or always) happened: others take "
            f"M = {FEW_NETWORKS} networks or more."
        )
        yield Notice(code="few-networks", name=plural(networks, "network"), text=text)


def _undecided(material: Material) -> Iterator[Notice]:
    found = [
        f"{material.named(s.index, level.intensity)}: {reason}"
        for s in material.settings
        for level in s.levels
        if (reason := _open(material, level))
    ]
    total = sum(len(s.levels) for s in material.settings)
    if found:
        text = (
            f"Undecided is whether {plural(len(found), 'setting')} of {total} left the "
            "unwatermarked networks usable. Such a setting is counted apart, in no denominator."
        )
        yield Notice(code="usability", name="usability undecided", text=text, details=tuple(found))


def _open(material: Material, level: Level) -> str:
    """Why a level's usability is undecided, and for whom; "" where it is not."""
    if level.usability == "undecided":
        return level.reason or "no reason was recorded"
    own = [
        f"{t.label}, {mine.reason}"
        for t in material.technologies
        if level.own and (mine := level.of(t.index)).usability == "undecided"
    ]
    return "; ".join(own) if level.usability == "differs" else ""


def _not_attacked(material: Material) -> Iterator[Notice]:
    modified = bool(material.settings)
    found = [
        t.label
        for t in material.technologies
        if modified and t.robustness_asked and t.record.kind != "integrity" and not t.attacked
    ]
    if found:
        text = (
            "A technology was not attacked by somebody who knows its method: what it survives are "
            "accidents and attackers who know nothing, and it is not ranked. The preset adaptive "
            "brings the attacks that methods name."
        )
        yield Notice(
            code="not-attacked", name="not attacked adaptively", text=text, details=tuple(found)
        )


def _left_out(material: Material) -> Iterator[Notice]:
    found = [f"{x.preset}, {x.label}: {x.reason}" for x in material.run.plan.left_out]
    if found:
        text = "Modifications of presets were left out: the evaluation lacks what they need."
        yield Notice(
            code="left-out", name="parts of presets left out", text=text, details=tuple(found)
        )


def _inverted(material: Material) -> Iterator[Notice]:
    run = material.run
    level = math.log10(run.plan.false_positive_rate)
    inverted = sum(
        v.log10_inverted is not None and v.log10_inverted <= level
        for t in run.trials
        if t.injection is not None
        for v in t.verdicts
        if v.injection == t.injection and v.detected is False
    )
    if inverted:
        text = (
            f"Watermarks that came out inverted: {inverted}. Nearly every Symbol differs, which is "
            "no accident; missed here, they are not destroyed."
        )
        yield Notice(code="inverted", name="inverted watermarks", text=text)


def _no_carrier(material: Material) -> Iterator[Notice]:
    found = [
        f"{material.where(p)}: {p.gone} of {p.tested} tests" for p in material.points if p.gone
    ]
    if found:
        text = (
            "There are networks in which the carrier does not exist. A Detector answers No there, "
            "which counts; they have no Symbol Error Rate."
        )
        yield Notice(code="no-carrier", name="carriers gone", text=text, details=tuple(found))


def _elsewhere(material: Material) -> Iterator[Notice]:
    found = [
        f"{material.named(s.index, level.intensity)}: {level.quality_of}"
        for s in material.settings
        for level in s.levels
        if level.quality_of is not None
    ]
    if found:
        text = (
            "After a transfer, quality is that of the new data set: there is no loss to speak of. "
            "Such settings count as usable where they are better than guessing."
        )
        yield Notice(code="other-data-set", name="other data set", text=text, details=tuple(found))


def _on_the_cpu(material: Material) -> Iterator[Notice]:
    told = Counter(str(t.facts[ON_THE_CPU]) for t in material.run.trials if ON_THE_CPU in t.facts)
    if told:
        text = (
            "Some nodes were run on the CPU, because the provider that was asked for does not run "
            "them. Times and the memory of the device are then not those of the device alone."
        )
        found = tuple(f"{plural(count, 'trial')}: nodes {words}" for words, count in told.items())
        yield Notice(code="on-the-cpu", name="nodes on the CPU", text=text, details=found)


def _two_ways(material: Material) -> Iterator[Notice]:
    trials = material.run.trials
    told = Counter(str(t.facts[SESSION_WEIGHTS]) for t in trials if SESSION_WEIGHTS in t.facts)
    if len(told) > 1:
        text = (
            "Networks were given to the device in two ways, whose answers differ by rounding. What "
            "is compared across them may differ by an answer that hangs on the last digits."
        )
        found = tuple(f"{plural(count, 'trial')}: weights are {way}" for way, count in told.items())
        yield Notice(code="two-ways", name="two kinds of sessions", text=text, details=found)


def _reach(material: Material) -> Iterator[Notice]:
    found = [
        f"{n.name}: {percent(share)} of {n.stored:,}; left: {listed(_left(n), 3)}"
        for n in material.run.plan.networks
        if (share := reached(n)) is not None and share < _NEARLY_ALL
    ]
    if found:
        text = (
            "Modifications of all layers do not reach a part of the floating-point weights: what "
            "they cost and destroy is told of the rest."
        )
        yield Notice(code="reach", name="weights not reached", text=text, details=tuple(found))


def reached(network: NetworkRecord) -> float | None:
    """Share of the floating-point weights that "all" layers reach; None where it is not known."""
    return 1 - sum(network.left.values()) / network.stored if network.stored else None


def _left(network: NetworkRecord) -> list[str]:
    ordered = sorted(network.left.items(), key=lambda item: -item[1])
    return [f"{reason} {percent(count / network.stored)}" for reason, count in ordered]


def _not_applicable(material: Material) -> Iterator[Notice]:
    trials = material.run.trials
    outcomes = [(t.status, t.reason) for t in trials if t.status in _LEFT_OUT]
    if outcomes:
        text = f"Trials of Modifications that do not apply: {len(outcomes)} of {len(trials)}."
        details = tuple(f"{f.count} × {f.reason}" for f in failures(outcomes))
        yield Notice(code="not-applicable", name="not applicable", text=text, details=details)


def _unstable(material: Material) -> Iterator[Notice]:
    found = [
        f"{t.label}: {t.cost.session_ratio:.2g} ×, load average {_load(t.cost.load)}"
        for t in material.technologies
        if t.cost.session_ratio is not None and t.cost.session_ratio > _STABLE
    ]
    if found:
        text = (
            "Times differ between the sessions of one run, so that they belong to the state of the "
            "machine more than to the technology: measure again while nothing else runs."
        )
        yield Notice(code="unstable", name="unstable times", text=text, details=tuple(found))


def _load(load: tuple[float, float] | None) -> str:
    return "unknown" if load is None else f"{load[0]:.2g} to {load[1]:.2g}"


def _ties(material: Material) -> Iterator[Notice]:
    tied = [v for v in _verdicts(material) if v.ties]
    if tied:
        total = sum(v.ties or 0 for v in tied)
        text = (
            f"{total:,} Symbols in {len(tied):,} decodings were undecided (the statistic was "
            "exactly zero) and were taken from the key: degenerate."
        )
        yield Notice(code="ties", name="undecided Symbols", text=text)


def _verdicts(material: Material) -> Iterator[VerdictRecord]:
    return (v for t in material.run.trials for v in t.verdicts)


def _outside(material: Material) -> Iterator[Notice]:
    found = [
        material.named(s.index, level.intensity)
        for s in material.settings
        for level in s.levels
        if level.outside
    ]
    if found:
        total = sum(len(s.levels) for s in material.settings)
        count = plural(len(found), "setting")
        text = f"Outside the range of the standard's table: {count} of {total}."
        name = f"{count} outside the standard's range"
        yield Notice(code="outside-standard-range", name=name, text=text, details=tuple(found))


def _dataset_size(material: Material) -> Iterator[Notice]:
    names = {n.index: n.name for n in material.run.plan.networks}
    small = [
        f"{names[s.network]}: {s.samples_per_weight.value:.3g} samples, "
        f"{_number(s.scalars_per_weight.value)} scalars for each of {s.weights:,} Weights"
        for s in material.sizes
        if s.enough is False or (s.samples_per_weight.value or 10) < 10
    ]
    if small:
        text = (
            "The data set is smaller than the standard asks: ten entries for each trainable "
            "Weight. An entry may be a sample or a scalar; both quotients are given."
        )
        yield Notice(
            code="dataset-size", name="data set too small", text=text, details=tuple(small)
        )


def _number(value: float | None) -> str:
    return "an unknown number of" if value is None else f"{value:.3g}"


def _list(networks: Sequence[int]) -> str:
    return ", ".join(str(n) for n in networks)
