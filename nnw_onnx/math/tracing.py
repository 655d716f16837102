"""Which recipients' codewords are in what was read: soft scores of fair bits, and their p-values.

Each recipient has a codeword of fair, independent bits that nobody but the owner can compute. What
is read from a suspect is one real number a bit, v_j: its sign says which bit, its size how surely;
the mean of K marked copies gives the mean of their marks. The score of recipient i,

    z_i = sum_j (x_ij - 1/2) v_j / (1/2 ||v||) = sum_j s_ij v_j / ||v||,   s = 2 x - 1,

is for an innocent a weighted sum of fair signs, whatever network v was read from and however many
have mixed it. P(z_i >= z) <= exp(-z^2 / 2) holds exactly (Hoeffding, JASA 58, 1963).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math.normal import log10_signs_tail
from nnw_onnx.vocabulary import Array

CLIP = 2.0
"""Margins at which a soft value is cut: what is surer than any mark says nothing of recipients."""
_LN_10 = math.log(10)


def soft_values(bits: Array, confidence: Array, margin: float) -> NDArray[np.float64]:
    """Signed soft values (m,): the confidence in a read bit over the margin of a mark, clipped.

    Args:
        bits: (m,) bits that were read, 0 or 1.
        confidence: (m,) distance of each from the decision, >= 0; 0 is an erasure.
        margin: confidence (> 0) of an unmodified mark; 0 where it is not known, then nothing is
            clipped.
    """
    signs = 2.0 * np.asarray(bits, np.float64) - 1.0
    sure = np.asarray(confidence, np.float64)
    return signs * (np.minimum(sure / margin, CLIP) if margin > 0 else sure)


def scores(codewords: Array, values: Array) -> NDArray[np.float64]:
    """The score z (N,) of each recipient; 0 for all where nothing was read.

    Args:
        codewords: (N, m) bits, 0 or 1.
        values: (m,) soft values.
    """
    norm = float(np.linalg.norm(values))
    signs = 2.0 * np.asarray(codewords, np.float64) - 1.0
    found: NDArray[np.float64] = signs @ np.asarray(values, np.float64)
    return found / norm if norm > 0 else np.zeros(len(signs))


def log10_p(score: float) -> float:
    """Decimal logarithm of a bound on P(z >= score) for one innocent; no limit theorem in it."""
    return log10_signs_tail(score)


def log10_sidak(log10_one: float, tested: int) -> float:
    """Decimal logarithm of 1 - (1 - p)^N: that one of N independent tests is so extreme or more.

    Codewords of recipients are independent, so for N innocents this is no approximation.

    Args:
        log10_one: decimal logarithm of p.
        tested: N >= 1.
    """
    one = 10.0**log10_one
    if one == 0.0:  # a float holds no such p, for which N p is exact to the last digit
        return min(0.0, log10_one + math.log10(tested))
    if one >= 1.0:
        return 0.0
    return math.log(-math.expm1(tested * math.log1p(-one))) / _LN_10


def each_of(family: float, tested: int) -> float:
    """The false-accusation rate of one test such that N of them have that of the family."""
    return -math.expm1(math.log1p(-family) / tested)


def bits_for(colluders: int, false_accusation: float, power: float) -> int:
    """Bits with which each of K averaging colluders is accused with this probability.

    m = K (z(false accusation) + z(power))^2: the score of a colluder is about N(sqrt(m / K), 1).

    Args:
        colluders: K >= 1.
        false_accusation: probability (0 to 1) that one innocent is accused.
        power: probability (0 to 1) that one colluder is.
    """
    return math.ceil(colluders * sum(_quantiles(false_accusation, power)) ** 2)


def colluders_for(bits: int, false_accusation: float, power: float) -> int:
    """The largest K that `bits_for` allows with so many bits; 0 where even one needs more."""
    return int(bits / sum(_quantiles(false_accusation, power)) ** 2)


def _quantiles(false_accusation: float, power: float) -> tuple[float, float]:
    from scipy.special import ndtri

    return float(-ndtri(false_accusation)), float(ndtri(power))
