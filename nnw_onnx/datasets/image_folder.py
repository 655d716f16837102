"""Data set `image-folder`: one folder of images for each class, or an archive of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from nnw_onnx.datasets._class_folders import load_class_folders
from nnw_onnx.datasets._samples import (
    LIMIT_HELP,
    LINKS_HELP,
    ORIENTATION_HELP,
    PREPROCESSING_HELP,
    WHITE_HELP,
)
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.kit.images import Form
from nnw_onnx.kit.preprocessing import MAX_SIDE, Preprocessing
from nnw_onnx.kit.sources import open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

Side = Annotated[int, Ge(1), Le(MAX_SIDE)]


@dataclass(frozen=True)
class ImageFolder(Dataset):
    """Images as `train/<class>/<image>` and `test/<class>/<image>`; uint8 (n, height, width, 3).

    Classes are the names of their folders, sorted as texts, as torchvision and Keras do. `val`,
    `valid` and `validation` serve as test split where there is no `test`. The path may be a folder,
    .tar, .tar.gz, .tgz or .zip file. Transparency is left out, gray is repeated, the first frame of
    several counts, and values of more than 8 bits are scaled to 0 to 255.
    """

    name: ClassVar[str] = "image-folder"
    summary: ClassVar[str] = "train/<class>/<image> and test/<class>/<image>: a folder, tar or zip"

    path: Path = option(help="folder, .tar, .tar.gz, .tgz or .zip file")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of class folders that lie in no train or test folder"
    )
    classes: tuple[str, ...] | dict[str, Annotated[int, Ge(0)]] = option(
        (), help="class folders in the order of the network, or a table folder = number of a class"
    )
    class_order: Literal["text", "number"] = option(
        "text", help="order of class folders: as texts, or by number where they are numbers"
    )
    size: tuple[Side, Side] | None = option(
        None, help="(height, width) that images are brought to; needed where their sizes differ"
    )
    white: Annotated[float, Gt(0)] | None = option(None, help=WHITE_HELP)
    orientation: Literal["stored", "exif"] = option("stored", help=ORIENTATION_HELP)
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", ordered by class and file name.

        Raises:
            DatasetError: files are missing, broken or hostile, or another split.
        """
        check_split(self.name, split)
        return load_class_folders(
            open_source(self.path, follow_links=self.follow_links),
            split,
            only_split=self.only_split,
            form=Form(self.size, self.white, self.orientation == "exif"),
            limit=self.limit,
            preprocessing=self.preprocessing,
            chosen=self.classes,
            order=self.class_order,
        )
