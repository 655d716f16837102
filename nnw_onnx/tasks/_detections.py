"""From what detectors answer to boxes with a score and a class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le, Len
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.preprocessing import shape_words
from nnw_onnx.math.boxes import Boxes, BoxForm, cornered, suppressed
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Task

Form = Literal["lists", "rows", "dense", "yolox", "yolov5", "yolov8"]

MOST_CANDIDATES = 30_000
"""Boxes of one image that are looked at, the best ones."""

MOST = 100
"""Detections of one image and class that count, as COCO has it."""

_FINISHED = ("lists", "rows")
_USUAL_BOXES: Mapping[Form, BoxForm] = dict.fromkeys(("yolox", "yolov5", "yolov8"), "cxcywh")
_USUAL_OVERLAP = 0.65


class Detections(NamedTuple):
    """Boxes (n, 4) in pixels of the input with a score (n,) and a label (n,) each."""

    boxes: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def at(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
        """Those at some places."""
        return Detections(self.boxes[places], self.scores[places], self.labels[places])


@dataclass(frozen=True)
class Detecting(Task):
    """How the answers of a detector are read: the options of a task about boxes."""

    form: Form = option(
        "lists",
        help="lists: outputs of boxes, scores and labels; rows: box, score and label in a row; "
        "dense: outputs of boxes and of scores of classes; or one of a family as it is exported",
    )
    outputs: Annotated[tuple[Annotated[int, Ge(0)], ...], Len(0, 3)] = option(
        (), help="indices of these outputs in this order; without it, those from 0 on"
    )
    boxes: BoxForm | None = option(
        None, help="numbers of a box; without it cxcywh for a family of YOLO and xyxy for others"
    )
    unit: Literal["pixels", "shares"] = option(
        "pixels", help="of boxes: pixels of the input, or shares of its width and height"
    )
    activation: Literal["none", "sigmoid", "softmax"] = option(
        "none", help="of dense: what makes scores of what the network answers"
    )
    background: Literal["none", "first", "last"] = option(
        "none", help="of dense: the class that is none"
    )
    every_class: bool = option(
        False, help="a box is a detection of each class with a score, not of the best one only"
    )
    labels: Literal["places", "ids"] = option(
        "places", help="of lists and rows: places among the classes, or the data set's own ids"
    )
    first_label: int = option(0, help="of places: label of the first class")
    nms: Annotated[float, Ge(0), Le(1)] | None = option(
        None,
        help="boxes of a class that overlap more are one, 1: none is; without it 0.65, and 1 for "
        "lists and rows",
    )
    least_score: Annotated[float, Ge(0), Le(1)] = option(
        0.001, help="detections below it do not count"
    )
    strides: tuple[Annotated[int, Ge(1)], ...] = option(
        (8, 16, 32), help="of yolox: pixels of a cell, of each grid"
    )

    def detections(
        self, answers: Sequence[Array], size: tuple[int, int], classes: int
    ) -> Detections:
        """The detections of one image, the best first, each class freed of doubles.

        Args:
            answers: to the image, of the outputs that the form has.
            size: (height, width) of the input in pixels.
            classes: their number.

        Raises:
            ConfigurationError: the answers have another form.
        """
        return _Reading(self, size, classes).read(answers)


@dataclass(frozen=True)
class _Reading:
    """The answers to images of one size."""

    task: Detecting
    size: tuple[int, int]
    classes: int

    def read(self, answers: Sequence[Array]) -> Detections:
        task = self.task
        plain = [np.asarray(answer, np.float64) for answer in answers]
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._listed(plain) if task.form in _FINISHED else self._dense(plain)
            boxes = cornered(found.boxes, task.boxes or _USUAL_BOXES.get(task.form, "xyxy"))
            boxes = boxes * (np.tile(self.size[::-1], 2) if task.unit == "shares" else 1.0)
        known = np.isfinite(boxes).all(axis=1) & (found.scores >= task.least_score)
        found = found._replace(boxes=boxes).at(known)
        return self._freed(found.at(np.argsort(-found.scores, kind="stable")[:MOST_CANDIDATES]))

    def _freed(self, found: Detections) -> Detections:
        """Without doubles, and no more than `MOST` of a class."""
        usual = 1.0 if self.task.form in _FINISHED else _USUAL_OVERLAP
        most = usual if self.task.nms is None else self.task.nms
        kept = [np.empty(0, np.int64)]
        for label in np.unique(found.labels):
            places = np.flatnonzero(found.labels == label)
            if most < 1:
                places = places[suppressed(found.boxes[places], found.scores[places], most)]
            kept.append(places[:MOST])
        return found.at(np.sort(np.concatenate(kept)))

    def _listed(self, answers: Sequence[Array]) -> Detections:
        if self.task.form == "rows":
            rows = self._of_width(answers[0], 6)
            return Detections(rows[:, :4], rows[:, 4], _whole(rows[:, 5]))
        boxes, scores, labels = answers
        boxes, scores, labels = self._of_width(boxes, 4), scores.ravel(), labels.ravel()
        if not len(boxes) == len(scores) == len(labels):
            raise self._wrong(
                "a box (4), a score and a label for each detection",
                " and ".join(shape_words(a.shape) for a in answers),
            )
        return Detections(boxes, scores, _whole(labels))

    def _dense(self, answers: Sequence[Array]) -> Detections:
        two = self.task.form == "dense"
        boxes, scores = self._two(answers) if two else self._joined(answers[0])
        if self.task.every_class:
            places, labels = np.nonzero(scores >= self.task.least_score)
            return Detections(boxes[places], scores[places, labels], labels)
        labels = scores.argmax(axis=1)  # of NaN too, whose box is no detection
        return Detections(boxes, scores[np.arange(len(scores)), labels], labels)

    def _two(self, answers: Sequence[Array]) -> tuple[Boxes, NDArray[np.float64]]:
        boxes, scores = answers
        wanted = self.classes + (self.task.background != "none")
        boxes, scores = self._of_width(boxes, 4), self._of_width(scores, wanted)
        if len(boxes) != len(scores):
            raise self._wrong(
                "as many boxes as scores",
                f"{shape_words(boxes.shape)}, {shape_words(scores.shape)}",
            )
        scores = _activated(scores, self.task.activation)
        if self.task.background == "first":
            scores = scores[:, 1:]
        return boxes, scores[:, : self.classes]

    def _joined(self, answer: Array) -> tuple[Boxes, NDArray[np.float64]]:
        if self.task.form == "yolov8":
            rows = self._of_width(answer.T, 4 + self.classes)
            return rows[:, :4], rows[:, 4:]
        rows = self._of_width(answer, 5 + self.classes)
        boxes = self._gridded(rows[:, :4]) if self.task.form == "yolox" else rows[:, :4]
        return boxes, rows[:, 4:5] * rows[:, 5:]

    def _gridded(self, raw: Boxes) -> Boxes:
        """Boxes of YOLOX: places within a cell and logarithms of sizes, both in cells."""
        height, width = self.size
        cells, strides = [], []
        for stride in self.task.strides:
            rows, columns = np.mgrid[: height // stride, : width // stride]
            cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
            strides.append(np.full((len(cells[-1]), 1), float(stride)))
        cell, steps = np.concatenate(cells), np.concatenate(strides)
        if len(cell) != len(raw):
            raise self._wrong(
                f"{len(cell)} boxes of an input of {height} x {width} in strides "
                f"{', '.join(map(str, self.task.strides))}",
                f"{len(raw)}",
            )
        return np.concatenate([(raw[:, :2] + cell) * steps, np.exp(raw[:, 2:]) * steps], axis=1)

    def _of_width(self, answer: Array, width: int) -> Array:
        """Rows of so many numbers."""
        if answer.size % width or answer.ndim not in (1, 2) or answer.shape[-1] != width:
            raise self._wrong(f"rows of {width} numbers", f"{shape_words(answer.shape)}")
        return answer.reshape(-1, width)

    def _wrong(self, expected: str, got: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.task.name}: expected {expected} for each image (form {self.task.form}, "
            f"{self.classes} classes), got {got}; set form, outputs and background, or choose the "
            "data set whose classes the network was made for"
        )


def _whole(labels: Array) -> NDArray[np.int64]:
    """Labels as whole numbers; -1 for what is none."""
    known = np.isfinite(labels) & (np.abs(labels) < 2**31)
    return np.where(known, np.rint(np.where(known, labels, -1)), -1).astype(np.int64)


def _activated(scores: Array, activation: str) -> Array:
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if activation == "sigmoid":
        from scipy.special import expit

        return np.asarray(expit(scores))
    return scores
