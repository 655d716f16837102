"""Intervals and tests behind the report: exact where an exact form exists.

Proportions get Clopper-Pearson limits, means Student-t limits, paired answers McNemar's exact test
and an equivalence test (two one-sided tests), everything hierarchical a bootstrap. scipy is
imported on first use; every random number comes from the generator that the caller gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000
FEW_CHANGES = 75
"""Changed answers below which the score interval replaces the normal one."""
_CHUNK_ELEMENTS = 2_000_000

Limits = tuple[float, float]


def clopper_pearson(events: int, n: int, confidence: float = CONFIDENCE) -> Limits:
    """Exact two-sided limits of a proportion: Beta quantiles (Clopper and Pearson, 1934).

    Args:
        events: number of events, 0 ... n.
        n: number of independent trials, at least 1.
        confidence: coverage, in (0, 1).

    Raises:
        ValueError: for counts that are no counts.
    """
    if not 0 <= events <= n or n < 1:
        raise ValueError(
            f"proportion: expected 0 <= events <= n and n >= 1, got {events} of {n}; count again"
        )
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else float(beta.ppf(tail, events, n - events + 1))
    high = 1.0 if events == n else float(beta.ppf(1 - tail, events + 1, n - events))
    return low, high


def zero_event_bound(n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper limit of a probability whose event was seen in none of n trials."""
    return -math.expm1(math.log1p(-confidence) / n)


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


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two rates of right answers to the same samples.

    Attributes:
        n: number of samples.
        lost: right before, wrong after.
        gained: wrong before, right after.
    """

    n: int
    lost: int
    gained: int

    @property
    def difference(self) -> float:
        """Rate before minus rate after: what was lost, in -1 ... 1."""
        return (self.lost - self.gained) / self.n

    @property
    def standard_error(self) -> float:
        """sqrt(b + c - (b - c)^2 / n) / n."""
        b, c = self.lost, self.gained
        return math.sqrt(max(0.0, b + c - (b - c) ** 2 / self.n)) / self.n

    @property
    def p_value(self) -> float:
        """McNemar's exact p-value."""
        return mcnemar(self.lost, self.gained)

    def limits(self, confidence: float = CONFIDENCE) -> Limits:
        """Limits of the difference; see `paired_limits`."""
        return paired_limits(self.lost, self.gained, self.n, confidence)


def paired_difference(before: ArrayLike, after: ArrayLike) -> PairedDifference:
    """Counts of the answers that changed; `before` and `after` are (n,) bool.

    Raises:
        ValueError: for arrays of different or no length.
    """
    x, y = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise ValueError(
            f"paired answers: expected two arrays of one length, got {x.shape} and {y.shape}; "
            "ask both networks the same samples"
        )
    return PairedDifference(x.size, int(np.count_nonzero(x & ~y)), int(np.count_nonzero(~x & y)))


def equivalence_p(
    difference: float, standard_error: float, margin: float, degrees: int | None = None
) -> float:
    """p-value of two one-sided tests (TOST): evidence that |difference| < margin.

    Args:
        difference: estimate.
        standard_error: of the estimate; 0 gives a p-value of 0 or 1.
        margin: largest difference that counts as negligible, > 0.
        degrees: degrees of freedom of Student's t, or None for the normal distribution.
    """
    if standard_error == 0:
        return 0.0 if abs(difference) < margin else 1.0
    from scipy.stats import norm, t

    null = norm if degrees is None else t(degrees)
    above = float(null.sf((difference + margin) / standard_error))
    below = float(null.cdf((difference - margin) / standard_error))
    return max(above, below)


def inside(limits: Limits, margin: float) -> bool:
    """Whether limits lie inside (-margin, margin): the 90 % ones give TOST at 5 %."""
    return -margin < limits[0] and limits[1] < margin


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


