"""Terms that a watermark adds to the loss of a training, with their gradients by hand.

Arrays are of `xp`: numpy, or another library with functions of its names (`vocabulary.Moment`).
Values of another library stay there as scalars, since to read one would wait for a device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import projection
from nnw_onnx.vocabulary import Array


class Term(NamedTuple):
    """A term of the loss: its value, and its derivatives by what it was computed from."""

    value: Any
    derivatives: NDArray[np.float64]


def cross_entropy(statistics: Array, signs: Array, xp: Any = np) -> Term:
    """Binary cross-entropy of sigmoid(statistics) against the bits whose signs are given.

    The SUM over the bits, in nats: sum log(1 + exp(-sign * statistic)). Nothing overflows, however
    large a statistic is.

    Args:
        statistics: (size,) real numbers.
        signs: (size,) of -1 and +1.
        xp: functions of these arrays.
    """
    agreement = xp.asarray(signs * statistics, dtype=xp.float64)
    nothing = xp.zeros_like(agreement)
    value = _scalar(xp.logaddexp(nothing, -agreement).sum(), xp)
    return Term(value, -signs * xp.exp(-xp.logaddexp(nothing, agreement)))


def _scalar(value: Any, xp: Any) -> Any:
    return float(value) if xp is np else value


def hinge(statistics: Array, signs: Array, margin: float, xp: Any = np) -> Term:
    """What is missing to a margin on the right side: sum max(0, margin - sign * statistic).

    Args:
        statistics: (size,) real numbers.
        signs: (size,) of -1 and +1.
        margin: wanted of each, >= 0.
        xp: functions of these arrays.
    """
    missing = margin - xp.asarray(signs * statistics, dtype=xp.float64)
    nothing = xp.zeros_like(missing)
    value = _scalar(xp.maximum(missing, nothing).sum(), xp)
    return Term(value, xp.where(missing > 0, -xp.asarray(signs, dtype=xp.float64), nothing))


def squared_distance(statistics: Array, wanted: Array, xp: Any = np) -> Term:
    """Sum of (statistic - wanted)^2 over statistics (size,)."""
    apart = xp.asarray(statistics - wanted, dtype=xp.float64)
    return Term(_scalar(apart @ apart, xp), 2 * apart)


def of_mean(term: Term, shape: tuple[int, ...], filters: Array, xp: Any = np) -> Term:
    """A term of the signed filter mean (M,) as one of the weights of a shape (L, *M axes).

    Args:
        term: with its derivatives by the mean.
        shape: of the weights.
        filters: sign (L,) of each filter in the mean.
        xp: functions of these arrays.
    """
    by_filter = term.derivatives / shape[0]
    return Term(term.value, projection.to_filters(by_filter, shape, filters, xp))


def projected_mean(
    weights: Array, matrix: Array, signs: Array, filters: Array | None = None, xp: Any = np
) -> Term:
    """Cross-entropy of the projections of the filter mean, with derivatives by every weight.

    Uchida et al., ICMR 2017, equation 4, without its factor lambda. Every filter has the same
    derivatives, but for its sign: those by the mean, divided by the number of filters.

    Args:
        weights: (L, *axes), with M numbers a filter.
        matrix: (size, M) key matrix.
        signs: (size,) of -1 and +1.
        filters: sign (L,) of each filter in the mean; None for all +1.
        xp: functions of these arrays.
    """
    own = np.ones(len(weights)) if filters is None else filters
    projected = matrix @ projection.signed_mean(weights, own, xp)
    value, by_projection = cross_entropy(projected, signs, xp)
    return of_mean(Term(value, by_projection @ matrix), weights.shape, own, xp)
