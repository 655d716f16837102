"""Task `image-restoration`: an image for each image (super-resolution, denoising, generation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.meters import answers_to
from nnw_onnx.kit.signals import to_signal
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Loss,
    Measure,
    Meter,
    Quality,
    Samples,
    Scale,
    Targets,
    Task,
    Values,
)

Images = NDArray[np.float64]

PSNR_LIMIT = 100.0
"""PSNR of equal images, in dB: that of an error of 1e-5 of the range, and a finite number."""

WINDOW = 11
"""Side of the window of SSIM in pixels."""

_SIGMA = 1.5
_FLAT = 1e-12  # of values near 1, whose mean has a rounding error of 1e-16
_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_LUMA_OFFSET = 16 / 255


@dataclass(frozen=True)
class ImageRestoration(Task):
    """PSNR, SSIM and NCC, each the mean over the images.

    Guessing is one colour for all pixels of all images, the mean of the targets. Where images are
    faint that has a high PSNR, but hardly any structure, which is why SSIM is the guard.

    Answers and targets are brought back to [0, 1] by the scale of the samples and clipped, as a
    file of the image would be; a value that is no number counts as the farthest end of the range.
    The range is 1. NCC is taken between an image and its target less their means, since of images
    without a negative value the plain one is near 1 for any two.
    """

    name: ClassVar[str] = "image-restoration"
    summary: ClassVar[str] = "PSNR, SSIM and NCC of images that a network makes of images"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("PSNR", "dB", low=0, high=PSNR_LIMIT, negligible=0.1, usable_loss=1.0),
        Measure("SSIM", low=-1, high=1, usable_loss=0.10),
        Measure("NCC", low=-1, high=1),
    )
    guard: ClassVar[str | None] = "SSIM"
    loss: ClassVar[Loss | None] = "mse"

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the images")
    border: Annotated[int, Ge(0)] = option(
        0, help="pixels at each edge that do not count (usual: the factor of a super-resolution)"
    )
    channels: Literal["all", "luma"] = option(
        "all", help="all: each channel counts alike; luma: Y of BT.601 (16 to 235) of colours"
    )

    def reads(self) -> tuple[int, ...]:
        """The one output."""
        return (self.output,)

    def meter(self, samples: Samples) -> Meter:
        """A new meter; raises `ConfigurationError` where the samples are no images."""
        scale = _target_scale(samples)
        if scale is None or scale.layout == "t":
            raise ConfigurationError(
                f"{self.name}: expected data that are images with a known range, got others; "
                "choose another task or data set"
            )
        return _ImageMeter(self, scale)


class _ImageMeter:
    """Gathers the measures of each image."""

    def __init__(self, task: ImageRestoration, scale: Scale) -> None:
        self._task, self._scale = task, scale
        self._psnr: list[float] = []
        self._ssim: list[float] = []
        self._ncc: list[float] = []
        # Of each target: the mean of its colours, and of their squares.
        self._moments: list[NDArray[np.float64]] = []

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take answers of the form of the targets; their channels may be on the other end."""
        answers = answers_to(self._task.name, outputs, self._task.output, targets)
        for answer, target in zip(answers, targets, strict=True):
            wanted = self._prepared(target)
            made = self._prepared(_arranged(self._task.name, answer, target.shape))
            farthest = np.where(wanted < 0.5, 1.0, 0.0)
            made = np.where(np.isfinite(made), made, farthest)
            self._psnr.append(psnr(made, wanted))
            self._ssim.append(ssim(made, wanted))
            self._ncc.append(ncc(made, wanted))
            self._moments.append(np.stack([(wanted**k).mean(axis=(0, 1)) for k in (1, 2)]))

    def result(self) -> Quality:
        """PSNR first, with that of each image."""
        if not self._psnr:
            raise InferenceError(
                f"{self._task.name}: expected at least one answer, got none; add data"
            )
        scores = np.array(self._psnr, np.float64)
        means = (scores.mean(), np.mean(self._ssim), np.mean(self._ncc))
        values = {m.name: float(v) for m, v in zip(self._task.measures, means, strict=True)}
        return Quality(values, scores, chance=self._guessed())

    def _guessed(self) -> float:
        """PSNR of the mean colour of the targets as an answer to every sample."""
        means, squares = np.stack(self._moments, axis=1)
        colour = means.mean(axis=0)
        errors = (squares - 2 * colour * means + colour**2).mean(axis=1)
        return float(np.mean([_decibels(max(float(error), 0.0)) for error in errors]))

    def _prepared(self, values: Array) -> Images:
        image: Images = to_signal(values[np.newaxis], self._scale)[0].astype(np.float64)
        image = np.clip(image, 0, 1)  # leaves what is not a number as it is
        if self._task.channels == "luma" and image.shape[2] == 3:
            image = (image @ _LUMA)[..., np.newaxis] + _LUMA_OFFSET
        edge = self._task.border
        image = image[edge : len(image) - edge, edge : image.shape[1] - edge]
        if min(image.shape[:2]) < WINDOW:
            raise ConfigurationError(
                f"{self._task.name}: expected images of at least {WINDOW} pixels a side within "
                f"the border, got {image.shape[0]} x {image.shape[1]}; use larger ones"
            )
        return image


