"""The exact evidence of matching Symbols, against scipy and the table of thresholds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import evidence
from nnw_onnx.math import binomial
from nnw_onnx.vocabulary import Payload


@pytest.mark.parametrize("size", [8, 64, 2000])
def test_an_inverted_payload_is_as_conclusive_as_a_right_one(size):
    payload = Payload.from_bits("10" * (size // 2))
    inverted = Payload.from_bits("01" * (size // 2))
    found = evidence.matched(inverted, payload)
    assert (found.statistic, found.p_value, found.log10_p) == (0, 1.0, 0.0)
    assert found.log10_inverted == pytest.approx(-size * 0.30102999566398120)


def test_both_tails_are_those_of_the_binomial():
    payload = Payload.from_bits("1" * 20)
    found = evidence.matched(Payload.from_bits("1" * 15 + "0" * 5), payload)
    assert found.p_value == pytest.approx(binom.sf(14, 20, 0.5))
    assert 10**found.log10_inverted == pytest.approx(binom.sf(4, 20, 0.5))
    assert 10**found.log10_tie == pytest.approx(binom.pmf(15, 20, 0.5))


@pytest.mark.parametrize(
    ("n", "classes", "at_least"),
    [
        (20, 10, (8, 11, 14)),
        (30, 10, (10, 14, 17)),
        (50, 10, (14, 18, 22)),
        (100, 10, (21, 28, 33)),
        (200, 10, (35, 44, 50)),
        (20, 100, (4, 6, 7)),
        (100, 100, (6, 9, 12)),
        (100, 1000, (3, 5, 7)),
        (200, 1000, (4, 6, 8)),
    ],
)
def test_thresholds_are_those_of_the_table(n, classes, at_least):
    """Smallest number of right answers for 1e-3, 1e-6 and 1e-9 (exact, computed elsewhere)."""
    asked = Payload((0,) * n)
    for rate, needed in zip((1e-3, 1e-6, 1e-9), at_least, strict=True):
        for right, detected in ((needed, True), (needed - 1, False)):
            told = Payload((0,) * right + (1,) * (n - right), classes)
            assert bool(evidence.matched(told, asked).decided(rate)) is detected
        assert binomial.threshold(n, rate, Fraction(1, classes)) == needed


def test_more_than_two_symbols_have_no_opposite():
    told = Payload((0,) * 30 + (3,) * 70, 10)
    found = evidence.matched(told, Payload((0,) * 100))
    assert (found.statistic, found.null.name) == (30, "Bin(100, 1/10)")
    assert (found.null.symbols, found.null.chance) == (100, 0.1)
    assert found.p_value == pytest.approx(binom.sf(29, 100, 0.1), rel=1e-9)
    assert found.log10_p == pytest.approx(np.log10(found.p_value))
    assert found.log10_inverted is None
    assert found.null.log10_least == pytest.approx(-100)


@pytest.mark.parametrize(("size", "reached"), [(19, False), (20, True)])
def test_what_can_be_reached_is_in_the_null(size, reached):
    """2^-19 is 1.9e-6, 2^-20 is 9.5e-7."""
    payload = Payload((1,) * size)
    assert evidence.matched(payload, payload).null.reaches(1e-6) is reached


def test_what_cannot_be_compared_is_told():
    with pytest.raises(ConfigurationError, match="expected 2 symbols, got 3; use the key"):
        evidence.matched(Payload((0, 1), 10), Payload((0, 1, 0)))
    with pytest.raises(ConfigurationError, match="an alphabet of at most 2, got 8; give the payl"):
        evidence.matched(Payload((0, 1)), Payload((0, 1), 8))
    with pytest.raises(ConfigurationError, match="binomial: expected n >= 1"):
        evidence.matched(Payload(), Payload())
