"""What data sets of labelled inputs have in common: their options, and the checks of labels."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit import cache
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ImageSamples, Rows, fingerprint
from nnw_onnx.vocabulary import Array, Json

MAX_CLASSES = 100_000
"""Most classes that a data set may have."""

LIMIT_HELP = "use only this many entries, evenly spaced over the split"
PREPROCESSING_HELP = (
    "how an entry becomes an input: a table of scale, mean, std, layout, resize, channels"
)
LINKS_HELP = "follow links that lead out of the folder; only for folders that you trust"
WHITE_HELP = (
    "value of white in gray images of more than 8 bits; without it 65535 for 16 bits, 1 for floats"
)
ORIENTATION_HELP = "exif: turn photographs as they say; stored: as most trainings read them"


def labelled(
    inputs: Rows,
    labels: NDArray[Any],
    classes: Sequence[str],
    source: str,
    preprocessing: Preprocessing,
    facts: Mapping[str, Json] | None = None,
) -> ImageSamples:
    """Checked inputs with one class each.

    Args:
        inputs: (n, ...).
        labels: (n,).
        classes: their names.
        source: for messages.
        preprocessing: of the inputs.
        facts: more of them, beside the names of the classes.

    Raises:
        DatasetError: no entry, another number of labels than inputs, a label that is no class,
            entries without values, or values that are no finite numbers.
    """
    count = inputs.shape[0]
    if not count or count != len(labels):
        raise DatasetError(
            f"{source}: expected one label for each of at least one entry, got {count} "
            f"entries and {len(labels)} labels; check the files"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DatasetError(
            f"{source}: expected labels from 0 to {len(classes) - 1}, got {labels.min()} to "
            f"{labels.max()}; check the files"
        )
    if isinstance(inputs, np.ndarray):
        check_values(inputs, source)
        inputs = mapped(np.ascontiguousarray(inputs))
    return ImageSamples(
        inputs,
        np.ascontiguousarray(labels, np.int64),
        preprocessing,
        {"classes": list(classes), **(facts or {})},
    )


def mapped(array: Array) -> Array:
    """The same array; where it is large, one copy of it serves all processes."""
    if array.nbytes < cache.LEAST_BYTES or isinstance(array.base, mmap.mmap | np.memmap):
        return array
    return cache.shared(array, fingerprint(array))


def check_classes(source: str, count: int) -> None:
    """Refuse a number of classes above `MAX_CLASSES` before their names are made."""
    if count > MAX_CLASSES:
        raise DatasetError(
            f"{source}: expected at most {MAX_CLASSES} classes, got {count}; number the labels "
            "from 0 without gaps"
        )


def check_values(inputs: NDArray[Any], source: str) -> None:
    """Refuse entries without values, and values that are no finite numbers."""
    if not inputs.size:
        raise DatasetError(
            f"{source}: expected entries with values, got {len(inputs)} entries of shape "
            f"{inputs.shape[1:]}; get or save the file again"
        )
    if inputs.dtype.kind != "f":
        return
    bad = inputs.size - int(np.count_nonzero(np.isfinite(inputs)))
    if bad:
        raise DatasetError(
            f"{source}: expected finite numbers, got {bad} of {inputs.size} values that are NaN, "
            f"infinite or beyond {inputs.dtype}; remove their entries or correct the values"
        )
