"""Quantized weights as the quantizers of onnxruntime write them, and odd ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
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
    assert network.no_weights_reason is None
    _check_marked(network, layer.name, kind, feed, tmp_path)


def _check_marked(
    network: OnnxNetwork, name: str, kind: str, feed: tuple[int, ...], folder: Path
) -> None:
    """A file with other weights answers as the float model that has those which are told."""
    marked = network.with_weights({name: network.weights[name] * 0.5})
    assert marked.rounding[name] < 0.05
    marked.save(folder / "marked.onnx")
    told = np.asarray(marked.weights[name])
    model = onnx.load(folder / "float.onnx")
    (weights,) = [t for t in model.graph.initializer if t.name == "w"]
    weights.CopyFrom(tensor(told, "w"))
    onnx.save(model, folder / "twin.onnx")
    x = {"x": values(*feed, seed=0)}
    ours, theirs = run_path(folder / "twin.onnx", x)[0], run_path(folder / "marked.onnx", x)[0]
    # Inputs and answers have 8 bits.
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=0.03 * np.abs(ours).max())


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


def test_scales_that_do_not_fit(tmp_path: Path) -> None:
    nodes = [node("DequantizeLinear", ["q", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    arrays = {"q": _integers(np.int8, 4, 5), "s": np.ones(3, np.float32)}
    network = _save(make(nodes, arrays, (2, 4)), tmp_path)
    with pytest.raises(ModelFileError) as error:
        network.weights["q"]
    assert str(error.value) == (
        "layer 'q': expected numbers, scales and zero points that fit the shape [4, 5] for "
        "DequantizeLinear, got others; quantize the model again"
    )


def test_integers_that_are_no_weights(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "shape"], ["r"]), node("Gather", ["r", "rows"], ["y"])]
    arrays = {"shape": np.array([4, 2], np.int64), "rows": np.arange(3, dtype=np.int32)}
    assert _save(make(nodes, arrays, (2, 4)), tmp_path).layers == ()


def test_packed_floats_without_a_scale(tmp_path: Path) -> None:
    nodes = [node("Cast", ["w"], ["c"], to=1), node("MatMul", ["x", "c"], ["y"])]
    model = make(nodes, {}, (2, 4))
    array = values(4, 5).astype(ml_dtypes.float4_e2m1fn)
    model.graph.initializer.append(tensor(array, "w"))
    network = _save(model, tmp_path)
    np.testing.assert_array_equal(
        network.weights["w"].astype(np.float32), array.T.astype(np.float32)
    )
    asked = np.full((5, 4), 0.9)
    asked[0] = [100, -100, 0.2, 5.1]
    marked = network.with_weights({"w": asked})
    expected = np.full((5, 4), 1.0)  # of the values 0, 0.5, 1, 1.5, 2, 3, 4 and 6
    expected[0] = [6, -6, 0, 6]
    np.testing.assert_array_equal(marked.weights["w"].astype(np.float32), expected)
