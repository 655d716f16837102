"""Detection: every form of answers says the same, and mAP is what COCO's evaluation gives."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.math.boxes import overlaps
from nnw_onnx.tasks import _detections
from nnw_onnx.tasks.object_detection import ObjectDetection
from nnw_onnx.testing import check_task
from nnw_onnx.vocabulary import Spec, Task

SIZE, CLASSES, IDS = (64, 96), 3, (1, 7, 90)
CELLS = [(r, c, s) for s in (8, 16, 32) for r in range(64 // s) for c in range(96 // s)]


def _things(seed: int, images: int = 6) -> list[np.ndarray]:
    """Boxes (k, 6) that overlap little, so that none is suppressed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    found = []
    for _ in range(images):
        boxes: list[list[float]] = []
        while len(boxes) < rng.integers(1, 4):
            start, size = rng.uniform(0, 60, 2), rng.uniform(8, 30, 2)
            box = [*start, *(start + size)]
            if not boxes or overlaps(np.array([box]), np.array(boxes)[:, :4]).max() < 0.3:
                boxes.append([*box, int(rng.integers(CLASSES)), 0])
        found.append(np.array(boxes))
    return found


def _samples(things) -> ArraySamples:
    facts = {"classes": ["a", "b", "c"], "ids": list(IDS), "size": list(SIZE)}
    return ArraySamples({"x": np.zeros((len(things), 1))}, things, facts)


