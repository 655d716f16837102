"""Computational cost of one operation on one network (NNT V1.1, Computational Cost).

Every measurement is made in a process of its own that does nothing else. A first call loads the
libraries that the operation needs and is not counted; memory comes from the second call, time is
the median of the calls after it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnw_onnx.measures import clock

MIN_REPETITIONS = 5
TIME_BUDGET = 1.0
"""Seconds after which an operation that is slow is not repeated any more."""


@dataclass(frozen=True)
class OperationCost:
    """Cost of one operation: times in seconds, memory in bytes above the baseline."""

    seconds: float
    minimum: float
    repetitions: int
    peak_bytes: int
    baseline_bytes: int


@dataclass(frozen=True)
class InferenceCost:
    """Cost of inference of a watermarked network beside its unwatermarked twin.

    Attributes:
        watermarked: seconds of each timed run.
        original: seconds of the original's run in the same round.
        peak_bytes: peak of loading and running the watermarked network alone.
        baseline_bytes: resident memory before that.
    """

    watermarked: tuple[float, ...]
    original: tuple[float, ...]
    peak_bytes: int
    baseline_bytes: int

    @property
    def seconds(self) -> float:
        """Median of the watermarked network."""
        return statistics.median(self.watermarked)

    @property
    def ratio(self) -> float:
        """Median over rounds of watermarked / original."""
        pairs = zip(self.watermarked, self.original, strict=True)
        return statistics.median(w / o for w, o in pairs)


def measure_operation(operation: Callable[[], object], repetitions: int = 30) -> OperationCost:
    """Memory of the second call, then times of up to `repetitions` calls.

    At least five calls are timed; more only while they take less than a second together.
    """
    operation()
    clock.give_back_memory()
    peak, baseline = clock.peak_of(operation)
    times: list[float] = []
    while len(times) < repetitions and (len(times) < MIN_REPETITIONS or sum(times) < TIME_BUDGET):
        times.append(clock.time_of(operation))
    return OperationCost(statistics.median(times), min(times), len(times), peak, baseline)


Lap = Callable[[], None]
TRAINING_ROUNDS = 4


def measure_training(
    train_watermarked: Callable[[Lap], object], train_original: Callable[[Lap], object]
) -> InferenceCost:
    """Times of a batch with and without the watermark, and memory of the training with it.

    Each function trains the same few batches and calls what it is given after each of them. The
    first training loads what is needed and is not counted; memory comes from the second; then both
    train in turn. The first batch of a training is not counted, because it includes the start.
    """
    train_watermarked(lambda: None)
    clock.give_back_memory()
    peak, baseline = clock.peak_of(lambda: train_watermarked(lambda: None))
    times: tuple[list[float], list[float]] = ([], [])
    runners = (train_watermarked, train_original)
    for round_ in range(TRAINING_ROUNDS):
        for which in _order(round_):
            stopwatch = clock.Stopwatch()
            runners[which](stopwatch.lap)
            times[which].extend(stopwatch.laps[1:] or stopwatch.laps)
    return InferenceCost(tuple(times[0]), tuple(times[1]), peak, baseline)


def measure_inference(
    load_watermarked: Callable[[], Callable[[], object]],
    load_original: Callable[[], Callable[[], object]],
    repetitions: int = 30,
    warmups: int = 5,
) -> InferenceCost:
    """Interleaved inference times; each loader returns a function that runs one inference.

    The order alternates from round to round, so a drift of the machine hits both alike.
    """
    loaded: list[Callable[[], object]] = []

    def load_and_run() -> None:
        loaded.append(load_watermarked())
        loaded[0]()

    peak, baseline = clock.peak_of(load_and_run)
    runners = [loaded[0], load_original()]
    for _ in range(warmups):
        for run in runners:
            run()
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(repetitions):
        for which in _order(round_):
            times[which].append(clock.time_of(runners[which]))
    return InferenceCost(tuple(times[0]), tuple(times[1]), peak, baseline)


def _order(round_: int) -> Sequence[int]:
    return (0, 1) if round_ % 2 == 0 else (1, 0)
