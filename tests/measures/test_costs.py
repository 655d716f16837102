"""Computational Cost, and the trainings behind it."""

from __future__ import annotations

import pytest

from nnw_onnx.math.clusters import crossed_limits
from nnw_onnx.measures.costs import cost_of
from nnw_onnx.measures.run import Run
from nnw_onnx.measures.trainings import training_of
from nnw_onnx.records import CostRecord

from .made import make_injection, make_plan, make_technology, make_twin


def record(operation, network, payload, **fields):
    given = {"seconds": 0.01 * (1 + network), "repetitions": 30, "device": "cpu"}
    return CostRecord(
        identity=f"{operation}-{network}-{payload}-{fields.get('session', 0)}",
        status=fields.pop("status", "done"),
        operation=operation,
        network=network,
        technology=fields.pop("technology", 0),
        payload_index=payload,
        **given | fields,
    )


def costs_of(records, technology=None, injections=()):
    technology = technology or make_technology()
    run = Run(make_plan(2, 3, [technology]), tuple(injections), ())
    return cost_of(run, technology, records)


def every(operation, networks=2, payloads=3, **fields):
    return [record(operation, n, d, **fields) for n in range(networks) for d in range(payloads)]


def test_limits_are_over_networks_and_sessions():
    found = costs_of(
        [*every("detection", load=0.5), *every("detection", session=1, seconds=0.045, load=3.0)]
    )
    assert found.detection.value == pytest.approx(0.03)
    assert (found.detection.networks, found.detection.low) == (2, 0)
    expected = crossed_limits([[0.01, 0.045], [0.02, 0.045]])[1]
    assert found.detection.high == pytest.approx(expected)
    assert (found.cells, found.repetitions, found.devices) == (6, (30,), ("cpu",))
    assert (found.sessions, found.load) == (2, (0.5, 3.0))
    assert found.session_ratio == pytest.approx(3)


def test_one_session_has_no_limits():
    found = costs_of(every("detection"))
    assert (found.detection.value, found.detection.limits) == (pytest.approx(0.015), None)
    assert (found.sessions, found.session_ratio, found.load) == (1, None, None)


def test_memory_that_the_resident_set_does_not_show_is_what_was_allocated():
    unseen = costs_of(every("detection", peak_bytes=0, allocated_bytes=5_000_000))
    assert unseen.detection_memory.value == 5_000_000
    seen = costs_of(every("detection", peak_bytes=8_000_000, allocated_bytes=5_000_000))
    assert seen.detection_memory.value == 8_000_000


def test_fewer_than_five_measurements_have_values_only():
    found = costs_of(every("detection", 2, 2)).detection
    assert (found.limits, found.individual) == (None, (0.01, 0.02))


def test_injecting_without_training_and_by_training_are_two_quantities():
    fields = {"baseline_seconds": 0.005, "ratio": 2.0, "batch": 32}
    static = costs_of(every("injection"))
    assert static.injection.value == pytest.approx(0.015)
    assert static.batch.reason == "not applicable: the method injects without training"
    trained = costs_of(every("injection", **fields), make_technology(training={"epochs": 2}))
    assert trained.batch.value == pytest.approx(0.015)
    assert trained.injection.reason == "not applicable: the watermark is put in by training"
    assert (trained.batch_plain.value, trained.batch_ratio.value) == (0.005, 2.0)
    assert trained.batches == (32,)


def test_what_was_not_measured_says_why():
    failed = record("decoding", 0, 0, status="failed", reason="out of memory", seconds=None)
    found = costs_of([failed])
    assert found.decoding.reason == "out of memory"
    assert found.inference.reason == "it was not measured"
    assert found.failures[0].count == 1


def test_costs_of_other_technologies_are_left_alone():
    assert costs_of(every("detection", technology=1)).detection.value is None


def training(needed=2, twin=False):
    epochs = [
        {
            "number": k + 1,
            "loss": 1.0 / (k + 1),
            "penalty": None if twin else 0.5,
            "symbol_error_rate": None if twin else 0.4 - 0.2 * k,
        }
        for k in range(2)
    ]
    return {"epochs": epochs, "batches": 100, "epochs_to_inject": needed}


def trained_injections():
    marks = [
        make_injection(n, d, training=training(None if (n, d) == (1, 1) else 2 + n))
        for n in range(2)
        for d in range(2)
    ]
    return [*marks, *(make_twin(n, training=training(None, twin=True)) for n in range(2))]


def test_the_epochs_needed_are_those_of_networks_in_which_it_is():
    technology = make_technology(training={"epochs": 2})
    found = costs_of([], technology, trained_injections())
    assert found.epochs.value == 2.5
    assert (found.never_in, found.trainings) == (1, 4)


def test_the_curves_of_a_training_are_means_over_networks():
    technology = make_technology(training={"epochs": 2})
    run = Run(make_plan(2, 2, [technology]), tuple(trained_injections()), ())
    found = training_of(run, technology)
    assert [e.loss for e in found.mean] == [1.0, 0.5]
    assert [e.symbol_error_rate for e in found.mean] == pytest.approx([0.4, 0.2])
    assert [e.penalty for e in found.twins] == [None, None]
    assert [r.payload_index for r in found.runs] == [0, 1, 0, 1, None, None]
    assert training_of(run, make_technology()) is None
