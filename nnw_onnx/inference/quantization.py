"""Conversions that deployment tools do: onnxruntime's own quantizers and float16 converter."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import _pieces
from nnw_onnx.inference.runtime import load_runtime, one_line
from nnw_onnx.inference.sessions import runtime_errors
from nnw_onnx.vocabulary import Array, Feeds, TensorInfo

_CALIBRATION_BATCH = 64


def quantize_static(
    source: Path, target: Path, inputs: Iterable[TensorInfo], samples: Iterable[Feeds]
) -> None:
    """Write a model whose weights and activations are int8 between QuantizeLinear pairs (QDQ).

    Weights are symmetric with a scale for each output channel, activations symmetric with the range
    that they have on the samples: onnxruntime's default, which no processor saturates.

    Args:
        source: an ONNX file of opset 13 or later, which stays as it is.
        target: where the quantized one is written.
        inputs: its inputs.
        samples: batches of feeds to calibrate with.

    Raises:
        InferenceError: the quantizer fails.
    """
    quantization = _quantization()
    reader = _reader(quantization, tuple(inputs), samples)
    with _as_one_line("quantizer"), _quiet():
        quantization.quantize_static(str(source), str(target), reader, per_channel=True)


def quantize_dynamic(source: Path, target: Path) -> None:
    """Write a model with int8 weights, one scale a tensor, that quantizes activations as it runs.

    Raises:
        InferenceError: the quantizer fails.
    """
    with _as_one_line("quantizer"), _quiet():
        _quantization().quantize_dynamic(str(source), str(target))


def to_float16(source: Path, target: Path) -> None:
    """Write a model that computes in float16 behind float32 inputs and outputs.

    Numbers too large for float16 become its largest one.

    Raises:
        InferenceError: the converter fails.
    """
    load_runtime()
    with _as_one_line("float16 converter"), _quiet():
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(str(source), keep_io_types=True)
        # The converter appends the casts of the inputs, and a file has its nodes in order.
        fed = {given.name for given in model.graph.input}
        model.graph.node.sort(key=lambda node: node.op_type != "Cast" or node.input[0] not in fed)
        target.write_bytes(model.SerializeToString())


def _quantization() -> Any:
    load_runtime()
    with _quiet():
        from onnxruntime import quantization
    return quantization


def _reader(quantization: Any, inputs: tuple[TensorInfo, ...], samples: Iterable[Feeds]) -> object:
    """The samples as the quantizer asks for them: one set of feeds after the other, then None."""
    pieces = _feeds(inputs, samples)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def get_next(self) -> dict[str, Array] | None:
            return next(pieces, None)

    return Reader()


def _feeds(inputs: tuple[TensorInfo, ...], samples: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
    for feeds in samples:
        for piece in _pieces.cut_up(inputs, feeds, _CALIBRATION_BATCH):
            yield piece.feeds


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is logged or warned of: the tools advise what users of this package cannot do."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _as_one_line(tool: str) -> Iterator[None]:
    # The tools walk graphs of any kind and fail as Python code does, with whatever comes first.
    own: tuple[type[Exception], ...] = (
        KeyError,
        AttributeError,
        IndexError,
        AssertionError,
        OSError,
    )
    failures = own + runtime_errors()
    try:
        yield
    except failures as error:
        raise InferenceError(
            f"{tool}: expected a model that onnxruntime's {tool} takes, got: "
            f"{type(error).__name__}: {one_line(error)}; leave this Modification out for it"
        ) from error
