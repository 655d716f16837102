"""Tails of the normal distribution and of weighted sums of random signs, as logarithms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array

_LN_10 = math.log(10)
_FAR = 30.0
_CONSTANT = 1 / (2 * math.erfc(1.0))
"""1 / (4 P(Z >= sqrt 2)) = 3.178..., the best constant in the bound of `log10_signs_tail`."""


def log10_tail(z: float) -> float:
    """Decimal logarithm of P(Z >= z) for a standard normal Z; finite for |z| up to 1e153."""
    if z < _FAR:
        tail = math.erfc(abs(z) / math.sqrt(2)) / 2
        return (math.log(tail) if z > 0 else math.log1p(-tail)) / _LN_10
    # erfc nears the smallest floats there; its asymptotic series (Abramowitz and Stegun 26.2.12)
    # ends at the last bit after six terms.
    term = series = 1.0
    for k in range(1, 7):
        term *= -(2 * k - 1) / (z * z)
        series += term
    return (-z * z / 2 - math.log(z * math.sqrt(2 * math.pi)) + math.log(series)) / _LN_10


def log10_signs_tail(z: float) -> float:
    """Decimal logarithm of a bound on P(S >= z) for S = sum of sign_i w_i / ||w||.

    Independent fair signs and any weights w. min(1/2 for z > 0, exp(-z^2 / 2), c P(Z >= z)):
    symmetry; Hoeffding, JASA 58 (1963); Bentkus and Dzindzalieta, Bernoulli 21 (2015), whose
    constant c = 3.178 is the best one. No central limit is needed, so a few large weights do no
    harm; the price is half a decade of the p-value.
    """
    if z <= 0:
        return 0.0
    normal = math.log10(_CONSTANT) + log10_tail(z)
    return min(-math.log10(2), -z * z / 2 / _LN_10, normal)


def normal_scores(values: Array) -> NDArray[np.float64]:
    """Normal quantiles (n,) of rank / (n + 1) (van der Waerden); equal values share a mean rank."""
    from scipy.special import ndtri

    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    scores: NDArray[np.float64] = ndtri(ranks[places] / (len(values) + 1))
    return scores