def _answered(seed: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Things, what is answered (k, 4) near them, and scores (k, classes) of that."""
    things = _things(seed)
    rng = np.random.Generator(np.random.PCG64(seed + 1000))
    boxes = [t[:, :4] + rng.normal(0, 1.5, (len(t), 4)) for t in things]
    scores = [
        np.eye(CLASSES)[np.where(rng.random(len(t)) < 0.8, t[:, 4], 0).astype(int)]
        * rng.uniform(0.3, 1, (len(t), 1))
        for t in things
    ]
    return things, boxes, scores


def _middle(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _padded(rows, width):
    """Rows (n, most, width) with zeros after the last."""
    whole = np.zeros((len(rows), max(map(len, rows)), width))
    for place, some in enumerate(rows):
        whole[place, : len(some)] = some
    return whole


def _yolox(boxes, scores):
    """Raw answers of a grid: each box in a cell of its own, all other cells with the score 0."""
    raw = np.zeros((len(CELLS), 5 + CLASSES))
    for number, (box, own) in enumerate(zip(_middle(boxes), scores, strict=True)):
        row, column, stride = CELLS[11 * number + 3]
        raw[11 * number + 3] = [
            *(box[:2] / stride - [column, row]),
            *np.log(box[2:] / stride),
            0.5,
            *(2 * own),
        ]
    return raw


def _forms(boxes, scores) -> dict[str, tuple[dict, dict]]:
    """Form -> options and outputs that mean these boxes and scores."""
    sides = np.tile(SIZE[::-1], 2)
    best = [s.max(axis=1) for s in scores]
    label = [s.argmax(axis=1) for s in scores]
    corner = _padded(boxes, 4)
    tops = _padded([b[:, None] for b in best], 1)[..., 0]
    labels = _padded([p[:, None] for p in label], 1)[..., 0]
    middles = [_middle(b) for b in boxes]
    joined = [np.concatenate([m, s], axis=1) for m, s in zip(middles, scores, strict=True)]
    with_object = [
        np.concatenate([m, np.full((len(m), 1), 0.5), 2 * s], axis=1)
        for m, s in zip(middles, scores, strict=True)
    ]
    rows = [
        np.concatenate([b, t[:, None], p[:, None]], axis=1)
        for b, t, p in zip(boxes, best, label, strict=True)
    ]
    none = [np.concatenate([1 - s.sum(axis=1, keepdims=True), s], axis=1) for s in scores]
    with np.errstate(divide="ignore"):
        logits = {
            "softmax": [np.log(np.roll(n, -1, axis=1)) for n in none],
            "sigmoid": [np.log(s) - np.log1p(-s) for s in scores],
        }
    shares = _padded([b / sides for b in boxes], 4)
    return {
        "torchvision": (
            {"outputs": [0, 2, 1], "labels": "ids"},
            {"boxes": corner, "labels": np.array(IDS)[labels.astype(int)], "scores": tops},
        ),
        "tensorflow": (
            {"boxes": "yxyx", "unit": "shares", "first_label": 1},
            {"boxes": shares[..., [1, 0, 3, 2]], "scores": tops, "classes": labels + 1.0},
        ),
        "rows": ({"form": "rows"}, {"y": _padded(rows, 6)}),
        "ssd": (
            {"form": "dense", "outputs": [1, 0], "unit": "shares", "background": "first"},
            {"scores": _padded(none, CLASSES + 1), "boxes": shares},
        ),
        "detr": (
            {
                "form": "dense",
                "outputs": [1, 0],
                "boxes": "cxcywh",
                "unit": "shares",
                "activation": "softmax",
                "background": "last",
                "nms": 1,
            },
            {
                "logits": _filled(logits["softmax"], [-50, -50, -50, 0]),
                "boxes": _padded([m / sides for m in middles], 4),
            },
        ),
        "rt-detr": (
            {
                "form": "dense",
                "boxes": "xywh",
                "activation": "sigmoid",
                "every_class": True,
                "nms": 1,
            },
            {
                "boxes": _padded(
                    [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in boxes], 4
                ),
                "logits": _filled(logits["sigmoid"], [-50, -50, -50]),
            },
        ),
        "yolox": (
            {"form": "yolox"},
            {"y": np.stack([_yolox(b, s) for b, s in zip(boxes, scores, strict=True)])},
        ),
        "yolov5": ({"form": "yolov5", "every_class": True}, {"y": _padded(with_object, 8)}),
        "yolov8": ({"form": "yolov8"}, {"y": _padded(joined, 7).transpose(0, 2, 1)}),
    }


def _filled(rows, rest):
    whole = np.tile(np.array(rest, float), (len(rows), max(map(len, rows)), 1))
    for place, some in enumerate(rows):
        whole[place, : len(some)] = np.maximum(some, -50)
    return whole


def _measured(options, outputs, things, size=2):
    task = plugins.create(Task, Spec("object-detection", options))
    meter = task.meter(_samples(things))
    for start in range(0, len(things), size):
        part = slice(start, start + size)
        read = {
            name: values[part] if place in task.reads() else np.full(len(things[part]), None)
            for place, (name, values) in enumerate(outputs.items())
        }
        meter.add(read, things[part])
    return meter.result()


FAMILIES = list(_forms(*_answered(0)[1:]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_form_says_the_same(family, seed):
    things, boxes, scores = _answered(seed)
    options, outputs = _forms(boxes, scores)[family]
    quality = _measured(options, outputs, things)
    plain = _measured({"form": "rows"}, _forms(boxes, scores)["rows"][1], things)
    assert 0.05 < plain.values["mAP"] < plain.values["AP50"] <= 1
    assert quality.values == pytest.approx(plain.values, abs=1e-9)
    assert quality.scores.mean() == pytest.approx(quality.values["mAP"], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_pycocotools_gives(seed):
    pytest.importorskip("pycocotools")
    from ..math import detections  # noqa: TID252 - made detections and COCO's evaluation

    case = detections.made(seed)
    things = [
        np.array([[*_corners(t), t[1], t[-1]] for t in case.things if t[0] == i]).reshape(-1, 6)
        for i in range(detections.IMAGES)
    ]
    found = [
        np.array([[*_corners(t), t[-1], t[1]] for t in case.found if t[0] == i]).reshape(-1, 6)
        for i in range(detections.IMAGES)
    ]
    quality = _measured({"form": "rows", "least_score": 0.001}, {"y": _padded(found, 6)}, things)
    # No box has the score 0, so that padding is all that is left out.
    assert min(t[-1] for t in case.found) > 0.001
    assert tuple(quality.values.values()) == pytest.approx(detections.by_coco(case), abs=1e-9)


def test_scores_are_what_each_image_adds_by_the_jackknife():
    things, boxes, scores = _answered(4)
    _, outputs = _forms(boxes, scores)["rows"]
    quality = _measured({"form": "rows"}, outputs, things)
    whole = quality.values["mAP"]
    without = []
    for place in range(len(things)):
        rest = [i for i in range(len(things)) if i != place]
        part = _measured({"form": "rows"}, {"y": outputs["y"][rest]}, [things[i] for i in rest])
        without.append(part.values["mAP"])
    expected = whole + (len(things) - 1) * (np.mean(without) - np.array(without))
    np.testing.assert_allclose(quality.scores, expected, atol=1e-12)
    alone = _measured({"form": "rows"}, {"y": outputs["y"][:1]}, things[:1])
    assert alone.scores is None


def _corners(thing):
    left, top, width, height = thing[2:6]
    return left, top, left + width, top + height


def test_boxes_of_a_class_that_overlap_are_one():
    box = [10, 10, 50, 50]
    rows = np.array([[[*box, 0.9, 0], [11, 11, 51, 51, 0.8, 0], [*box, 0.7, 1]]], float)
    things = [np.array([[*box, 0, 0], [*box, 1, 0]], float)]
    double = _measured({"form": "rows"}, {"y": rows}, things)
    single = _measured({"form": "rows", "nms": 0.5}, {"y": rows}, things)
    assert double.values["mAP"] == single.values["mAP"] == 1
    two = [np.array([[*box, 0, 0], [11, 11, 51, 51, 0, 0]], float)]
    assert _measured({"form": "rows"}, {"y": rows}, two).values["mAP"] == 1
    assert _measured({"form": "rows", "nms": 0.5}, {"y": rows}, two).values["mAP"] < 0.6


def test_what_is_no_number_is_no_detection():
    things, boxes, scores = _answered(0)
    outputs = _forms(boxes, scores)["rows"][1]["y"]
    broken = np.full_like(outputs, np.nan)
    assert _measured({"form": "rows"}, {"y": broken}, things).values == {"mAP": 0, "AP50": 0}
    dense = {"boxes": np.full((6, 9, 4), np.inf), "scores": np.full((6, 9, 3), 0.5)}
    assert _measured({"form": "dense"}, dense, things).values["mAP"] == 0
    huge = np.full((6, len(CELLS), 8), 1e4)
    assert _measured({"form": "yolox"}, {"y": huge}, things).values["mAP"] == 0
    label = outputs.copy()
    label[..., 5] = 1e300
    assert _measured({"form": "rows"}, {"y": label}, things).values["mAP"] == 0


def test_no_more_than_the_best_of_a_class_count(monkeypatch):
    things = [np.array([[0, 0, 10, 10, 0, 0]], float)]
    rows = np.array([[[40, 40, 50, 50, 0.9, 0], [0, 0, 10, 10, 0.8, 0]]], float)
    assert _measured({"form": "rows"}, {"y": rows}, things).values["mAP"] == 0.5
    monkeypatch.setattr(_detections, "MOST", 1)
    assert _measured({"form": "rows"}, {"y": rows}, things).values["mAP"] == 0
    monkeypatch.setattr(_detections, "MOST_CANDIDATES", 0)
    assert _measured({"form": "rows"}, {"y": rows}, things).values["mAP"] == 0


@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        ({"form": "rows"}, [(6, 4, 7)], r"expected rows of 6 numbers for each image \(form rows, "),
        ({"form": "yolov8"}, [(6, 84, 9)], r"rows of 7 numbers .* 3 classes\), got \(9, 84\); set"),
        ({"form": "yolox"}, [(6, 9, 8)], r"126 boxes of an input of 64 x 96 in strides 8, 16, "),
        ({"form": "dense"}, [(6, 9, 4), (6, 9, 4)], r"expected rows of 3 numbers for each image"),
        ({"form": "dense"}, [(6, 9, 4), (6, 8, 3)], r"as many boxes as scores .* \(9, 4\), \(8, 3"),
        ({}, [(6, 9, 4), (6, 9), (6, 8)], r"a box \(4\), a score and a label for each detection"),
        ({"outputs": [0, 1]}, [(6, 9)], r"expected 3 outputs for the form lists, got 2; correct"),
        ({"form": "rows", "outputs": [2]}, [(6, 9)], r"expected an output below 1, got 2; correct"),
    ],
)
def test_other_forms_of_answers_are_refused(options, shapes, message):
    outputs = {f"y{i}": np.zeros(shape) for i, shape in enumerate(shapes)}
    with pytest.raises(ConfigurationError, match=rf"object-detection: .*{message}"):
        _measured(options, outputs, _things(0))


@pytest.mark.parametrize(
    ("facts", "options", "message"),
    [
        ({"size": [8, 8]}, {}, "expected data whose targets are classes"),
        ({"classes": ["a"]}, {}, "expected data of boxes in images of a known size, got others"),
        (
            {"classes": ["a"], "size": [8, 8]},
            {"labels": "ids"},
            "expected data with an id of each class for the option labels = 'ids', got none",
        ),
    ],
)
def test_other_data_are_refused(facts, options, message):
    task = plugins.create(Task, Spec("object-detection", options))
    with pytest.raises(ConfigurationError, match=message):
        task.meter(ArraySamples({"x": np.zeros((1, 1))}, np.zeros(1), facts))


def test_targets_of_another_form_are_refused():
    outputs = {"y": np.zeros((1, 1, 6))}
    for wrong in (np.zeros((1, 5)), np.array([[0, 0, 1, 1, 3, 0.0]])):
        with pytest.raises(ConfigurationError, match=r"expected boxes \(k, 6\) for each image, wi"):
            _measured({"form": "rows"}, outputs, [wrong])
    with pytest.raises(InferenceError, match=r"expected at least one box to be found, got none"):
        _measured({"form": "rows"}, outputs, [np.zeros((0, 6))])


def _case():
    things, boxes, scores = _answered(3)
    options, outputs = _forms(boxes, scores)["yolov8"]
    return ObjectDetection(**options), _samples(things), outputs


@pytest.mark.parametrize("check", check_task(*_case()), ids=str)
def test_it_keeps_the_contract_of_tasks(check):
    check()


def test_as_many_boxes_as_were_found_need_not_be_of_one_shape():
    """What torchvision exports: as many rows as things were found, for one image at a time."""
    things, boxes, scores = _answered(0)
    outputs = {name: np.empty(len(things), object) for name in ("boxes", "labels", "scores")}
    for place, (some, own) in enumerate(zip(boxes, scores, strict=True)):
        answers = (some, np.array(IDS)[own.argmax(axis=1)], own.max(axis=1))
        for values, answer in zip(outputs.values(), answers, strict=True):
            values[place] = answer
    assert len({len(b) for b in outputs["boxes"]}) > 1
    options, padded = _forms(boxes, scores)["torchvision"]
    quality = _measured(options, outputs, things)
    assert quality.values == _measured(options, padded, things).values
