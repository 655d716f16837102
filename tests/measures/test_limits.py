"""Estimates, costs and the rule on data-set size, by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from nnw_onnx.arrays import statistics
from nnw_onnx.measures import costs, limits
from nnw_onnx.measures.limits import Estimate, Interval, NotMeasured, Value
from nnw_onnx.records import CostRecord

from .made import generator, make_plan


def cost(operation, payload_index, seconds, group=0, **fields):
    return CostRecord(
        identity=f"{operation}-{group}-{payload_index}",
        status=fields.pop("status", "done"),
        operation=operation,
        network=0,
        group=group,
        payload_index=payload_index,
        seconds=seconds,
        minimum=None if seconds is None else seconds / 2,
        **fields,
    )


def test_estimate_of_the_cost_example():
    found = limits.estimate([1.02, 1.00, 0.98, 1.05, 0.95], "cells", "none")
    assert isinstance(found, Estimate)
    # statistics.md section 10: 1.000 +- 0.047.
    assert found.mean == pytest.approx(1.0)
    assert (found.limits.low, found.limits.high) == pytest.approx((0.9527, 1.0473), abs=1e-4)
    assert (found.n, found.minimum, found.maximum, found.individual) == (5, 0.95, 1.05, ())
    assert found.bootstrap is None


def test_fewer_than_five_values_are_listed():
    assert limits.estimate([3.0, 1.0], "networks", "none").individual == (3.0, 1.0)


def test_one_value_has_no_limits_and_says_so():
    found = limits.estimate([2.0], "networks", "none")
    assert found.mean == 2.0
    assert found.limits == NotMeasured(reason="limits need two networks, there is one")


def test_nothing_is_a_status_with_a_reason():
    assert limits.estimate([], "networks", "nobody came") == NotMeasured(reason="nobody came")
    assert limits.over_networks({0: []}, "nobody came") == NotMeasured(reason="nobody came")
    assert limits.over_cells({}, "nobody came", generator()) == NotMeasured(reason="nobody came")
    assert limits.proportion(0, 0, "nobody came") == NotMeasured(reason="nobody came")


def test_networks_are_the_units():
    found = limits.over_networks({1: [0.4, 0.6], 0: [0.1, 0.2, 0.3]}, "none")
    assert found.mean == pytest.approx((0.2 + 0.5) / 2)
    assert found.n == 2
    assert found.individual == pytest.approx((0.2, 0.5))
    low, high = statistics.mean_limits([0.2, 0.5])
    assert (found.limits.low, found.limits.high) == pytest.approx((low, high))


def test_cells_are_pooled_with_bootstrap_limits():
    values = {0: [0.0, 0.2, 0.4], 1: [1.0], 2: [0.0], 3: [0.1], 4: [0.7]}
    found = limits.over_cells(values, "none", generator())
    assert found.mean == pytest.approx(2.4 / 7)
    assert found.n == 7
    assert found.limits_method == "bootstrap"
    assert 0.0 <= found.limits.low < found.mean < found.limits.high <= 1.0
    assert found.individual == ()


def test_fewer_than_five_networks_are_listed_instead_of_limits():
    found = limits.over_cells({0: [0.0, 0.2, 0.4], 1: [1.0]}, "none", generator())
    assert found.limits == NotMeasured(
        reason="fewer than five networks: their values are listed instead"
    )
    assert found.individual == pytest.approx((0.2, 1.0))


def test_equal_values_have_no_limits():
    found = limits.over_cells({m: [0.0, 0.0] for m in range(5)}, "none", generator())
    assert found.limits == NotMeasured(reason="all 10 values are equal: no spread can be estimated")


def test_limits_end_where_the_quantity_ends():
    found = limits.estimate([0.9, 1.0], "networks", "none", bounds=(0.0, 1.0))
    # t(0.975, 1) = 12.7: 0.95 +- 0.635 without the bounds.
    assert (found.limits.low, found.limits.high) == (pytest.approx(0.314690, abs=1e-5), 1.0)


def test_costs_by_operation():
    plan = make_plan(networks=1, payloads=3)
    records = [
        cost("injection", d, s, peak_bytes=b, repetitions=30)
        for d, s, b in [(0, 1.0, 100), (1, 2.0, 200), (2, 6.0, 600)]
    ]
    records += [
        cost("inference", d, s, baseline_seconds=b, ratio=s / b, batch=1)
        for d, s, b in [(0, 1.0, 2.0), (1, 3.0, 2.5), (2, 5.0, 4.0)]
    ]
    records.append(cost("decoding", 0, None, status="failed", reason="killed"))
    found = costs.costs_of_groups(plan, records, generator())[0]
    by_name = {o.operation: o for o in found.operations}
    injection, inference = by_name["injection"], by_name["inference"]
    assert injection.seconds.mean == pytest.approx(3.0)
    # Half width: t(0.975, 2) s / sqrt(3) with s^2 = ((-2)^2 + (-1)^2 + 3^2) / 2 = 7.
    half = 4.3026527 * math.sqrt(7 / 3)
    assert injection.seconds.limits.high == pytest.approx(3.0 + half, abs=1e-6)
    assert isinstance(injection.seconds.bootstrap, Interval)
    assert 1.0 <= injection.seconds.bootstrap.low < 3.0 < injection.seconds.bootstrap.high <= 6.0
    assert injection.peak_bytes.mean == pytest.approx(300)
    assert injection.fastest_seconds == Value(value=0.5)
    assert injection.repetitions == (30,)
    assert injection.ratio == NotMeasured(reason="does not apply to this operation")
    assert inference.ratio.mean == pytest.approx((0.5 + 1.2 + 1.25) / 3)
    assert inference.ratio_of_medians == Value(value=3.0 / 2.5)
    assert inference.baseline_seconds.mean == pytest.approx(8.5 / 3)
    assert inference.batch == (1,)
    assert by_name["decoding"].seconds == NotMeasured(reason="no measurement succeeded")
    assert [(f.count, f.status, f.reason) for f in by_name["decoding"].failures] == [
        (1, "failed", "killed")
    ]
    assert by_name["detection"].seconds == NotMeasured(
        reason="no cost of this operation was measured"
    )
    assert found.epochs.reason.startswith("not applicable")


def test_costs_of_injection_by_training():
    records = [
        cost(
            "injection",
            d,
            s,
            baseline_seconds=b,
            ratio=s / b,
            batch=128,
            device="a GPU",
            device_peak_bytes=1000 + d,
        )
        for d, s, b in [(0, 2.0, 1.0), (1, 3.0, 2.0), (2, 4.0, 4.0)]
    ]
    found = costs.costs_of_groups(make_plan(1, 3), records, generator())[0].operations[0]
    assert found.operation == "injection"
    assert found.baseline_seconds.mean == pytest.approx(7 / 3)
    assert found.ratio.mean == pytest.approx((2.0 + 1.5 + 1.0) / 3)
    assert found.ratio_of_medians == Value(value=1.5)
    assert found.device_peak_bytes.mean == 1001
    assert (found.devices, found.batch) == (("a GPU",), (128,))


def test_data_set_size_both_ways():
    plan = make_plan(networks=2, dataset={"entries": 2000, "shape": [8, 8, 1]}, weights=300)
    sizes = limits.dataset_sizes(plan)
    assert sizes[0].samples_per_weight.value == pytest.approx(2000 / 300)
    assert sizes[0].scalars_per_weight.value == pytest.approx(128_000 / 300)
    assert (sizes[0].enough_by_samples, sizes[0].enough_by_scalars) == (False, True)


def test_data_set_size_of_cifar10_and_vgg16(shared_data):
    content = json.loads((shared_data.parent / "reference" / "oracles.json").read_text())["oracles"]
    oracle = next(e["value"] for e in content if e["id"] == "std.dataset_rule_cifar10_vgg16")
    # Parameters of the two heads: standard.md section 8.
    for parameters, key in ((14_719_818, "512_head"), (14_965_578, "25088_head")):
        plan = make_plan(weights=parameters, dataset={"entries": 50_000, "shape": [32, 32, 3]})
        size = limits.dataset_sizes(plan)[0]
        expected = oracle[f"scalars_per_parameter_{key}"]
        assert size.scalars_per_weight.value == pytest.approx(expected, rel=1e-3)
        assert (size.enough_by_samples, size.enough_by_scalars) == (False, True)


def test_data_set_size_where_it_is_unknown():
    plan = make_plan().model_copy(update={"dataset": {"name": "mine"}})
    size = limits.dataset_sizes(plan)[0]
    assert size.samples_per_weight.reason == "the number or the shape of the entries is unknown"
    assert size.enough_by_samples is None
    none = limits.dataset_sizes(make_plan(weights=0))[0]
    assert none.samples_per_weight.reason == "the network has no trainable Weights"


def test_failures_are_counted():
    outcomes = [
        ("done", None),
        ("failed", "a"),
        ("failed", "b"),
        ("failed", "b"),
        ("skipped", None),
    ]
    found = [(f.count, f.status, f.reason) for f in limits.failures(outcomes)]
    assert found == [
        (2, "failed", "b"),
        (1, "failed", "a"),
        (1, "skipped", "no reason was recorded"),
    ]


def test_a_number_that_is_none_cannot_be_made():
    with pytest.raises(ValueError, match="finite"):
        Value(value=float("nan"))
    with pytest.raises(ValueError, match="finite"):
        limits.estimate([np.inf], "cells", "none")
