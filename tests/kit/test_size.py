"""What a count of Symbols comes to at a declared rate, against the published table and scipy."""

from __future__ import annotations

from fractions import Fraction

import pytest
from scipy.stats import binom

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import evidence
from nnw_onnx.vocabulary import Null, Payload


def null(symbols: int, classes: int = 2) -> Null:
    return evidence.counted(symbols, symbols, Fraction(1, classes)).null


@pytest.mark.parametrize(
    ("symbols", "level", "needed"),
    [(16, 1e-3, 15), (20, 1e-6, 20), (32, 1e-6, 30), (64, 1e-6, 51), (256, 1e-9, 176)],
)
def test_the_symbols_that_must_match_are_those_of_the_binomial(symbols, level, needed):
    size = evidence.size_of(null(symbols), level)
    assert size.needed == needed
    assert size.attained == pytest.approx(binom.sf(needed - 1, symbols, 0.5), rel=1e-12)
    assert size.attained <= level < binom.sf(needed - 2, symbols, 0.5)


@pytest.mark.parametrize(("level", "bits"), [(1e-3, 10), (1e-6, 20), (1e-9, 30), (1e-12, 40)])
def test_the_fewest_bits_that_can_show_anything(level, bits):
    """Ten bits are 1/1024, twenty 1/1048576, and so on."""
    assert evidence.fewest_symbols(level) == bits


@pytest.mark.parametrize("level", [0.5, 0.25, 2.0**-20, 0.3, 0.01])
def test_the_fewest_symbols_reach_the_level_exactly(level):
    for chance in (Fraction(1, 2), Fraction(1, 10), Fraction(9, 10)):
        n = evidence.fewest_symbols(level, chance)
        assert chance**n <= Fraction(str(level)) < chance ** (n - 1)


def test_triggers_of_ten_classes_take_six():
    found = evidence.size_of(null(5, 10), 1e-6)
    assert (found.needed, found.attained, found.symbols) == (None, 0.0, 6)
    assert evidence.size_of(null(100, 10), 1e-6).needed == 28


def test_a_short_payload_says_how_many_it_takes():
    words = evidence.too_short(null(16), 1e-6)
    assert words == (
        "nothing can be shown at a false-positive rate of 1e-06 with 16 symbols, even when all "
        "match (p = 1.5e-5): it takes 20"
    )
    assert evidence.too_short(null(20), 1e-6) is None
    assert evidence.too_short(Null("a correlation"), 1e-6) is None
    told = evidence.too_short(Null("a bound", log10_least=-2.0), 1e-6)
    assert told == "nothing can be shown at a false-positive rate of 1e-06: p = 0.01 at best"


def test_places_that_were_read_are_in_the_size():
    """Eight places: three bits more, and the attained size is that of all of them together."""
    alone = evidence.counted(64, 64, Fraction(1, 2)).null
    among = Null(alone.name, 64, 0.5, alone.log10_least + 3 * 0.3010299956639812)
    size = evidence.size_of(among, 1e-6)
    assert size.symbols == 23
    assert size.needed == evidence.size_of(alone, 1.25e-7).needed
    assert size.attained == pytest.approx(8 * binom.sf(size.needed - 1, 64, 0.5), rel=1e-9)


def test_what_counts_nothing_has_no_size():
    assert evidence.size_of(Null("a correlation"), 1e-6) is None
    assert evidence.size_of(null(1 << 15), 1e-6) is None
    with pytest.raises(ConfigurationError, match="false-positive rate"):
        evidence.fewest_symbols(0.0)
    assert evidence.matched(Payload((1,) * 4), Payload((1,) * 4)).needed is None
