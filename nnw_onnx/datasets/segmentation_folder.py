"""Data set `segmentation-folder`: images with masks of class indices."""

from __future__ import annotations

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
    MAX_CLASSES,
    PREPROCESSING_HELP,
    WHITE_HELP,
    check_classes,
    mapped,
)
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.images import Form, decoded_images, decoded_masks, is_image
from nnw_onnx.kit.preprocessing import MAX_SIDE, Preprocessing
from nnw_onnx.kit.samples import ImageSamples, evenly
from nnw_onnx.kit.sources import open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

Side = Annotated[int, Ge(1), Le(MAX_SIDE)]

NOT_COUNTED = -1
"""Target of a pixel that does not count."""


@dataclass(frozen=True)
class SegmentationFolder(Dataset):
    """Images in a folder `images` and masks of the same names in a folder `masks`.

    The split is a folder `train` or `test` (`val`, `valid` and `validation` serve as test split)
    anywhere above or below those two: `train/images/a.jpg` with `train/masks/a.png`, or
    `images/train/a.jpg` with `masks/train/a.png`. A mask is a grey or palette image whose values
    are classes from `first` on; smaller ones and the ignored one do not count.
    """

    name: ClassVar[str] = "segmentation-folder"
    summary: ClassVar[str] = "images and masks of class indices: a folder, tar or zip"

    path: Path = option(help="folder, .tar, .tar.gz, .tgz or .zip file")
    images: str = option("images", help="name of the folder of images")
    masks: str = option("masks", help="name of the folder of masks")
    image_ending: str = option(
        "", help="what names of images end with and their masks' do not, before the suffix"
    )
    mask_ending: str = option("", help="likewise of masks; files without it are no masks")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of images that lie in no train or test folder"
    )
    classes: tuple[str, ...] | Annotated[int, Ge(2), Le(MAX_CLASSES)] | None = option(
        None, help="number of classes, or their names; without it, those that the masks show"
    )
    first: Annotated[int, Ge(0), Le(1 << 30)] = option(
        0, help="value of the first class in the masks"
    )
    ignore: int | None = option(255, help="value in the masks that does not count")
    test_folder: str = option("", help=TEST_FOLDER_HELP)
    size: tuple[Side, Side] | None = option(
        None,
        help="(height, width) that images and masks are brought to; needed where sizes differ",
    )
    white: Annotated[float, Gt(0)] | None = option(None, help=WHITE_HELP)
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", ordered by name; targets are (n, height, width).

        Raises:
            DatasetError: files are missing, broken or hostile, an image has no mask, a mask has
                another size or other values, or another split.
        """
        check_split(self.name, split)
        source = open_source(self.path, follow_links=self.follow_links)
        pairs = self._pairs(str(source.place), source.names, split)
        pairs = [pairs[i] for i in evenly(len(pairs), self.limit)]
        form = Form(self.size, self.white)
        images = decoded_images(source, [image for image, _ in pairs], form)
        masks = decoded_masks(source, [mask for _, mask in pairs], form)
        if masks.shape != images.shape[:3]:
            raise DatasetError(
                f"{source.title}: expected masks of the size of the images, got "
                f"{masks.shape[1:]} and {images.shape[1:3]}; set the option size"
            )
        targets = mapped(self._targets(masks))
        facts = {"classes": self._classes(source.title, targets)}
        return ImageSamples(images, targets, self.preprocessing, facts)

    def _pairs(self, title: str, names: Sequence[str], split: str) -> list[tuple[str, str]]:
        """(image, mask) of a split, in the order of the images' names."""
        found = in_split(
            title, [n for n in names if is_image(n)], split, self.only_split, self.test_folder
        )
        ends, own = self.mask_ending, self.image_ending
        masks = {pair_key(n, self.masks, ends): n for n in found if inside(n, self.masks, ends)}
        images = [n for n in found if inside(n, self.images, own)]
        pairs = [(n, masks.get(pair_key(n, self.images, own), "")) for n in images]
        lacking = [image for image, mask in pairs if not mask]
        if not pairs or lacking:
            raise DatasetError(
                f"{title}: expected images of the split {split!r} in a folder {self.images!r} and "
                f"for each a mask of its name in a folder {self.masks!r}, got "
                f"{f'no mask for {lacking[0]}' if lacking else 'no such image'}; correct the "
                "options path, images and masks, or set only_split"
            )
        return pairs

    def _targets(self, masks: NDArray[np.int32]) -> NDArray[np.int32]:
        counted = masks >= self.first
        if self.ignore is not None:
            counted &= masks != self.ignore
        return np.where(counted, masks - self.first, NOT_COUNTED)

    def _classes(self, title: str, targets: NDArray[np.int32]) -> list[str]:
        shown = int(targets.max(initial=0)) + 1
        if isinstance(self.classes, tuple):
            names = list(self.classes)
        else:
            count = self.classes or max(shown, 2)
            check_classes(title, count)
            names = [str(c) for c in range(count)]
        if shown > len(names):
            raise DatasetError(
                f"{title}: expected masks of {len(names)} classes, got the value "
                f"{shown - 1 + self.first}; correct the options classes, first and ignore"
            )
        return names
