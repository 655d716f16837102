"""Task `object-detection`: boxes around the things of an image, with a class each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.meters import answers_to, classes_of
from nnw_onnx.math.average_precision import Matches, average_precision, matches
from nnw_onnx.math.boxes import overlaps
from nnw_onnx.math.jackknife import mean_of_known, pseudo_values
from nnw_onnx.math.precision_without import precision_without
from nnw_onnx.tasks._detections import Detecting, Detections
from nnw_onnx.vocabulary import Array, Measure, Meter, Quality, Samples, Targets, Values

TARGET_WIDTH = 6
"""Numbers of a target: left, top, right, bottom in pixels of the input, class, 1 for a crowd."""

_OUTPUTS = {"lists": 3, "dense": 2}


@dataclass(frozen=True)
class ObjectDetection(Detecting):
    """Mean average precision as COCO defines it, and that at an overlap of one half.

    mAP is the mean over overlaps from 0.50 to 0.95 and over the classes that occur in the targets,
    of precision read at 101 levels of recall; of an image at most 100 detections of a class count,
    and crowds are ignored. It is no mean over images; its scores are those of the jackknife. An
    answer that is no number is no detection. Targets are (k, 6) for each image, see `TARGET_WIDTH`;
    the samples' fact "size" is (height, width) of the input.
    """

    name: ClassVar[str] = "object-detection"
    summary: ClassVar[str] = "mean average precision of boxes (COCO's mAP), and AP50"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("mAP", "%", low=0, high=1, chance=0.0),
        Measure("AP50", "%", low=0, high=1, chance=0.0),
    )

    def reads(self) -> tuple[int, ...]:
        """The outputs of the form."""
        count = _OUTPUTS.get(self.form, 1)
        return self.outputs or tuple(range(count))

    def meter(self, samples: Samples) -> Meter:
        """A new meter.

        Raises:
            ConfigurationError: the samples have no classes or no size, or outputs are of another
                number than the form has.
        """
        count = _OUTPUTS.get(self.form, 1)
        if len(self.reads()) != count:
            raise ConfigurationError(
                f"{self.name}: expected {count} outputs for the form {self.form}, got "
                f"{len(self.outputs)}; correct the option outputs"
            )
        return _BoxMeter(self, samples)


class _Whole(NamedTuple):
    """Detections of one class, the image of each, and the things to be found in each image."""

    found: Matches
    image: NDArray[np.int64]
    things: NDArray[np.int64]


class _BoxMeter:
    """Matches the detections of each image at once, and keeps what became of them."""

    def __init__(self, task: ObjectDetection, samples: Samples) -> None:
        self._task, self._classes = task, classes_of(task.name, samples)
        self._labels = _labels(task, samples, self._classes)
        self._size = _size(task.name, samples)
        # Class -> the images with something of it: number, detections, things to be found.
        self._found: defaultdict[int, list[tuple[int, Matches, int]]] = defaultdict(list)
        self._images = 0

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take answers; what is right are boxes (k, 6) of each image."""
        name, wanted = self._task.name, self._task.reads()
        every = [answers_to(name, outputs, i, targets, apart=True) for i in wanted]
        for *answers, things in zip(*every, targets, strict=True):
            found = self._task.detections(answers, self._size, self._classes)
            self._judge(self._named(found), self._checked(things))
            self._images += 1

    def result(self) -> Quality:
        """MAP first, with the pseudo-values of each image."""
        found = [whole for parts in self._found.values() if (whole := self._whole(parts))]
        if not found:
            raise InferenceError(
                f"{self._task.name}: expected at least one box to be found, got none; add data"
            )
        each = np.array([average_precision(w.found, int(w.things.sum())) for w in found])
        values = {"mAP": float(each.mean()), "AP50": float(each[:, 0].mean())}
        without = np.array([precision_without(*whole) for whole in found])
        return Quality(values, pseudo_values(values["mAP"], mean_of_known(without)))

    def _whole(self, parts: Sequence[tuple[int, Matches, int]]) -> _Whole | None:
        """One class in all images; None where there is nothing to be found of it."""
        things = np.zeros(self._images, np.int64)
        for number, _, count in parts:
            things[number] += count
        if not things.any():
            return None
        found = [judged for _, judged, _ in parts]
        each = [len(judged.scores) for judged in found]
        image = np.repeat(np.array([i for i, _, _ in parts], np.int64), each)
        joined = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
        return _Whole(Matches(*joined), image, things)

    def _named(self, found: Detections) -> Detections:
        """With the place of its class as the label; those of no class are none."""
        if self._labels is None:
            return found
        places = np.array([self._labels.get(int(label), -1) for label in found.labels], np.int64)
        return found._replace(labels=places).at(places >= 0)

    def _checked(self, things: Array) -> Array:
        wanted = np.asarray(things, np.float64)
        known = wanted.ndim == 2 and wanted.shape[1] == TARGET_WIDTH
        if not known or not (np.isin(wanted[:, 4], np.arange(self._classes)).all()):
            raise ConfigurationError(
                f"{self._task.name}: expected boxes (k, {TARGET_WIDTH}) for each image, with a "
                f"class below {self._classes}, got {wanted.shape}; choose another task or data set"
            )
        return wanted

    def _judge(self, found: Detections, things: Array) -> None:
        for label in np.union1d(found.labels, things[:, 4].astype(np.int64)):
            own, those = found.at(found.labels == label), things[things[:, 4] == label]
            those = those[np.argsort(those[:, 5], kind="stable")]
            crowd = those[:, 5] > 0
            overlap = overlaps(own.boxes, those[:, :4], crowd)
            judged = matches(own.scores, overlap, crowd)
            self._found[int(label)].append((self._images, judged, int((~crowd).sum())))


def _labels(task: ObjectDetection, samples: Samples, classes: int) -> dict[int, int] | None:
    """Label -> place of the class; None where they are the same."""
    if task.form not in ("lists", "rows"):
        return None
    if task.labels == "places":
        return {task.first_label + place: place for place in range(classes)}
    ids = samples.facts.get("ids")
    if not isinstance(ids, Sequence) or isinstance(ids, str):
        raise ConfigurationError(
            f"{task.name}: expected data with an id of each class for the option labels = 'ids', "
            "got none; use labels = 'places'"
        )
    return {int(i): place for place, i in enumerate(ids) if isinstance(i, int)}


def _size(task: str, samples: Samples) -> tuple[int, int]:
    match samples.facts.get("size"):
        case [int() as height, int() as width]:
            return height, width
    raise ConfigurationError(
        f"{task}: expected data of boxes in images of a known size, got others; choose another "
        "task or data set"
    )
