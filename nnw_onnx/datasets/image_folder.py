"""Data set `image-folder`: one folder of images for each class, or an archive of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from nnw_onnx.datasets._class_folders import load_class_folders
from nnw_onnx.datasets._samples import LIMIT_HELP, PREPROCESSING_HELP
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.kit.preprocessing import MAX_SIDE, Preprocessing
from nnw_onnx.kit.sources import open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

Side = Annotated[int, Ge(1), Le(MAX_SIDE)]


@dataclass(frozen=True)
class ImageFolder(Dataset):
    """Images as `train/<class>/<image>` and `test/<class>/<image>`; uint8 (n, height, width, 3).

    Classes are the sorted names of their folders. `val`, `valid` and `validation` serve as test
    split where there is no `test`. The path may be a folder, .tar, .tar.gz, .tgz or .zip file.
    """

    name: ClassVar[str] = "image-folder"
    summary: ClassVar[str] = "train/<class>/<image> and test/<class>/<image>: a folder, tar or zip"

    path: Path = option(help="folder, .tar, .tar.gz, .tgz or .zip file")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of class folders that lie in no train or test folder"
    )
    size: tuple[Side, Side] | None = option(
        None, help="(height, width) that images are brought to; needed where their sizes differ"
    )
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", ordered by class and file name.

        Raises:
            DatasetError: files are missing, broken or hostile, or another split.
        """
        check_split(self.name, split)
        return load_class_folders(
            open_source(self.path),
            split,
            only_split=self.only_split,
            size=self.size,
            limit=self.limit,
            preprocessing=self.preprocessing,
        )
