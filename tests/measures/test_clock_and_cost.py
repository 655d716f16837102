import time

import numpy as np
import pytest

from nnw_onnx.measures import clock, cost

MIB = 1024**2


def test_time_of_a_sleep():
    assert 0.02 <= clock.time_of(lambda: time.sleep(0.02)) < 1.0


@pytest.mark.parametrize("size", [64 * MIB, 256 * MIB])
def test_peak_counts_memory_that_is_given_back(size):
    def allocate() -> None:
        np.ones(size, np.uint8)

    peak, baseline = clock.peak_of(allocate)
    assert size * 0.95 <= peak <= size * 1.3
    assert baseline > 0


def test_sampled_peak_agrees_with_the_kernel(monkeypatch):
    monkeypatch.setattr(clock, "_can_reset", lambda: False)

    def allocate() -> None:
        block = np.ones(128 * MIB, np.uint8)
        time.sleep(0.05)
        del block

    peak, _ = clock.peak_of(allocate)
    assert 128 * MIB * 0.95 <= peak <= 128 * MIB * 1.3


def test_peak_is_of_the_call_not_of_the_past():
    np.ones(256 * MIB, np.uint8)
    peak, _ = clock.peak_of(lambda: None)
    assert peak < 16 * MIB


def test_measure_operation_times_at_least_five_calls():
    calls = []
    measured = cost.measure_operation(lambda: calls.append(time.sleep(0.3)), repetitions=30)
    assert len(calls) == 7
    assert measured.repetitions == 5
    assert measured.minimum <= measured.seconds
    assert measured.seconds >= 0.3


def test_measure_operation_stops_at_the_repetitions_asked_for():
    assert cost.measure_operation(lambda: None, repetitions=7).repetitions == 7


def test_memory_is_not_that_of_a_library_loaded_by_the_first_call():
    loaded = []

    def operation() -> None:
        if not loaded:
            loaded.append(np.ones(256 * MIB, np.uint8))
        np.ones(32 * MIB, np.uint8)

    measured = cost.measure_operation(operation, repetitions=5)
    assert 32 * MIB * 0.9 <= measured.peak_bytes <= 32 * MIB * 1.5


def test_inference_is_interleaved_in_alternating_order():
    order = []

    def loader(name):
        def load():
            order.append(f"load {name}")
            return lambda: order.append(name)

        return load

    measured = cost.measure_inference(loader("w"), loader("o"), repetitions=5, warmups=1)
    assert order[:5] == ["load w", "w", "load o", "w", "o"]
    assert order[5:] == ["w", "o", "o", "w", "w", "o", "o", "w", "w", "o"]
    assert len(measured.watermarked) == len(measured.original) == 5


def test_ratio_is_the_median_of_paired_ratios():
    measured = cost.InferenceCost((2.0, 3.0, 8.0), (1.0, 3.0, 2.0), 0, 0)
    assert measured.ratio == 2.0
    assert measured.seconds == 3.0
