"""Average precision of detections, as COCO defines it.

Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and the description of its evaluation
on cocodataset.org: detections of an image are matched greedily, the best first; precision is made
monotone and read at 101 levels of recall.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on a detection is right."""

RECALLS = np.linspace(0, 1, 101)
"""Levels of recall at which precision is read."""

_EXACT = 1 - 1e-10


class Matches(NamedTuple):
    """Detections (n,) of one category, the best first, judged at each threshold (t, n).

    Attributes:
        scores: (n,).
        right: matched with a thing.
        ignored: matched with a crowd, which makes it neither right nor wrong.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


def matches(
    scores: NDArray[np.float64], overlap: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> Matches:
    """Match the detections of one image and category.

    Args:
        scores: (n,) from high to low.
        overlap: (n, m) with each thing.
        crowd: (m,) which things are crowds, those last; a crowd takes any number of detections.
    """
    least = np.minimum(THRESHOLDS, _EXACT)[:, np.newaxis]
    right = np.zeros((len(THRESHOLDS), len(scores)), np.bool_)
    ignored, free = right.copy(), np.ones((len(THRESHOLDS), len(crowd)), np.bool_)
    for place in range(len(scores) if len(crowd) else 0):
        fits = (overlap[place] >= least) & (free | crowd)
        for whose, told in ((~crowd, right), (crowd, ignored)):
            _take(fits & whose, overlap[place], free, told[:, place], right[:, place])
    return Matches(scores, right, ignored)


def _take(
    fits: NDArray[np.bool_],
    overlap: NDArray[np.float64],
    free: NDArray[np.bool_],
    told: NDArray[np.bool_],
    taken: NDArray[np.bool_],
) -> None:
    """At each threshold the fitting thing of largest overlap, of equal ones the last."""
    best = len(overlap) - 1 - np.where(fits, overlap, -1.0)[:, ::-1].argmax(axis=1)
    found = fits.any(axis=1) & ~taken
    told |= found
    free[np.flatnonzero(found), best[found]] = False


def average_precision(found: Matches, things: int) -> NDArray[np.float64]:
    """Average precision (t,) of one category.

    Args:
        found: detections of all images, in any order; of equal scores the first come first.
        things: number of those to be found, crowds not counted; at least 1.
    """
    order = np.argsort(-found.scores, kind="stable")
    right, ignored = found.right[:, order], found.ignored[:, order]
    hits = np.cumsum(right, axis=1)
    wrong = np.cumsum(~right & ~ignored, axis=1)
    precision = hits / np.maximum(hits + wrong, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)
    places = [np.searchsorted(row / things, RECALLS) for row in hits]
    return np.array([row[at].mean() for row, at in zip(padded, places, strict=True)])
