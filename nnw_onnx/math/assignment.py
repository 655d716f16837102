"""Which rows of one array are which of another: similarities, and the best pairs of all."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_TO_DEVIATION = 1.4826
"""Standard deviation of normal numbers over their median absolute deviation."""


def assigned(similarity: ArrayLike) -> Indices:
    """For each row of (n, m) a column of its own, so that the sum is the largest there is.

    Returns:
        (n,) columns; -1 for rows that are left over where there are more rows than columns.
    """
    from scipy.optimize import linear_sum_assignment

    table = np.asarray(similarity, np.float64)
    found = np.full(len(table), -1, np.int64)
    rows, columns = linear_sum_assignment(table, maximize=True)
    found[rows] = columns
    return found


def unit_rows(values: ArrayLike) -> Floats:
    """(n, m) rows divided by their norms; rows of zeros stay such."""
    rows = np.asarray(values, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    divided: Floats = rows / np.where(norms > 0, norms, 1.0)
    return divided


def spread(values: ArrayLike) -> float:
    """Standard deviation as the middle half tells it, which few large numbers do not change.

    By all of them where more than half are equal; 0 where all are.
    """
    flat = np.asarray(values, np.float64).ravel()
    told = _TO_DEVIATION * float(np.median(np.abs(flat - np.median(flat))))
    return told if told > 0 else float(flat.std())


def in_deviations(similarity: ArrayLike) -> Floats:
    """(n, m) similarities from their median, in standard deviations of those of wrong pairs.

    All but one of each row are of wrong pairs, which is why median and `spread` tell of them.
    """
    table = np.asarray(similarity, np.float64)
    deviation = spread(table)
    centred: Floats = table - np.median(table)
    return centred / deviation if deviation > 0 else np.zeros_like(centred)


def margins(similarity: ArrayLike, order: ArrayLike) -> Floats:
    """How much nearer each row (n,) is to its own column than to the best other one.

    Negative where another one is nearer; not a number for rows without a column, and where there
    is no other.
    """
    table, columns = np.asarray(similarity, np.float64), np.asarray(order, np.int64)
    told = np.full(len(table), np.nan)
    rows = np.flatnonzero(columns >= 0)
    if table.shape[1] < 2:
        return told
    others = table[rows].copy()
    own = others[np.arange(len(rows)), columns[rows]]
    others[np.arange(len(rows)), columns[rows]] = -np.inf
    told[rows] = own - others.max(axis=1)
    return told


def likeliest(similarity: ArrayLike, nats: float) -> Indices:
    """The assignment that is most likely where rows may well be in their places already.

    That nothing was moved is taken to be as likely as that all was, of n! orders: a row in its own
    place has log n nats more. So what noise has made unlike stays where it is, and what was moved
    is told by its own evidence.

    Args:
        similarity: (n, m); the bonus is for square ones only.
        nats: how much a unit of similarity adds to the logarithm of the likelihood (> 0).
    """
    table = np.asarray(similarity, np.float64)
    rows, columns = table.shape
    return assigned(table + np.eye(rows) * np.log(rows) / nats if rows == columns else table)


def balanced_spectrum(values: ArrayLike, sweeps: int = 8) -> Floats:
    """What a kernel (out, in, *rest) keeps when channels of both axes are moved, scaled, negated.

    Rows and columns are divided by their norms in turn, which takes every positive factor out, and
    the singular values of (out, in * rest) that remain, the largest first, know no order and no
    sign; they are divided by their norm.
    """
    now = np.asarray(values, np.float64)
    now = now.reshape(len(now), now.shape[1] if now.ndim > 1 else 1, -1)
    for _ in range(sweeps):
        for axis in (0, 1):
            others = tuple(k for k in range(3) if k != axis)
            norms = np.sqrt(np.square(now).sum(axis=others, keepdims=True))
            now = now / np.where(norms > 0, norms, 1.0)
    flat = now.reshape(len(now), -1)
    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    told = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))
    norm = float(np.linalg.norm(told))
    spectrum: Floats = told / norm if norm > 0 else told
    return spectrum


def unlikeness(one: ArrayLike, other: ArrayLike) -> float:
    """Distance of two spectra (0 to the root of 2), the shorter one followed by zeros."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    size = max(len(first), len(second))
    return float(
        np.linalg.norm(
            np.pad(first, (0, size - len(first))) - np.pad(second, (0, size - len(second)))
        )
    )
