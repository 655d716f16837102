"""Robustness: false alarms, missed detections and Symbol Error Rate after each Modification.

Clause "Robustness" of NNW-NNT, for one technology, Modification, aim and Intensity at a time, over
M x (D + 1) networks. Where some networks could not be measured, ratios are over those that were,
and the counts say how many are absent. Networks are the units: with repetitions, a watermark counts
as missed, and an unwatermarked network as a false alarm, if it is one in any of them; Symbol Error
Rate and quality are averaged over them first. So n never exceeds M x D or M.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnw_onnx.arrays import statistics
from nnw_onnx.measures.imperceptibility import headline_of
from nnw_onnx.measures.limits import (
    SHARE,
    Estimate,
    NotMeasured,
    Proportion,
    Value,
    failures,
    over_cells,
    over_networks,
    proportion,
)
from nnw_onnx.measures.points import (
    Counts,
    GroupRobustness,
    NetworkResult,
    ParameterRange,
    RobustnessPoint,
    Sweep,
)
from nnw_onnx.measures.selection import Marked, Records, Setting, Unmarked
from nnw_onnx.records import (
    DecodingRecord,
    Group,
    InjectionRecord,
    Plan,
    Status,
    TrialRecord,
)
from nnw_onnx.vocabulary import Parameter

USABLE_LOSS = 0.05
SURVIVAL = 0.95
_NO_MARKED = "no watermarked network could be tested"
_NO_UNMARKED = "no unwatermarked network could be tested"


@dataclass(frozen=True)
class _Cell:
    marked: list[Marked]
    unmarked: list[Unmarked]
    outside: bool
    repetitions: int


@dataclass(frozen=True)
class _Baseline:
    """Headline quality before any Modification, by (network, injection)."""

    values: Mapping[tuple[int, str | None], float]

    def loss(self, trial: TrialRecord) -> float | None:
        before, after = self.values.get((trial.network, trial.injection)), headline_of(trial)
        return None if before is None or after is None else before - after


def robustness(
    plan: Plan,
    injections: Sequence[InjectionRecord],
    trials: Sequence[TrialRecord],
    rng: np.random.Generator,
    parameters: Mapping[str, Parameter] | None = None,
) -> tuple[GroupRobustness, ...]:
    """Robustness of every technology of the plan.

    Args:
        plan: what was planned.
        injections: every injection.
        trials: every trial.
        rng: generator of the bootstrap.
        parameters: Modification -> its Parameter in the standard's table, where it has one.
    """
    records = Records(plan, tuple(injections), tuple(trials))
    values = {
        (t.network, t.injection): value
        for t in trials
        if t.modification is None and (value := headline_of(t)) is not None
    }
    baseline = _Baseline(values)
    return tuple(_group(records, g, baseline, rng, parameters or {}) for g in plan.groups)


def _group(
    records: Records,
    group: Group,
    baseline: _Baseline,
    rng: np.random.Generator,
    parameters: Mapping[str, Parameter],
) -> GroupRobustness:
    unmodified = records.cells.get((Setting(None, "{}", None), None))
    headlines = [t.headline for t in records.trials if t.headline]
    return GroupRobustness(
        group=group.index,
        label=group.label,
        headline=headlines[0] if headlines else None,
        rate=any(t.correct is not None for t in records.trials),
        detectable=detectable(group.payload_size, records.plan.false_positive_rate),
        unmodified=_point(records, group, None, unmodified, baseline, rng) if unmodified else None,
        sweeps=tuple(
            _sweep(records, group, s, baseline, rng, parameters.get(s.modification or ""))
            for s in records.settings
        ),
    )


def detectable(symbols: int, false_positive_rate: float) -> bool:
    """Whether so many bits without error have a p-value of at most the false-positive rate."""
    return -symbols * math.log10(2) <= math.log10(false_positive_rate)


def _sweep(
    records: Records,
    group: Group,
    setting: Setting,
    baseline: _Baseline,
    rng: np.random.Generator,
    parameter: Parameter | None,
) -> Sweep:
    down = parameter is not None and parameter.stronger == "down"
    order = sorted(records.intensities(setting), reverse=down)
    points = [_point(records, group, i, records.cells[setting, i], baseline, rng) for i in order]
    trials = [t for i in order for t in records.cells[setting, i]]
    single = setting.aim != "all" and all(len(t.layers) == 1 for t in trials)
    lost = [p.intensity for p in points if p.survived is False]
    return Sweep(
        group=group.index,
        label=group.label,
        modification=setting.modification or "",
        options=json.loads(setting.options),
        aim=setting.aim or "all",
        single_layer=single,
        parameter=_range(parameter, single) if parameter else None,
        points=tuple(points),
        survives_to=_survives_to(points),
        lost_at=lost[0] if lost else None,
    )


def _range(parameter: Parameter, single: bool) -> ParameterRange:
    high = parameter.high
    if single and parameter.high_single_layer is not None:
        high = parameter.high_single_layer
    return ParameterRange(
        letter=parameter.letter,
        meaning=parameter.meaning,
        unit=parameter.unit,
        low=parameter.low,
        high=high,
        stronger=parameter.stronger,
    )


def _survives_to(points: Sequence[RobustnessPoint]) -> float | None:
    reached = None
    for point in points:
        if point.survived is False:
            break
        if point.survived:
            reached = point.intensity
    return reached


def _point(
    records: Records,
    group: Group,
    intensity: float | None,
    trials: Sequence[TrialRecord],
    baseline: _Baseline,
    rng: np.random.Generator,
) -> RobustnessPoint:
    cell = _Cell(
        records.marked(trials, group.index),
        records.unmarked(trials, group.index),
        any(t.outside_standard_range for t in trials),
        1 if intensity is None else records.plan.repetitions,
    )
    plan = records.plan
    results = [_marked_result(m, baseline) for m in cell.marked]
    others = [_unmarked_result(u, plan.false_positive_rate, baseline) for u in cell.unmarked]
    loss = _over_networks(results, "loss", _NO_MARKED)
    marked = _counts(results, len(plan.networks) * plan.payloads * cell.repetitions)
    unmarked = _counts(others, len(plan.networks) * cell.repetitions)
    bounds = SHARE if any(t.correct is not None for t in records.trials) else None
    return RobustnessPoint(
        intensity=intensity,
        outside_standard_range=cell.outside,
        watermarked=marked,
        unwatermarked=unmarked,
        complete=marked.done == marked.expected and unmarked.done == unmarked.expected,
        **_detections(results, others, marked),
        **_symbol_errors(cell, plan.payloads, rng),
        quality_watermarked=_over_networks(results, "quality", _NO_MARKED, bounds),
        quality_unwatermarked=_over_networks(others, "quality", _NO_UNMARKED, bounds),
        quality_loss=loss,
        usable=loss.mean <= USABLE_LOSS if isinstance(loss, Estimate) else None,
        change=_change(cell.marked),
        networks=(*others, *results),
        failures=failures(_outcomes(cell)),
    )


def _detections(
    marked: Sequence[NetworkResult], unmarked: Sequence[NetworkResult], counts: Counts
) -> dict[str, Any]:
    """FP and FN under both normalisations (standard.md section 10, items 1 and 2)."""
    tested, controls = _by_unit(marked), _by_unit(unmarked)
    missed = sum(not all(found) for found in tested.values())
    alarms = sum(any(found) for found in controls.values())
    return {
        "false_alarms": alarms,
        "missed_detections": missed,
        "fp_ratio": _ratio(alarms, len(tested), len(controls)),
        "fn_ratio": _ratio(missed, len(tested), len(controls)),
        "p_fa": proportion(alarms, len(controls), _NO_UNMARKED),
        "p_md": proportion(missed, len(tested), _NO_MARKED),
        "survived": _survived(missed, len(tested), marked, counts),
    }


def _by_unit(results: Sequence[NetworkResult]) -> dict[tuple[int, int | None], list[bool]]:
    """Whether the mark was detected in each repetition, by (network, payload)."""
    found: dict[tuple[int, int | None], list[bool]] = defaultdict(list)
    for result in results:
        if result.detected is not None:
            found[result.network, result.payload_index].append(result.detected)
    return dict(found)


def _survived(
    missed: int, tested: int, marked: Sequence[NetworkResult], counts: Counts
) -> bool | None:
    """None while networks that were not measured could still decide it."""
    if not tested:
        return None
    if 1 - missed / tested >= SURVIVAL:
        return True if counts.done == counts.expected else None
    repetitions = 1 + max(r.repetition for r in marked)
    units = max(tested, counts.expected // repetitions)
    return False if 1 - missed / units < SURVIVAL else None


def _ratio(events: int, marked: int, unmarked: int) -> Proportion | NotMeasured:
    if not marked or not unmarked:
        return NotMeasured(reason=_NO_UNMARKED if marked else _NO_MARKED)
    return Proportion(events=events, n=marked + unmarked, value=events / (marked + unmarked))


def _symbol_errors(cell: _Cell, payloads: int, rng: np.random.Generator) -> dict[str, Any]:
    """The Symbol Error Rate three ways (standard.md section 10, item 1)."""
    with_mark = [(m.injection, m.decoding) for m in cell.marked if m.decoding is not None]
    without = [pair for u in cell.unmarked for pair in u.decodings]
    watermarked = over_cells(_error_rates(with_mark), _NO_MARKED, rng)
    unwatermarked = over_cells(_error_rates(without), _NO_UNMARKED, rng)
    both: Value | NotMeasured = NotMeasured(reason=_NO_UNMARKED)
    if isinstance(watermarked, NotMeasured):
        both = watermarked
    elif isinstance(unwatermarked, Estimate):
        mean = (payloads * watermarked.mean + unwatermarked.mean) / (payloads + 1)
        both = Value(value=mean)
    return {"ser_watermarked": watermarked, "ser_unwatermarked": unwatermarked, "ser_all": both}


def _error_rates(
    decodings: Sequence[tuple[InjectionRecord, DecodingRecord]],
) -> dict[int, list[float]]:
    """Network -> the rate of each payload, averaged over repetitions."""
    rates: dict[tuple[int, int], list[float]] = defaultdict(list)
    for injection, decoding in decodings:
        rate = symbol_error_rate(decoding)
        if rate is not None:
            rates[injection.network, injection.payload_index].append(rate)
    found: dict[int, list[float]] = defaultdict(list)
    for (network, _), values in rates.items():
        found[network].append(math.fsum(values) / len(values))
    return dict(found)


def symbol_error_rate(decoding: DecodingRecord) -> float | None:
    """Differing Symbols / Symbols, or None where nothing was decoded."""
    if decoding.status != "done" or decoding.errors is None:
        return None
    return decoding.errors / decoding.symbols


def _marked_result(marked: Marked, baseline: _Baseline) -> NetworkResult:
    trial, decoding = marked.trial, marked.decoding
    tested = decoding is not None and decoding.status == "done"
    status, reason = trial.status, trial.reason
    if trial.status == "done" and decoding is not None:
        status, reason = decoding.status, decoding.reason
    return NetworkResult(
        network=trial.network,
        payload_index=marked.injection.payload_index,
        repetition=trial.repetition,
        status=status,
        reason=reason,
        symbol_error_rate=symbol_error_rate(decoding) if decoding else None,
        log10_p=decoding.log10_p if decoding and tested else None,
        detected=decoding.detected if decoding and tested else None,
        keys=int(tested),
        quality=headline_of(trial),
        loss=baseline.loss(trial),
    )


def _unmarked_result(unmarked: Unmarked, rate: float, baseline: _Baseline) -> NetworkResult:
    tested = [d for _, d in unmarked.decodings if d.status == "done"]
    p_values = [d.log10_p for d in tested if d.log10_p is not None]
    errors = [e for d in tested if (e := symbol_error_rate(d)) is not None]
    qualities = [q for t in unmarked.trials if (q := headline_of(t)) is not None]
    losses = [x for t in unmarked.trials if (x := baseline.loss(t)) is not None]
    outcomes = [(t.status, t.reason) for t in unmarked.trials]
    outcomes += [(d.status, d.reason) for _, d in unmarked.decodings]
    status, reason = next((o for o in outcomes if o[0] == "done"), outcomes[0])
    if unmarked.decodings and not tested:
        status, reason = unmarked.decodings[0][1].status, unmarked.decodings[0][1].reason
    return NetworkResult(
        network=unmarked.network,
        payload_index=None,
        repetition=unmarked.repetition,
        status=status,
        reason=reason,
        symbol_error_rate=_mean(errors),
        log10_p=min(p_values) if p_values else None,
        detected=statistics.any_detected(p_values, rate) if p_values else None,
        keys=len(p_values),
        quality=_mean(qualities),
        loss=_mean(losses),
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _counts(results: Sequence[NetworkResult], expected: int) -> Counts:
    by_status = Counter(r.status for r in results)
    return Counts(
        expected=expected,
        done=by_status["done"],
        failed=by_status["failed"],
        skipped=by_status["skipped"],
        not_applicable=by_status["not-applicable"],
        absent=max(0, expected - len(results)),
    )


def _over_networks(
    results: Sequence[NetworkResult],
    field: str,
    reason: str,
    bounds: statistics.Limits | None = None,
) -> Estimate | NotMeasured:
    values: dict[int, list[float]] = defaultdict(list)
    for result in results:
        value = getattr(result, field)
        if value is not None:
            values[result.network].append(value)
    return over_networks(values, reason, bounds)


def _change(marked: Sequence[Marked]) -> Estimate | NotMeasured:
    values: dict[int, list[float]] = defaultdict(list)
    for m in marked:
        if m.trial.change is not None:
            values[m.trial.network].append(m.trial.change)
    return over_networks(values, "nothing was modified", (0.0, math.inf))


def _outcomes(cell: _Cell) -> list[tuple[Status, str | None]]:
    trials = [m.trial for m in cell.marked] + [t for u in cell.unmarked for t in u.trials]
    decodings = [m.decoding for m in cell.marked if m.decoding]
    decodings += [d for u in cell.unmarked for _, d in u.decodings]
    outcomes: list[tuple[Status, str | None]] = [(t.status, t.reason) for t in trials]
    return outcomes + [(d.status, d.reason) for d in decodings]
