"""Class folders: `train/<class>/<file>` and `test/<class>/<file>`, at any depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.datasets._folders import SPLIT_FOLDERS
from nnw_onnx.datasets._samples import MAX_CLASSES, labelled
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.images import AS_STORED, Form, images_of, is_image
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ImageSamples, evenly
from nnw_onnx.kit.sources import Source
from nnw_onnx.vocabulary import Json

Chosen = Sequence[str] | Mapping[str, int]
"""Names of class folders in the order of a network's classes, or name -> number of its class."""

Order = Literal["text", "number"]


def has_split_folders(names: list[str]) -> bool:
    """Whether some image lies in a class folder of a folder named like a split."""
    folders = {f for group in SPLIT_FOLDERS.values() for f in group}
    return any(is_image(n) and _folder(n, 3) in folders for n in names)


def load_class_folders(
    source: Source,
    split: str,
    *,
    only_split: str | None = None,
    form: Form = AS_STORED,
    limit: int | None = None,
    preprocessing: Preprocessing,
    chosen: Chosen = (),
    order: Order = "text",
) -> ImageSamples:
    """Images of one split, ordered by class and file name.

    Args:
        source: the files.
        split: "train" or "test".
        only_split: the split that all class folders belong to, where no folder names it.
        form: how images are read.
        limit: number of evenly spaced entries, which keeps classes in proportion.
        preprocessing: of the images.
        chosen: the only folders that are used; empty for all of them.
        order: of the folders where none are chosen.

    Raises:
        DatasetError: there are no images of the split, or of a folder that was chosen.
    """
    images = [n for n in source.names if is_image(n)]
    found = class_files(source, split, images, "image", only_split, chosen, order)
    some = evenly(len(found.names), limit)
    names = [found.names[i] for i in some]
    images_read = images_of(source, names, form) if names else np.empty((0, 1, 1, 3), np.uint8)
    return labelled(
        images_read, found.labels[some], found.classes, source.title, preprocessing, found.facts
    )


@dataclass(frozen=True)
class ClassFiles:
    """Files of class folders, ordered by class and name.

    Attributes:
        names: of the files.
        labels: (n,) number of the class of each.
        classes: name of each class.
        facts: beside them, see `Samples.facts`.
    """

    names: list[str]
    labels: NDArray[np.int64]
    classes: list[str]
    facts: Mapping[str, Json]


def class_files(
    source: Source,
    split: str,
    files: list[str],
    what: str,
    only_split: str | None = None,
    chosen: Chosen = (),
    order: Order = "text",
) -> ClassFiles:
    """The files of one split with their classes.

    Args:
        source: where they are.
        split: "train" or "test".
        files: names of those that may be samples.
        what: one of them is, for messages: "image".
        only_split: see `load_class_folders`, as the rest.
        chosen: likewise.
        order: likewise.

    Raises:
        DatasetError: there are none of the split, or of a folder that was chosen.
    """
    found = _in_split(source, files, split) if only_split is None else files
    found = [n for n in found if _folder(n, 2)]
    if not found or only_split not in (None, split):
        raise DatasetError(
            f"{source.place}: expected {what}s as {split}/<class>/<{what}>, got none among "
            f"{len(files)} {what}s; correct the path, or set the option only_split for class "
            "folders without one"
        )
    folders = {_folder(n, 2) for n in files}
    index = _chosen(source, folders, chosen) if chosen else _ordered(folders, order)
    found = sorted((n for n in found if _folder(n, 2) in index), key=lambda n: _place(n, index))
    labels = np.array([index[_folder(n, 2)] for n in found], np.int64)
    facts: dict[str, Json] = {"part": True} if isinstance(chosen, Mapping) else {}
    if not chosen and (notice := _notice(list(index))):
        facts["notices"] = [notice]
    return ClassFiles(found, labels, _names(index), facts)


def _in_split(source: Source, images: list[str], split: str) -> list[str]:
    for folder in SPLIT_FOLDERS[split]:
        found = [n for n in images if _folder(n, 3) == folder]
        tops = {tuple(n.split("/")[:-3]) for n in found}
        if len(tops) > 1:
            raise DatasetError(
                f"{source.place}: expected one folder named {folder!r}, got {len(tops)}; give "
                "the folder above one of them as path"
            )
        if found:
            return found
    return []


def _chosen(source: Source, folders: set[str], chosen: Chosen) -> dict[str, int]:
    """Number of the class of each folder that was chosen."""
    index = dict(chosen) if isinstance(chosen, Mapping) else {n: i for i, n in enumerate(chosen)}
    missing = [name for name in index if name not in folders]
    if missing or len(index) < len(chosen):
        raise DatasetError(
            f"{source.place}: expected each of the option classes to be a class folder, once, got "
            f"{repr(missing[0]) if missing else 'one twice'}; there are "
            f"{', '.join(sorted(folders))[:200]}"
        )
    numbers = list(index.values())
    if len(set(numbers)) < len(numbers) or not all(0 <= n < MAX_CLASSES for n in numbers):
        raise DatasetError(
            f"{source.place}: expected a number from 0 to {MAX_CLASSES - 1} for each of the option "
            "classes, no two of them equal; correct it"
        )
    return index


def _ordered(folders: set[str], order: Order) -> dict[str, int]:
    def number(name: str) -> tuple[bool, int, str]:
        return not name.isdecimal(), int(name) if name.isdecimal() else 0, name

    names = sorted(folders, key=number) if order == "number" else sorted(folders)
    return {name: i for i, name in enumerate(names)}


def _names(index: Mapping[str, int]) -> list[str]:
    """Name of each class; those without a folder are called by their number."""
    by_number = {number: name for name, number in index.items()}
    return [by_number.get(i, str(i)) for i in range(max(by_number) + 1)]


def _notice(names: Sequence[str]) -> str | None:
    """What to know of folders that are numbers, but not in the order of numbers."""
    if not all(name.isdecimal() for name in names) or names == sorted(names, key=int):
        return None
    return (
        f"class folders are whole numbers in the order of texts ({', '.join(names[:4])}, ...), as "
        "torchvision and Keras read them; set class_order = 'number' where the network's classes "
        "are in the order of numbers"
    )


def _place(name: str, index: Mapping[str, int]) -> tuple[int, str]:
    return index[_folder(name, 2)], name


def _folder(name: str, position: int) -> str:
    """The part of a name `position` places from its end: 2 is the class, 3 the split."""
    parts = name.split("/")
    return parts[-position] if len(parts) >= position else ""
