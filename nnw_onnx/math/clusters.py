"""Limits where the units are clusters: several watermarks on each of few networks.

Watermarks of one network are found or lost together, so that counting each of them promises far
more than is known (at a correlation of .9, limits from M x D watermarks cover 16 % instead of
95 %). What holds was chosen by simulation; `tests/math/test_clusters.py` repeats the decisive part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnw_onnx.math.statistics import CONFIDENCE, Limits


def cluster_limits(
    means: ArrayLike, trials: float = math.inf, confidence: float = CONFIDENCE
) -> Limits | None:
    """Limits of a share of 1 over networks: Clopper-Pearson's at the effective number of trials.

    The variance between networks tells how many independent trials say as much, and Student's t
    for the normal distribution how well that variance itself is known (Korn and Graubard, Survey
    Methodology 24, 1998). A bootstrap-t over networks was rejected: with 10 networks and a share of
    .05 to .1 it covered 66 to 78 % where this covers 95 % and more, from five networks on.

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
    n = min(mean * (1 - mean) / variance, trials) * shrink
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
) -> Limits | None:
    """Limits of a mean loss for other networks and other samples at once.

    se^2 = s_networks^2 / M + se_samples^2, with Student's t of M - 1 degrees of freedom. One
    network has no spread: its limits are for other samples alone.

    Args:
        means: (M,) loss of each network.
        sample_error: standard error of their mean over test samples; None where it is not known.
        least: half width that the limits have at least, such as what answers that all stayed the
            same leave open.
        confidence: coverage.

    Returns:
        The limits, or None where nothing is known of the spread: networks that all lose exactly the
        same are no evidence of equality.
    """
    from scipy import special

    x = np.asarray(means, dtype=np.float64)
    if x.size < 2 and sample_error is None:
        return None
    upper = (1 + confidence) / 2
    quantile, between = float(special.ndtri(upper)), 0.0
    if x.size > 1:
        quantile = float(special.stdtrit(x.size - 1, upper))
        between = 0.0 if _alike(x) else float(x.var(ddof=1)) / x.size
    half = max(quantile * math.hypot(math.sqrt(between), sample_error or 0.0), least)
    if half == 0:
        return None
    mean = float(x.mean())
    return mean - half, mean + half


def excess_p(count: int, n: int, level: float) -> float:
    """P(Bin(n, level) >= count), exact: small where an event came more often than it should.

    One-sided, since a discrete test keeps below its level: too few events are no fault.
    """
    from scipy import special

    if not 0 < count <= n:
        return 1.0 if count <= 0 else 0.0
    return float(special.betainc(count, n - count + 1, level))
