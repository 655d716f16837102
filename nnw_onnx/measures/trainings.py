"""The trainings that put watermarks in, epoch by epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from nnw_onnx.measures.limits import Nested
from nnw_onnx.measures.results import EpochMean, Training, TrainingRun
from nnw_onnx.measures.run import Run
from nnw_onnx.records import EpochRecord, InjectionRecord, TechnologyRecord


def training_of(run: Run, technology: TechnologyRecord) -> Training | None:
    """The trainings of a technology, or None where it is put in without."""
    if technology.training is None:
        return None
    marked = [r for i in run.marks(technology.index) if (r := _run(i)) is not None]
    twins = [r for i in run.twins(technology) if (r := _run(i)) is not None]
    return Training(
        recipe=technology.training,
        mean=_means(marked),
        twins=_means(twins),
        runs=(*marked, *twins),
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
    found: dict[int, list[tuple[TrainingRun, EpochRecord]]] = defaultdict(list)
    for run in runs:
        for epoch in run.epochs:
            found[epoch.number].append((run, epoch))
    return tuple(_mean(number, found[number]) for number in sorted(found))


def _mean(number: int, epochs: Sequence[tuple[TrainingRun, EpochRecord]]) -> EpochMean:
    def over(field: Callable[[EpochRecord], float | None]) -> float | None:
        singles = (
            (r.network, r.payload_index, x) for r, e in epochs if (x := field(e)) is not None
        )
        means = Nested.of(singles).means
        return sum(means) / len(means) if means else None

    return EpochMean(
        number=number,
        networks=len({r.network for r, _ in epochs}),
        loss=over(lambda e: e.loss) or 0.0,
        penalty=over(lambda e: e.penalty),
        symbol_error_rate=over(lambda e: e.symbol_error_rate),
    )
