"""Gaussian smoothing of what the network is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le

from nnw_onnx.kit import shown
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Feeds, InputModification, Parameter, Scale


@dataclass(frozen=True)
class InputSmoothing(InputModification):
    """Each image or signal is smoothed by a Gaussian before the network sees it.

    The preprocessing of the data set is undone before and done again after it; channels stay apart,
    and what lies beyond a border is the mirror image.
    """

    name: ClassVar[str] = "input-smoothing"
    title = "smoothing of the inputs"
    summary: ClassVar[str] = "inputs smoothed by a Gaussian"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "S", "standard deviation of the Gaussian", "pixels", option="deviation"
    )

    deviation: Annotated[float, Gt(0), Le(1000)] = option(
        help="S: standard deviation of the Gaussian in pixels or places, such as 0.5"
    )

    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The sample with its first input smoothed; nothing is random.

        Raises:
            NotApplicableError: the first input is no image or signal.
        """
        from scipy.ndimage import gaussian_filter

        known = shown.of_signals(scale, self.name)

        def smoothed(signal: shown.Signal) -> Array:
            spread = shown.by_axis(known, signal, self.deviation)
            return np.asarray(gaussian_filter(signal, spread, mode="reflect"))

        return shown.with_signal(sample, known, smoothed)
