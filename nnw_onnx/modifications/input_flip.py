"""Mirrored images at the query: a network that has learnt them answers the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnw_onnx.kit import shown
from nnw_onnx.vocabulary import Family, Feeds, InputModification, Scale


@dataclass(frozen=True)
class InputFlip(InputModification):
    """Each image is mirrored, left and right changing places, before the network sees it."""

    name: ClassVar[str] = "input-flip"
    title = "mirroring of the inputs"
    summary: ClassVar[str] = "input images mirrored"
    family: ClassVar[Family] = "removal"

    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The sample with its image, which is the first input, mirrored; nothing is random.

        Raises:
            NotApplicableError: the first input is no image.
        """
        known = shown.of_images(scale, self.name)
        return shown.with_signal(sample, known, lambda image: image[:, ::-1])
