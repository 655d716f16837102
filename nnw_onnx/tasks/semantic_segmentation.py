"""Task `semantic-segmentation`: one class for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.meters import answers_to, classes_of
from nnw_onnx.kit.preprocessing import resized
from nnw_onnx.math.jackknife import mean_of_known, pseudo_values
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Loss,
    Measure,
    Meter,
    Quality,
    Samples,
    Targets,
    Task,
    Values,
)


@dataclass(frozen=True)
class SemanticSegmentation(Task):
    """Mean IoU, the share of right pixels, and the mean of that share over the classes.

    IoU of a class is TP/(TP+FP+FN) over all pixels of all images together; it is averaged without
    weights over the classes that occur in the targets, so that one stray pixel of another class
    does not change what is averaged. It is no mean over samples; its scores are those of the
    jackknife. A collapsed network loses most of it, which is why it needs no guard.
    """

    name: ClassVar[str] = "semantic-segmentation"
    summary: ClassVar[str] = "mean IoU, pixel accuracy, mean class accuracy; one class a pixel"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("mean IoU", "%", low=0, high=1),
        Measure("pixel accuracy", "%", low=0, high=1),
        Measure("mean class accuracy", "%", low=0, high=1),
    )
    loss: ClassVar[Loss | None] = "cross-entropy"

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the classes")
    layout: Literal["auto", "NCHW", "NHWC"] = option(
        "auto", help="where the scores of classes are; auto: on the axis that has their number"
    )
    threshold: float | None = option(
        None, help="of one value a pixel: above it the class is 1, else 0"
    )

    def reads(self) -> tuple[int, ...]:
        """The one output."""
        return (self.output,)

    def meter(self, samples: Samples) -> Meter:
        """A new meter; raises `ConfigurationError` where the samples have no classes."""
        return _PixelMeter(self, classes_of(self.name, samples))


class _PixelMeter:
    """Counts pixels of each class in each image: answered rightly, of the class, answered."""

    def __init__(self, task: SemanticSegmentation, classes: int) -> None:
        self._task, self._classes = task, classes
        self._counts: list[NDArray[np.int64]] = []

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take answers; pixels whose target is negative do not count."""
        answers = answers_to(self._task.name, outputs, self._task.output, targets)
        for answer, target in zip(answers, targets, strict=True):
            self._count(self._map(answer, target.shape), np.asarray(target, np.int64))

    def _count(self, answer: NDArray[np.int64], target: NDArray[np.int64]) -> None:
        if target.max(initial=0) >= self._classes:
            raise ConfigurationError(
                f"{self._task.name}: expected targets below {self._classes}, got {target.max()}; "
                "set the number of classes of the data set, or the value that it ignores"
            )
        counted = target >= 0
        told, wanted = answer[counted], target[counted]
        known = told[(told >= 0) & (told < self._classes)]
        of = (wanted[told == wanted], wanted, known)
        self._counts.append(np.stack([np.bincount(x, minlength=self._classes) for x in of]))

    def result(self) -> Quality:
        """Mean IoU first; chance is that of whoever answers the commonest class everywhere."""
        whole = np.sum(self._counts or [np.zeros((3, self._classes), np.int64)], axis=0)
        right, true, _ = whole
        if not true.any():
            raise InferenceError(
                f"{self._task.name}: expected at least one pixel with a class, got none; check "
                "the masks"
            )
        present = true > 0
        shares = right[present] / true[present]
        (mean,) = _mean_overlaps(whole[np.newaxis])
        values = (mean, right.sum() / true.sum(), shares.mean())
        named = {m.name: float(v) for m, v in zip(self._task.measures, values, strict=True)}
        scores = pseudo_values(float(mean), _mean_overlaps(whole - np.array(self._counts)))
        return Quality(named, scores, chance=float(true.max() / true.sum() / present.sum()))

    def _map(self, answer: Array, size: tuple[int, ...]) -> NDArray[np.int64]:
        """Class of each pixel (height, width) of one answer; -1 where a score is no number."""
        plain = answer.reshape([s for i, s in enumerate(answer.shape) if i not in _spare(answer)])
        if plain.ndim == 2 and plain.dtype.kind in "iub":
            return _enlarged(plain, size)
        if plain.ndim == 2 and self._task.threshold is not None:
            values = _sized(plain[..., np.newaxis], size)[..., 0]
            return np.where(np.isnan(values), -1, values > self._task.threshold).astype(np.int64)
        scores = _sized(self._channels_last(answer), size)
        return np.where(np.isnan(scores).any(axis=2), -1, scores.argmax(axis=2)).astype(np.int64)

    def _channels_last(self, answer: Array) -> Array:
        places = {"NCHW": (0,), "NHWC": (2,), "auto": (0, 2)}[self._task.layout]
        for axis in places if answer.ndim == 3 else ():
            if answer.shape[axis] == self._classes > 1:
                return np.moveaxis(answer, axis, 2)
        raise ConfigurationError(
            f"{self._task.name}: expected scores of {self._classes} classes for each pixel "
            f"(layout {self._task.layout}) or a map of integer classes, got {answer.dtype} "
            f"{answer.shape} for an image; set output, layout or threshold, or choose the data "
            "set whose classes the network was made for"
        )


def _mean_overlaps(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean IoU (n,) of counts (n, 3, classes); NaN where no class occurs in the targets."""
    right, true, told = counts.transpose(1, 2, 0)
    union = np.where(true > 0, true + told - right, 1)
    return mean_of_known(np.where(true > 0, right / union, np.nan))


def _spare(answer: Array) -> tuple[int, ...]:
    """Axes of size 1 around the two of an image."""
    if answer.ndim != 3:
        return ()
    return (0,) if answer.shape[0] == 1 else (2,) if answer.shape[2] == 1 else ()


def _sized(scores: Array, size: tuple[int, ...]) -> Array:
    """Scores (height, width, classes) at the size of the target, bilinear as is usual."""
    if scores.shape[:2] == size:
        return scores
    whole: Array = resized(scores[np.newaxis], (size[0], size[1]))
    return np.asarray(whole[0])


def _enlarged(classes: Array, size: tuple[int, ...]) -> NDArray[np.int64]:
    """A map of classes at the size of the target: the nearest of each pixel."""
    if classes.shape == size:
        return classes.astype(np.int64)
    rows, columns = (
        (np.arange(wanted) * 2 + 1) * have // (2 * wanted)
        for wanted, have in zip(size, classes.shape, strict=True)
    )
    nearest: NDArray[np.int64] = classes.astype(np.int64)[np.ix_(rows, columns)]
    return nearest
