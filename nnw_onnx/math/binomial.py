"""Exact binomial tails in Python integers: the p-values of every Detector.

A network made without the key matches each Symbol with the same chance, independently, so the
number of matches is Bin(n, chance). No approximation and no heavy import is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from nnw_onnx.errors import ConfigurationError

HALF = Fraction(1, 2)
_LARGEST_BITS = 1 << 18
"""Bits of the integers up to which a tail is summed exactly: above it takes seconds."""


class Tail(NamedTuple):
    """A tail probability: correctly rounded, and its decimal logarithm where it underflows."""

    p_value: float
    log10_p: float


@lru_cache(maxsize=8192)
def tail(k: int, n: int, chance: Fraction = HALF) -> Tail:
    """P(Bin(n, chance) >= k), exact before the final rounding.

    Args:
        k: number of matches; any integer.
        n: number of Symbols or triggers, at least 1.
        chance: probability of one match, strictly between 0 and 1.

    Raises:
        ConfigurationError: n or chance is out of range.
    """
    _check(n, chance)
    if k <= 0:
        return Tail(1.0, 0.0)
    if k > n:
        return Tail(0.0, -math.inf)
    if n * chance.denominator.bit_length() > _LARGEST_BITS:
        return _by_series(k, n, chance)
    total = chance.denominator**n
    if k > n * chance:
        above = sum(_terms_down(n, k, chance))
    else:
        above = total - sum(_terms_down(n, n - k + 1, 1 - chance))
    p_value = above / total
    if p_value > 1e-300:
        return Tail(p_value, math.log10(p_value))
    return Tail(p_value, math.log10(above) - math.log10(total))


@lru_cache(maxsize=8192)
def log10_point(k: int, n: int, chance: Fraction = HALF) -> float:
    """Decimal logarithm of P(Bin(n, chance) = k); minus infinity where it is impossible.

    Raises:
        ConfigurationError: n or chance is out of range.
    """
    _check(n, chance)
    if not 0 <= k <= n:
        return -math.inf
    if n * chance.denominator.bit_length() > _LARGEST_BITS:
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        hits = k * (math.log(chance.numerator) - math.log(chance.denominator))
        return (ways + hits + (n - k) * math.log1p(-chance)) / math.log(10)
    hit, miss = chance.numerator, chance.denominator - chance.numerator
    favourable = math.comb(n, k) * hit**k * miss ** (n - k)
    return math.log10(favourable) - n * math.log10(chance.denominator)


def threshold(n: int, false_positive_rate: float, chance: Fraction = HALF) -> int | None:
    """Smallest k with P(Bin(n, chance) >= k) <= false_positive_rate, or None where none is.

    Raises:
        ConfigurationError: n, chance or the rate is out of range.
    """
    _check(n, chance)
    check_rate(false_positive_rate)
    # As it is written: the float 1e-6 is a little less, and six triggers of ten classes reach it.
    limit = Fraction(str(false_positive_rate)) * chance.denominator**n
    above, k = 0, n + 1
    for term in _terms_down(n, 0, chance):
        above += term
        if above > limit:
            break
        k -= 1
    return k if k <= n else None


def check_rate(false_positive_rate: float) -> None:
    """Raise `ConfigurationError` unless 0 < rate < 1."""
    if not 0 < false_positive_rate < 1:
        raise ConfigurationError(
            f"false-positive rate: expected a number between 0 and 1, got {false_positive_rate}; "
            "use 1e-6 unless you know better"
        )


def _by_series(k: int, n: int, chance: Fraction) -> Tail:
    """The same tail by the series of ratios of its terms, in floating point."""
    if k <= n * chance:
        return _complement(_by_series(n - k + 1, n, 1 - chance))
    ratio, odds, series = 1.0, float(chance / (1 - chance)), 1.0
    for i in range(k, n):
        ratio *= (n - i) / (i + 1) * odds
        series += ratio
        if ratio < series * 2.0**-60:
            break
    log10_p = log10_point(k, n, chance) + math.log10(series)
    return Tail(10.0**log10_p, log10_p)


def _complement(tail_below: Tail) -> Tail:
    above = 1.0 - tail_below.p_value
    return Tail(above, math.log10(above))


def _terms_down(n: int, lowest: int, chance: Fraction) -> Iterator[int]:
    """denominator^n P(Bin = i) for i = n, n-1, ... lowest, each from the one before."""
    hit, miss = chance.numerator, chance.denominator - chance.numerator
    term = hit**n
    for i in range(n, lowest - 1, -1):
        yield term
        term = term * i * miss // ((n - i + 1) * hit)


def _check(n: int, chance: Fraction) -> None:
    if n < 1 or not 0 < chance < 1:
        raise ConfigurationError(
            f"binomial: expected n >= 1 and a chance between 0 and 1, got n = {n}, chance = "
            f"{chance}; correct them"
        )
