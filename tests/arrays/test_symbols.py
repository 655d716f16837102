"""The exact decision on matching Symbols."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from nnw_onnx.arrays import symbols
from nnw_onnx.vocabulary import Payload


@pytest.mark.parametrize("size", [8, 64, 2000])
def test_an_inverted_payload_is_as_conclusive_as_a_right_one(size):
    payload = Payload.from_bits("10" * (size // 2))
    inverted = Payload.from_bits("01" * (size // 2))
    found = symbols.detection(inverted, payload, 1e-6)
    assert (found.statistic, found.p_value, found.log10_p) == (0, 1.0, 0.0)
    assert found.log10_p_inverted == pytest.approx(-size * 0.30102999566398120)


def test_both_tails_are_those_of_the_binomial():
    payload = Payload.from_bits("1" * 20)
    found = symbols.detection(Payload.from_bits("1" * 15 + "0" * 5), payload, 1e-6)
    assert found.p_value == pytest.approx(binom.sf(14, 20, 0.5))
    assert found.p_inverted == pytest.approx(binom.sf(4, 20, 0.5))
