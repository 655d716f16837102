"""Conversion to half precision by onnxruntime's own converter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.graph import (
    constants_to_initializers,
    expect_changed,
    makeup,
    to_plain_form,
)
from nnw_onnx.inference import to_float16
from nnw_onnx.vocabulary import Bench, Family, FileModification

_NEEDED = "kernels in float32"


@dataclass(frozen=True)
class Float16(FileModification):
    """The network computes in float16; its inputs and outputs keep their types.

    Numbers too large for float16 become its largest one, and those below 6e-5 lose digits, as the
    first kernels of networks do that are fed 0 to 255. What that leaves of the answers depends on
    the network, so nothing is promised: it is measured.
    """

    name: ClassVar[str] = "float16"
    summary: ClassVar[str] = "converted to half precision"
    family: ClassVar[Family] = "deployment"

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the converted model.

        Raises:
            NotApplicableError: no kernel is in float32 and comes out in float16.
            InferenceError: the converter fails.
        """
        before = makeup(source).kernels
        # One that has half of it in float16 already comes out with two values of one name.
        if not before.get("float32") or before.get("float16"):
            raise NotApplicableError(
                f"{self.name}: expected {_NEEDED}, got a network without kernels in float32, or "
                "with some in float16; leave it out for this network"
            )
        with TemporaryDirectory() as folder:
            stored, plain = Path(folder) / "stored.onnx", Path(folder) / source.name
            # The converter leaves Constant nodes of single numbers in float32.
            constants_to_initializers(source, stored)
            to_plain_form(stored, plain)
            to_float16(plain, target)
        expect_changed(
            self.name, source, target, lambda made: made.kernels.get("float16"), _NEEDED,
            "none that the converter took",
        )  # fmt: skip
