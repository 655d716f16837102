"""Limits where the units are clusters: several watermarks on each of few networks.

Watermarks of one network are found or lost together, so that counting each of them promises far
more than is known (at a correlation of .9, limits from M x D watermarks cover 16 % instead of
95 %). What holds was chosen by simulation; `tests/math/test_clusters.py` repeats the decisive part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnw_onnx.math.statistics import CONFIDENCE, Limits

FEW_CONTRIBUTE = 6
"""Networks that contribute to a share below which its variance between networks is not believed."""
_LARGE = 1e6
"""Degrees of freedom from which on Student's t is the normal distribution."""


def cluster_limits(
    means: ArrayLike, trials: float = math.inf, confidence: float = CONFIDENCE
) -> Limits | None:
    """Limits of a share of 1 over networks: Clopper-Pearson's at the effective number of trials.

    The variance between networks tells how many independent trials say as much, and Student's t
    for the normal distribution how well that variance itself is known (Korn and Graubard, Survey
    Methodology 24, 1998). A bootstrap-t over networks was rejected: with 10 networks and a share of
    .05 to .1 it covered 66 to 78 % where this covers 95 % and more, from five networks on. Where
    few networks make up the share, their variance is found too small (the limits would cover 73 %),
    so that no more trials are believed than there are networks.

    Args:
        means: (M,) share of each network, M >= 2.
        trials: largest effective number: no more than there were.
        confidence: coverage.

    Returns:
        The limits, or None where all networks have the same share: no variance between few
        networks is no evidence that there is none.
    """
    from scipy import special

    x = np.asarray(means, dtype=np.float64)
    mean, variance = float(x.mean()), float(x.var(ddof=1)) / x.size
    if _alike(x):
        return None
    tail = (1 - confidence) / 2
    shrink = float(special.ndtri(1 - tail) / special.stdtrit(x.size - 1, 1 - tail)) ** 2
    n = min(mean * (1 - mean) / variance, trials)
    if min(contributing(x), contributing(1 - x)) < FEW_CONTRIBUTE:
        n = min(n, x.size)
    n *= shrink
    events = n * mean
    low = float(special.betaincinv(events, n - events + 1, tail))
    high = float(special.betaincinv(events + 1, n - events, 1 - tail))
    return low, high


def _alike(x: NDArray[np.float64]) -> bool:
    """Whether values differ by no more than what rounding does to differences of shares."""
    return float(np.ptp(x)) <= 1e-12 * max(1.0, float(np.abs(x).max()))


def intraclass_correlation(rows: Sequence[ArrayLike]) -> float | None:
    """Correlation of values of one network (ANOVA estimate, cut off at 0 and 1).

    Args:
        rows: for each network the values of its Payloads; lengths may differ.

    Returns:
        The correlation, or None where it is not defined: fewer than two networks, one value each,
        or no variance at all.
    """
    groups = [np.asarray(row, dtype=np.float64) for row in rows if np.size(row)]
    sizes = np.array([g.size for g in groups])
    total = int(sizes.sum())
    if len(groups) < 2 or total == len(groups):
        return None
    grand = sum(float(g.sum()) for g in groups) / total
    between = sum(g.size * (float(g.mean()) - grand) ** 2 for g in groups) / (len(groups) - 1)
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / (total - len(groups))
    if between == within == 0:
        return None
    size = (total - float((sizes**2).sum()) / total) / (len(groups) - 1)
    found = (between - within) / (between + (size - 1) * within)
    return min(1.0, max(0.0, found))


def effective_number(networks: int, payloads: float, correlation: float) -> float:
    """Independent watermarks that say as much: M D / (1 + (D - 1) ICC)."""
    return networks * payloads / (1 + (payloads - 1) * correlation)


