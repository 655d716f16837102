"""Quantization to 8 bits by onnxruntime's own quantizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.graph import open_network, to_plain_form
from nnw_onnx.inference import quantize_dynamic, quantize_static
from nnw_onnx.kit import trainings
from nnw_onnx.kit.samples import batches
from nnw_onnx.modifications._conversions import count_kernels
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, Feeds, FileModification, Layer, Need

_BATCH = 64


@dataclass(frozen=True)
class Int8(FileModification):
    """Weights are stored as int8, and integers are what the network computes with.

    "static": QuantizeLinear and DequantizeLinear around every operator, one scale for each output
    channel, the ranges of activations taken from training samples. "dynamic": one scale a tensor,
    the ranges of activations taken as the network runs. Layers get other names, and the Decoder
    reads their weights as numbers again.
    """

    name: ClassVar[str] = "int8"
    summary: ClassVar[str] = "quantized to 8-bit integers by onnxruntime"
    family: ClassVar[Family] = "deployment"

    mode: Literal["static", "dynamic"] = option(
        "static", help="whether activations get their ranges from samples, or as the network runs"
    )
    samples: Annotated[int, Ge(1), Le(1 << 20)] = option(
        128, help="training samples to calibrate with; static only"
    )

    def needed(self) -> tuple[Need, ...]:
        """Samples to calibrate with, where that is done."""
        return ("data",) if self.mode == "static" else ()

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the quantized model.

        Raises:
            NotApplicableError: no kernel is quantized that was not before.
            InferenceError: the quantizer fails.
        """
        with TemporaryDirectory() as folder:
            plain = Path(folder) / source.name
            to_plain_form(source, plain)
            if self.mode == "static":
                inputs = open_network(source).inputs
                quantize_static(plain, target, inputs, self._calibration(bench, rng))
            else:
                quantize_dynamic(plain, target)
        if count_kernels(target, _is_integer) <= count_kernels(source, _is_integer):
            raise NotApplicableError(
                "int8: expected a kernel that onnxruntime quantizes, got none; leave it out for "
                "this network"
            )

    def _calibration(self, bench: Bench, rng: np.random.Generator) -> Iterator[Feeds]:
        drawn = trainings.some(bench.samples(), self.samples, rng)
        return (batch.feeds for batch in batches(drawn, _BATCH))


def _is_integer(layer: Layer) -> bool:
    return layer.quantization is not None
