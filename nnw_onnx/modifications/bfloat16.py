"""Weights stored as bfloat16."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nnw_onnx.graph import expect_changed, weights_in_bfloat16
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class Bfloat16(FileModification):
    """Weights are stored as bfloat16, each behind a Cast; the network computes in float32.

    onnxruntime has no kernels for a CPU that compute in bfloat16, so that what is lost here is what
    the weights lose and nothing more. They keep 8 bits of precision and their names. Numbers too
    large for bfloat16 become its largest one.
    """

    name: ClassVar[str] = "bfloat16"
    summary: ClassVar[str] = "weights stored as bfloat16"
    family: ClassVar[Family] = "deployment"

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the model.

        Raises:
            NotApplicableError: no kernel is in float32.
            ModelFileError: onnx cannot bring it to an operator set that knows bfloat16.
        """
        weights_in_bfloat16(source, target)
        expect_changed(self.name, source, target, lambda made: made.kernels, "kernels in float32")
