"""Folding of constants, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from nnw_onnx.graph import constants_to_initializers, expect_changed
from nnw_onnx.inference import fold_constants
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class ConstantFolding(FileModification):
    """What the network computes from constants alone becomes a constant, by onnxslim.

    A Transpose, Cast or product of weights is carried out, and its result stored. Takes the extra
    "deployment" of this package.
    """

    name: ClassVar[str] = "constant-folding"
    summary: ClassVar[str] = "what is computed from constants alone, computed beforehand"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 1e-5

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the folded model.

        Raises:
            NotApplicableError: nothing is computed from constants alone.
            ConfigurationError: onnxslim is not installed.
            InferenceError: it fails.
        """
        with TemporaryDirectory() as folder:
            plain = Path(folder) / source.name
            # onnxslim makes float64 of Constant nodes of single numbers.
            constants_to_initializers(source, plain)
            fold_constants(plain, target)
            expect_changed(
                self.name, plain, target, lambda made: made.operators,
                "operators on constants that onnxslim computes",
            )  # fmt: skip
