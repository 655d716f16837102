"""Axes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnw_onnx.reports.axes import Folded, Linear, Log, percent, rounded_up


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_a_folded_axis_keeps_order_and_has_its_limit_in_the_middle(a, b):
    axis = Folded(5.0, 100.0)
    low, high = sorted((a, b))
    assert 0 <= axis.at(low) <= axis.at(high) <= 1
    assert axis.at(5.0) == 0.5
    assert (axis.at(a) <= 0.5) == (a <= 5.0 or axis.at(a) == 0.5)


def test_what_is_beyond_an_end_is_drawn_at_it():
    axis = Linear(-1.0, 3.0)
    assert [axis.at(v) for v in (-7, -1, 1, 3, 9)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert axis.holds(3.0)
    assert not axis.holds(3.1)


def test_a_log_axis_ends_at_powers_of_ten():
    axis = Log.around([0.004, 0.3])
    assert (axis.low, axis.high) == (-3, 0)
    assert axis.at(0.01) == pytest.approx(1 / 3)
    assert axis.ticks() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert len(Log.around([5e-324, 1e15]).ticks()) <= 12
    alone = Log.around([1.0])
    assert alone.low < alone.high


@pytest.mark.parametrize(
    ("value", "expected"), [(0.07, 0.1), (0.1, 0.1), (3.0, 5.0), (12, 20), (51, 100)]
)
def test_round_ends(value, expected):
    assert rounded_up(value) == pytest.approx(expected)


def test_places_are_percentages():
    assert percent(0.12345) == "12.3%"
