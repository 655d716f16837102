"""Exact tests of paired differences over few networks, and several of them at once.

If a difference is as likely to be d as -d, every assignment of signs is equally likely: no
distribution is assumed, and none is needed for few networks. scipy's permutation test draws where
this counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnw_onnx.math.statistics import Limits

MOST_EXACT = 20
"""Differences up to which all 2^M signs are counted; beyond, so many are drawn:"""
DRAWS = 100_000
_ROUNDING = 1e-9
"""Of the sum of all differences: what rounding does to sums that are equal."""


def sign_flip_p(differences: ArrayLike, rng: np.random.Generator) -> float:
    """Two-sided p-value that paired differences are symmetric around 0; at least 2^(1-M).

    Args:
        differences: (M,) one of each network; a 0 stays 0 under both signs.
        rng: draws signs where there are more than `MOST_EXACT` differences; p is then
            (1 + draws as extreme) / (1 + draws), which is valid for any number of draws.

    Raises:
        ValueError: there is no difference.
    """
    x = _checked(differences)
    seen = abs(float(x.sum())) - _ROUNDING * float(np.abs(x).sum())
    if x.size <= MOST_EXACT:
        # The first sign is fixed: turning all of them around changes no absolute sum.
        sums = _signed_sums(x[1:], np.array([x[0]]))
        return float(np.count_nonzero(np.abs(sums) >= seen) / sums.size)
    reached = sum(
        int(np.count_nonzero(np.abs(_drawn_signs(rng, size, x.size) @ x) >= seen))
        for size in _blocks()
    )
    return (1 + reached) / (1 + DRAWS)


def sign_flip_limits(
    differences: ArrayLike, confidence: float, rng: np.random.Generator
) -> Limits | None:
    """Limits of the centre of symmetry: what the sign-flip test does not reject.

    The 2^M - 1 means of subsets cut the line into 2^M pieces that are equally likely to hold the
    centre (Hartigan, Journal of the American Statistical Association 64, 1969), so that limits are
    two of these means.

    Args:
        differences: (M,) one of each network.
        confidence: coverage.
        rng: draws subsets where there are more than `MOST_EXACT` differences.

    Returns:
        The limits, or None where so few networks allow none, or where all differences are alike:
        no spread between few networks is no evidence that there is none.
    """
    x = _checked(differences)
    if np.ptp(x) <= 1e-12 * max(1.0, float(np.abs(x).max())):
        return None
    means = _subset_means(x, rng)
    pieces = means.size + 1
    place = math.floor((1 - confidence) / 2 * pieces + 1e-9)
    if place < 1:
        return None
    ordered = np.sort(means)
    return float(ordered[place - 1]), float(ordered[-place])


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family of tests (Holm, Scandinavian Journal of Statistics 6, 1979).

    At most a share `level` of families has a false rejection if those are rejected whose adjusted
    p-value is at most `level`, whatever hangs together.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, largest)
    return adjusted


def _checked(differences: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(differences, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(
            f"sign-flip test: expected one difference of each network, got shape {x.shape}; "
            "average Payloads first"
        )
    return x


def _signed_sums(x: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = start
    for value in x:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _subset_means(x: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of all subsets but the empty one, or of as many random ones."""
    if x.size > MOST_EXACT:
        drawn = [_drawn_signs(rng, size, x.size) > 0 for size in _blocks()]
        chosen = np.concatenate(drawn).astype(np.float64)
        counts = chosen.sum(axis=1)
        found: NDArray[np.float64] = (chosen @ x)[counts > 0] / counts[counts > 0]
        return found
    sums: NDArray[np.float64] = np.zeros(1)
    sizes: NDArray[np.float64] = np.zeros(1)
    for value in x:
        sums = _with(sums, value)
        sizes = _with(sizes, 1.0)
    return np.asarray(sums[1:] / sizes[1:], dtype=np.float64)


def _with(sums: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """Sums of subsets without a number, and then with it."""
    return np.append(sums, sums + value).astype(np.float64, copy=False)


def _drawn_signs(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    return rng.choice(np.array([-1.0, 1.0]), (rows, columns))


def _blocks() -> list[int]:
    """Sizes of the pieces in which signs are drawn, so that memory stays small."""
    return [DRAWS // 10] * 10
