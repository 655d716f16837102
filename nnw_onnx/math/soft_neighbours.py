"""The soft nearest neighbour loss: how far two groups of points lie apart from each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array


class Apartness(NamedTuple):
    """The loss, and its derivatives.

    Attributes:
        value: mean over the points that have another one of their group; large where the nearest
            neighbours of a point are of the other group; 0 without two points in a group.
        features: derivatives (n, features) by the points.
        temperature: derivative by the temperature.
    """

    value: float
    features: NDArray[np.float64]
    temperature: float


def soft_nearest_neighbours(
    features: Array, group: NDArray[np.bool_], temperature: float
) -> Apartness:
    """-mean_i log(sum over j of i's group of exp(-d_ij / T) / sum over all j of exp(-d_ij / T)).

    Frosst, Papernot, Hinton, "Analyzing and Improving Representations with the Soft Nearest
    Neighbor Loss", ICML 2019, equation 1; j is never i. d is the cosine distance, 0 to 2, so that
    the loss is bounded whatever the scale of the points; a point at 0 has distance 1 to all.

    Args:
        features: (n, features) points.
        group: (n,) of which of two groups each is.
        temperature: T > 0.
    """
    values = np.asarray(features, np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    units = np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)
    distances = 1 - units @ units.T
    apart = ~np.eye(len(values), dtype=np.bool_)
    same = apart & (group[:, None] == group[None, :])
    counted = same.any(axis=1)
    if not counted.any():
        return Apartness(0.0, np.zeros_like(values), 0.0)
    logits = -distances / temperature
    to_same, to_all = _softmax(logits, same), _softmax(logits, apart)
    value = float(np.mean((to_all.total - to_same.total)[counted]))
    # Of each row: d loss / d logit.
    slopes = (to_all.shares - to_same.shares) * counted[:, None] / np.count_nonzero(counted)
    by_distance = -slopes / temperature
    by_units = -(by_distance + by_distance.T) @ units
    along = (by_units * units).sum(axis=1, keepdims=True)
    gradient = np.divide(
        by_units - along * units, norms, out=np.zeros_like(values), where=norms > 0
    )
    return Apartness(value, gradient, float((slopes * distances).sum()) / temperature**2)


class _Softmax(NamedTuple):
    """Logarithm (n,) of the sum of exponentials of a row, and the share (n, n) of each in it."""

    total: NDArray[np.float64]
    shares: NDArray[np.float64]


def _softmax(logits: NDArray[np.float64], inside: NDArray[np.bool_]) -> _Softmax:
    """Over the places that are inside; a row without any has total 0 and shares 0."""
    top = np.max(logits, axis=1, keepdims=True, where=inside, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    powers = np.where(inside, np.exp(np.minimum(logits - top, 0.0)), 0.0)
    sums = powers.sum(axis=1, keepdims=True)
    shares = np.divide(powers, sums, out=np.zeros_like(powers), where=sums > 0)
    logarithms = np.log(sums, out=np.zeros_like(sums), where=sums > 0) + top
    return _Softmax(logarithms[:, 0], shares)
