"""What can be seen of the weights of a layer without any key: numbers that a mark might change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEVELS = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
_MEAN_LEVELS = (0.05, 0.25, 0.75, 0.95)
_PLACES = (0.0, 0.1, 0.25, 0.5, 0.75)
_WIDEST = 512
"""Rows and columns up to which a spectrum is taken; of larger layers evenly chosen ones."""
_TINY = 1e-30
FEATURES = (
    "log_deviation",
    "mean",
    "skewness",
    "kurtosis",
    "repeated",
    "zeros",
    *(f"quantile_{p:g}" for p in _LEVELS),
    "filter_mean_deviation",
    "filter_mean_kurtosis",
    *(f"filter_mean_quantile_{p:g}" for p in _MEAN_LEVELS),
    "filter_deviation_spread",
    *(f"log_spectrum_{p:g}" for p in _PLACES),
)
"""Names of the numbers of `features`, in their order."""


class Difference(NamedTuple):
    """Two samples of numbers beside each other.

    Attributes:
        statistic: Kolmogorov-Smirnov: largest difference of their distribution functions, 0 to 1.
        variance_ratio: of the second / of the first; None where the first has none.
    """

    statistic: float
    variance_ratio: float | None


def two_samples(before: ArrayLike, after: ArrayLike) -> Difference:
    """The Kolmogorov-Smirnov statistic and the ratio of variances.

    No p-value: the two are the same weights before and after, and not independent.
    """
    x, y = np.sort(np.ravel(before)), np.sort(np.ravel(after))
    every = np.concatenate([x, y])
    below = np.searchsorted(x, every, "right") / x.size
    under = np.searchsorted(y, every, "right") / y.size
    variance = float(np.var(x, dtype=np.float64))
    ratio = float(np.var(y, dtype=np.float64)) / variance if variance > 0 else None
    return Difference(float(np.abs(below - under).max()), ratio)


def filter_means(weights: ArrayLike) -> NDArray[np.float64]:
    """Mean over the filters (first axis) at each place of a filter, flattened."""
    rows = _rows(weights)
    means: NDArray[np.float64] = rows.mean(axis=0)
    return means


def features(weights: ArrayLike) -> NDArray[np.float64]:
    """(len(FEATURES),) what somebody without the key can tell of a layer, whatever its scale.

    Args:
        weights: (filters, ...) of a layer.
    """
    rows = _rows(weights)
    flat = rows.ravel()
    deviation = max(float(flat.std()), _TINY)
    scaled = (flat - flat.mean()) / deviation
    means = rows.mean(axis=0)
    spread = max(float(means.std()), _TINY)
    centred = (means - means.mean()) / spread
    deviations = rows.std(axis=1)
    numbers = [
        np.log(deviation),
        flat.mean() / deviation,
        (scaled**3).mean(),
        (scaled**4).mean(),
        1 - np.unique(flat).size / flat.size,
        np.mean(flat == 0),
        *np.quantile(scaled, _LEVELS),
        spread / deviation * np.sqrt(len(rows)),
        (centred**4).mean(),
        *np.quantile(centred, _MEAN_LEVELS),
        deviations.std() / max(float(deviations.mean()), _TINY),
        *_spectrum(rows / deviation),
    ]
    return np.array(numbers, dtype=np.float64)


def _spectrum(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the singular values at some places of their falling order."""
    small = _thinned(_thinned(rows).T).T
    values = np.linalg.svd(small, compute_uv=False) / np.sqrt(max(small.shape))
    at = [round(p * (values.size - 1)) for p in _PLACES]
    logs: NDArray[np.float64] = np.log(np.maximum(values[at], 1e-9))
    return logs


def _thinned(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(rows) <= _WIDEST:
        return rows
    chosen: NDArray[np.float64] = rows[np.linspace(0, len(rows) - 1, _WIDEST).astype(int)]
    return chosen


def _rows(weights: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(weights, dtype=np.float64)
    return x.reshape(len(x), -1) if x.ndim > 1 else x.reshape(1, -1)
