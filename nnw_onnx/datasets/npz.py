"""Data set `npz`: labelled arrays in one file of numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.datasets._npz_arrays import NpzArrays
from nnw_onnx.datasets._samples import LIMIT_HELP, MAX_CLASSES, check_classes, chosen, samples
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.errors import DatasetError
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Samples


@dataclass(frozen=True)
class Npz:
    """Arrays `x_test`, `y_test` (and `x_train`, `y_train`), or `inputs`, `labels` for any split.

    Images are (n, height, width, channels), (n, height, width) or, with layout = "NCHW",
    (n, channels, height, width); other arrays (n, ...) are taken as they are. Labels are integers
    (n,) or (n, 1). An array `classes` of texts may name the classes.
    """

    name: ClassVar[str] = "npz"
    summary: ClassVar[str] = "arrays of one .npz file: x_test and y_test, or inputs and labels"

    path: Path = option(help="the .npz file")
    layout: Literal["NHWC", "NCHW"] = option("NHWC", help="order of the axes of images")
    classes: Annotated[int, Ge(2), Le(MAX_CLASSES)] | None = option(
        None, help="number of classes; without it, those that the labels show"
    )
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test".

        Raises:
            DatasetError: the file or an array is missing, broken, too large or unfit.
        """
        check_split(self.name, split)
        arrays = NpzArrays(self.path)
        inputs_name, labels_name = self._names(arrays, split)
        inputs = self._images(arrays.read(inputs_name))
        labels = _labels(self.path.name, labels_name, arrays.read(labels_name))
        if inputs.ndim < 2 or len(inputs) != len(labels):
            raise DatasetError(
                f"{self.path.name}: expected one label for each entry (n, ...), got "
                f"{inputs_name} {inputs.shape} and {labels_name} {labels.shape}; correct the file"
            )
        names = self._classes(arrays, labels_name, labels)
        some = chosen(len(labels), self.limit)
        return samples(inputs[some], labels[some], names, self.path.name)

    def _names(self, arrays: NpzArrays, split: str) -> tuple[str, str]:
        for pair in ((f"x_{split}", f"y_{split}"), ("inputs", "labels")):
            if set(pair) <= set(arrays.names):
                return pair
        raise DatasetError(
            f"{self.path.name}: expected arrays x_{split} and y_{split}, or inputs and labels; got "
            f"{', '.join(arrays.names)[:200] or 'none'}; rename them"
        )

    def _images(self, inputs: NDArray[Any]) -> NDArray[Any]:
        if inputs.dtype.kind not in "fiub":
            raise DatasetError(
                f"{self.path.name}: expected inputs that are numbers, got {inputs.dtype}; "
                "correct the file"
            )
        if inputs.ndim == 3 and inputs.dtype == np.uint8:
            inputs = inputs[..., np.newaxis]
        elif inputs.ndim == 4 and self.layout == "NCHW":
            inputs = inputs.transpose(0, 2, 3, 1)
        with np.errstate(over="ignore"):
            return inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)

    def _classes(self, arrays: NpzArrays, used: str, labels: NDArray[np.int64]) -> list[str]:
        if "classes" in arrays.names:
            named = arrays.read("classes").ravel()
            check_classes(self.path.name, len(named))
            return [str(c) for c in named]
        count = self.classes or self._shown_classes(arrays, used, labels)
        check_classes(self.path.name, count)
        return [str(c) for c in range(count)]

    def _shown_classes(self, arrays: NpzArrays, used: str, labels: NDArray[np.int64]) -> int:
        others = {"y_train", "y_test"} & set(arrays.names) - {used}
        largest = [_labels(self.path.name, n, arrays.read(n)).max(initial=0) for n in others]
        return int(max(labels.max(initial=0), *largest, 1)) + 1


def _labels(file: str, name: str, array: NDArray[Any]) -> NDArray[np.int64]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise DatasetError(
            f"{file}: expected {name} to be integer classes (n,), got {array.dtype} "
            f"{array.shape}; correct the file"
        )
    return flat.astype(np.int64)
