"""Intervals and tests of means and of paired answers; those over networks are in `clusters`.

Means get Student-t limits, paired answers McNemar's exact test and limits that hold where few of
them changed. scipy is imported on first use.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
FEW_CHANGES = 75
"""Changed answers below which the score interval replaces the normal one."""

Limits = tuple[float, float]


def zero_event_bound(n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper limit of a probability whose event was seen in none of n trials."""
    return -math.expm1(math.log1p(-confidence) / n)


def lowest_share(found: int, n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided lower limit of a probability whose event was seen in `found` of n trials.

    It is Clopper and Pearson's, which is exact: it covers at least `confidence`.
    """
    from scipy.stats import beta

    return float(beta.ppf(1 - confidence, found, n - found + 1)) if found else 0.0


def student_quantile(n: int, confidence: float = CONFIDENCE) -> float:
    """Two-sided quantile of Student's t with n - 1 degrees of freedom, n >= 2."""
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, n - 1))


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """Two-sided quantile of the normal distribution."""
    from scipy.stats import norm

    return float(norm.ppf((1 + confidence) / 2))


def mean_limits(values: ArrayLike, confidence: float = CONFIDENCE) -> Limits:
    """Student-t limits of a mean: x +- t s / sqrt(n) (standard.md section 6, NNW-NNT).

    Raises:
        ValueError: for fewer than two values, from which no spread can be estimated.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        raise ValueError(f"limits of a mean: expected two values, got {x.size}; measure more")
    half = student_quantile(x.size, confidence) * float(x.std(ddof=1)) / math.sqrt(x.size)
    mean = float(x.mean())
    return mean - half, mean + half


def mcnemar(lost: int, gained: int) -> float:
    """McNemar's exact two-sided p-value.

    Args:
        lost: samples answered rightly before and wrongly after.
        gained: the reverse.
    """
    from scipy.stats import binom

    discordant = lost + gained
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(binom.sf(max(lost, gained) - 1, discordant, 0.5)))


def sample_limits(differences: ArrayLike, confidence: float = CONFIDENCE) -> Limits:
    """Limits over test samples of a mean of paired differences, the networks being given.

    Args:
        differences: (n,) right before minus right after of each sample, averaged over pairs.
        confidence: coverage.
    """
    scale, lost, gained, n = effective_counts(differences)
    low, high = paired_limits(lost, gained, n, confidence)
    mean, least = scale * (lost - gained) / n, least_half_width(n, confidence)
    return min(scale * low, mean - least), max(scale * high, mean + least)


def effective_counts(differences: ArrayLike) -> tuple[float, float, float, int]:
    """Changed answers that say as much as averaged differences: (scale, lost, gained, n).

    The mean of the differences is scale (lost - gained) / n, their mean square is
    scale^2 (lost + gained) / n; for a single pair the scale is 1 and the counts are the counts.
    """
    x = np.asarray(differences, dtype=np.float64)
    total = float(np.abs(x).sum())
    scale = float((x**2).sum()) / total if total else 1.0
    return scale, float(x[x > 0].sum()) / scale, float(-x[x < 0].sum()) / scale, x.size


def least_half_width(n: int, confidence: float = CONFIDENCE) -> float:
    """Half width of the limits of a paired difference when no answer of n changed.

    The probability of a change, seen in none of n samples, is known only up to this bound.
    """
    return zero_event_bound(n, (1 + confidence) / 2)


def paired_limits(lost: float, gained: float, n: int, confidence: float = CONFIDENCE) -> Limits:
    """Limits of (lost - gained) / n: normal, or Tango's score limits where few answers changed.

    The score limits (Tango, Statistics in Medicine 17, 1998) are where `paired_score` is the
    normal quantile. Neither is ever narrower than the exact limit of a change never seen.
    """
    mean, z = (lost - gained) / n, normal_quantile(confidence)
    if lost + gained >= FEW_CHANGES:
        half = z * math.sqrt(max(0.0, lost + gained - (lost - gained) ** 2 / n)) / n
        low, high = mean - half, mean + half
    else:
        low, high = -_upper_score_limit(gained, lost, n, z), _upper_score_limit(lost, gained, n, z)
    least = least_half_width(n, confidence)
    return max(-1.0, min(low, mean - least)), min(1.0, max(high, mean + least))


def paired_score(lost: float, gained: float, n: int, difference: float) -> float:
    """Tango's score statistic of a paired difference; standard normal where that is the true one.

    Args:
        lost: samples answered rightly before and wrongly after.
        gained: the reverse.
        n: samples.
        difference: supposed value of P(lost) - P(gained), in (-1, 1), not 0.
    """
    b = (2 * n - lost + gained) * difference - lost - gained
    c = -gained * difference * (1 - difference)
    rate = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * rate + difference * (1 - difference))
    return (lost - gained - n * difference) / math.sqrt(max(variance, 1e-300))


def _upper_score_limit(lost: float, gained: float, n: int, z: float) -> float:
    """Largest difference that the score test does not reject."""
    mean = (lost - gained) / n
    if mean >= 1:
        return 1.0
    from scipy.optimize import brentq

    def above(difference: float) -> float:
        return paired_score(lost, gained, n, difference) + z

    return float(brentq(above, mean + 1e-12, 1 - 1e-12, xtol=1e-14))
