"""Quantization to 4 bits a weight by onnxruntime's own quantizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

import numpy as np

from nnw_onnx.graph import expect_changed, to_plain_form
from nnw_onnx.inference import quantize_products
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, FileModification

_INT4_FROM = 21
"""The operator set from which DequantizeLinear knows blocks and 4 bits."""


@dataclass(frozen=True)
class Int4(FileModification):
    """The matrices of MatMul are stored with 4 bits a weight, in blocks with a scale each.

    So are language models. Convolutions and Gemm stay as they are: the quantizer knows MatMul
    only. The network computes in float32.
    """

    name: ClassVar[str] = "int4"
    summary: ClassVar[str] = "matrices quantized to 4 bits by onnxruntime"
    family: ClassVar[Family] = "deployment"

    block_size: Literal[16, 32, 64, 128, 256] = option(
        32, help="weights that share a scale and a zero point"
    )
    form: Literal["qoperator", "qdq"] = option(
        "qoperator", help="MatMulNBits of onnxruntime, or DequantizeLinear before MatMul"
    )

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the quantized model.

        Raises:
            NotApplicableError: there is no MatMul with constant weights.
            ConfigurationError: a package that the quantizer needs is not installed.
            InferenceError: it fails.
        """
        with TemporaryDirectory() as folder:
            plain = Path(folder) / source.name
            to_plain_form(source, plain, _INT4_FROM if self.form == "qdq" else 13)
            quantize_products(plain, target, self.block_size, self.form)
        expect_changed(
            self.name, source, target, lambda made: made.quantized,
            "a MatMul with constant weights",
        )  # fmt: skip
