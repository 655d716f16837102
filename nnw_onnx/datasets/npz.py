"""Data set `npz`: arrays in one file of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.datasets._npz_arrays import NpzArrays
from nnw_onnx.datasets._samples import (
    LIMIT_HELP,
    MAX_CLASSES,
    PREPROCESSING_HELP,
    check_classes,
    check_values,
    labelled,
    mapped,
)
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ArraySamples, ImagePairs, ImageSamples, evenly
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Json, Samples


@dataclass(frozen=True)
class Npz(Dataset):
    """Arrays `x_test`, `y_test` (and `x_train`, `y_train`), or `inputs`, `labels` for any split.

    Images are (n, height, width, channels), (n, height, width) or, with layout = "NCHW",
    (n, channels, height, width); other arrays (n, ...) are taken as they are. Targets are integer
    classes (n,) or (n, 1), classes of every pixel (n, height, width), of which negative ones do not
    count, images, or any numbers. An array `classes` of texts may name the classes.

    A network of several inputs, or of token ids, names them in `feeds`: input `ids` is the array
    `ids_test`, or `ids` for any split, and is fed as it is, without preprocessing.
    """

    name: ClassVar[str] = "npz"
    summary: ClassVar[str] = "arrays of one .npz file: x_test and y_test, or inputs and labels"

    path: Path = option(help="the .npz file")
    layout: Literal["NHWC", "NCHW"] = option("NHWC", help="order of the axes of images")
    classes: Annotated[int, Ge(2), Le(MAX_CLASSES)] | None = option(
        None, help="number of classes; without it, those that the labels show"
    )
    feeds: tuple[str, ...] = option((), help="arrays to feed as they are, named as the inputs")
    targets: str = option("", help="array of the targets; without it, y or labels")
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test".

        Raises:
            DatasetError: the file or an array is missing, broken, too large or unfit.
        """
        check_split(self.name, split)
        arrays = NpzArrays(self.path)
        names, target = self._names(arrays, split)
        inputs = [self._checked(name, arrays.read(name)) for name in names]
        targets = _flat(self._checked(target, arrays.read(target)))
        for name, values in zip(names, inputs, strict=True):
            if values.ndim < (1 if self.feeds else 2) or len(values) != len(targets):
                raise DatasetError(
                    f"{self.path.name}: expected one target for each entry (n, ...), got "
                    f"{name} {values.shape} and {target} {targets.shape}; correct the file"
                )
        some = evenly(len(targets), self.limit)
        facts = self._facts(arrays, target, targets)
        if self.feeds:
            fed = dict(zip(self.feeds, inputs, strict=True))
            for name, values in fed.items():
                check_values(values, f"{self.path.name}: {name}")
            return ArraySamples({n: v[some] for n, v in fed.items()}, targets[some], facts)
        # All of them stay where they are, which may be a file that other processes map too.
        chosen = some if len(some) < len(targets) else slice(None)
        return self._samples(self._images(inputs[0])[chosen], targets[chosen], facts)

    def _samples(
        self, inputs: NDArray[Any], targets: NDArray[Any], facts: dict[str, Json]
    ) -> Samples:
        classes = facts.get("classes")
        if targets.ndim == 1 and isinstance(classes, Sequence):
            names = [str(c) for c in classes]
            return labelled(inputs, targets, names, self.path.name, self.preprocessing)
        check_values(inputs, self.path.name)
        inputs = mapped(np.ascontiguousarray(inputs))
        if targets.ndim == 4 and inputs.ndim == 4:
            wanted = mapped(np.ascontiguousarray(self._images(targets)))
            return ImagePairs(inputs, wanted, self.preprocessing)
        targets = mapped(np.ascontiguousarray(targets))
        return ImageSamples(inputs, targets, self.preprocessing, facts)

    def _names(self, arrays: NpzArrays, split: str) -> tuple[list[str], str]:
        """Names of the arrays that are fed, and of the targets."""
        for inputs, labels in (("x", "y"), ("inputs", "labels")):
            wanted = (*(self.feeds or (inputs,)), self.targets or labels)
            found = [_in(arrays, name, split) for name in wanted]
            if all(found):
                return found[:-1], found[-1]
        raise DatasetError(
            f"{self.path.name}: expected arrays x_{split} and y_{split}, or inputs and labels, or "
            f"those of the options feeds and targets; got "
            f"{', '.join(arrays.names)[:200] or 'none'}; rename them"
        )

    def _checked(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind not in "fiub" or values.ndim == 0:
            raise DatasetError(
                f"{self.path.name}: expected {name} to be numbers (n, ...), got {values.dtype} "
                f"{values.shape}; correct the file"
            )
        return values

    def _images(self, inputs: NDArray[Any]) -> NDArray[Any]:
        if inputs.ndim == 3 and inputs.dtype == np.uint8:
            inputs = inputs[..., np.newaxis]
        elif inputs.ndim == 4 and self.layout == "NCHW":
            inputs = inputs.transpose(0, 2, 3, 1)
        with np.errstate(over="ignore"):
            return inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)

    def _facts(self, arrays: NpzArrays, used: str, targets: NDArray[Any]) -> dict[str, Json]:
        """Names of the classes where the targets are some: integers, one an entry or a pixel."""
        if targets.dtype.kind not in "iu" or targets.ndim not in (1, 3):
            return {}
        if "classes" in arrays.names:
            named = arrays.read("classes").ravel()
            check_classes(self.path.name, len(named))
            return {"classes": [str(c) for c in named]}
        count = self.classes or self._shown_classes(arrays, used, targets)
        check_classes(self.path.name, count)
        return {"classes": [str(c) for c in range(count)]}

    def _shown_classes(self, arrays: NpzArrays, used: str, targets: NDArray[Any]) -> int:
        stem = used.removesuffix("_train").removesuffix("_test")
        others = {f"{stem}_train", f"{stem}_test"} & set(arrays.names) - {used}
        largest = [_flat(self._checked(n, arrays.read(n))).max(initial=0) for n in others]
        return int(max(targets.max(initial=0), *largest, 1)) + 1


def _in(arrays: NpzArrays, name: str, split: str) -> str:
    """The array of this name and split, else the one for any split; "" where there is none."""
    return next((n for n in (f"{name}_{split}", name) if n in arrays.names), "")


def _flat(targets: NDArray[Any]) -> NDArray[Any]:
    """Integer classes as int64 (n,); other targets as they are."""
    if targets.dtype.kind not in "iu":
        return targets
    flat = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    return flat if flat.ndim == 4 else flat.astype(np.int64)
