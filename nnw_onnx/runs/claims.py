"""Which technologies of an evaluation can never show a claim: their payload is too short for it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from nnw_onnx import plugins
from nnw_onnx.kit import evidence
from nnw_onnx.runs import coding
from nnw_onnx.vocabulary import Code, Method, Payload, Technology


def too_short(technologies: Sequence[Technology], level: float) -> list[str]:
    """A line for each technology whose Symbols are too few for a false-positive rate.

    Only of methods that are tested by counting Symbols of a known alphabet: another says it itself.
    Errors are measured all the same; what is refused is the claim that a watermark is there.
    """
    found = []
    for technology in technologies:
        symbols, chance = _counted(technology)
        if symbols and (takes := evidence.fewest_symbols(level, chance)) > symbols:
            found.append(
                f"{technology.method.name}: expected at least {takes} symbols, because a claim at "
                f"a false-positive rate of {level:g} takes so many, got {symbols}: errors are "
                "measured, and no claim can be shown; give longer payloads or a larger rate"
            )
    return list(dict.fromkeys(found))


def _counted(technology: Technology) -> tuple[int, Fraction]:
    """Number of Symbols in the network, and the chance of one; 0 where they are not counted so."""
    method = plugins.create(Method, technology.method)
    plain = plugins.decodes(method) is not None and plugins.detects(method) is None
    if not plain or method.alphabet < 2 or method.access == "answers":
        return 0, Fraction(1, 2)
    code = None if technology.code is None else plugins.create(Code, technology.code)
    symbols = coding.symbols_of(method, code, Payload((0,) * technology.size))
    return len(symbols), Fraction(1, method.alphabet)
