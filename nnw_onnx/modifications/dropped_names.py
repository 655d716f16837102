"""Names of layers that say nothing any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nnw_onnx.graph import drop_names, expect_changed
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class DroppedNames(FileModification):
    """Tensors are numbered in the order of the file, and nodes have no name; numbers stay.

    What exporters write of modules into the graph goes too. Inputs and outputs keep their names.
    """

    name: ClassVar[str] = "dropped-names"
    summary: ClassVar[str] = "names of tensors and nodes replaced by numbers"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 0.0

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the model.

        Raises:
            NotApplicableError: there are numbers for names already.
        """
        drop_names(source, target)
        expect_changed(
            self.name, source, target, lambda made: made.names, "names", "numbers already"
        )
