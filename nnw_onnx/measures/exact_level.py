"""Detectors of unequal attained size, decided at exactly the same level.

A count of Symbols cannot have every p-value, so that its Detector says Yes more seldom than its
level allows: at 1e-6 with 32 bits in 1.2e-7 of networks made without the key, with 64 in 9.4e-7.
Compared like that, who has fewer bits is held back. A randomised test gives all the same size.
"""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

from nnw_onnx.math import binomial
from nnw_onnx.measures.decisions import Judge
from nnw_onnx.measures.run import Test
from nnw_onnx.records import VerdictRecord

_CLOSE = 1e-6


def found_exactly(judge: Judge, test: Test) -> bool | None:
    """The answer of a Detector whose size is exactly its level; None where there is none.

    Between the two counts around the level a number in [0, 1) decides, which follows from trial and
    injection, so that it is the same whenever it is asked for. Evidence that is no count, or that
    was corrected for a search of the carrier, is decided as it was recorded.
    """
    found = judge.found(test)
    if found is not False or test.verdict.status != "done":
        return found
    counted = _counted(test.verdict)
    if counted is None:
        return found
    hits, n, chance = counted
    above = binomial.tail(hits + 1, n, chance).p_value
    if above > judge.what.level:
        return False
    tie: float = 10.0 ** binomial.log10_point(hits, n, chance)
    return above + uniform(test) * tie <= judge.what.level


def uniform(test: Test) -> float:
    """A number in [0, 1) that follows from the trial and the injection whose claim was heard."""
    text = f"tie {test.trial.identity} {test.injection.identity}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56


def _counted(verdict: VerdictRecord) -> tuple[int, int, Fraction] | None:
    """(hits, of, chance) where the recorded p-value is that of a count, and of nothing else."""
    null, statistic, log10_p = verdict.null, verdict.statistic, verdict.log10_p
    if null is None or not null.symbols or not null.chance or statistic is None or log10_p is None:
        return None
    n, chance = null.symbols, Fraction(null.chance).limit_denominator(1 << 20)
    if not 0 < chance < 1 or n > 1 << 14 or not float(statistic).is_integer():
        return None
    hits = int(statistic)
    if not 0 <= hits <= n:
        return None
    known = binomial.tail(hits, n, chance).log10_p
    return (hits, n, chance) if math.isclose(known, log10_p, abs_tol=_CLOSE) else None
