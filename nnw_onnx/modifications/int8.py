"""Quantization to 8 bits by onnxruntime's own quantizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.graph import expect_changed, makeup, open_network, to_plain_form
from nnw_onnx.inference import quantize_dynamic, quantize_static
from nnw_onnx.kit import trainings
from nnw_onnx.kit.samples import batches
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, Feeds, FileModification, Need

_BATCH = 64
_NEEDED = "a kernel that onnxruntime quantizes"


@dataclass(frozen=True)
class Int8(FileModification):
    """Weights are stored as int8, and integers are what the network computes with.

    "static": the ranges of activations are taken from training samples. "dynamic": they are taken
    as the network runs. Layers get other names, and the Decoder reads their weights as numbers
    again.
    """

    name: ClassVar[str] = "int8"
    summary: ClassVar[str] = "quantized to 8-bit integers by onnxruntime"
    family: ClassVar[Family] = "deployment"
    before = MappingProxyType({"form": "qdq", "per_channel": None})

    mode: Literal["static", "dynamic"] = option(
        "static", help="whether activations get their ranges from samples, or as the network runs"
    )
    samples: Annotated[int, Ge(1), Le(1 << 20)] = option(
        128, help="training samples to calibrate with; static only"
    )
    form: Literal["qdq", "qoperator"] = option(
        "qdq",
        help="QuantizeLinear and DequantizeLinear around every operator, or operators that compute "
        "with integers (QLinearConv, ...); static only",
    )
    per_channel: bool | None = option(
        None,
        help="a scale for each output channel, or one a tensor; by default the first in static "
        "mode. In dynamic mode onnxruntime has one a tensor for Conv whatever is asked for",
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
        static, before = self.mode == "static", makeup(source)
        # Of a model that is quantized already the tool makes one with two values of one name.
        if not before.plain or (static and before.quantized):
            raise NotApplicableError(
                f"{self.name}: expected {_NEEDED}, got none, or some quantized already; leave it "
                "out for this network"
            )
        per_channel = static if self.per_channel is None else self.per_channel
        with TemporaryDirectory() as folder:
            plain = Path(folder) / source.name
            to_plain_form(source, plain)
            if static:
                inputs, samples = open_network(source).inputs, self._calibration(bench, rng)
                quantize_static(
                    plain, target, inputs, samples, form=self.form, per_channel=per_channel
                )
            else:
                quantize_dynamic(plain, target, per_channel=per_channel)
        expect_changed(self.name, source, target, lambda made: made.quantized, _NEEDED)

    def _calibration(self, bench: Bench, rng: np.random.Generator) -> Iterator[Feeds]:
        drawn = trainings.some(bench.samples(), self.samples, rng)
        return (batch.feeds for batch in batches(drawn, _BATCH))
