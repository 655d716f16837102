"""Ranks within networks, and how far they can be trusted for others."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000


def ranks_within(scores: ArrayLike) -> NDArray[np.float64]:
    """(M, K) rank of each of K scores of each network: 1 is the largest, ties share their mean."""
    from scipy.stats import rankdata

    table = np.asarray(scores, dtype=np.float64)
    # What rounding tells apart is tied.
    ranks: NDArray[np.float64] = rankdata(-np.round(table, 9), axis=1)
    return ranks


def mean_rank_limits(
    ranks: ArrayLike, confidence: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(K, 2) percentile limits of mean ranks: networks are drawn again, with all their ranks.

    They are approximate, and too narrow for few networks; what is better than what is told by the
    tests, not by them.
    """
    table = np.asarray(ranks, dtype=np.float64)
    drawn = rng.integers(0, len(table), (RESAMPLES, len(table)))
    means = table[drawn].mean(axis=1)
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    limits: NDArray[np.float64] = np.quantile(means, ends, axis=0).T
    return limits


def possible_places(count: int, better: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last place that each of `count` can have: tied but where a test separates them.

    Args:
        count: competitors.
        better: pairs (winner, loser) that a test separates.
    """
    return [
        (
            1 + sum(loser == i for _, loser in better),
            count - sum(winner == i for winner, _ in better),
        )
        for i in range(count)
    ]
