"""Numbers and names as words."""

from __future__ import annotations

import pytest

from nnw_onnx.reports import words
from nnw_onnx.reports.words import Shown

from .synthetic import ACCURACY, PERPLEXITY, PSNR


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (1, "1"),
        (0.05, "0.05"),
        (12.345, "12.3"),
        (-0.1239, "−0.124"),
        (123456, "123,456"),
        (99.99, "100"),
        (1e-7, "10⁻⁷"),
        (-2.5e9, "−2.5 × 10⁹"),
        (10, "10"),
        (0.3, "0.3"),
    ],
)
def test_numbers_have_three_digits_and_a_true_minus(value, expected):
    assert words.number(value) == expected


def test_there_is_no_negative_zero():
    assert words.fixed(-0.04, 1) == "0.0"
    assert words.fixed(-0.05001, 1) == "−0.1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, "1.50 s"),
        (0.99996, "1.00 s"),
        (0.011, "11.0 ms"),
        (0.0000081, "8.10 µs"),
        (2e-9, "2.00 ns"),
        (134.2, "134 s"),
    ],
)
def test_times(value, expected):
    assert words.seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 B"), (999.4, "999 B"), (999.7, "1.00 kB"), (2.5e6, "2.50 MB"), (3.2e10, "32.0 GB")],
)
def test_sizes(value, expected):
    assert words.size(value) == expected


@pytest.mark.parametrize(
    ("loss", "expected"), [(0.004, "0.4"), (-0.0001, "0.0"), (0.55, "55"), (-0.002, "−0.2")]
)
def test_losses_of_shares_are_points_without_decimals_from_ten_on(loss, expected):
    assert Shown(ACCURACY).loss(loss) == expected


def test_a_measure_keeps_its_unit_and_as_many_decimals_as_its_margin_needs():
    assert Shown(PSNR).loss(0.25) == "0.2"
    assert Shown(PSNR).value(31.4) == "31.40 dB"
    assert Shown(PSNR).margin() == "0.1 dB"
    assert Shown(PERPLEXITY).value(18.25) == "18.25"
    assert Shown(PERPLEXITY).usable() == "5"
    fine = PSNR.model_copy(update={"negligible": 0.02})
    assert Shown(fine).loss(0.018) == "0.02"
    assert Shown(ACCURACY).value(0.9341) == "93.41 %"
    assert Shown(ACCURACY).usable() == "5 points"


def test_unknown_losses_are_a_dash():
    assert Shown(ACCURACY).loss(None) == "–"


def test_evidence_has_the_other_sign_and_an_end():
    assert words.evidence(-19.27) == "19.3"
    assert words.evidence(-4000.0) == "over 300"


def test_lists():
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert words.plural(1, "network") == "1 network"
    assert words.plural(2, "technology", "technologies") == "2 technologies"


def test_options_as_words():
    assert words.named("batch_size", 128) == "batch size 128"
    assert words.named("nesterov", False) == "no nesterov"
    assert words.plain({"a": [1, 2.5], "b": None}) == "a 1 2.5, b default"
    assert words.plain("\u202ex") == "\\u202ex"
