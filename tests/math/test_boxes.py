"""Boxes against counting pixels and against what suppression means."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.math.boxes import areas, cornered, overlaps, suppressed


def _drawn(box) -> np.ndarray:
    image = np.zeros((40, 40), bool)
    left, top, right, bottom = map(int, box)
    image[top:bottom, left:right] = True
    return image


def _boxes(rng, count) -> np.ndarray:
    start = rng.integers(0, 20, (count, 2))
    return np.concatenate([start, start + rng.integers(0, 20, (count, 2))], axis=1).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_are_those_of_counted_pixels(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    boxes, others = _boxes(rng, 8), _boxes(rng, 6)
    crowd = rng.random(6) < 0.5
    plain, crowded = overlaps(boxes, others), overlaps(boxes, others, crowd)
    for i, box in enumerate(boxes):
        one = _drawn(box)
        assert areas(boxes)[i] == one.sum()
        for j, other in enumerate(others):
            two = _drawn(other)
            common = (one & two).sum()
            assert plain[i, j] == pytest.approx(common / max((one | two).sum(), 1))
            whole = one.sum() if crowd[j] else (one | two).sum()
            assert crowded[i, j] == pytest.approx(common / max(whole, 1))


def test_forms_of_boxes():
    wanted = np.array([[10.0, 20.0, 14.0, 26.0]])
    forms = {
        "xyxy": [10, 20, 14, 26],
        "yxyx": [20, 10, 26, 14],
        "xywh": [10, 20, 4, 6],
        "cxcywh": [12, 23, 4, 6],
    }
    for form, numbers in forms.items():
        np.testing.assert_array_equal(cornered(np.array([numbers], float), form), wanted)


def test_boxes_that_end_before_they_begin_have_no_area():
    backwards = np.array([[5.0, 5.0, 1.0, 9.0]])
    assert areas(backwards).tolist() == [0]
    assert overlaps(backwards, backwards).tolist() == [[0]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [0.0, 0.3, 0.7])
def test_what_suppression_keeps(seed, most):
    rng = np.random.Generator(np.random.PCG64(seed))
    boxes, scores = _boxes(rng, 30), rng.random(30).round(1)
    kept = suppressed(boxes, scores, most).tolist()
    assert scores[kept].tolist() == sorted(scores[kept], reverse=True)
    among = overlaps(boxes[kept], boxes[kept])
    assert (among[~np.eye(len(kept), dtype=bool)] <= most).all()
    for place in set(range(30)) - set(kept):
        better = [k for k in kept if (-scores[k], k) < (-scores[place], place)]
        assert (overlaps(boxes[[place]], boxes[better]) > most).any()


def test_nothing_to_suppress():
    assert suppressed(np.empty((0, 4)), np.empty(0), 0.5).tolist() == []
