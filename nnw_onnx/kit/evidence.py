"""From what was read to how sure one can be: exact tests that methods and the runner share."""

from __future__ import annotations

from fractions import Fraction

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.math import binomial
from nnw_onnx.vocabulary import Detection, Null, Payload


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
