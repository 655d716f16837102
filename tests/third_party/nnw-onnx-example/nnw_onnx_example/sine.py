"""A data set of one's own: points of a sine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples


@dataclass(frozen=True)
class Sine(Dataset):
    """Angles and their sines; those for testing lie between those for training."""

    name = "sine"
    summary = "angles and their sines"

    count: int = option(64, help="number of points of each split")

    def load(self, split: str) -> Samples:
        """Points of "train" or "test"."""
        if split not in ("train", "test"):
            raise DatasetError(f"sine: expected split train or test, got {split!r}; correct it")
        places = np.arange(self.count) + 0.5 * (split == "test")
        angles = (2 * np.pi / self.count * places).astype(np.float32).reshape(-1, 1)
        return ArraySamples({"x": angles}, np.sin(angles))