def two_way_limits(
    means: ArrayLike,
    sample_error: float | None,
    least: float = 0.0,
    confidence: float = 0.90,
    shared: float = 0.0,
) -> Limits | None:
    """Limits of a mean loss for other networks and other samples at once.

    All networks answer the same samples: a crossed design with random effects of networks, of
    samples, and of both together. The variance of the mean is that between networks / M plus that
    between samples / n minus what both of these count, `shared`: without taking it off, limits of
    90 % cover 95 to 100 %. Degrees of freedom are Satterthwaite's, at least M - 1. One network has
    no spread: its limits are for other samples alone.

    Args:
        means: (M,) loss of each network.
        sample_error: standard error of their mean over test samples; None where it is not known.
        least: half width that the limits have at least, such as what answers that all stayed the
            same leave open.
        confidence: coverage, where losses of networks spread about normally; where a few networks
            lose much and most nothing it is less (81 % at M = 3 for an exponential spread).
        shared: variance of the mean by network and sample together: residual variance / (M n).

    Returns:
        The limits, or None where nothing is known of the spread: networks that all lose exactly the
        same are no evidence of equality.
    """
    x = np.asarray(means, dtype=np.float64)
    if x.size < 2 and sample_error is None:
        return None
    samples = Part((sample_error or 0.0) ** 2, math.inf)
    networks = _part(x) if x.size > 1 else Part(0.0, math.inf)
    half = max(_half_width(networks, samples, shared, confidence), least)
    mean = float(x.mean())
    return (mean - half, mean + half) if half else None


def crossed_limits(table: ArrayLike, confidence: float = CONFIDENCE) -> Limits | None:
    """Limits of a mean for other networks and other sessions at once, each measured in each.

    As in `two_way_limits`, with sessions for samples. Where sessions differ more than networks do,
    two sessions leave one degree of freedom, and the limits are wide.

    Args:
        table: (M, S) numbers, M >= 2 networks and S >= 2 sessions.
        confidence: coverage, where the numbers spread about normally.

    Returns:
        The limits, or None where all numbers are alike.
    """
    x = np.asarray(table, dtype=np.float64)
    alone = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
    freedom = (x.shape[0] - 1) * (x.shape[1] - 1)
    shared = float((alone**2).sum()) / freedom / x.size
    half = _half_width(_part(x.mean(axis=1)), _part(x.mean(axis=0)), shared, confidence)
    mean = float(x.mean())
    return (mean - half, mean + half) if half else None


class Part(NamedTuple):
    """A part of the variance of a mean, and the degrees of freedom of its estimate."""

    variance: float
    freedom: float


def _part(means: NDArray[np.float64]) -> Part:
    variance = 0.0 if _alike(means) else float(means.var(ddof=1)) / means.size
    return Part(variance, means.size - 1)


def _half_width(networks: Part, others: Part, shared: float, confidence: float) -> float:
    """Half width of the limits of a mean in a crossed design, by Satterthwaite's approximation.

    Args:
        networks: between networks.
        others: between samples or sessions.
        shared: what both count.
        confidence: coverage.
    """
    from scipy import special

    # Neither part alone is more than the whole, whatever the estimate of the third says.
    variance = max(networks.variance + others.variance - shared, networks.variance, others.variance)
    spread = sum(part.variance**2 / part.freedom for part in (networks, others))
    fewest = min(networks.freedom, others.freedom)
    # With two networks the approximation is too bold: limits of 90 % would cover 86 %.
    bold = networks.freedom > 1 and spread > 0
    freedom = max(variance**2 / spread, fewest) if bold else fewest
    return float(special.stdtrit(min(freedom, _LARGE), (1 + confidence) / 2)) * math.sqrt(variance)


def contributing(shares: ArrayLike) -> float:
    """Networks that make up a sum of shares: (sum x)^2 / sum x^2; n where all are alike."""
    x = np.asarray(shares, dtype=np.float64)
    square = float((x**2).sum())
    return float(x.sum()) ** 2 / square if square else 0.0


def excess_p(count: int, n: int, level: float) -> float:
    """P(Bin(n, level) >= count), exact: small where an event came more often than it should.

    One-sided, since a discrete test keeps below its level: too few events are no fault.
    """
    from scipy import special

    if not 0 < count <= n:
        return 1.0 if count <= 0 else 0.0
    return float(special.betainc(count, n - count + 1, level))
