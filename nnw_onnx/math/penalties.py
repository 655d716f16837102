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


def projected_mean(weights: Array, matrix: Array, signs: Array) -> Term:
    """Cross-entropy of the projections of the filter mean, with derivatives by every weight.

    Uchida et al., ICMR 2017, equation 4, without its factor lambda. Every filter has the same
    derivatives: those by the mean, divided by the number of filters.

    Args:
        weights: (L, *axes), with M numbers a filter.
        matrix: (size, M) key matrix.
        signs: (size,) of -1 and +1.
    """
    value, by_projection = cross_entropy(matrix @ projection.filter_mean(weights), signs)
    by_filter = (by_projection @ matrix / len(weights)).reshape(weights.shape[1:])
    return Term(value, np.broadcast_to(by_filter, weights.shape).copy())
