"""Fewer values that a pixel can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.kit import shown
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Feeds, InputModification, Parameter, Scale


@dataclass(frozen=True)
class InputSqueezing(InputModification):
    """Each pixel or place is rounded to one of N values from 0 to 1 before the network sees it.

    The bit depths of feature squeezing (Xu, Evans, Qi, NDSS 2018): b bits are 2^b values. The
    preprocessing of the data set is undone before and done again after it.
    """

    name: ClassVar[str] = "input-squeezing"
    title = "squeezing of the inputs"
    summary: ClassVar[str] = "inputs rounded to a few values"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "N", "values that a pixel can have", "levels", stronger="down", option="levels"
    )

    levels: Annotated[int, Ge(2), Le(1 << 16)] = option(
        help="N: values that a pixel can have, such as 16, which is 4 bits"
    )

    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The sample with its first input rounded; nothing is random.

        Raises:
            NotApplicableError: the first input is no image or signal.
        """
        return shown.with_signal(sample, shown.of_signals(scale, self.name), self._rounded)

    def _rounded(self, signal: shown.Signal) -> Array:
        steps = np.float32(self.levels - 1)
        rounded: Array = np.rint(np.clip(signal, 0, 1) * steps) / steps
        return rounded
