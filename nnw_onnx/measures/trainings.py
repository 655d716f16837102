"""The trainings that put watermarks in, epoch by epoch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from nnw_onnx.measures.limits import ResultModel
from nnw_onnx.measures.selection import marks_of, twins_of
from nnw_onnx.records import EpochRecord, Group, InjectionRecord, Plan


class TrainingRun(ResultModel):
    """One training: of a watermarked network, or of a twin without a watermark."""

    network: int
    payload_index: int | None
    """None for a twin."""
    twin: bool
    batches: int
    """Steps taken in all."""
    device: str
    """"cpu" or the name of an accelerator."""
    epochs_to_inject: int | None
    """Epoch from whose end on every Symbol is read rightly; None where it never came to that."""
    epochs: tuple[EpochRecord, ...]


class EpochMean(ResultModel):
    """One epoch: means over networks, each of which is the mean over its Payloads.

    A value is None where no training recorded it.
    """

    number: int
    """1, 2, ..."""
    networks: int
    """Networks that came so far."""
    loss: float
    """Loss of the task."""
    penalty: float | None
    """What the watermark added to it."""
    quality: float
    """Share of training samples answered rightly."""
    symbol_error_rate: float | None
    """Of the watermark, at the end of the epoch."""


class NetworkCurve(ResultModel):
    """The epochs of one network, means over its Payloads."""

    network: int
    epochs: tuple[EpochMean, ...]


class GroupTraining(ResultModel):
    """The trainings of one technology."""

    group: int
    label: str
    recipe: dict[str, Any]
    """How it was trained, and where that started."""
    runs: tuple[TrainingRun, ...]
    """Every training, those of the twins last."""
    mean: tuple[EpochMean, ...]
    """Of the watermarked networks."""
    networks: tuple[NetworkCurve, ...]
    """Of the watermarked networks one by one."""
    twins: tuple[EpochMean, ...]
    """Of the same training without a watermark."""


def trainings_of_groups(
    plan: Plan, injections: Sequence[InjectionRecord]
) -> tuple[GroupTraining, ...]:
    """The trainings of every technology that is put in by training."""
    return tuple(_group(plan, g, injections) for g in plan.groups if g.training is not None)


def _group(plan: Plan, group: Group, injections: Sequence[InjectionRecord]) -> GroupTraining:
    marked = [run for i in marks_of(group, injections) if (run := _run(i))]
    twins = [run for i in twins_of(plan, group, injections) if (run := _run(i))]
    networks = sorted({run.network for run in marked})
    return GroupTraining(
        group=group.index,
        label=group.label,
        recipe=group.training or {},
        runs=(*marked, *twins),
        mean=_means(marked),
        networks=tuple(
            NetworkCurve(network=n, epochs=_means([r for r in marked if r.network == n]))
            for n in networks
        ),
        twins=_means(twins),
    )


def _run(injection: InjectionRecord) -> TrainingRun | None:
    training = injection.training
    if injection.status != "done" or training is None:
        return None
    return TrainingRun(
        network=injection.network,
        payload_index=None if injection.twin else injection.payload_index,
        twin=injection.twin,
        batches=training.batches,
        device=training.device,
        epochs_to_inject=training.epochs_to_inject,
        epochs=training.epochs,
    )


def _means(runs: Sequence[TrainingRun]) -> tuple[EpochMean, ...]:
    by_number: dict[int, dict[int, list[EpochRecord]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for epoch in run.epochs:
            by_number[epoch.number][run.network].append(epoch)
    return tuple(_mean(number, list(by_number[number].values())) for number in sorted(by_number))


def _mean(number: int, networks: Sequence[Sequence[EpochRecord]]) -> EpochMean:
    def over(field: Callable[[EpochRecord], float | None]) -> float | None:
        known = [[v for e in epochs if (v := field(e)) is not None] for epochs in networks]
        return _average([m for values in known if (m := _average(values)) is not None])

    return EpochMean(
        number=number,
        networks=len(networks),
        loss=over(lambda e: e.loss) or 0.0,
        penalty=over(lambda e: e.penalty),
        quality=over(lambda e: e.quality) or 0.0,
        symbol_error_rate=over(lambda e: e.symbol_error_rate),
    )


def _average(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
