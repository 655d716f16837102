"""What every data set does with its arrays: choose entries, check them, fingerprint them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError
from nnw_onnx.vocabulary import Samples

MAX_BYTES = 8 * 2**30
"""Largest array that a data set may hold, in bytes; a larger one needs the option `limit`."""

MAX_CLASSES = 100_000
"""Most classes that a data set may have."""

LIMIT_HELP = "use only this many entries, evenly spaced over the split"


def chosen(total: int, limit: int | None) -> NDArray[np.int64]:
    """Positions of `limit` evenly spaced entries of `total`, or of all of them."""
    count = total if limit is None else min(limit, total)
    return np.arange(count, dtype=np.int64) * total // max(count, 1)


def samples(
    inputs: NDArray[Any], labels: NDArray[Any], classes: Sequence[str], source: str
) -> Samples:
    """Checked samples.

    Raises:
        DatasetError: no entry, another number of labels than inputs, a label that is no class,
            entries without values, or values that are no finite numbers.
    """
    if not len(inputs) or len(inputs) != len(labels):
        raise DatasetError(
            f"{source}: expected one label for each of at least one entry, got {len(inputs)} "
            f"entries and {len(labels)} labels; check the files"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DatasetError(
            f"{source}: expected labels from 0 to {len(classes) - 1}, got {labels.min()} to "
            f"{labels.max()}; check the files"
        )
    _check_values(inputs, source)
    inputs = np.ascontiguousarray(inputs)
    labels = np.ascontiguousarray(labels, np.int64)
    return Samples(inputs, labels, tuple(classes), fingerprint(inputs, labels))


def fingerprint(inputs: NDArray[Any], labels: NDArray[np.int64]) -> str:
    """SHA-256 (hex) of shapes, element types and values, little-endian."""
    digest = hashlib.sha256()
    for array in (inputs, labels):
        plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{plain.dtype.str} {plain.shape};".encode())
        digest.update(np.ascontiguousarray(plain).data)
    return digest.hexdigest()


def check_classes(source: str, count: int) -> None:
    """Refuse a number of classes above `MAX_CLASSES` before their names are made."""
    if count > MAX_CLASSES:
        raise DatasetError(
            f"{source}: expected at most {MAX_CLASSES} classes, got {count}; number the labels "
            "from 0 without gaps"
        )


def check_size(source: str, shape: Sequence[int], itemsize: int = 1) -> None:
    """Refuse an array, before it is made, where it would be larger than `MAX_BYTES`."""
    size = itemsize
    for length in shape:
        size *= length
    if size > MAX_BYTES:
        raise DatasetError(
            f"{source}: expected at most {MAX_BYTES / 2**30:.3g} GiB, got {size / 2**30:.3g} GiB; "
            "use fewer or smaller entries (options limit, size)"
        )


def _check_values(inputs: NDArray[Any], source: str) -> None:
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
