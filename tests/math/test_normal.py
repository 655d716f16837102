"""Quantiles and tails of the normal distribution, against CPython's and scipy's."""

from __future__ import annotations

import math
import platform
import statistics

import numpy as np
import pytest
from scipy import special

from nnw_onnx.math.normal import log10_tail
from nnw_onnx.math.quantile import quantiles

LAST_BIT = 0 if platform.machine() in ("x86_64", "AMD64") else 4
"""Compilers for other processors fuse products with sums in CPython's."""
EDGES = [
    2.0**-54, 2.0**-53, math.exp(-25), 0.075, np.nextafter(0.075, 1), 0.25, 0.5 - 2.0**-54, 0.5,
    0.5 + 2.0**-53, 0.925, 1 - 2.0**-53,
]  # fmt: skip


def probabilities() -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(1))
    small = 2.0 ** -rng.uniform(1, 54, 10_000)
    near = 0.5 + rng.normal(0, 1e-9, 2000)
    return np.concatenate([EDGES, rng.random(30_000), small, 1 - small[:5000], near])


def test_quantiles_are_those_of_the_standard_library_to_the_last_bit():
    given = probabilities()
    expected = np.array([statistics.NormalDist().inv_cdf(p) for p in given.tolist()])
    np.testing.assert_array_max_ulp(quantiles(given), expected, LAST_BIT)


def test_quantiles_are_those_of_scipy_but_for_a_few_last_bits():
    given = probabilities()
    given = given[given != 0.5]
    np.testing.assert_allclose(quantiles(given), special.ndtri(given), rtol=2e-15, atol=0)
    assert quantiles(np.array([0.5, 0.5])).tolist() == [0.0, 0.0]
    assert quantiles(np.empty(0)).shape == (0,)


def test_the_tail_is_scipys():
    for z in (*np.linspace(-40, 60, 401), 29.999999, 30.0, 30.000001, 1e5, 1e150):
        expected = special.log_ndtr(-z) / math.log(10)
        # Below 0 it is nearly the other tail itself, in which an error of z counts z^2 times.
        bound = 1e-14 if z >= 0 else 1e-12
        assert log10_tail(float(z)) == pytest.approx(expected, rel=bound, abs=1e-300)


def test_the_tail_of_a_published_table():
    """Abramowitz and Stegun, table 26.2: -log10 Q(x)."""
    table = {5.0: 6.54265, 10.0: 23.11805, 20.0: 88.56010, 50.0: 544.96634, 100.0: 2173.87154}
    for x, expected in table.items():
        assert -log10_tail(x) == pytest.approx(expected, abs=1.1e-5)