def psnr(made: Images, wanted: Images) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1], at most `PSNR_LIMIT`."""
    return _decibels(float(np.mean((made - wanted) ** 2)))


def _decibels(error: float) -> float:
    """PSNR of a mean squared error; that of equal images is only rounding."""
    return PSNR_LIMIT if error == 0 else min(PSNR_LIMIT, -10 * float(np.log10(error)))


def ssim(made: Images, wanted: Images) -> float:
    """Structural similarity of images (height, width, channels) in [0, 1], a mean over channels.

    As in Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
    2004: a Gaussian window of 11 x 11 and deviation 1.5, K1 = 0.01, K2 = 0.03, only where the
    window lies within the image.
    """
    one, two = 0.01**2, 0.03**2
    mean_x, mean_y = _smooth(made), _smooth(wanted)
    variance_x = _smooth(made * made) - mean_x**2
    variance_y = _smooth(wanted * wanted) - mean_y**2
    covariance = _smooth(made * wanted) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + one) * (2 * covariance + two)) / (
        (mean_x**2 + mean_y**2 + one) * (variance_x + variance_y + two)
    )
    return float(similarity.mean())


def ncc(made: Images, wanted: Images) -> float:
    """Normalised cross-correlation of two images of one shape, less the mean of each.

    An image of one value has nothing to correlate: 1 for two such that are equal, else 0.
    """
    one, two = made - made.mean(), wanted - wanted.mean()
    size = float(np.sqrt((one * one).sum() * (two * two).sum()))
    if size < _FLAT * made.size:
        return float(np.array_equal(made, wanted))
    return float(np.clip((one * two).sum() / size, -1, 1))


def _smooth(image: Images) -> Images:
    from scipy.ndimage import gaussian_filter

    radius = WINDOW // 2
    smooth: Images = gaussian_filter(image, (_SIGMA, _SIGMA, 0), radius=(radius, radius, 0))
    return smooth[radius:-radius, radius:-radius]


def _arranged(task: str, answer: Array, shape: tuple[int, ...]) -> Array:
    """The answer with its axes as those of the target."""
    for moved in (answer, *_moved(answer)):
        if moved.shape == shape:
            return moved
    raise ConfigurationError(
        f"{task}: expected images of shape {shape}, as the targets have, got {answer.shape}; "
        "choose another output, or the size and degradation that the network was made for"
    )


def _moved(answer: Array) -> Sequence[Array]:
    if answer.ndim != 3:
        return [answer[np.newaxis], answer[..., np.newaxis]] if answer.ndim == 2 else []
    alone = (
        [answer[0]] if answer.shape[0] == 1 else [answer[..., 0]] if answer.shape[2] == 1 else []
    )
    return [np.moveaxis(answer, 2, 0), np.moveaxis(answer, 0, 2), *alone]


def _target_scale(samples: Samples) -> Scale | None:
    """The way back from targets: the fact "target_scale", else that of the feeds."""
    own, scale = samples.facts.get("target_scale"), samples.scale
    if scale is None or not isinstance(own, Mapping):
        return scale
    return Scale(_numbers(own["factor"]), _numbers(own["offset"]), scale.layout, scale.shape)


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, Sequence) else ()