def sample_equivalence_p(differences: ArrayLike, margin: float) -> float:
    """TOST p-value that belongs to `sample_limits`: below 5 % where the 90 % ones lie inside."""
    scale, lost, gained, n = effective_counts(differences)
    mean, scaled = (lost - gained) / n, margin / scale
    if scale * abs(mean) >= margin:
        return 1.0
    unseen = (1 - min(1.0, margin - scale * abs(mean))) ** n
    if lost + gained >= FEW_CHANGES:
        error = math.sqrt(max(0.0, lost + gained - (lost - gained) ** 2 / n)) / n
        return max(unseen, equivalence_p(mean, error, scaled))
    if scaled >= 1:
        return unseen
    from scipy.stats import norm

    above = float(norm.cdf(paired_score(lost, gained, n, scaled)))
    below = float(norm.cdf(paired_score(gained, lost, n, scaled)))
    return max(unseen, above, below)


def samples_for_equivalence(margin: float, confidence: float = 0.90) -> int:
    """Fewest samples at which answers that all stayed the same show equivalence at a margin."""
    tail = (1 - confidence) / 2
    return math.floor(math.log(tail) / math.log1p(-margin)) + 1


def sidak(p_value: float, n: int) -> float:
    """p-value of the best of n independent tests: 1 - (1 - p)^n, without cancellation."""
    if p_value >= 1:
        return 1.0
    return -math.expm1(n * math.log1p(-p_value))


def sidak_level(level: float, n: int) -> float:
    """Level of each of n tests that gives the family the level `level`."""
    return -math.expm1(math.log1p(-level) / n)


def any_detected(log10_p: Sequence[float], false_positive_rate: float) -> bool:
    """Whether the best of several tests is a Yes after the Sidak correction for their number."""
    level = math.log10(sidak_level(false_positive_rate, len(log10_p)))
    return min(log10_p) <= level


def bootstrap_means(
    values: Sequence[ArrayLike], rng: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Bootstrap distribution of a mean over networks (outer) and payloads (inner).

    Args:
        values: for each network the (D,) values of its payloads; lengths may differ, none is 0.
        rng: generator.
        resamples: number of resamples.

    Returns:
        (resamples,) means over all drawn values.
    """
    rows = [np.asarray(v, dtype=np.float64) for v in values]
    counts = np.array([len(row) for row in rows])
    table = np.zeros((len(rows), counts.max()))
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    chunk = max(1, _CHUNK_ELEMENTS // table.size)
    parts = [
        _resampled_means(table, counts, min(chunk, resamples - start), rng)
        for start in range(0, resamples, chunk)
    ]
    return np.concatenate(parts)


def _resampled_means(
    table: NDArray[np.float64], counts: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of `size` resamples of a padded (M, D) table with `counts` (M,) valid values a row."""
    networks, payloads = table.shape
    outer = rng.integers(0, networks, (size, networks))
    drawn = counts[outer]
    inner = (rng.random((size, networks, payloads)) * drawn[..., None]).astype(np.int64)
    valid = np.arange(payloads) < drawn[..., None]
    picked = np.where(valid, table[outer[..., None], inner], 0.0)
    means: NDArray[np.float64] = picked.sum(axis=(1, 2)) / drawn.sum(axis=1)
    return means


def percentile_limits(resampled: ArrayLike, confidence: float = CONFIDENCE) -> Limits:
    """Percentile limits of a bootstrap distribution."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.asarray(resampled, dtype=np.float64), [tail, 100 - tail])
    return float(low), float(high)


def bootstrap_limits(
    values: Sequence[ArrayLike],
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Limits:
    """Percentile limits of the mean over networks (outer) and payloads (inner)."""
    return percentile_limits(bootstrap_means(values, rng, resamples), confidence)


def median_ratio_limits(
    numerator: ArrayLike,
    denominator: ArrayLike,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> tuple[float, Limits]:
    """Ratio of the medians of paired (n,) values and its percentile bootstrap limits."""
    x = np.asarray(numerator, dtype=np.float64)
    y = np.asarray(denominator, dtype=np.float64)
    drawn = rng.integers(0, x.size, (resamples, x.size))
    ratios = np.median(x[drawn], axis=1) / np.median(y[drawn], axis=1)
    return float(np.median(x) / np.median(y)), percentile_limits(ratios, confidence)
