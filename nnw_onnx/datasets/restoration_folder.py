"""Data set `restoration-folder`: clean images, and what a network is to restore them from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.datasets._folders import TEST_FOLDER_HELP, in_split, inside, pair_key
from nnw_onnx.datasets._samples import (
    LIMIT_HELP,
    LINKS_HELP,
    PREPROCESSING_HELP,
    WHITE_HELP,
    mapped,
)
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit import keystream
from nnw_onnx.kit.images import Form, decoded_images, is_image
from nnw_onnx.kit.preprocessing import MAX_SIDE, Preprocessing
from nnw_onnx.kit.samples import ImagePairs, evenly
from nnw_onnx.kit.sources import Source, open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

Side = Annotated[int, Ge(1), Le(MAX_SIDE)]


@dataclass(frozen=True)
class RestorationFolder(Dataset):
    """Clean images of a folder `train` or `test`, and degraded ones derived from them or beside.

    With `degraded`, the folder of that name holds an image of the same name for each clean one.
    Otherwise each clean image is made smaller by `downscale` (bicubic, antialiased, 8 bits, after
    its edge is cut to a multiple) and gets Gaussian noise of `noise` levels (8 bits, clipped),
    which follows from `noise_seed` and the name of the file alone.
    """

    name: ClassVar[str] = "restoration-folder"
    summary: ClassVar[str] = "clean images, made smaller or noisy, or pairs: a folder, tar or zip"

    path: Path = option(help="folder, .tar, .tar.gz, .tgz or .zip file")
    clean: str = option(
        "", help="name of the folder of clean images, or a pattern with *; without it, all are"
    )
    degraded: str = option("", help="name of the folder of degraded images, for pairs of files")
    clean_ending: str = option(
        "", help="what names of clean images end with and degraded ones' do not, before the suffix"
    )
    degraded_ending: str = option("", help="likewise; files without it are no degraded images")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of images that lie in no train or test folder"
    )
    downscale: Annotated[int, Ge(1), Le(16)] = option(1, help="factor of a super-resolution")
    noise: Annotated[float, Ge(0), Le(255)] = option(
        0.0, help="standard deviation of added noise, in levels of 255"
    )
    noise_seed: int = option(0, help="of that noise")
    test_folder: str = option("", help=TEST_FOLDER_HELP)
    size: tuple[Side, Side] | None = option(
        None, help="(height, width) that clean images are brought to; needed where sizes differ"
    )
    crop: tuple[Side, Side] | None = option(
        None, help="(height, width) of the middle of each clean image that is used"
    )
    white: Annotated[float, Gt(0)] | None = option(None, help=WHITE_HELP)
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)
    target_preprocessing: Preprocessing | None = option(
        None, help="of the clean images, where networks answer in other numbers than they are fed"
    )

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", ordered by name; targets are images.

        Raises:
            DatasetError: files are missing, broken or hostile, an image has no partner, or another
                split.
        """
        check_split(self.name, split)
        source = open_source(self.path, follow_links=self.follow_links)
        images = [n for n in source.names if is_image(n)]
        found = in_split(str(source.place), images, split, self.only_split, self.test_folder)
        clean = [n for n in found if not self.clean or inside(n, self.clean, self.clean_ending)]
        if self.degraded:
            clean = [n for n in clean if not inside(n, self.degraded)]
        names = [clean[i] for i in evenly(len(clean), self.limit)]
        wanted = decoded_images(source, names, Form(self.size, self.white, crop=self.crop))
        low = self._paired(source, found, names) if self.degraded else self._degraded(wanted, names)
        if not self.degraded:
            wanted = wanted[:, : low.shape[1] * self.downscale, : low.shape[2] * self.downscale]
        return ImagePairs(
            mapped(low),
            mapped(np.ascontiguousarray(wanted)),
            self.preprocessing,
            target_preprocessing=self.target_preprocessing,
        )

    def _paired(
        self, source: Source, found: Sequence[str], clean: Sequence[str]
    ) -> NDArray[np.uint8]:
        ends = self.degraded_ending
        low = [n for n in found if inside(n, self.degraded, ends)]
        partners = {pair_key(n, self.degraded, ends): n for n in low}
        names = [partners.get(pair_key(n, self.clean, self.clean_ending), "") for n in clean]
        if not all(names):
            raise DatasetError(
                f"{source.title}: expected for each clean image one of its name in a folder "
                f"{self.degraded!r}, got none for {clean[names.index('')]}; correct the options "
                "clean and degraded"
            )
        size, crop = (
            sides and (sides[0] // self.downscale, sides[1] // self.downscale)
            for sides in (self.size, self.crop)
        )
        return decoded_images(source, names, Form(size, self.white, crop=crop))

    def _degraded(self, clean: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.uint8]:
        if min(clean.shape[1:3]) < self.downscale:
            raise DatasetError(
                f"{self.path.name}: expected images of at least {self.downscale} pixels a side, "
                f"got {clean.shape[1]} x {clean.shape[2]}; lower the option downscale"
            )
        return np.stack(
            [
                self._noisy(_smaller(image, self.downscale), name)
                for image, name in zip(clean, names, strict=True)
            ]
        )

    def _noisy(self, image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        if not self.noise:
            return image
        # Keyed by the name, so that neither limit nor order changes the noise of an image.
        secret = hashlib.sha256(str(self.noise_seed).encode()).digest()
        drawn = keystream.gaussian(secret, f"noise/{name}", image.size)
        noisy = image + self.noise * drawn.reshape(image.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _smaller(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    from PIL import Image

    if factor == 1:
        return image
    height, width = (side // factor for side in image.shape[:2])
    cut = Image.fromarray(image[: height * factor, : width * factor])
    return np.asarray(cut.resize((width, height), Image.Resampling.BICUBIC), np.uint8)
