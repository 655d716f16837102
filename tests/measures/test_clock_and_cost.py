"""What is read from the clock and from the kernel, and what costs are made of.

Resident memory is that of a whole process, and one that has run other tests gives some back while
it is looked at: what is measured here is measured in a process of its own, as in an evaluation.
"""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import numpy as np
import pytest

from nnw_onnx.measures import clock, cost

MIB = 1024**2
T = TypeVar("T")


def fresh(measure: Callable[..., T], *arguments: object) -> T:
    """What a function of this module returns in a process that has done nothing else."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(measure, *arguments).result()


def allocate(size: int, pause: float = 0.0) -> None:
    block = np.ones(size, np.uint8)
    time.sleep(pause)
    del block


def test_time_of_a_sleep():
    assert 0.02 <= clock.time_of(lambda: time.sleep(0.02)) < 10


def peak_of_a_block(size: int) -> tuple[int, int]:
    return clock.peak_of(lambda: allocate(size))


@pytest.mark.parametrize("size", [64 * MIB, 256 * MIB])
def test_peak_counts_memory_that_is_given_back(size):
    peak, baseline = fresh(peak_of_a_block, size)
    assert size * 0.95 <= peak <= size * 1.3
    assert baseline > 0


def sampled_peak() -> int:
    clock._can_reset = lambda: False
    return clock.peak_of(lambda: allocate(128 * MIB, pause=0.2))[0]


def test_sampled_peak_agrees_with_the_kernel():
    assert 128 * MIB * 0.95 <= fresh(sampled_peak) <= 128 * MIB * 1.3


def peak_of_nothing() -> int:
    allocate(256 * MIB)
    return clock.peak_of(lambda: None)[0]


def test_peak_is_of_the_call_not_of_the_past():
    assert fresh(peak_of_nothing) < 16 * MIB


def test_measure_operation_times_at_least_five_calls():
    calls = []
    measured = cost.measure_operation(lambda: calls.append(time.sleep(0.3)), repetitions=30)
    assert len(calls) == 8  # one that loads, two for memory
    assert measured.repetitions == 5
    assert measured.minimum <= measured.seconds
    assert measured.seconds >= 0.3


def test_measure_operation_stops_at_the_repetitions_asked_for():
    assert cost.measure_operation(lambda: None, repetitions=7).repetitions == 7


def after_a_first_call_that_loads() -> cost.Memory:
    loaded: list[object] = []

    def operation() -> None:
        if not loaded:
            loaded.append(np.ones(256 * MIB, np.uint8))
        np.ones(32 * MIB, np.uint8)

    return cost.measure_operation(operation, repetitions=5).memory


def test_memory_is_not_that_of_a_library_loaded_by_the_first_call():
    memory = fresh(after_a_first_call_that_loads)
    assert 32 * MIB * 0.9 <= memory.peak_bytes <= 32 * MIB * 1.5
    assert 32 * MIB <= memory.allocated_bytes <= 32 * MIB * 1.1


def small_blocks() -> tuple[int, int]:
    # The allocator keeps small blocks that are given back; the next call fits into them.
    def operation() -> None:
        blocks = [np.ones(100_000, np.uint8) for _ in range(40)]
        del blocks

    operation()
    return clock.peak_of(operation)[0], clock.allocated_by(operation)


def test_allocations_are_seen_where_the_resident_set_does_not_grow():
    peak, allocated = fresh(small_blocks)
    assert peak < 4_000_000
    assert 4_000_000 <= allocated <= 4_400_000


def test_the_time_of_an_epoch_includes_what_is_done_at_its_end(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock, "seconds", lambda: now[0])

    def training(batch, end, start=5.0):
        def train(lap, over):
            now[0] += start
            for _ in range(4):
                now[0] += batch
                lap()
            now[0] += end
            over()

        return train

    measured = cost.measure_training(training(0.3, 2.0), training(0.2, 0.0))
    # An epoch of 10 batches: 10 x 0.3 s and 2 s at its end.
    assert measured.seconds(10) == pytest.approx(0.5)
    assert measured.baseline(10) == pytest.approx(0.2)
    assert measured.minimum == pytest.approx(0.3)
    assert measured.repetitions == 4 * 3


def test_inference_is_interleaved_in_alternating_order():
    order = []

    def loader(name):
        def load():
            order.append(f"load {name}")
            return lambda: order.append(name)

        return load

    measured = cost.measure_inference(loader("w"), loader("o"), repetitions=5, warmups=1)
    assert order[:6] == ["load w", "w", "load w", "w", "load w", "load o"]
    assert order[6:8] == ["w", "o"]
    assert order[8:] == ["w", "o", "o", "w", "w", "o", "o", "w", "w", "o"]
    assert len(measured.watermarked) == len(measured.original) == 5


def test_ratio_is_the_median_of_paired_ratios():
    measured = cost.InferenceCost((2.0, 3.0, 8.0), (1.0, 3.0, 2.0), cost.Memory(0, 0, 0))
    assert measured.ratio == 2.0
    assert measured.seconds == 3.0
