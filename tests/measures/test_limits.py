"""Numbers with their limits, and the rule on data-set size, by hand."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from nnw_onnx.math.clusters import crossed_limits
from nnw_onnx.math.statistics import mean_limits
from nnw_onnx.measures import limits
from nnw_onnx.measures.limits import Nested, SampleError
from nnw_onnx.measures.results import Value

from .made import make_dataset, make_plan


def test_repetitions_are_averaged_first_then_payloads_then_networks():
    singles = [(0, "a", 1.0), (0, "a", 0.0), (0, "b", 1.0), (1, "c", 0.0)]
    nested = Nested.of(singles)
    assert nested.rows == {0: [0.5, 1.0], 1: [0.0]}
    assert nested.means == [0.75, 0.0]
    assert limits.average(nested, "none").value == 0.375


def test_a_value_is_a_number_or_a_reason():
    with pytest.raises(ValidationError, match="a value or the reason why there is none"):
        Value()
    assert Value.missing("no network").reason == "no network"


def test_a_rate_below_ten_networks_has_its_values_and_no_limits():
    found = limits.rate(Nested.of((n, 0, n / 10) for n in range(9)), "none")
    assert found.value == pytest.approx(0.4)
    assert found.limits is None
    assert found.individual == pytest.approx([n / 10 for n in range(9)])
    assert "fewer than 10 networks" in found.reason


def test_a_rate_over_ten_networks_has_limits():
    found = limits.rate(Nested.of((n, 0, n / 10) for n in range(10)), "none")
    assert found.method == "cluster-beta"
    assert found.low < 0.45 < found.high
    assert found.individual == ()


@pytest.mark.parametrize(
    ("networks", "value", "expected"),
    [(3, 0.0, (0.0, 0.6316)), (10, 0.0, (0.0, 0.2589)), (10, 1.0, (0.7411, 1.0))],
)
def test_what_never_or_always_happened_has_a_one_sided_limit(networks, value, expected):
    found = limits.rate(Nested.of((n, 0, value) for n in range(networks)), "none")
    assert found.limits == pytest.approx(expected, abs=5e-5)
    assert found.method == "no-event"


def test_a_rate_that_is_the_same_on_all_networks_has_no_limits():
    found = limits.rate(Nested.of((n, 0, 0.5) for n in range(12)), "none")
    assert found.limits is None
    assert "no spread" in found.reason


def test_nothing_measured_is_a_reason_and_never_zero():
    empty = Nested.of([])
    for value in (
        limits.rate(empty, "why"),
        limits.average(empty, "why"),
        limits.cost({0: empty}, "why"),
        limits.count(empty, "why"),
    ):
        assert (value.value, value.reason) == (None, "why")
    assert limits.median([], "why").reason == "why"


def test_the_median_is_over_all_tests():
    assert limits.median([(0, 0, -3.0), (0, 1, -5.0), (1, 0, -100.0)], "none").value == -5.0


def test_a_loss_has_ninety_percent_limits():
    found = limits.loss(Nested.of([(0, 0, 0.01), (1, 0, 0.03)]), "none", SampleError(0.001))
    half = 6.313752 * math.sqrt(0.0002 / 2 + 1e-6)
    assert found.limits == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)
    assert (found.confidence, found.method) == (0.9, "two-way")


def cells(factor=1.0, networks=3, payloads=5):
    return Nested.of((n, d, factor * (1.0 + n)) for n in range(networks) for d in range(payloads))


def test_a_cost_of_fewer_than_five_measurements_has_values_only():
    found = limits.cost({0: cells(1, 4, 1), 1: cells(1, 4, 1)}, "none")
    assert found.limits is None
    assert found.individual == (1, 2, 3, 4)
    assert "fewer than 5" in found.reason


def test_one_session_of_costs_has_no_limits():
    found = limits.cost({0: cells()}, "none")
    assert (found.value, found.limits) == (2.0, None)
    assert "one session" in found.reason


def test_limits_of_a_cost_are_over_networks_and_sessions_and_not_over_payloads():
    found = limits.cost({0: cells(), 1: cells(1.5)}, "none")
    table = [[1.0, 1.5], [2.0, 3.0], [3.0, 4.5]]
    assert found.value == pytest.approx(2.5)
    assert found.high == pytest.approx(crossed_limits(table)[1])
    assert found.low == 0  # no time is negative
    assert (found.networks, found.method, found.confidence) == (3, "approximate", None)


def test_limits_of_two_sessions_that_differ_hold_both():
    found = limits.cost({0: cells(6.66, 5, 1), 1: cells(53.2, 5, 1)}, "none")
    assert found.low <= 3 * 6.66
    assert found.high >= 3 * 53.2


def test_a_network_that_is_missing_in_a_session_leaves_values_only():
    found = limits.cost({0: cells(), 1: cells(1, 2)}, "none")
    assert (found.value, found.limits) == (2.0, None)
    assert "missing in a session" in found.reason


def test_a_count_has_approximate_limits_over_networks():
    found = limits.count(cells(), "none")
    assert (found.low, found.high) == (0, pytest.approx(mean_limits([1.0, 2.0, 3.0])[1]))
    assert (found.method, found.confidence) == ("approximate", None)


def test_what_was_not_done_is_counted_by_reason():
    found = limits.failures([("done", None), ("failed", "x"), ("failed", "x"), ("skipped", None)])
    assert [(f.status, f.reason, f.count) for f in found] == [
        ("failed", "x", 2),
        ("skipped", "no reason was recorded", 1),
    ]


def test_the_rule_of_ten_entries_counts_samples_and_scalars():
    (size,) = limits.dataset_sizes(make_plan(dataset=make_dataset(400, (1, 8, 8))))
    assert size.samples_per_weight.value == 0.4
    assert size.scalars_per_weight.value == 25.6
    assert size.enough is False
    (size,) = limits.dataset_sizes(make_plan(dataset=make_dataset(10_000)))
    assert size.enough is True
