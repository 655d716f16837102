"""Data set `digits`: handwritten digits that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from nnw_onnx.datasets._samples import LIMIT_HELP, PREPROCESSING_HELP, labelled
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import evenly
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples


@dataclass(frozen=True)
class Digits(Dataset):
    """1797 images of 8 x 8 pixels, bundled with scikit-learn.

    Entries with an even index are for training (899), those with an odd one for testing (898).
    Pixels are float32 (n, 8, 8, 1) from 0 to 16, as scikit-learn has them: networks usually want
    them divided by 16, preprocessing `scale = 0.0625`.
    """

    name: ClassVar[str] = "digits"
    summary: ClassVar[str] = "scikit-learn's 8 x 8 handwritten digits, pixels 0 to 16, no files"

    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test".

        Raises:
            DatasetError: another split.
        """
        check_split(self.name, split)
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        first = ("train", "test").index(split)
        images = images[first::2].reshape(-1, 8, 8, 1).astype(np.float32)
        labels = labels[first::2]
        some = evenly(len(labels), self.limit)
        digits = [str(d) for d in range(10)]
        return labelled(images[some], labels[some], digits, self.name, self.preprocessing)
