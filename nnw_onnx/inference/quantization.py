"""Conversions that deployment tools do: onnxruntime's own quantizers and float16 converter."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from nnw_onnx.errors import ConfigurationError, InferenceError, NnwError
from nnw_onnx.inference import _pieces
from nnw_onnx.inference.isolation import sheltered
from nnw_onnx.inference.runtime import load_runtime, one_line
from nnw_onnx.vocabulary import Array, Feeds, TensorInfo

Form = Literal["qdq", "qoperator"]

_CALIBRATION_BATCH = 64
_NBITS = 4


def quantize_static(
    source: Path,
    target: Path,
    inputs: Iterable[TensorInfo],
    samples: Iterable[Feeds],
    *,
    form: Form = "qdq",
    per_channel: bool = True,
) -> None:
    """Write a model whose weights and activations are int8.

    Weights are symmetric, and activations have the range that they have on the samples:
    onnxruntime's default. Answers of one file may differ between processors: without VNNI
    onnxruntime has been seen to saturate products of bytes. By how much is not measured here.

    Args:
        source: an ONNX file of opset 13 or later, which stays as it is.
        target: where the quantized one is written.
        inputs: its inputs.
        samples: batches of feeds to calibrate with.
        form: "qdq" for QuantizeLinear and DequantizeLinear around every operator, "qoperator" for
            operators that compute with integers, such as QLinearConv.
        per_channel: a scale for each output channel, or one a tensor.

    Raises:
        InferenceError: the quantizer fails.
    """
    sheltered(
        _quantize_static, source, source, target, tuple(inputs), tuple(samples), form, per_channel
    )


def _quantize_static(
    source: Path,
    target: Path,
    inputs: tuple[TensorInfo, ...],
    samples: tuple[Feeds, ...],
    form: Form,
    per_channel: bool,
) -> None:
    quantization = _quantization()
    reader = _reader(quantization, inputs, samples)
    with as_one_line("quantizer"), quiet():
        quantization.quantize_static(
            str(source), str(target), reader, _form(quantization, form), per_channel=per_channel
        )


def quantize_dynamic(source: Path, target: Path, *, per_channel: bool = False) -> None:
    """Write a model with int8 weights that quantizes activations as it runs.

    Args:
        source: an ONNX file of opset 13 or later, which stays as it is.
        target: where the quantized one is written.
        per_channel: a scale for each output channel where the quantizer has that (not for Conv),
            or one a tensor.

    Raises:
        InferenceError: the quantizer fails.
    """
    sheltered(_quantize_dynamic, source, source, target, per_channel)


def _quantize_dynamic(source: Path, target: Path, per_channel: bool) -> None:
    with as_one_line("quantizer"), quiet():
        _quantization().quantize_dynamic(str(source), str(target), per_channel=per_channel)


def quantize_products(source: Path, target: Path, block_size: int, form: Form) -> None:
    """Write a model in which the constant operand of each MatMul has 4 bits a weight.

    Blocks of weights along the inputs of each output have a scale and a zero point.

    Args:
        source: an ONNX file, which stays as it is; of opset 21 or later for "qdq".
        target: where the quantized one is written.
        block_size: weights of a block, a power of two from 16 on.
        form: "qoperator" for MatMulNBits of onnxruntime, "qdq" for a DequantizeLinear before it.

    Raises:
        InferenceError: the quantizer fails.
        ConfigurationError: a package that it needs is not installed.
    """
    _nbits_quantizer()
    sheltered(_quantize_products, source, source, target, block_size, form)


def _quantize_products(source: Path, target: Path, block_size: int, form: Form) -> None:
    quantization = _quantization()
    with as_one_line("quantizer"), quiet():
        tool = _nbits_quantizer()(
            str(source), _NBITS, block_size, quant_format=_form(quantization, form)
        )
        tool.process()
        tool.model.save_model_to_file(str(target))


def _nbits_quantizer() -> Any:
    try:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    except ImportError as error:
        raise ConfigurationError(
            f"quantizer: expected onnx-ir, which onnxruntime's quantizer to 4 bits needs, got: "
            f"{error}; pip install 'nnw-onnx[deployment]', or leave it out"
        ) from error
    return MatMulNBitsQuantizer


def _form(quantization: Any, form: Form) -> Any:
    formats = quantization.QuantFormat
    return formats.QDQ if form == "qdq" else formats.QOperator


def to_float16(source: Path, target: Path) -> None:
    """Write a model that computes in float16 behind float32 inputs and outputs.

    Numbers too large for float16 become its largest one.

    Raises:
        InferenceError: the converter fails.
    """
    sheltered(_to_float16, source, source, target)


def _to_float16(source: Path, target: Path) -> None:
    load_runtime()
    with as_one_line("float16 converter"), quiet():
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(str(source), keep_io_types=True)
        # The converter appends the casts of the inputs, and a file has its nodes in order.
        fed = {given.name for given in model.graph.input}
        model.graph.node.sort(key=lambda node: node.op_type != "Cast" or node.input[0] not in fed)
        target.write_bytes(model.SerializeToString())


def _quantization() -> Any:
    load_runtime()
    with quiet():
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
def quiet() -> Iterator[None]:
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
def as_one_line(tool: str) -> Iterator[None]:
    """What a tool raises as an `InferenceError` of one line."""
    try:
        yield
    except NnwError:
        raise
    except Exception as error:  # the tools are others' code and raise whatever they meet
        raise InferenceError(
            f"{tool}: expected a model that onnxruntime's {tool} takes, got: "
            f"{type(error).__name__}: {one_line(error)}; leave this Modification out for it"
        ) from error
