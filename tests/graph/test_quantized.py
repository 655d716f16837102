"""Quantized weights: read as onnxruntime reads them, refused as replacements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network

from .handmade import make, node, run_path, tensor, values

RNG = np.random.Generator(np.random.PCG64(3))
OUT, INNER = 6, 70


def _save(model: onnx.ModelProto, tmp_path: Path) -> OnnxNetwork:
    onnx.save(model, tmp_path / "m.onnx")
    return open_network(tmp_path / "m.onnx")


def _only_kernel(network: OnnxNetwork) -> Any:
    (layer,) = [found for found in network.layers if found.role == "kernel"]
    return layer


def _integers(dtype: Any, *shape: int) -> NDArray[Any]:
    info = ml_dtypes.iinfo(dtype)
    return RNG.integers(int(info.min), int(info.max) + 1, shape).astype(dtype)


def _dequantize(
    dtype: Any, scale: NDArray[Any], zero: NDArray[Any] | None, *, transposed: bool, **attrs: int
) -> onnx.ModelProto:
    shape = (OUT, INNER) if transposed else (INNER, OUT)
    inputs = ["q", "s"] + (["z"] if zero is not None else [])
    nodes = [node("DequantizeLinear", inputs, ["d"], **attrs)]
    nodes += [node("Transpose", ["d"], ["t"])] if transposed else []
    nodes += [node("MatMul", ["x", "t" if transposed else "d"], ["y"])]
    model = make(nodes, {}, (INNER, INNER))
    arrays = {"q": _integers(dtype, *shape), "s": scale.astype(np.float32)}
    arrays |= {} if zero is None else {"z": zero.astype(dtype)}
    model.graph.initializer.extend(tensor(a, n) for n, a in arrays.items())
    return model


def _scales(*shape: int) -> NDArray[Any]:
    return RNG.random(shape) * 0.05 + 0.01


def _float8() -> onnx.ModelProto:
    nodes = [node("DequantizeLinear", ["q", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    model = make(nodes, {"s": np.array(0.5, np.float32)}, (INNER, INNER))
    array = values(INNER, OUT).astype(ml_dtypes.float8_e4m3fn)
    model.graph.initializer.append(tensor(array, "q"))
    return model


def _transposed_before() -> onnx.ModelProto:
    nodes = [
        node("Transpose", ["q"], ["t"]),
        node("DequantizeLinear", ["t", "s"], ["d"], axis=0, block_size=14),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    arrays = {"q": _integers(np.int8, OUT, INNER), "s": _scales(5, OUT).astype(np.float32)}
    return make(nodes, arrays, (INNER, INNER))


ZERO = np.array(3)
LINEAR: dict[str, Callable[[], onnx.ModelProto]] = {
    "per tensor": lambda: _dequantize(np.int8, _scales(), ZERO, transposed=False),
    "uint8": lambda: _dequantize(np.uint8, _scales(), ZERO, transposed=False),
    "no zero point": lambda: _dequantize(np.int8, _scales(), None, transposed=False),
    "int16": lambda: _dequantize(np.int16, _scales(), ZERO, transposed=False),
    "per column": lambda: _dequantize(
        np.int8, _scales(OUT), RNG.integers(-9, 9, OUT), transposed=False, axis=1
    ),
    "per row": lambda: _dequantize(
        np.int8, _scales(OUT), RNG.integers(-9, 9, OUT), transposed=True, axis=0
    ),
    "negative axis": lambda: _dequantize(np.int8, _scales(OUT), None, transposed=False, axis=-1),
    "int4": lambda: _dequantize(ml_dtypes.int4, _scales(), ZERO, transposed=False),
    "blocks": lambda: _dequantize(
        np.int8, _scales(5, OUT), RNG.integers(-9, 9, (5, OUT)), transposed=False, axis=0,
        block_size=14,
    ),
    "uint4 blocks": lambda: _dequantize(
        ml_dtypes.uint4, _scales(OUT, 5), RNG.integers(0, 9, (OUT, 5)), transposed=True, axis=1,
        block_size=14,
    ),
    "float8": _float8,
    "transposed before": _transposed_before,
}  # fmt: skip


@pytest.mark.parametrize("kind", LINEAR, ids=lambda n: n.replace(" ", "-"))
def test_dequantize_linear(kind: str, tmp_path: Path) -> None:
    """The identity goes in, so the weights that the runtime uses come out."""
    network = _save(LINEAR[kind](), tmp_path)
    layer = _only_kernel(network)
    assert (layer.shape, layer.quantization) == ((OUT, INNER), "DequantizeLinear")
    assert (layer.storage, layer.replaceable) == ("quantized", False)
    effective = run_path(network.path, {"x": np.eye(INNER, dtype=np.float32)})[0].T
    found = network.weights[layer.name]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, effective, rtol=1e-6, atol=2e-6)  # products are summed


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ])
def test_matmul_nbits(bits: int, symmetric: bool, form: QuantFormat, tmp_path: Path) -> None:
    if form is QuantFormat.QDQ and bits != 4:
        pytest.skip("the quantizer writes this form with 4 bits only")
    model = make([node("MatMul", ["x", "w"], ["y"])], {"w": values(INNER, OUT)}, (INNER, INNER))
    config = DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=symmetric, bits=bits, quant_format=form
    )
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    network = _save(quantizer.model.model, tmp_path)
    layer = _only_kernel(network)
    expected = "MatMulNBits" if form is QuantFormat.QOperator else "DequantizeLinear"
    assert (layer.quantization, layer.shape) == (expected, (OUT, INNER))
    effective = run_path(network.path, {"x": np.eye(INNER, dtype=np.float32)})[0].T
    np.testing.assert_allclose(network.weights[layer.name], effective, rtol=1e-5, atol=1e-5)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, *shape: int) -> None:
        self.batches = iter([{"x": values(*shape, seed=k)} for k in range(2)])

    def get_next(self) -> Any:
        return next(self.batches, None)


def _float_model(tmp_path: Path, kind: str) -> tuple[Path, NDArray[Any], tuple[int, ...]]:
    """A float model, its kernel in canonical layout and the shape of x."""
    if kind == "conv":
        weights, feed = values(6, 3, 3, 3), (1, 3, 8, 8)
        model = make([node("Conv", ["x", "w"], ["y"])], {"w": weights}, feed)
    else:
        weights, feed = values(OUT, INNER), (4, INNER)
        operator = node("Gemm", ["x", "w", "b"], ["y"], transB=1)
        model = make([operator], {"w": weights, "b": values(OUT)}, feed)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, tmp_path / "float.onnx")
    return tmp_path / "float.onnx", weights, feed


@pytest.mark.parametrize("kind", ["conv", "gemm"])
@pytest.mark.parametrize(
    "how", ["dynamic int8", "dynamic uint8", "qdq", "qdq per channel", "qoperator",
            "qoperator per channel"],
)  # fmt: skip
def test_quantizers_of_onnxruntime(kind: str, how: str, tmp_path: Path) -> None:
    """Every quantizer rounds to the nearest step, so weights are off by half a step at most."""
    source, weights, feed = _float_model(tmp_path, kind)
    target = tmp_path / "m.onnx"
    if how.startswith("dynamic"):
        weight_type = QuantType.QInt8 if how.endswith(" int8") else QuantType.QUInt8
        quantize_dynamic(source, target, weight_type=weight_type)
    else:
        form = QuantFormat.QDQ if how.startswith("qdq") else QuantFormat.QOperator
        quantize_static(
            source, target, _Reader(*feed), quant_format=form, per_channel="channel" in how,
            weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
        )  # fmt: skip
    network = open_network(target)
    layer = _only_kernel(network)
    assert layer.shape == weights.shape
    step = (
        (weights.max() - min(weights.min(), 0)) / 255
        if "uint8" in how
        else (np.abs(weights).max() / 127)
    )
    assert np.abs(network.weights[layer.name] - weights).max() <= step * 0.5001
    assert network.no_weights_reason is not None
    expected = "which can be read but not replaced; use the model before quantization"
    assert network.no_weights_reason.endswith(expected)
    with pytest.raises(ModelFileError) as error:
        network.with_weights({layer.name: weights})
    assert str(error.value) == (
        f"layer '{layer.name}': expected a layer of floating-point weights, got weights quantized "
        f"by {layer.quantization}; replace weights before quantizing"
    )


def test_tied_through_gather_and_transpose(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["q", "i"], ["g"]),
        node("DequantizeLinear", ["g", "s", "z"], ["e"]),
        node("Transpose", ["q"], ["t"]),
        node("DequantizeLinear", ["t", "s", "z"], ["h"]),
        node("MatMul", ["x", "h"], ["m"]),
        node("ReduceSum", ["e"], ["r"], keepdims=0),
        node("Add", ["m", "r"], ["y"]),
    ]
    arrays = {
        "q": _integers(np.int8, 9, 4),
        "s": np.array(0.02, np.float32),
        "z": np.array(5, np.int8),
        "i": np.array([1], np.int64),
    }
    network = _save(make(nodes, arrays, (2, 4)), tmp_path)
    (layer,) = network.layers
    assert (layer.role, layer.shared, layer.quantization) == ("kernel", True, "DequantizeLinear")
    expected = (arrays["q"].astype(np.float32) - 5) * np.float32(0.02)
    np.testing.assert_allclose(network.weights["q"], expected, rtol=1e-6)


def test_gather_block_quantized(tmp_path: Path) -> None:
    gather = node(
        "GatherBlockQuantized", ["q", "i", "s", "z"], ["y"], domain="com.microsoft",
        block_size=16, quantize_axis=1,
    )  # fmt: skip
    model = make(
        [node("Cast", ["x"], ["i"], to=TensorProto.INT64), gather],
        {"s": _scales(5, 4).astype(np.float32)}, (5,),
    )  # fmt: skip
    model.graph.initializer.append(tensor(_integers(ml_dtypes.uint4, 5, 64), "q"))
    model.graph.initializer.append(tensor(_integers(ml_dtypes.uint4, 5, 4), "z"))
    network = _save(model, tmp_path)
    (layer,) = network.layers
    assert (layer.role, layer.quantization) == ("embedding", "GatherBlockQuantized")
    effective = run_path(network.path, {"x": np.arange(5, dtype=np.float32)})[0]
    np.testing.assert_allclose(network.weights["q"], effective, rtol=1e-6)


def test_scales_that_are_computed(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMax", ["x"], ["s"], keepdims=0),
        node("DequantizeLinear", ["q", "s"], ["d"]),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    network = _save(make(nodes, {"q": _integers(np.int8, 4, 5)}, (2, 4)), tmp_path)
    with pytest.raises(ModelFileError) as error:
        network.weights["q"]
    assert str(error.value) == (
        "layer 'q': expected constant scales for DequantizeLinear, got computed ones; these "
        "weights cannot be read"
    )


def test_scales_that_do_not_fit(tmp_path: Path) -> None:
    nodes = [node("DequantizeLinear", ["q", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    arrays = {"q": _integers(np.int8, 4, 5), "s": np.ones(3, np.float32)}
    network = _save(make(nodes, arrays, (2, 4)), tmp_path)
    with pytest.raises(ModelFileError) as error:
        network.weights["q"]
    assert str(error.value) == (
        "layer 'q': expected scales and zero points that fit the shape [4, 5] for "
        "DequantizeLinear, got others; quantize the model again"
    )


def test_integers_that_are_no_weights(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "shape"], ["r"]), node("Gather", ["r", "rows"], ["y"])]
    arrays = {"shape": np.array([4, 2], np.int64), "rows": np.arange(3, dtype=np.int32)}
    assert _save(make(nodes, arrays, (2, 4)), tmp_path).layers == ()


def test_integer_product_by_hand(tmp_path: Path) -> None:
    """MatMulInteger -> Cast -> Mul(., Mul(x scale, w scale)) with a scale per column."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("MatMulInteger", ["xq", "q", "xz", "z"], ["p"]),
        node("Cast", ["p"], ["f"], to=1),
        node("Mul", ["xs", "s"], ["both"]),
        node("Mul", ["f", "both"], ["y"]),
    ]
    arrays = {
        "q": _integers(np.int8, INNER, OUT),
        "z": np.array(0, np.int8),
        "s": _scales(OUT).astype(np.float32),
    }
    network = _save(make(nodes, arrays, (INNER, INNER)), tmp_path)
    layer = _only_kernel(network)
    assert (layer.quantization, layer.shape) == ("MatMulInteger", (OUT, INNER))
    effective = run_path(network.path, {"x": np.eye(INNER, dtype=np.float32)})[0].T
    np.testing.assert_allclose(network.weights["q"], effective, rtol=1e-5, atol=1e-6)


def test_packed_floats_without_a_scale(tmp_path: Path) -> None:
    nodes = [node("Cast", ["w"], ["c"], to=1), node("MatMul", ["x", "c"], ["y"])]
    model = make(nodes, {}, (2, 4))
    array = values(4, 5).astype(ml_dtypes.float4_e2m1fn)
    model.graph.initializer.append(tensor(array, "w"))
    network = _save(model, tmp_path)
    np.testing.assert_array_equal(
        network.weights["w"].astype(np.float32), array.T.astype(np.float32)
    )
    with pytest.raises(ModelFileError, match="got weights quantized by float4_e2m1fn"):
        network.with_weights({"w": np.zeros((5, 4))})
