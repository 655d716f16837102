"""Edit distances against rapidfuzz and the recursion that defines them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from nnw_onnx.math.edits import edit_distance


def _by_definition(one: tuple[int, ...], two: tuple[int, ...]) -> int:
    @cache
    def apart(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        changed = apart(i - 1, j - 1) + (one[i - 1] != two[j - 1])
        return min(changed, apart(i - 1, j) + 1, apart(i, j - 1) + 1)

    return apart(len(one), len(two))


@pytest.mark.parametrize("seed", range(30))
def test_distances_are_those_of_the_recursion(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    one, two = (tuple(rng.integers(0, 4, rng.integers(0, 14)).tolist()) for _ in range(2))
    assert edit_distance(one, two) == edit_distance(two, one) == _by_definition(one, two)


def test_distances_are_those_of_rapidfuzz():
    """Values of rapidfuzz 3.14."""
    rng = np.random.Generator(np.random.PCG64(4))
    found = [
        edit_distance(rng.integers(0, 3, 12).tolist(), rng.integers(0, 3, n).tolist())
        for n in (0, 5, 12, 20, 40)
    ]
    assert found == [12, 7, 6, 11, 28]


@pytest.mark.parametrize(
    ("one", "two", "distance"),
    [("kitten", "sitting", 3), ("", "", 0), ("abc", "", 3), (["a", "b"], ["b"], 1)],
)
def test_known_distances(one, two, distance):
    assert edit_distance(one, two) == distance
