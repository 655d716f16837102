"""How far two sequences are apart."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and substitutions that make one of the other.

    Levenshtein, "Binary codes capable of correcting deletions, insertions and reversals", 1966; row
    by row (Wagner and Fischer, 1974).
    """
    index: dict[Hashable, int] = {}
    one, two = (
        np.array([index.setdefault(item, len(index)) for item in items], np.int64)
        for items in (first, second)
    )
    places = np.arange(len(two) + 1)
    row = places
    for item in one:
        # Insertions run along a row: the least of all cells before, each plus its distance.
        best = np.minimum(row[1:] + 1, row[:-1] + (two != item))
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], best]) - places) + places
    return int(row[-1])
