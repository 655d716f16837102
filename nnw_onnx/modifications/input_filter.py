"""Mean and median filters on what the network is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.kit import shown
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Feeds, InputModification, Parameter, Scale


@dataclass(frozen=True)
class InputFilter(InputModification):
    """Each pixel or place becomes the mean or median of those around it.

    The median is of feature squeezing (Xu, Evans, Qi, NDSS 2018). The preprocessing of the data set
    is undone before and done again after it; channels stay apart, and what lies beyond a border is
    the mirror image.
    """

    name: ClassVar[str] = "input-filter"
    title = "filtering of the inputs"
    summary: ClassVar[str] = "each pixel the mean or median of those around it"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "K", "pixels along a side of what is looked at", "pixels", option="size"
    )

    size: Annotated[int, Ge(2), Le(999)] = option(
        help="K: pixels or places along a side of what is looked at, such as 3"
    )
    rule: Literal["mean", "median"] = option("median", help="what a pixel becomes")

    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The sample with its first input filtered; nothing is random.

        Raises:
            NotApplicableError: the first input is no image or signal.
        """
        from scipy.ndimage import median_filter, uniform_filter

        known = shown.of_signals(scale, self.name)

        def filtered(signal: shown.Signal) -> Array:
            sides = [max(1, int(n)) for n in shown.by_axis(known, signal, self.size)]
            rule = uniform_filter if self.rule == "mean" else median_filter
            return np.asarray(rule(signal, size=sides, mode="reflect"))

        return shown.with_signal(sample, known, filtered)
