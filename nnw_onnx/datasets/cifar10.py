"""Data set `cifar10`: CIFAR-10 in either official form, or as class folders of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from nnw_onnx.datasets._cifar_batches import binary_batch, python_batch
from nnw_onnx.datasets._class_folders import has_split_folders, load_class_folders
from nnw_onnx.datasets._samples import LIMIT_HELP, LINKS_HELP, PREPROCESSING_HELP, labelled
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import evenly
from nnw_onnx.kit.sources import Source, is_archive, open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


@dataclass(frozen=True)
class Cifar10(Dataset):
    """CIFAR-10, uint8 (n, 32, 32, 3), in the first form that is found below the path.

    The binary version (`data_batch_1.bin` ... `test_batch.bin`), the Python version (the same names
    without suffix; never unpickled), class folders of images, or an archive of one of them. The
    path may also be a folder that holds such an archive.
    """

    name: ClassVar[str] = "cifar10"
    summary: ClassVar[str] = "CIFAR-10: binary or Python version, class folders, or a tar of them"

    path: Path = option(help="folder or archive of CIFAR-10")
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", in the official order (class folders: by class, name).

        Raises:
            DatasetError: no form is found, files are missing, broken or hostile, or another split.
        """
        check_split(self.name, split)
        for source in _sources(self.path, self.follow_links):
            for suffix in (".bin", ""):
                if names := _batch_names(source, split, suffix):
                    return self._from_batches(source, names, suffix)
            if has_split_folders(source.names):
                return self._from_folders(source, split)
        raise DatasetError(
            f"{self.path.absolute()}: expected CIFAR-10 (cifar-10-batches-bin, "
            "cifar-10-batches-py, train/<class>/<image>, or an archive of one), got none of them; "
            "correct the option path"
        )

    def _from_batches(self, source: Source, names: list[str], suffix: str) -> Samples:
        read = binary_batch if suffix else python_batch
        contents = dict(source.read(names))
        batches = [read(f"{source.title}: {n}", contents[n]) for n in names]
        labels = np.concatenate([b[0] for b in batches])
        planes = np.concatenate([b[1] for b in batches])
        some = evenly(len(labels), self.limit)
        images = planes[some].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return labelled(images, labels[some], CLASSES, source.title, self.preprocessing)

    def _from_folders(self, source: Source, split: str) -> Samples:
        found = load_class_folders(
            source, split, limit=self.limit, preprocessing=self.preprocessing
        )
        if found.facts["classes"] != list(CLASSES) or found.shape[1:] != (32, 32, 3):
            raise DatasetError(
                f"{source.title}: expected the 10 classes of CIFAR-10 in 32 x 32 pixels, got other "
                f"ones in {found.shape[1]} x {found.shape[2]}; use the data set image-folder"
            )
        return found


def _sources(path: Path, follow_links: bool) -> list[Source]:
    found = [open_source(path, follow_links=follow_links)]
    if path.is_dir():
        archives = (p for p in path.iterdir() if p.is_file() and is_archive(p))
        found += [open_source(p) for p in sorted(archives)]
    return found


def _batch_names(source: Source, split: str, suffix: str) -> list[str]:
    """Names of the batches in the official order, or nothing where one is missing."""
    by_base: dict[str, str] = {}
    for name in source.names:
        by_base.setdefault(name.rpartition("/")[2], name)
    wanted = [base + suffix for base in _BATCHES[split]]
    return [by_base[w] for w in wanted] if set(wanted) <= set(by_base) else []
