"""Inputs stretched, shifted and mirrored at random: memorised inputs are not met again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit.spatial import Form, moved
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Family, Feeds, InputModification, Parameter, Scale


@dataclass(frozen=True)
class RandomResizing(InputModification):
    """Each image is stretched and shifted at random before the network sees it.

    A network that knows triggers by heart knows them where they were; what it has learnt of its
    task bears such changes. Nothing is trained, and no data are needed. Mirroring changes what
    digits and letters are, so it is off by default.
    """

    name: ClassVar[str] = "random-resizing"
    title = "random resizing of the inputs"
    summary: ClassVar[str] = "input images stretched, shifted and, if asked, mirrored at random"
    family: ClassVar[Family] = "adaptive"
    parameter: ClassVar[Parameter] = Parameter(
        "R", "largest stretch, and twice the largest shift / size of the image", "x size",
        option="reach",
    )  # fmt: skip

    reach: Annotated[float, Ge(0), Le(0.9)] = option(
        0.15, help="R: stretched by 1 - R to 1 + R, and shifted by at most R / 2 of the size"
    )
    mirror: bool = option(False, help="whether every other image is mirrored")

    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The sample with its first input changed.

        Raises:
            NotApplicableError: the first input is no image.
        """
        name, feed = next(iter(sample.items()))
        form = Form(scale, feed.shape)
        images = form.images(feed[np.newaxis])
        if images is None:
            raise NotApplicableError(
                "random-resizing: expected images, got inputs of shape "
                f"{feed.shape}; leave it out for these data"
            )
        changed = moved(images[0], self.reach, rng, mirror=self.mirror)
        return {**sample, name: form.feed(changed[np.newaxis])[0].astype(feed.dtype, copy=False)}
