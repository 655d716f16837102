"""Weights in nodes of the graph instead of beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nnw_onnx.graph import expect_changed, initializers_to_constants
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class InitializersToConstants(FileModification):
    """Every initializer becomes a Constant node, as some exporters write them; numbers stay."""

    name: ClassVar[str] = "initializers-to-constants"
    summary: ClassVar[str] = "initializers become Constant nodes"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 0.0

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the model.

        Raises:
            NotApplicableError: there is no initializer.
        """
        initializers_to_constants(source, target)
        expect_changed(self.name, source, target, lambda made: made.initializers, "an initializer")
