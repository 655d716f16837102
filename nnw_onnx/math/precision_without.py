"""Average precision with each image left out in turn, for the jackknife.

Precision is largest where a thing is found, so that only the places of those matter: a row for each
image holds what leaving it out makes of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math.average_precision import RECALLS, Matches, average_precision

Whole = NDArray[np.int64]
Numbers = NDArray[np.float64]

_AT_ONCE = 1 << 18  # numbers that a cache holds


def precision_without(found: Matches, image: Whole, things: Whole) -> Numbers:
    """Average precision (n,) of one category, a mean over thresholds, without each of n images.

    Args:
        found: detections of all images, as for `average_precision`.
        image: (d,) number of the image of each detection, from 0.
        things: (n,) number of things to be found in each image, at least one in all.

    Returns:
        NaN where no thing is left.
    """
    order = np.argsort(-found.scores, kind="stable")
    whole = average_precision(found, int(things.sum()))
    rows = [
        _without(right, right | ignored, image[order], things, float(all_of_them))
        for right, ignored, all_of_them in zip(
            found.right[:, order], found.ignored[:, order], whole, strict=True
        )
    ]
    means: Numbers = np.mean(rows, axis=0)
    return np.where(things < things.sum(), means, np.nan)


def _without(
    right: NDArray[np.bool_],
    taken: NDArray[np.bool_],
    image: Whole,
    things: Whole,
    whole: float,
) -> Numbers:
    """At one threshold, of detections in order; `taken` are those that are not wrong."""
    places, wrong = np.flatnonzero(right), np.flatnonzero(~taken)
    # A wrong detection after the last right one changes nothing.
    wrong = wrong[np.searchsorted(places, wrong) < len(places)]
    result = np.full(len(things), whole)
    touched = np.unique(np.concatenate([image[places], image[wrong], np.flatnonzero(things)]))
    step = max(1, _AT_ONCE // max(len(places), 1))
    for start in range(0, len(touched) if len(places) else 0, step):
        some = touched[start : start + step]
        result[some] = _rows(places, wrong, image, some, things.sum() - things[some])
    return result


def _rows(places: Whole, wrong: Whole, image: Whole, some: Whole, left: Whole) -> Numbers:
    """Average precision without each of some images, of which so many things are left."""
    kept = image[places] != some[:, np.newaxis]
    own = np.isin(image[wrong], some)
    gone = np.zeros((len(some), len(places) + 1), np.int32)
    rows = np.searchsorted(some, image[wrong[own]])
    np.add.at(gone, (rows, np.searchsorted(places, wrong[own])), 1)
    hits = np.cumsum(kept, axis=1, dtype=np.int32)
    before = np.searchsorted(wrong, places).astype(np.int32)
    asked = hits + before - np.cumsum(gone[:, :-1], axis=1, dtype=np.int32)
    precision = np.where(kept, hits / np.maximum(asked, 1), 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.array(
        [
            _at_levels(row[keep], int(count))
            for row, keep, count in zip(envelope, kept, left, strict=True)
        ]
    )


def _at_levels(envelope: Numbers, things: int) -> float:
    """Mean over the levels of recall, of precision (m,) at each of m things that were found."""
    if not things:
        return np.nan
    needed = np.searchsorted(np.arange(1, len(envelope) + 1) / things, RECALLS)
    return float(np.append(envelope, 0.0)[needed].mean())
