"""Class folders: `train/<class>/<image>` and `test/<class>/<image>`, at any depth."""

from __future__ import annotations

import numpy as np

from nnw_onnx.datasets._folders import SPLIT_FOLDERS
from nnw_onnx.datasets._samples import labelled
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.images import images_of, is_image
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ImageSamples, evenly
from nnw_onnx.kit.sources import Source


def has_split_folders(names: list[str]) -> bool:
    """Whether some image lies in a class folder of a folder named like a split."""
    folders = {f for group in SPLIT_FOLDERS.values() for f in group}
    return any(is_image(n) and _folder(n, 3) in folders for n in names)


def load_class_folders(
    source: Source,
    split: str,
    *,
    only_split: str | None = None,
    size: tuple[int, int] | None = None,
    limit: int | None = None,
    preprocessing: Preprocessing,
) -> ImageSamples:
    """Samples of one split, ordered by class name and file name.

    Args:
        source: the files.
        split: "train" or "test".
        only_split: the split that all class folders belong to, where no folder names it.
        size: see `decoded_images`.
        limit: number of evenly spaced entries, which keeps classes in proportion.
        preprocessing: of the images.
    """
    images = [n for n in source.names if is_image(n)]
    found = _in_split(source, images, split) if only_split is None else images
    found = [n for n in found if _folder(n, 2)]
    if not found or only_split not in (None, split):
        raise DatasetError(
            f"{source.title}: expected images as {split}/<class>/<image>, got none among "
            f"{len(images)} images; correct the path, or set the option only_split for class "
            "folders without one"
        )
    found.sort(key=lambda n: (_folder(n, 2), n))
    classes = sorted({_folder(n, 2) for n in images})
    index = {name: i for i, name in enumerate(classes)}
    names = [found[i] for i in evenly(len(found), limit)]
    labels = np.array([index[_folder(n, 2)] for n in names], np.int64)
    images_read = images_of(source, names, size)
    return labelled(images_read, labels, classes, source.title, preprocessing)


def _in_split(source: Source, images: list[str], split: str) -> list[str]:
    for folder in SPLIT_FOLDERS[split]:
        found = [n for n in images if _folder(n, 3) == folder]
        tops = {tuple(n.split("/")[:-3]) for n in found}
        if len(tops) > 1:
            raise DatasetError(
                f"{source.title}: expected one folder named {folder!r}, got {len(tops)}; give "
                "the folder above one of them as path"
            )
        if found:
            return found
    return []


def _folder(name: str, position: int) -> str:
    """The part of a name `position` places from its end: 2 is the class, 3 the split."""
    parts = name.split("/")
    return parts[-position] if len(parts) >= position else ""
