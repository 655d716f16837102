"""Terms that a watermark adds to the loss of a training, with their gradients by hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import projection
from nnw_onnx.vocabulary import Array


class Term(NamedTuple):
    """A term of the loss: its value, and its derivatives by what it was computed from."""

    value: float
    derivatives: NDArray[np.float64]


def cross_entropy(statistics: Array, signs: Array) -> Term:
    """Binary cross-entropy of sigmoid(statistics) against the bits whose signs are given.

    The SUM over the bits, in nats: sum log(1 + exp(-sign * statistic)). Nothing overflows, however
    large a statistic is.

    Args:
        statistics: (size,) real numbers.
        signs: (size,) of -1 and +1.
    """
    agreement = np.asarray(signs * statistics, np.float64)
    value = float(np.logaddexp(0.0, -agreement).sum())
    return Term(value, -signs * np.exp(-np.logaddexp(0.0, agreement)))


def hinge(statistics: Array, signs: Array, margin: float) -> Term:
    """What is missing to a margin on the right side: sum max(0, margin - sign * statistic).

    Args:
        statistics: (size,) real numbers.
        signs: (size,) of -1 and +1.
        margin: wanted of each, >= 0.
    """
    missing = margin - np.asarray(signs * statistics, np.float64)
    value = float(np.maximum(missing, 0.0).sum())
    return Term(value, np.where(missing > 0, -np.asarray(signs, np.float64), 0.0))


def squared_distance(statistics: Array, wanted: Array) -> Term:
    """Sum of (statistic - wanted)^2 over statistics (size,)."""
    apart = np.asarray(statistics - wanted, np.float64)
    return Term(float(apart @ apart), 2 * apart)


def of_mean(term: Term, shape: tuple[int, ...], filters: Array) -> Term:
    """A term of the signed filter mean (M,) as one of the weights of a shape (L, *M axes).

    Args:
        term: with its derivatives by the mean.
        shape: of the weights.
        filters: sign (L,) of each filter in the mean.
    """
    by_filter = term.derivatives / shape[0]
    return Term(term.value, projection.to_filters(by_filter, shape, filters))


def projected_mean(
    weights: Array, matrix: Array, signs: Array, filters: Array | None = None
) -> Term:
    """Cross-entropy of the projections of the filter mean, with derivatives by every weight.

    Uchida et al., ICMR 2017, equation 4, without its factor lambda. Every filter has the same
    derivatives, but for its sign: those by the mean, divided by the number of filters.

    Args:
        weights: (L, *axes), with M numbers a filter.
        matrix: (size, M) key matrix.
        signs: (size,) of -1 and +1.
        filters: sign (L,) of each filter in the mean; None for all +1.
    """
    own = np.ones(len(weights)) if filters is None else filters
    value, by_projection = cross_entropy(matrix @ projection.signed_mean(weights, own), signs)
    return of_mean(Term(value, by_projection @ matrix), weights.shape, own)
