"""Boxes of images: forms, overlap, and which of several on one thing are kept."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
"""(n, 4): left, top, right, bottom."""

BoxForm = Literal["xyxy", "yxyx", "xywh", "cxcywh"]
"""Order of the four numbers: corners; corners, rows first; a corner and the size; the middle and
the size."""


def cornered(boxes: Boxes, form: BoxForm) -> Boxes:
    """Boxes (n, 4) of a form as left, top, right, bottom."""
    if form == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    if form == "xyxy":
        return boxes
    first, size = boxes[:, :2], boxes[:, 2:]
    start = first - size / 2 if form == "cxcywh" else first
    return np.concatenate([start, start + size], axis=1)


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Area of each box (n,); 0 for one that ends before it begins."""
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sizes[:, 0] * sizes[:, 1])


def overlaps(
    boxes: Boxes, others: Boxes, crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Intersection over union (n, m) of each box with each of the others.

    Args:
        boxes: (n, 4).
        others: (m, 4).
        crowd: (m,) which of the others stand for many things: there it is the intersection over the
            area of the box, as COCO defines it.
    """
    low = np.maximum(boxes[:, np.newaxis, :2], others[np.newaxis, :, :2])
    high = np.minimum(boxes[:, np.newaxis, 2:], others[np.newaxis, :, 2:])
    sizes = np.maximum(high - low, 0)
    common = sizes[..., 0] * sizes[..., 1]
    whole = areas(boxes)[:, np.newaxis] + areas(others) - common
    if crowd is not None:
        whole = np.where(crowd, areas(boxes)[:, np.newaxis], whole)
    found: NDArray[np.float64] = np.divide(
        common, whole, out=np.zeros_like(common), where=whole > 0
    )
    return found


def suppressed(boxes: Boxes, scores: NDArray[np.float64], most: float) -> NDArray[np.int64]:
    """Places of the boxes that are kept, the best first (greedy non-maximum suppression).

    A box goes where one with a higher score overlaps it by more than `most`.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlaps(boxes[[best]], boxes[order])[0] <= most]
    return np.array(kept, np.int64)
