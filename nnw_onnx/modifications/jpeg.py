"""JPEG compression of what the network is shown."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray
from PIL import Image

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit.shown import with_signal
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Feeds, InputModification, Parameter, Scale


@dataclass(frozen=True)
class Jpeg(InputModification):
    """Each image is compressed as JPEG and decompressed before the network sees it.

    The preprocessing of the data set is undone before, with values rounded to 8 bits, and done
    again after it. Images of one and of three channels; of three the colours are subsampled as
    usual.
    """

    name: ClassVar[str] = "jpeg"
    title = "JPEG of the inputs"
    summary: ClassVar[str] = "input images compressed as JPEG"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "Q", "quality of the JPEG", "", stronger="down", option="quality"
    )

    quality: Annotated[int, Ge(1), Le(95)] = option(
        help="Q: quality of the JPEG, 1 (smallest files) to 95"
    )

    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The sample with its image, which is the first input, compressed; nothing is random.

        Raises:
            NotApplicableError: the first input is no image of one or three channels.
        """
        if scale is None or scale.layout == "t":
            raise _refused("inputs that are no images, or whose preprocessing cannot be undone")
        return with_signal(sample, scale, self._compressed)

    def _compressed(self, pixels: Array) -> NDArray[np.float32]:
        """The image (height, width, channels) in [0, 1] as it comes out of a JPEG."""
        channels = pixels.shape[-1]
        if channels not in (1, 3):
            raise _refused(f"images of {channels}")
        whole = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(whole[..., 0] if channels == 1 else whole).save(
            stream, "JPEG", quality=self.quality
        )
        decoded = np.asarray(Image.open(stream), np.float32) / np.float32(255)
        return decoded.reshape(pixels.shape)


def _refused(got: str) -> NotApplicableError:
    return NotApplicableError(
        f"jpeg: expected images of one or three channels, got {got}; leave it out for these data"
    )
