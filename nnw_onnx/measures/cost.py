"""Computational cost of one operation on one network (NNT V1.1, Computational Cost).

Every measurement is made in a process of its own that does nothing else. A first call loads the
libraries that the operation needs and is not counted; memory comes from the second call (resident
set) and the third (allocations), time is the median of the calls after them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import spending
from nnw_onnx.measures import clock

MIN_REPETITIONS = 5
TIME_BUDGET = 1.0
"""Seconds after which an operation that is slow is not repeated any more."""


@dataclass(frozen=True)
class Memory:
    """Memory of one call, in bytes; None where it was not measured.

    Attributes:
        peak_bytes: peak of the resident set above the baseline.
        baseline_bytes: resident set before.
        allocated_bytes: most that Python and numpy held at once; the resident set does not grow
            where the process had as much left from before.
    """

    peak_bytes: int | None
    baseline_bytes: int | None
    allocated_bytes: int | None


@dataclass(frozen=True)
class OperationCost:
    """Cost of one operation: times in seconds."""

    seconds: float
    minimum: float
    repetitions: int
    memory: Memory


@dataclass(frozen=True)
class InferenceCost:
    """Cost of inference of a watermarked network beside its unwatermarked twin.

    Attributes:
        watermarked: seconds of each timed run.
        original: seconds of the original's run in the same round.
        memory: of loading and running the watermarked network alone.
    """

    watermarked: tuple[float, ...]
    original: tuple[float, ...]
    memory: Memory

    @property
    def seconds(self) -> float:
        """Median of the watermarked network."""
        return statistics.median(self.watermarked)

    @property
    def ratio(self) -> float:
        """Median over rounds of watermarked / original."""
        pairs = zip(self.watermarked, self.original, strict=True)
        return statistics.median(w / o for w, o in pairs)


@dataclass(frozen=True)
class Timed:
    """One timed training of an epoch.

    Attributes:
        batches: seconds of each batch but the first, which includes the start.
        end: seconds from the last batch to the end of the epoch.
    """

    batches: tuple[float, ...]
    end: float

    def batch(self, count: int) -> float:
        """Time of an epoch of so many batches / that number, its end included."""
        return statistics.fmean(self.batches) + self.end / count


@dataclass(frozen=True)
class TrainingCost:
    """Cost of a training that puts a watermark in, beside the same without one.

    Attributes:
        watermarked: rounds of the one.
        original: rounds of the other.
        memory: of the one alone.
    """

    watermarked: tuple[Timed, ...]
    original: tuple[Timed, ...]
    memory: Memory

    def seconds(self, batches: int) -> float:
        """Time of an epoch of so many batches / that number: median over rounds."""
        return statistics.median(timed.batch(batches) for timed in self.watermarked)

    def baseline(self, batches: int) -> float:
        """Likewise without the watermark."""
        return statistics.median(timed.batch(batches) for timed in self.original)

    @property
    def minimum(self) -> float:
        """The fastest batch."""
        return min(min(timed.batches) for timed in self.watermarked)

    @property
    def repetitions(self) -> int:
        """Batches that were timed."""
        return sum(len(timed.batches) for timed in self.watermarked)


def memory_of(function: Callable[[], object]) -> Memory:
    """Memory of a call, which is made twice: resident set, then allocations."""
    clock.give_back_memory()
    peak, baseline = clock.peak_of(function)
    return Memory(peak, baseline, clock.allocated_by(function))


def measure_operation(operation: Callable[[], object], repetitions: int = 30) -> OperationCost:
    """Memory of the second and third call, then times of up to `repetitions` calls.

    At least five calls are timed; more only while they take less than a second together. Of an
    operation that is carried out by another process, seconds and memory are those that it tells.
    """
    with spending.watching() as first:
        operation()
    if first.calls:
        return _elsewhere(operation)
    memory = memory_of(operation)
    times: list[float] = []
    while len(times) < repetitions and (len(times) < MIN_REPETITIONS or sum(times) < TIME_BUDGET):
        times.append(clock.time_of(operation))
    return OperationCost(statistics.median(times), min(times), len(times), memory)


def _elsewhere(operation: Callable[[], object]) -> OperationCost:
    """Cost of an operation of another process, as that tells it."""
    found: list[spending.Spent] = []
    for _ in range(MIN_REPETITIONS):
        with spending.watching() as spent:
            operation()
        found.append(spent)
    times = [spent.seconds for spent in found]
    largest = max(found, key=lambda spent: spent.peak_bytes or 0)
    memory = Memory(largest.peak_bytes, largest.baseline_bytes, None)
    return OperationCost(statistics.median(times), min(times), len(times), memory)


Lap = Callable[[], None]
Train = Callable[[Lap, Lap], object]
"""Trains one epoch; calls the first after each batch, and the second when the epoch has ended."""
TRAINING_ROUNDS = 4


def measure_training(train_watermarked: Train, train_original: Train) -> TrainingCost:
    """Times of an epoch with and without the watermark, and memory of the training with it.

    Both train the same batches. The first training loads what is needed and is not counted; memory
    comes from the next two; then both train in turn.
    """

    def nothing() -> None:
        """Nobody times this one."""

    train_watermarked(nothing, nothing)
    memory = memory_of(lambda: train_watermarked(nothing, nothing))
    times: tuple[list[Timed], list[Timed]] = ([], [])
    runners = (train_watermarked, train_original)
    for round_ in range(TRAINING_ROUNDS):
        for which in _order(round_):
            times[which].append(_timed(runners[which]))
    return TrainingCost(tuple(times[0]), tuple(times[1]), memory)


def measure_training_elsewhere(
    train_watermarked: Callable[[], object], train_original: Train, batches: int
) -> TrainingCost:
    """Times of an epoch that another process trains, as it tells them, beside the same without one.

    Args:
        train_watermarked: trains one epoch there.
        train_original: trains the same batches here.
        batches: of the epoch.

    Raises:
        ConfigurationError: the other process tells no times.
    """
    times: tuple[list[Timed], list[Timed]] = ([], [])
    largest = spending.Spent()
    for round_ in range(1 + TRAINING_ROUNDS):
        with spending.watching() as spent:
            train_watermarked()
        if not spent.calls:
            raise ConfigurationError(
                "cost: expected another process that tells what an epoch took, got none; leave "
                "the cost of this method out with cells = 0"
            )
        original = _timed(train_original)
        largest = max(largest, spent, key=lambda one: one.peak_bytes or 0)
        if round_:  # the first loads what is needed
            times[0].append(Timed((spent.seconds / batches,), 0.0))
            times[1].append(original)
    memory = Memory(largest.peak_bytes, largest.baseline_bytes, None)
    return TrainingCost(tuple(times[0]), tuple(times[1]), memory)


def _timed(train: Train) -> Timed:
    batches = clock.Stopwatch()
    ends: list[float] = []

    def end() -> None:
        batches.lap()
        ends.append(batches.laps.pop())

    train(batches.lap, end)
    return Timed(tuple(batches.laps[1:] or batches.laps), sum(ends))


def measure_inference(
    load_watermarked: Callable[[], Callable[[], object]],
    load_original: Callable[[], Callable[[], object]],
    repetitions: int = 30,
    warmups: int = 5,
) -> InferenceCost:
    """Interleaved inference times; each loader returns a function that runs one inference.

    The order alternates from round to round, so a drift of the machine hits both alike.
    """

    def load_and_run() -> None:
        load_watermarked()()

    memory = memory_of(load_and_run)
    runners = [load_watermarked(), load_original()]
    for _ in range(warmups):
        for run in runners:
            run()
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(repetitions):
        for which in _order(round_):
            times[which].append(clock.time_of(runners[which]))
    return InferenceCost(tuple(times[0]), tuple(times[1]), memory)


def _order(round_: int) -> Sequence[int]:
    return (0, 1) if round_ % 2 == 0 else (1, 0)
