"""Conversion to another version of the operators, by onnx's own converter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.graph import (
    convert_opset,
    expect_changed,
    newest_known,
    open_network,
    smallest_model,
)
from nnw_onnx.inference import newest_opset, sheltered
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class OpsetConversion(FileModification):
    """The standard operators are those of another operator set.

    Attributes of operators become inputs, or inputs attributes; weights stay as they are.
    """

    name: ClassVar[str] = "opset-conversion"
    summary: ClassVar[str] = "converted to another operator set by onnx"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 1e-5

    opset: Annotated[int, Ge(1), Le(1000)] | None = option(
        None,
        help="version of the operator set; by default the newest that the runtime takes, or the "
        "one before where the network has that",
    )

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the converted model.

        Raises:
            NotApplicableError: it has this operator set.
            ModelFileError: onnx cannot convert it.
        """
        opset = self.opset or _another(open_network(source).opset.get("", 0))
        sheltered(convert_opset, source, source, target, opset)
        expect_changed(
            self.name, source, target, lambda made: made.opset,
            f"a network with another operator set than {opset}", "one with this",
        )  # fmt: skip


def _another(now: int) -> int:
    newest = newest_opset(newest_known(), smallest_model)
    return newest if newest != now else newest - 1
