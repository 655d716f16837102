"""Quantiles of the normal distribution: algorithm PPND16 of Wichura, Applied Statistics 37 (1988).

scipy has them too, but to import it takes longer than to read a watermark. Sums, products,
quotients and roots of floats are the same on every machine; the logarithm of the tails is therefore
that of the C library and not numpy's, which depends on the vector instructions of the processor.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_CENTRE = 0.425
_NEAR = 5.0
_BLOCK = 1 << 15
"""Numbers at a time, few enough to stay in the cache while polynomials of them are taken."""

# Numerator and denominator of each range, from the highest power down, as in the paper.
_CENTRAL = (
    (
        2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
        4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
        1.3314166789178437745e2, 3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
        2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
        4.2313330701600911252e1, 1.0,
    ),
)  # fmt: skip
_TAIL = (
    (
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
        1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
        4.63033784615654529590e0, 1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
        1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
        2.05319162663775882187e0, 1.0,
    ),
)  # fmt: skip
_FAR_TAIL = (
    (
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
        2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
        5.46378491116411436990e0, 6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
        7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
        5.99832206555887937690e-1, 1.0,
    ),
)  # fmt: skip


def quantiles(probabilities: F64) -> F64:
    """For each p (n,), 0 < p < 1, the z with P(Z <= z) = p; relative error about 1e-16."""
    found = np.empty_like(probabilities)
    for start in range(0, probabilities.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = _block(probabilities[part])
    return found


def _block(probabilities: F64) -> F64:
    offsets = probabilities - 0.5
    # Tails are overwritten; the bound keeps their denominators away from 0.
    squares = np.maximum(0.180625 - offsets * offsets, 0.0)
    above, below = (_polynomial(squares, row) for row in _CENTRAL)
    above *= offsets
    above /= below
    tails = np.flatnonzero(np.abs(offsets) > _CENTRE)
    outer = probabilities[tails]
    above[tails] = np.copysign(_distances(np.minimum(outer, 1.0 - outer)), offsets[tails])
    return above


def _distances(tails: F64) -> F64:
    """|z| of tails (n,) of at most 0.075."""
    logarithms = np.fromiter(map(math.log, tails.tolist()), np.float64, tails.size)
    roots = np.sqrt(-logarithms)
    found = _ratio(roots - 1.6, _TAIL)
    far = np.flatnonzero(roots > _NEAR)
    found[far] = _ratio(roots[far] - _NEAR, _FAR_TAIL)
    return found


def _ratio(values: F64, rows: tuple[tuple[float, ...], tuple[float, ...]]) -> F64:
    above, below = (_polynomial(values, row) for row in rows)
    above /= below
    return above


def _polynomial(values: F64, coefficients: tuple[float, ...]) -> F64:
    """By Horner's rule, in this order of operations, on which the last bit depends."""
    found = coefficients[0] * values
    found += coefficients[1]
    for coefficient in coefficients[2:]:
        found *= values
        found += coefficient
    return found
