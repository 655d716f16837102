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
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnw_onnx.measures.comparison import headline_of
from nnw_onnx.measures.limits import (
    SHARE,
    Estimate,
    NotMeasured,
    Proportion,
    failures,
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
from nnw_onnx.measures.results import (
    NO_MARKED,
    NO_UNMARKED,
    Baseline,
    counted,
    marked_result,
    mean_of,
    symbol_errors,
    unmarked_result,
)
from nnw_onnx.measures.retraining import facts, measured_on, new_marks
from nnw_onnx.measures.selection import Marked, Records, Setting, Unmarked, not_asked
from nnw_onnx.records import Group, InjectionRecord, Plan, Status, TrialRecord
from nnw_onnx.vocabulary import Parameter

USABLE_LOSS = 0.05
SURVIVAL = 0.95
_NOT_HERE = "the quality was measured on {}, not on the data set of the evaluation"


@dataclass(frozen=True)
class _Cell:
    marked: list[Marked]
    unmarked: list[Unmarked]
    outside: bool
    repetitions: int


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
    records = Records.without_twins(plan, injections, trials)
    values = {
        (t.network, t.injection): value
        for t in trials
        if t.modification is None and (value := headline_of(t)) is not None
    }
    baseline = Baseline(values)
    return tuple(_group(records, g, baseline, rng, parameters or {}) for g in plan.groups)


def _group(
    records: Records,
    group: Group,
    baseline: Baseline,
    rng: np.random.Generator,
    parameters: Mapping[str, Parameter],
) -> GroupRobustness:
    refusal = not_asked(records.plan, group.robustness)
    unmodified = records.cells.get((Setting(None, "{}", None), None)) if refusal is None else None
    settings = records.settings if refusal is None else []
    headlines = [t.headline for t in records.trials if t.headline]
    return GroupRobustness(
        group=group.index,
        label=group.label,
        workflow=group.robustness,
        not_asked=refusal,
        headline=headlines[0] if headlines else None,
        rate=any(t.correct is not None for t in records.trials),
        detectable=detectable(group.payload_size, records.plan.false_positive_rate),
        unmodified=_point(records, group, None, unmodified, baseline, rng) if unmodified else None,
        sweeps=tuple(
            _sweep(records, group, s, baseline, rng, parameters.get(s.modification or ""))
            for s in settings
        ),
    )


def detectable(symbols: int, false_positive_rate: float) -> bool:
    """Whether so many bits without error have a p-value of at most the false-positive rate."""
    return -symbols * math.log10(2) <= math.log10(false_positive_rate)


def _sweep(
    records: Records,
    group: Group,
    setting: Setting,
    baseline: Baseline,
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
    baseline: Baseline,
    rng: np.random.Generator,
) -> RobustnessPoint:
    cell = _Cell(
        records.marked(trials, group.index),
        records.unmarked(trials, group.index),
        any(t.outside_standard_range for t in trials),
        1 if intensity is None else records.plan.repetitions,
    )
    plan = records.plan
    results = [marked_result(m, baseline) for m in cell.marked]
    others = [unmarked_result(u, plan.false_positive_rate, baseline) for u in cell.unmarked]
    marked = counted(results, len(plan.networks) * plan.payloads * cell.repetitions)
    unmarked = counted(others, len(plan.networks) * cell.repetitions)
    bounds = SHARE if any(t.correct is not None for t in records.trials) else None
    own = [m.trial for m in cell.marked]
    controls = [t for u in cell.unmarked for t in u.trials]
    elsewhere = measured_on([*own, *controls])
    loss = mean_of(results, "loss", _NOT_HERE.format(elsewhere) if elsewhere else NO_MARKED)
    over = new_marks(own)
    return RobustnessPoint(
        intensity=intensity,
        outside_standard_range=cell.outside,
        watermarked=marked,
        unwatermarked=unmarked,
        complete=marked.answered == marked.expected and unmarked.answered == unmarked.expected,
        **_detections(results, others),
        survived=None if over["void"] else _survived(results, marked),
        **symbol_errors(cell.marked, cell.unmarked, plan.payloads, rng),
        **over,
        quality_watermarked=mean_of(results, "quality", NO_MARKED, bounds),
        quality_unwatermarked=mean_of(others, "quality", NO_UNMARKED, bounds),
        quality_of=elsewhere,
        quality_loss=loss,
        usable=loss.mean <= USABLE_LOSS if isinstance(loss, Estimate) else None,
        change=_change(cell.marked),
        facts=facts(own or controls),
        networks=(*others, *results),
        failures=failures(_outcomes(cell)),
    )


def _detections(
    marked: Sequence[NetworkResult], unmarked: Sequence[NetworkResult]
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
        "p_fa": proportion(alarms, len(controls), NO_UNMARKED),
        "p_md": proportion(missed, len(tested), NO_MARKED),
    }


def _by_unit(results: Sequence[NetworkResult]) -> dict[tuple[int, int | None], list[bool]]:
    """Whether the mark was detected in each repetition, by (network, payload)."""
    found: dict[tuple[int, int | None], list[bool]] = defaultdict(list)
    for result in results:
        if result.detected is not None:
            found[result.network, result.payload_index].append(result.detected)
    return dict(found)


def _survived(results: Sequence[NetworkResult], counts: Counts) -> bool | None:
    """None while networks that were not measured could still decide it."""
    tested = _by_unit(results)
    if not tested:
        return None
    missed = sum(not all(found) for found in tested.values())
    if 1 - missed / len(tested) >= SURVIVAL:
        return True if counts.answered == counts.expected else None
    repetitions = 1 + max(r.repetition for r in results)
    units = max(len(tested), counts.expected // repetitions)
    return False if 1 - missed / units < SURVIVAL else None


def _ratio(events: int, marked: int, unmarked: int) -> Proportion | NotMeasured:
    if not marked or not unmarked:
        return NotMeasured(reason=NO_UNMARKED if marked else NO_MARKED)
    return Proportion(events=events, n=marked + unmarked, value=events / (marked + unmarked))


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
