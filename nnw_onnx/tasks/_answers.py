"""From the output of a network to the class it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError

NO_ANSWER = -1
"""Stands for the class of a sample whose scores are no numbers."""


def predicted_classes(output: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Class of each sample (n,); -1 where a score is not a number or the class does not exist.

    Raises:
        ConfigurationError: the shape is neither scores nor class indices.
    """
    scores = output
    while scores.ndim > 2 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    if scores.dtype.kind in "iu" and (scores.ndim == 1 or scores.shape[1:] == (1,)):
        answers = scores.reshape(-1).astype(np.int64)
        return np.where((answers >= 0) & (answers < classes), answers, NO_ANSWER)
    if scores.ndim != 2 or scores.shape[1] != classes:
        raise ConfigurationError(
            f"image-classification: expected scores (n, {classes}) or integer classes (n,), got "
            f"{output.dtype} {output.shape}; choose another output, or the data set whose classes "
            "the network was made for"
        )
    known = ~np.isnan(scores).any(axis=1)
    return np.where(known, scores.argmax(axis=1), NO_ANSWER).astype(np.int64)
