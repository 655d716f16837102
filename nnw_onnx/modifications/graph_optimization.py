"""Optimization of the graph by onnxruntime, saved as a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from nnw_onnx.graph import expect_changed
from nnw_onnx.inference import optimize
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class GraphOptimization(FileModification):
    """The graph as onnxruntime's optimizer leaves it for a CPU.

    "basic": constants are folded, and what follows a convolution is folded into its weights where
    it can be. "extended": operators are joined into some that onnxruntime alone knows. "all":
    kernels are stored in blocks of channels for the processor at hand, under other names; another
    processor may get other blocks.
    """

    name: ClassVar[str] = "graph-optimization"
    summary: ClassVar[str] = "optimized by onnxruntime, and saved so"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 1e-4

    level: Literal["basic", "extended", "all"] = option(
        "all", help="how far the optimizer goes; see onnxruntime's graph optimization levels"
    )

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the optimized model.

        Raises:
            NotApplicableError: the optimizer changes no operator.
            InferenceError: the runtime does not take the model.
        """
        optimize(source, target, self.level)
        expect_changed(
            self.name, source, target, lambda made: made.operators,
            f"operators that onnxruntime joins or folds at level {self.level}",
        )  # fmt: skip
