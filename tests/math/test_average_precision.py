"""Average precision against COCO's own evaluation, and against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.math.average_precision import THRESHOLDS, Matches, average_precision, matches
from nnw_onnx.math.boxes import cornered, overlaps

from . import detections

BY_PYCOCOTOOLS = {
    0: (0.14827008390062063, 0.3469225869955416),
    1: (0.2091427769745981, 0.5048165110628711),
    2: (0.19681243124312434, 0.3795379537953796),
    3: (0.1700222095308001, 0.4115565952199616),
    4: (0.23514319429141792, 0.4909240924092409),
    5: (0.2560171876320759, 0.5566650318282602),
}
"""Seed -> mAP and AP50 that pycocotools 2.0.11 gives for `detections.made(seed)`."""


def _precisions(case: detections.Made) -> np.ndarray:
    found = []
    for label in range(detections.CLASSES):
        parts, things = [], 0
        for image in range(detections.IMAGES):
            own = [t for t in case.things if t[:2] == (image, label)]
            own.sort(key=lambda t: t[-1])
            told = [t for t in case.found if t[:2] == (image, label)]
            told.sort(key=lambda t: -t[-1])
            crowd = np.array([t[-1] for t in own], bool)
            boxes = [np.array([t[2:6] for t in x], float).reshape(-1, 4) for x in (told, own)]
            overlap = overlaps(*(cornered(b, "xywh") for b in boxes), crowd)
            parts.append(matches(np.array([t[-1] for t in told]), overlap, crowd))
            things += int((~crowd).sum())
        joined = [np.concatenate(p, axis=-1) for p in zip(*parts, strict=True)]
        found.append(average_precision(Matches(*joined), things))
    return np.array(found)


@pytest.mark.parametrize("seed", BY_PYCOCOTOOLS)
def test_numbers_of_pycocotools(seed):
    found = _precisions(detections.made(seed))
    assert (found.mean(), found[:, 0].mean()) == pytest.approx(BY_PYCOCOTOOLS[seed], abs=1e-12)


@pytest.mark.parametrize("seed", range(100, 115))
def test_every_number_of_pycocotools(seed):
    pytest.importorskip("pycocotools")
    case = detections.made(seed)
    found = _precisions(case)
    assert (found.mean(), found[:, 0].mean()) == pytest.approx(detections.by_coco(case), abs=1e-12)


def _of(scores, overlap, crowd=()):
    crowded = np.array(crowd or [0] * np.shape(overlap)[1], bool)
    return matches(np.array(scores, float), np.array(overlap, float), crowded)


def test_each_thing_is_found_once():
    found = _of([0.9, 0.8], [[0.7], [0.9]])
    assert found.right[:, 0].tolist() == (THRESHOLDS <= 0.7).tolist()
    # What is not right with the first one may be with the second.
    assert found.right[:, 1].tolist() == ((THRESHOLDS > 0.7) & (THRESHOLDS <= 0.9)).tolist()
    # The wrong one comes after all things were found, so that it costs nothing.
    assert average_precision(found, 1)[0] == 1
    assert average_precision(found, 2)[0] == pytest.approx(51 / 101)


def test_a_wrong_answer_before_a_right_one_halves_the_precision():
    found = _of([0.9, 0.8], [[0.0], [1.0]])
    np.testing.assert_allclose(average_precision(found, 1), 0.5)


def test_crowds_take_any_number_and_count_for_nothing():
    found = _of([0.9, 0.8, 0.7], [[0, 1], [0, 1], [1, 1]], [0, 1])
    assert found.ignored[0].tolist() == [True, True, False]
    assert found.right[0].tolist() == [False, False, True]
    np.testing.assert_array_equal(average_precision(found, 1), 1)


def test_nothing_found_has_no_precision():
    none = _of([], np.empty((0, 2)))
    np.testing.assert_array_equal(average_precision(none, 2), 0)
    wrong = matches(np.array([0.5]), np.empty((1, 0)), np.empty(0, bool))
    np.testing.assert_array_equal(average_precision(wrong, 1), 0)
