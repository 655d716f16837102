"""Made detections, and COCO's own evaluation of them where pycocotools is installed."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

import numpy as np

IMAGES, CLASSES = 12, 3


class Made(NamedTuple):
    """Things (image, class, left, top, width, height, crowd); found (..., score) likewise."""

    things: list[tuple]
    found: list[tuple]


def made(seed: int) -> Made:
    """Things on images with boxes near them; equal scores and overlaps are common."""
    rng = np.random.Generator(np.random.PCG64(seed))
    things, found = [], []
    for image in range(IMAGES):
        for _ in range(rng.integers(0, 6)):
            place, size = rng.integers(0, 60, 2), rng.integers(5, 40, 2)
            label = int(rng.integers(CLASSES))
            things.append((image, label, *map(int, (*place, *size)), int(rng.random() < 0.15)))
            for _ in range(rng.integers(0, 4)):
                near = np.rint(place + rng.normal(0, 2, 2))
                sized = np.maximum(1, np.rint(size + rng.normal(0, 2, 2)))
                told = label if rng.random() < 0.8 else int(rng.integers(CLASSES))
                found.append((image, told, *map(float, (*near, *sized)), _score(rng)))
        for _ in range(rng.integers(0, 5)):
            place, size = rng.integers(0, 60, 2), rng.integers(5, 40, 2)
            told = int(rng.integers(CLASSES))
            found.append((image, told, *map(float, (*place, *size)), _score(rng) / 2))
    return Made(things, found)


def _score(rng: np.random.Generator) -> float:
    return round(float(rng.random()), 2)


def by_coco(case: Made) -> tuple[float, float]:
    """MAP and AP50 by pycocotools, which is not needed otherwise."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO()
        true.dataset = {
            "images": [{"id": i + 1} for i in range(IMAGES)],
            "categories": [{"id": c + 1} for c in range(CLASSES)],
            "annotations": [
                {
                    "id": number + 1,
                    "image_id": image + 1,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": crowd,
                }
                for number, (image, label, *box, crowd) in enumerate(case.things)
            ],
        }
        true.createIndex()
        told = true.loadRes(
            [
                {"image_id": image + 1, "category_id": label + 1, "bbox": box, "score": score}
                for image, label, *box, score in case.found
            ]
        )
        judged = COCOeval(true, told, "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])
