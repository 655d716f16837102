"""GF(2^8) against reedsolo's tables, and the erasure code against every way to lose pieces."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import reedsolo

from nnw_onnx.math import galois


def test_products_are_those_of_another_library():
    reedsolo.init_tables(0x11D)
    every = np.arange(256, dtype=np.uint8)
    ours = galois.product(every[:, None], every[None])
    assert ours.tolist() == [[reedsolo.gf_mul(a, b) for b in range(256)] for a in range(256)]


def test_products_of_matrices_are_sums_of_products(rng):
    first = rng.integers(0, 256, (3, 5), dtype=np.uint8)
    second = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    wanted = np.zeros((3, 7), np.uint8)
    for i, k, j in np.ndindex(3, 5, 7):
        wanted[i, j] ^= reedsolo.gf_mul(int(first[i, k]), int(second[k, j]))
    assert np.array_equal(galois.product(first, second), wanted)


def test_inverses(rng):
    for size in (1, 2, 7, 40):
        matrix = galois.cauchy(size, size)
        found = galois.product(galois.inverse(matrix), matrix)
        assert np.array_equal(found, np.eye(size, dtype=np.uint8))
    permuted = np.eye(6, dtype=np.uint8)[rng.permutation(6)]
    assert np.array_equal(galois.inverse(permuted), permuted.T)
    with pytest.raises(ValueError, match="got a singular one"):
        galois.inverse(np.ones((2, 2), np.uint8))


def test_a_cauchy_matrix_is_made_of_inverse_sums():
    reedsolo.init_tables(0x11D)
    matrix = galois.cauchy(64, 192)
    assert all(
        reedsolo.gf_mul(int(matrix[i, j]), (192 + i) ^ j) == 1 for i, j in np.ndindex(64, 192)
    )
    with pytest.raises(ValueError, match="at most 256 rows and columns, got 257"):
        galois.cauchy(65, 192)


def test_any_pieces_in_the_number_of_the_data_give_back_all(rng):
    """Three of data, three of parity: all 20 ways to keep three of six."""
    data = rng.integers(0, 256, (3, 11), dtype=np.uint8)
    code = np.concatenate([np.eye(3, dtype=np.uint8), galois.cauchy(3, 3)])
    pieces = galois.product(code, data)
    for kept in map(list, combinations(range(6), 3)):
        found = galois.product(galois.inverse(code[kept]), pieces[kept])
        assert np.array_equal(found, data)
