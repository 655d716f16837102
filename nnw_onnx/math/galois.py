"""Bytes as elements of the field GF(2^8), and an erasure code over them.

Addition is exclusive or; multiplication is that of polynomials modulo x^8 + x^4 + x^3 + x^2 + 1,
as in most Reed-Solomon codes. Every square part of a Cauchy matrix is invertible, so that of
k pieces of data and m of parity any k give back all (Blömer et al., "An XOR-Based Erasure-Resilient
Coding Scheme", ICSI TR-95-048, 1995).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

ORDER = 256
_POLYNOMIAL = 0x11D


@cache
def _tables() -> tuple[Bytes, Bytes]:
    """All products (256, 256), and the inverse (256,) of each element; that of 0 is 0."""
    powers = np.empty(ORDER - 1, np.int64)
    value = 1
    for exponent in range(ORDER - 1):
        powers[exponent] = value
        value <<= 1
        value ^= _POLYNOMIAL if value >= ORDER else 0
    logarithms = np.zeros(ORDER, np.int64)
    logarithms[powers] = np.arange(ORDER - 1)
    products = powers[(logarithms[:, None] + logarithms) % (ORDER - 1)].astype(np.uint8)
    products[0] = products[:, 0] = 0
    inverses = powers[-logarithms % (ORDER - 1)].astype(np.uint8)
    inverses[0] = 0
    return products, inverses


def product(first: Bytes, second: Bytes) -> Bytes:
    """The matrix product (m, n) of matrices (m, k) and (k, n) over the field."""
    table, _ = _tables()
    out = np.zeros((first.shape[0], second.shape[1]), np.uint8)
    for k in range(first.shape[1]):
        rows = table[first[:, k]]
        for m in range(first.shape[0]):
            out[m] ^= rows[m].take(second[k])
    return out


def cauchy(parity: int, data: int) -> Bytes:
    """The matrix (parity, data) whose entry i, j is 1 / (x_i + y_j), all x and y different.

    Raises:
        ValueError: more rows and columns than the field has elements.
    """
    if parity + data > ORDER:
        raise ValueError(f"expected at most {ORDER} rows and columns, got {parity + data}")
    _, inverses = _tables()
    x = np.arange(data, data + parity)
    return np.asarray(inverses[x[:, None] ^ np.arange(data)])


def inverse(matrix: Bytes) -> Bytes:
    """The inverse of a square matrix, by Gauss and Jordan.

    Raises:
        ValueError: it has none.
    """
    products, inverses = _tables()
    size = len(matrix)
    work = np.concatenate([matrix, np.eye(size, dtype=np.uint8)], axis=1)
    for column in range(size):
        found = np.flatnonzero(work[column:, column])
        if not len(found):
            raise ValueError("expected a matrix that can be inverted, got a singular one")
        pivot = column + int(found[0])
        work[[column, pivot]] = work[[pivot, column]]
        work[column] = products[inverses[work[column, column]], work[column]]
        factors = work[:, column].copy()
        factors[column] = 0
        work ^= products[factors[:, None], work[column]]
    return work[:, size:]
