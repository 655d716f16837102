"""Weights in a file beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nnw_onnx.graph import expect_changed, values_outside
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class ExternalData(FileModification):
    """Initializers of 1 KiB and more lie in a data file, as those of large models do."""

    name: ClassVar[str] = "external-data"
    summary: ClassVar[str] = "weights moved into a data file beside the model"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 0.0

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the model and its data file.

        Raises:
            NotApplicableError: no initializer is so large, or all of them are outside.
        """
        values_outside(source, target)
        expect_changed(
            self.name, source, target, lambda made: made.outside,
            "an initializer of 1 KiB or more inside the file",
        )  # fmt: skip
