"""Numbers and names as words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.measures.limits import Interval, NotMeasured, Proportion, Value, over_cells
from nnw_onnx.reports import words


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (1, "1"),
        (0.05, "0.05"),
        (12.345, "12.3"),
        (-0.1239, "-0.124"),
        (123456, "123,456"),
        (99.99, "100"),
        (1e-7, "1.00e-07"),
        (2.5e9, "2.50e+09"),
        (10, "10"),
    ],
)
def test_number(value, expected):
    assert words.number(value) == expected


def test_intensity_keeps_its_digits():
    assert words.intensity(99.99, "%") == "99.99 %"
    assert words.intensity(0.1, "ratio") == "0.1"
    assert words.intensity(16.0, "bits") == "16 bits"
    assert words.intensity(3.0, None) == "3"


@pytest.mark.parametrize(
    ("value", "rate", "signed", "expected"),
    [
        (0.0005, True, False, "0.05"),
        (-0.00001, True, False, "0.00"),
        (0.0012, True, True, "+0.12"),
        (-0.0012, True, True, "-0.12"),
        (1.5, False, True, "+1.5"),
        (-3e-17, True, True, "0.00"),
        (3e-17, True, True, "0.00"),
        (-3e-17, False, True, "0"),
        (-0.5, False, True, "-0.5"),
    ],
)
def test_points(value, rate, signed, expected):
    assert words.points(value, rate, signed) == expected


@pytest.mark.parametrize(
    ("log10_p", "expected"),
    [(0.0, "1"), (-2.0, "0.01"), (-6.0, "1.0e-6"), (-19.27, "5.4e-20"), (-400.0, "1.0e-400")],
)
def test_p_values_far_below_the_smallest_float(log10_p, expected):
    assert words.p_value(log10_p) == expected


def test_p_value_never_shows_ten_times_a_power():
    assert words.p_value(math.log10(9.99e-7)) == "1.0e-6"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.5, "1.5 s"), (0.0123, "12.3 ms"), (4.2e-6, "4.2 µs"), (2e-8, "0.02 µs")],
)
def test_seconds(value, expected):
    assert words.seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(12, "12 B"), (3_130_000, "3.13 MB"), (8e9, "8 GB")]
)
def test_size(value, expected):
    assert words.size(value) == expected


def test_few_networks_are_listed_in_place_of_limits():
    rng = np.random.Generator(np.random.PCG64(0))
    found = over_cells({0: [0.0], 1: [0.25], 2: [0.5]}, "none", rng)
    assert words.measured(found, words.percent) == "25 % (0 %, 25 %, 50 %)"
    none = over_cells({0: [0.0], 1: [0.0]}, "none", rng)
    assert words.measured(none, words.percent) == "0 %"


def test_names():
    assert words.modification_name("random-pruning", {}) == "Random pruning"
    assert words.modification_name("l1-pruning") == "L1 pruning"
    assert words.modification_name("random-pruning", {"scope": "layer"}) == (
        "Random pruning (scope layer)"
    )
    assert words.aim_name("carrier") == "carrier layer"
    assert words.aim_name("conv* fc") == "layers conv* fc"
    assert words.measure_name("top1_accuracy") == "top-1 accuracy"
    assert words.measure_name(None) == "quality"


def test_lists():
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b"]) == "a and b"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(list("abcdef")) == "a, b, c, d and 2 more"
    assert words.plural(1, "network") == "1 network"
    assert words.plural(1200, "network") == "1,200 networks"


def test_measured():
    assert words.measured(NotMeasured(reason="no"), str) == "–"
    assert words.measured(Value(value=0.5), words.percent) == "50 %"
    limits = Interval(low=0.1, high=0.9)
    found = Proportion(events=1, n=2, value=0.5, limits=limits)
    assert words.measured(found, words.percent) == "50 % [10 % to 90 %]"
    assert words.limits(None, str) == "–"
