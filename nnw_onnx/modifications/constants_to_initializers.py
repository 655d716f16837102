"""Weights beside the graph instead of in its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nnw_onnx.graph import constants_to_initializers, expect_changed
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class ConstantsToInitializers(FileModification):
    """Every Constant node becomes an initializer, as conversion tools want them; numbers stay."""

    name: ClassVar[str] = "constants-to-initializers"
    summary: ClassVar[str] = "Constant nodes become initializers"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 0.0

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the model.

        Raises:
            NotApplicableError: there is no Constant node of numbers.
        """
        constants_to_initializers(source, target)
        expect_changed(
            self.name, source, target, lambda made: made.initializers, "a Constant node of numbers"
        )
