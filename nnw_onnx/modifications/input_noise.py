"""Gaussian noise on what the network is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.kit import shown
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Family, Feeds, InputModification, Parameter, Scale


@dataclass(frozen=True)
class InputNoise(InputModification):
    """Each image or signal gets N(0, S^2) before the network sees it, S relative to its range.

    The preprocessing of the data set is undone before and done again after it; the noisy signal is
    clipped to the range.
    """

    name: ClassVar[str] = "input-noise"
    title = "noise on the inputs"
    summary: ClassVar[str] = "Gaussian noise on the inputs"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "S", "standard deviation of the noise / range of the inputs", "x range"
    )

    intensity: Annotated[float, Ge(0), Le(10)] = option(
        help="S: standard deviation of the noise / range of the inputs, such as 0.05"
    )

    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The sample with noise on its first input.

        Raises:
            NotApplicableError: the first input is no image or signal.
        """
        return shown.with_signal(
            sample,
            shown.of_signals(scale, self.name),
            lambda signal: np.clip(signal + rng.normal(0, self.intensity, signal.shape), 0, 1),
        )
