"""Warnings: what limits what the report can say. None of them blocks anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nnw_onnx.measures.comparison import headline_of, samples_of
from nnw_onnx.measures.imperceptibility import GroupImperceptibility
from nnw_onnx.measures.limits import DatasetSize, Estimate, Proportion, failures
from nnw_onnx.measures.points import GroupRobustness, RobustnessPoint
from nnw_onnx.measures.robustness import detectable
from nnw_onnx.records import CostRecord, InjectionRecord, Plan, TrialRecord
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Completeness, Notice

_CHANCE_LEVEL = 0.001


@dataclass(frozen=True)
class Material:
    """What warnings are drawn from."""

    plan: Plan
    injections: Sequence[InjectionRecord]
    trials: Sequence[TrialRecord]
    costs: Sequence[CostRecord]
    robustness: Sequence[GroupRobustness]
    dataset_sizes: Sequence[DatasetSize]
    completeness: Completeness
    imperceptibility: Sequence[GroupImperceptibility] = ()


def notices(material: Material) -> tuple[Notice, ...]:
    """Every warning that applies, the gravest first."""
    checks: tuple[Callable[[Material], Iterator[Notice]], ...] = (
        _false_alarms,
        _incomplete,
        _chance,
        _round_trip,
        _void,
        _no_twin,
        _short_payload,
        _failed,
        _absent,
        _few,
        _inverted,
        _no_carrier,
        _elsewhere,
        _ties,
        _outside,
        _dataset_size,
    )
    return tuple(notice for check in checks for notice in check(material))


def _chance(material: Material) -> Iterator[Notice]:
    samples = samples_of(material.plan)
    found = [
        f"{_network(material.plan, t.network)}: {_headline(t)}"
        for t in material.trials
        if t.modification is None and t.injection is None and at_chance(t, samples)
    ]
    if found:
        text = (
            "An unwatermarked network is no better than guessing: check data set, preprocessing "
            "and order of the classes before believing anything below."
        )
        yield Notice(code="chance-level", text=text, details=tuple(found))


def at_chance(trial: TrialRecord, samples: int | None) -> bool:
    """Whether the headline quality could be reached by guessing (one-sided, level 0.001)."""
    value = headline_of(trial)
    if value is None or trial.chance is None:
        return False
    if trial.correct is None or samples is None or not 0 < trial.chance < 1:
        return value <= trial.chance
    from scipy.stats import binom

    return bool(binom.sf(round(value * samples) - 1, samples, trial.chance) > _CHANCE_LEVEL)


def _headline(trial: TrialRecord) -> str:
    value, chance = headline_of(trial), trial.chance
    name = words.measure_name(trial.headline)
    return f"{name} {words.number(value or 0.0)}, guessing reaches {words.number(chance or 0.0)}"


def _network(plan: Plan, index: int) -> str:
    return next((n.name for n in plan.networks if n.index == index), f"network {index}")


def _round_trip(material: Material) -> Iterator[Notice]:
    found = [
        f"{g.label}: Symbol Error Rate {words.percent(rate)}"
        for g in material.robustness
        if g.unmodified is not None and g.unmodified.ser_watermarked.status == "measured"
        if (rate := g.unmodified.ser_watermarked.mean) > 0
    ]
    if found:
        text = "A Payload could not be read back without error although nothing was modified."
        yield Notice(code="round-trip", text=text, details=tuple(found))


def _short_payload(material: Material) -> Iterator[Notice]:
    rate = material.plan.false_positive_rate
    short = [g for g in material.plan.groups if not detectable(g.payload_size, rate)]
    if short:
        needed = math.ceil(-math.log2(rate))
        text = (
            f"A Payload is too short to be ever detected at the false-positive rate {rate:g}: "
            f"that takes {needed} bits, all of them right. Its Detector can only answer No."
        )
        details = tuple(f"{g.label}: {g.payload_size} Symbols" for g in short)
        yield Notice(code="payload-too-short", text=text, details=details)


def _points(robustness: Sequence[GroupRobustness]) -> Iterator[tuple[str, RobustnessPoint]]:
    for group in robustness:
        if group.unmodified is not None:
            yield f"{group.label}, unmodified", group.unmodified
        for sweep in group.sweeps:
            for point in sweep.points:
                yield f"{group.label}, {words.setting(sweep, point.intensity or 0.0)}", point


def _false_alarms(material: Material) -> Iterator[Notice]:
    found = [
        f"{where}: {words.plural(p.false_alarms, 'network')}"
        for where, p in _points(material.robustness)
        if p.false_alarms
    ]
    if found:
        text = "A watermark was found in networks that carry none."
        yield Notice(code="false-alarm", text=text, details=tuple(found))


def _failed(material: Material) -> Iterator[Notice]:
    groups: tuple[tuple[str, Sequence[InjectionRecord | TrialRecord | CostRecord]], ...] = (
        ("Injections", [i for i in material.injections if not i.twin]),
        ("Trainings without a watermark", [i for i in material.injections if i.twin]),
        ("Trials", material.trials),
        ("Cost measurements", material.costs),
    )
    for name, records in groups:
        found = failures([(r.status, r.reason) for r in records])
        if found:
            total = sum(f.count for f in found)
            text = f"{name} that were not done: {total} of {len(records)}."
            details = tuple(f"{f.count} × {f.status}: {f.reason}" for f in found)
            yield Notice(code="not-done", text=text, details=details)


def _incomplete(material: Material) -> Iterator[Notice]:
    found = material.completeness
    parts = []
    if found.settings_planned is not None and found.missing_settings:
        parts.append(f"{found.settings_found} of {found.settings_planned} settings")
    if found.trials_missing:
        planned = found.trials_planned or found.unmodified_planned
        parts.append(f"{planned - found.trials_missing:,} of {planned:,} trials")
    if found.costs_missing:
        parts.append(f"{found.costs_found:,} of {found.costs_planned:,} cost measurements")
    if parts:
        text = f"This run is incomplete: of what its plan asks for there are {words.listed(parts)}."
        details = tuple(f"no record: {name}" for name in found.missing_settings)
        yield Notice(code="incomplete", text=text, details=details)


def _absent(material: Material) -> Iterator[Notice]:
    found = [
        f"{where}: {p.watermarked.absent} watermarked, {p.unwatermarked.absent} unwatermarked"
        for where, p in _points(material.robustness)
        if p.watermarked.absent or p.unwatermarked.absent
    ]
    if found:
        text = "Networks have no record: their injection failed or the run is not finished."
        yield Notice(code="no-record", text=text, details=tuple(found))


def _few(material: Material) -> Iterator[Notice]:
    networks, payloads = len(material.plan.networks), material.plan.payloads
    if networks < 2 or payloads < 2:
        text = (
            f"There are M = {networks} networks and D = {payloads} Payloads: limits need at least "
            "2 of each, 5 are better. What is said holds for what was measured."
        )
        yield Notice(code="few-networks", text=text)


def _void(material: Material) -> Iterator[Notice]:
    found = [
        f"{where}: the Symbol Error Rate of the last is "
        f"{words.percent(p.ser_last_new_mark.mean)}; of the old watermarks {_detected(p)} are "
        "detected"
        for where, p in _points(material.robustness)
        if p.void is not None and isinstance(p.ser_last_new_mark, Estimate)
    ]
    if found:
        text = (
            "An overwriting is void, because the new watermarks are not in: an overwriting that is "
            "not in is none. What the old watermark survived there counts for nothing."
        )
        yield Notice(code="void-overwriting", text=text, details=tuple(found))


def _detected(point: RobustnessPoint) -> str:
    missed = point.p_md
    return f"{missed.n - missed.events} of {missed.n}" if isinstance(missed, Proportion) else "none"


def _no_twin(material: Material) -> Iterator[Notice]:
    networks = len(material.plan.networks)
    found = [
        f"{g.label}: {g.twins} of {networks} measured"
        for g in material.imperceptibility
        if g.twins is not None and g.twins < networks
    ]
    if found:
        text = (
            "A twin, which is the same training without a watermark, is missing: without it a loss "
            "of quality cannot be told from what further training does."
        )
        yield Notice(code="no-twin", text=text, details=tuple(found))


def _no_carrier(material: Material) -> Iterator[Notice]:
    found = [
        f"{where}: {p.watermarked.not_applicable} watermarked, "
        f"{p.unwatermarked.not_applicable} unwatermarked: {_gone(p)}"
        for where, p in _points(material.robustness)
        if p.watermarked.not_applicable or p.unwatermarked.not_applicable
    ]
    if found:
        text = (
            "There are networks in which the carrier does not exist. A Detector answers No there, "
            "which counts; they have no Symbol Error Rate."
        )
        yield Notice(code="no-carrier", text=text, details=tuple(found))


def _gone(point: RobustnessPoint) -> str:
    reasons = (f.reason for f in point.failures if f.status == "not-applicable")
    return next(reasons, "no reason was recorded")


def _elsewhere(material: Material) -> Iterator[Notice]:
    found = dict.fromkeys(
        f"{words.setting(sweep, p.intensity or 0.0)}: {p.quality_of}"
        for group in material.robustness
        for sweep in group.sweeps
        for p in sweep.points
        if p.quality_of is not None
    )
    if found:
        text = (
            "After a transfer, quality is that of the new data set: there is no loss to speak of, "
            "and whether the network is still usable was not measured."
        )
        yield Notice(code="other-data-set", text=text, details=tuple(found))


def _inverted(material: Material) -> Iterator[Notice]:
    level = math.log10(material.plan.false_positive_rate)
    inverted = sum(
        d.log10_p_inverted is not None and d.log10_p_inverted <= level
        for t in material.trials
        if t.injection is not None
        for d in t.decodings
        if d.injection == t.injection and d.detected is False
    )
    if inverted:
        text = (
            f"{words.plural(inverted, 'watermark')} came out inverted: nearly every Symbol "
            "differs, which is no accident. Missed here, it is not destroyed."
        )
        yield Notice(code="inverted", text=text)


def _ties(material: Material) -> Iterator[Notice]:
    tied = [d for t in material.trials for d in t.decodings if d.ties]
    if tied:
        total = sum(d.ties or 0 for d in tied)
        text = (
            f"{words.plural(total, 'Symbol')} in {words.plural(len(tied), 'decoding')} were "
            "undecided (the statistic was exactly zero) and were taken from the key: degenerate."
        )
        yield Notice(code="ties", text=text)


def _outside(material: Material) -> Iterator[Notice]:
    found = dict.fromkeys(
        words.setting(sweep, point.intensity or 0.0)
        for group in material.robustness
        for sweep in group.sweeps
        for point in sweep.points
        if point.outside_standard_range
    )
    if found:
        text = "Intensities outside the range of the standard's table were tested too."
        yield Notice(code="outside-standard-range", text=text, details=tuple(found))


def _dataset_size(material: Material) -> Iterator[Notice]:
    small = [
        f"{_network(material.plan, s.network)}: {_quotients(s)}"
        for s in material.dataset_sizes
        if False in (s.enough_by_samples, s.enough_by_scalars)
    ]
    if small:
        text = (
            "The data set is smaller than the standard asks: ten entries for each trainable "
            "Weight. An entry may be a sample or a scalar; both quotients are given."
        )
        yield Notice(code="dataset-size", text=text, details=tuple(small))


def _quotients(size: DatasetSize) -> str:
    return (
        f"{words.measured(size.samples_per_weight, words.number)} samples, "
        f"{words.measured(size.scalars_per_weight, words.number)} scalars for each of "
        f"{size.weights:,} Weights"
    )
