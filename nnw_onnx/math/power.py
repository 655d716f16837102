"""How many networks and watermarks a claim takes, known before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

LEVEL = 0.05
POWER = 0.9
MOST_NETWORKS = 1_000
"""Numbers of networks above this are not looked for."""
_NODES = 200


def smallest_p(networks: int) -> float:
    """Smallest two-sided p-value of a sign-flip test: all differences of one sign."""
    return min(1.0, 2.0 ** (1 - networks))


def fewest_networks(claims: int, level: float = LEVEL) -> int:
    """Networks with which the first of so many claims can be significant after Holm."""
    return 1 + math.ceil(math.log2(claims / level) - 1e-12)


def equivalence_power(
    networks: int, spread: float, difference: float, margin: float, level: float = LEVEL
) -> float:
    """Chance that two one-sided t-tests over networks show a difference to be negligible.

    Exact for normal losses: given the estimate s of the spread, the mean has to lie within
    margin - t s / sqrt(M) of 0; its distribution does not depend on s, which is integrated out.

    Args:
        networks: M >= 2.
        spread: true standard deviation between networks, in the unit of the margin.
        difference: true mean, likewise.
        margin: largest difference that is negligible.
        level: of each of the two tests.
    """
    from scipy import special

    freedom = networks - 1
    t = float(special.stdtrit(freedom, 1 - level))
    error = spread / math.sqrt(networks)
    # Gauss-Legendre in the probability of s up to where nothing can be shown any more.
    largest = (margin / (t * error)) ** 2 * freedom
    whole = float(special.chdtr(freedom, largest))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    chances = whole * (nodes + 1) / 2
    s = np.sqrt(special.chdtri(freedom, 1 - chances) / freedom)
    room = margin - t * error * s
    inside = special.ndtr((room - difference) / error) - special.ndtr((-room - difference) / error)
    return float(whole / 2 * (weights @ np.maximum(inside, 0.0)))


def equivalence_networks(
    spread: float, difference: float, margin: float, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Fewest networks with which a true difference is shown to be negligible with this power.

    None where more than `MOST_NETWORKS` would be needed, as where it is not negligible.
    """
    if abs(difference) >= margin:
        return None
    return _first(lambda n: equivalence_power(n, spread, difference, margin, level) >= power)


def superiority_power(networks: int, spread: float, difference: float, level: float) -> float:
    """Power of a two-sided t-test of normal differences, which the sign-flip test comes close to.

    Only what is significant in the right direction counts. 0 where so few networks can never be
    significant at this level by signs alone.
    """
    from scipy import special

    if smallest_p(networks) > level:
        return 0.0
    shift = difference * math.sqrt(networks) / spread
    t = float(special.stdtrit(networks - 1, 1 - level / 2))
    return 1.0 - float(special.nctdtr(networks - 1, abs(shift), t))


def superiority_networks(
    spread: float, difference: float, claims: int = 1, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Fewest networks with which a true difference is significant, the hardest of all claims.

    Holm's first step is Bonferroni's, so that `level / claims` is on the safe side.
    """
    return _first(lambda n: superiority_power(n, spread, difference, level / claims) >= power)


def fewest_marks(missed: float, level: float = LEVEL) -> int:
    """Independent watermarks, all found, after which a larger share missed can be ruled out.

    The one-sided limit 1 - level^(1/n) of an event that was seen in none of n is at most `missed`.
    """
    return math.ceil(math.log(level) / math.log1p(-missed) - 1e-9)


def fewest_payloads(networks: int, missed: float, correlation: float) -> int | None:
    """Payloads on each of M networks that say as much as `fewest_marks`; None where none do.

    M D / (1 + (D - 1) ICC) watermarks count, which is never more than M / ICC.
    """
    wanted = fewest_marks(missed)
    room = networks - wanted * correlation
    if networks >= wanted:
        return 1
    if room <= 0:
        return None
    return math.ceil(wanted * (1 - correlation) / room - 1e-9)


def _first(enough: Callable[[int], bool]) -> int | None:
    """Fewest networks from two on that are enough: what is enough stays so for more."""
    low, high = 1, 2
    # Doubled, not from the top: noncentral t has no numbers where power is 1 by far.
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_NETWORKS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
