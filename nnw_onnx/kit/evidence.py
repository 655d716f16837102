"""From what was read to how sure one can be: exact tests that methods and the runner share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.math import binomial
from nnw_onnx.vocabulary import Detection, Null, Payload
from nnw_onnx.vocabulary.evidence import power

_MOST = 1 << 14
"""Symbols up to which a threshold is worked out: above it takes seconds."""


def matched(read: Payload, claimed: Payload) -> Detection:
    """The exact evidence of the Symbols that match: null Bin(n, 1/a), a being what is read from.

    It holds where the Symbols of a network that was made without the key are right with chance 1/a,
    independently: the methods of this package see to it by a keyed mask.

    Args:
        read: from the suspect; its alphabet is that of the answers.
        claimed: of the same size; its alphabet may be smaller (bits told by ten classes).

    Raises:
        ConfigurationError: sizes differ, nothing is claimed, or the claim has a larger alphabet.
    """
    if claimed.alphabet > read.alphabet:
        raise ConfigurationError(
            f"payload: expected an alphabet of at most {read.alphabet}, got {claimed.alphabet}; "
            "give the payload that was injected"
        )
    matches = len(read) - read.errors(claimed)
    found = counted(matches, len(read), Fraction(1, read.alphabet))
    if read.alphabet > 2:
        return found
    inverted = binomial.tail(len(read) - matches, len(read)).log10_p
    return Detection(
        found.statistic, found.log10_p, found.null, found.log10_tie, log10_inverted=inverted
    )


def counted(hits: int, trials: int, chance: Fraction) -> Detection:
    """The exact evidence of `hits` among `trials` independent ones, each right with `chance`."""
    at_least = binomial.tail(hits, trials, chance).log10_p
    return Detection(
        statistic=hits,
        log10_p=at_least,
        null=Null(
            f"Bin({trials}, {chance})",
            symbols=trials,
            chance=float(chance),
            log10_least=binomial.tail(trials, trials, chance).log10_p,
        ),
        log10_tie=binomial.log10_point(hits, trials, chance),
    )


@dataclass(frozen=True)
class Size:
    """What a count of independent Symbols comes to at a declared false-positive rate.

    Attributes:
        needed: fewest that must be right for a Yes; None where even all of them are too few.
        attained: exact chance of a Yes for a network made without the key, at most the declared
            rate; 0 where there never is one.
        symbols: fewest Symbols with which any network could be a Yes.
    """

    needed: int | None
    attained: float
    symbols: int


# Every one of a thousand wrong keys has the same null.
@lru_cache(maxsize=256)
def size_of(null: Null, level: float) -> Size | None:
    """What a null comes to at a level in (0, 1); None where it counts nothing, or too many.

    Where several places were read, whose number its least p-value is corrected for, the level of
    one of them counts.
    """
    count = null.symbols or 0
    chance = Fraction(null.chance or 0).limit_denominator(1 << 20)
    if not (0 < count <= _MOST and 0 < chance < 1):
        return None
    alone = binomial.tail(count, count, chance).log10_p
    places = 10.0 ** max(0.0, (alone if null.log10_least is None else null.log10_least) - alone)
    needed = binomial.threshold(count, level / places, chance)
    attained = 0.0 if needed is None else places * binomial.tail(needed, count, chance).p_value
    return Size(needed, attained, fewest_symbols(level / places, chance))


def fewest_symbols(level: float, chance: Fraction = binomial.HALF) -> int:
    """The fewest Symbols that are all right by chance with a probability of at most `level`.

    Raises:
        ConfigurationError: the level is not between 0 and 1.
    """
    binomial.check_rate(level)
    wanted = Fraction(str(level))
    count = max(1, math.floor(math.log(level) / math.log(chance)) - 1)
    while chance**count > wanted:
        count += 1
    return count


def too_short(null: Null, level: float) -> str | None:
    """Why no claim can be shown at a level, however well it fits; None where one can."""
    if null.reaches(level):
        return None
    found, best = size_of(null, level), power(null.log10_least or 0.0)
    if found is None or null.symbols is None:
        return f"nothing can be shown at a false-positive rate of {level:g}: p = {best} at best"
    counted = f"{null.symbols} symbol{'' if null.symbols == 1 else 's'}"
    return (
        f"nothing can be shown at a false-positive rate of {level:g} with {counted}, even when all "
        f"match (p = {best}): it takes {found.symbols}"
    )
