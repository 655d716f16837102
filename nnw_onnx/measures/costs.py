"""Computational Cost of every technology over its M x D watermarked networks.

Clause "Computational Cost" of NNW-NNT. Of injection it asks for four elements: memory footprint,
time of an epoch divided by its batches, epochs needed where training injects, and inference time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from nnw_onnx.arrays import statistics
from nnw_onnx.measures.limits import (
    POSITIVE,
    Estimate,
    Failure,
    Interval,
    Measured,
    MeasuredValue,
    NotMeasured,
    ResultModel,
    Value,
    estimate,
    failures,
)
from nnw_onnx.measures.selection import marks_of
from nnw_onnx.records import CostRecord, Group, InjectionRecord, Plan

Operation = Literal["injection", "detection", "decoding", "inference"]
_STATIC = "not applicable: the method injects without training"
_UNKNOWN = "no training was recorded"


class OperationCosts(ResultModel):
    """Computational Cost of one operation of one technology over its M x D watermarked networks."""

    operation: Operation
    seconds: Measured
    """Wall time; injection by training: of an epoch / its batches; without it: of one epoch of
    one batch."""
    fastest_seconds: MeasuredValue
    """The fastest repetition of all cells."""
    peak_bytes: Measured
    """Peak resident memory above the loaded baseline."""
    device_peak_bytes: Measured
    """Largest memory on the accelerator."""
    baseline_seconds: Measured
    """Inference: wall time of the unwatermarked network; injection by training: the same training
    without a watermark."""
    ratio: Measured
    """Inference and injection by training: time with / without the watermark, run in turn."""
    ratio_of_medians: MeasuredValue
    """Inference and injection by training: ratio of the medians over the cells."""
    ratio_of_medians_limits: Interval | None = None
    """95 % percentile limits of a bootstrap over the cells."""
    repetitions: tuple[int, ...]
    """Different numbers of timed repetitions that occur in the cells."""
    batch: tuple[int, ...]
    """Inference and injection by training: different batch sizes that occur in the cells."""
    devices: tuple[str, ...]
    """Different devices that occur in the cells: "cpu" or the name of an accelerator."""
    failures: tuple[Failure, ...]


class GroupCost(ResultModel):
    """Computational Cost of one technology; clause "Computational cost" of NNW-NNT."""

    group: int
    label: str
    trained: bool
    """Whether the watermark is put in by training."""
    epochs: Measured
    """Epochs needed to inject, over the watermarked networks in which the watermark is in."""
    epochs_cells: int
    """Watermarked networks whose training was recorded."""
    never_in: int
    """Those of them in which the watermark was not in at the end."""
    operations: tuple[OperationCosts, ...]


def costs_of_groups(
    plan: Plan,
    costs: Sequence[CostRecord],
    rng: np.random.Generator,
    injections: Sequence[InjectionRecord] = (),
) -> tuple[GroupCost, ...]:
    """Mean cost with 95 % limits over the M x D cells of each technology and operation.

    Args:
        plan: what was planned.
        costs: every cost record.
        rng: generator of the bootstrap.
        injections: every injection; their trainings tell the epochs needed.
    """
    return tuple(_group_cost(group, costs, injections, rng) for group in plan.groups)


def _group_cost(
    group: Group,
    costs: Sequence[CostRecord],
    injections: Sequence[InjectionRecord],
    rng: np.random.Generator,
) -> GroupCost:
    trained = group.training is not None or group.imperceptibility == "NNW-WTI"
    own = marks_of(group, injections)
    trainings = [i.training for i in own if i.status == "done" and i.training is not None]
    needed = [float(t.epochs_to_inject) for t in trainings if t.epochs_to_inject is not None]
    reason = "the watermark was not in at the end of any training" if trainings else _UNKNOWN
    return GroupCost(
        group=group.index,
        label=group.label,
        trained=trained,
        epochs=estimate(needed, "cells", reason if trained else _STATIC, rng, POSITIVE),
        epochs_cells=len(trainings),
        never_in=len(trainings) - len(needed),
        operations=tuple(
            _operation_cost(operation, _cells(costs, group.index, operation), rng)
            for operation in get_args(Operation)
        ),
    )


def _cells(costs: Sequence[CostRecord], group: int, operation: str) -> list[CostRecord]:
    chosen = [c for c in costs if c.group == group and c.operation == operation]
    return sorted(chosen, key=lambda c: (c.network, c.payload_index))


def _operation_cost(
    operation: Operation, cells: Sequence[CostRecord], rng: np.random.Generator
) -> OperationCosts:
    done = [c for c in cells if c.status == "done"]
    reason = "no cost of this operation was measured" if not cells else "no measurement succeeded"

    def mean(field: Callable[[CostRecord], float | None]) -> Estimate | NotMeasured:
        values = [float(v) for c in done if (v := field(c)) is not None]
        other = "does not apply to this operation" if done else reason
        return estimate(values, "cells", other, rng, POSITIVE)

    ratio, ratio_limits = _ratio_of_medians(done, reason, rng)
    fastest = [c.minimum for c in done if c.minimum is not None]
    return OperationCosts(
        operation=operation,
        seconds=mean(lambda c: c.seconds),
        fastest_seconds=Value(value=min(fastest)) if fastest else NotMeasured(reason=reason),
        peak_bytes=mean(lambda c: c.peak_bytes),
        device_peak_bytes=mean(lambda c: c.device_peak_bytes),
        baseline_seconds=mean(lambda c: c.baseline_seconds),
        ratio=mean(lambda c: c.ratio),
        ratio_of_medians=ratio,
        ratio_of_medians_limits=ratio_limits,
        repetitions=tuple(sorted({c.repetitions for c in done if c.repetitions is not None})),
        batch=tuple(sorted({c.batch for c in done if c.batch is not None})),
        devices=tuple(sorted({c.device for c in done})),
        failures=failures([(c.status, c.reason) for c in cells]),
    )


def _ratio_of_medians(
    done: Sequence[CostRecord], reason: str, rng: np.random.Generator
) -> tuple[Value | NotMeasured, Interval | None]:
    pairs = [
        (c.seconds, c.baseline_seconds)
        for c in done
        if c.seconds is not None and c.baseline_seconds is not None
    ]
    if not pairs:
        return NotMeasured(reason="does not apply to this operation" if done else reason), None
    marked, original = zip(*pairs, strict=True)
    value, limits = statistics.median_ratio_limits(marked, original, rng)
    return Value(value=value), Interval.of(limits) if len(pairs) > 1 else None
