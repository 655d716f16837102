"""Simplification of the graph by a tool made for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

import numpy as np

from nnw_onnx.graph import constants_to_initializers, expect_changed
from nnw_onnx.inference import simplify
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class Simplification(FileModification):
    """The graph as a simplifier leaves it.

    Constants are folded, normalisations go into the weights before them, and of operators or
    tensors that are equal one stays. Takes the extra "deployment" of this package.
    """

    name: ClassVar[str] = "simplification"
    summary: ClassVar[str] = "simplified by onnxslim or onnxsim"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 1e-4

    tool: Literal["onnxslim", "onnxsim"] = option("onnxslim", help="which simplifier")

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the simplified model.

        Raises:
            NotApplicableError: the simplifier changes neither operators nor tensors.
            ConfigurationError: it is not installed.
            InferenceError: it fails.
        """
        with TemporaryDirectory() as folder:
            plain = Path(folder) / source.name
            # onnxslim makes float64 of Constant nodes of single numbers.
            constants_to_initializers(source, plain)
            simplify(plain, target, self.tool)
            expect_changed(
                self.name, plain, target, lambda made: (made.operators, made.initializers),
                f"something that {self.tool} makes simpler",
            )  # fmt: skip
