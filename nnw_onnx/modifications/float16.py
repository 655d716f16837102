"""Conversion to half precision by onnxruntime's own converter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.graph import to_plain_form
from nnw_onnx.inference import to_float16
from nnw_onnx.modifications._conversions import count_kernels
from nnw_onnx.vocabulary import Bench, Family, FileModification, Layer


@dataclass(frozen=True)
class Float16(FileModification):
    """The network computes in float16; its inputs and outputs keep their types.

    Numbers too large for float16 become its largest one. Nothing is promised of the answers: deep
    networks can lose them.
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
        # One that has half of it in float16 already comes out with two values of one name.
        if not count_kernels(source, _is_single) or count_kernels(source, _is_half):
            raise _refused("a network without kernels in float32, or with some in float16")
        with TemporaryDirectory() as folder:
            plain = Path(folder) / source.name
            to_plain_form(source, plain)
            to_float16(plain, target)
        if not count_kernels(target, _is_half):
            raise _refused("none that the converter took")


def _is_single(layer: Layer) -> bool:
    return layer.dtype == "float32"


def _is_half(layer: Layer) -> bool:
    return layer.dtype == "float16"


def _refused(got: str) -> NotApplicableError:
    return NotApplicableError(
        f"float16: expected kernels in float32, got {got}; leave it out for this network"
    )
