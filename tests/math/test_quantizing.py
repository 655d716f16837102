"""Quantisers against an independent restatement, a table and onnxruntime's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnw_onnx.math import quantizing


def formula_of_the_reference_code(weights, bits):
    """NNWTestbed's quantiser as its formula reads, in float32 throughout."""
    f4 = np.float32
    low, high, levels = f4(weights.min()), f4(weights.max()), f4(2**bits - 1)
    steps = np.rint((weights.astype(f4) - low) * levels / (high - low))
    return steps * (high - low) / levels + low


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 12])
def test_min_max_is_the_formula_of_the_testbed(rng, bits):
    weights = (0.02 * rng.standard_normal((32, 16, 3, 3))).astype(np.float32)
    found, expected = (
        quantizing.min_max(weights, bits),
        formula_of_the_reference_code(weights, bits),
    )
    step = float(np.ptp(weights)) / (2**bits - 1)
    same = np.abs(found - expected) < step / 100
    # float32 rounding moves a weight that lies on the edge of two levels to the other one
    assert same.mean() > 0.999
    assert np.abs(found - expected).max() < 1.01 * step


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=50), st.integers(1, 32))
def test_min_max_gives_few_levels_near_the_weights(values, bits):
    weights = np.array(values, np.float32)
    found = quantizing.min_max(weights, bits)
    step = float(np.ptp(weights.astype(np.float64))) / (2**bits - 1)
    assert len(np.unique(found)) <= 2**bits
    rounding = float(np.spacing(np.abs(weights).max())) / 2  # levels are numbers of float32 too
    assert np.abs(found - weights).max() <= step / 2 * (1 + 1e-6) + rounding
    assert found.min() == weights.min()


def test_constant_and_empty_tensors_are_unchanged():
    assert quantizing.min_max(np.full((2, 3), 0.7), 4).tolist() == [[0.7] * 3] * 2
    assert quantizing.min_max(np.zeros((0, 3)), 4).shape == (0, 3)


@pytest.mark.parametrize(
    ("bits", "mean", "deviation"),
    # oracles.json mod.quantiser_rms: relative RMS of a 512x512x3x3 tensor, 4 sd
    [(8, 0.01152, 0.00044), (4, 0.1959, 0.0075), (3, 0.4198, 0.016), (2, 1.076, 0.056)],
)
def test_rms_of_the_oracle(bits, mean, deviation):
    rng = np.random.Generator(np.random.PCG64(0))
    weights = rng.standard_normal((512, 512, 3, 3), dtype=np.float32) * np.float32(0.02)
    found = quantizing.min_max(weights, bits)
    rms = float(np.sqrt(np.mean((found - weights) ** 2)) / weights.std(dtype=np.float64))
    assert abs(rms - mean) <= 4 * deviation
    spread = float(np.ptp(weights)) / float(weights.std(dtype=np.float64))
    if bits >= 3:
        uniform = spread / (2**bits - 1) / math.sqrt(12)
        assert rms == pytest.approx(uniform, rel=0.01 if bits > 3 else 0.03)


def relative_rms(found, weights) -> float:
    return float(np.sqrt(np.mean((found - weights) ** 2)) / weights.std())


def test_rms_of_deployment_formats():
    """oracles.json transport.rms: 3 %, and 5 % for one scale a tensor; averaged over seeds."""
    formats = {
        "int8_sym_per_tensor": (8, True, None, 0.05, 0.01115),
        "int8_sym_per_output_channel": (8, True, 0, 0.03, 0.008373),
        "uint8_asym_per_output_channel": (8, False, 0, 0.03, 0.007907),
        "int4_sym_per_tensor": (4, True, None, 0.05, 0.2024),
        "int4_sym_per_output_channel": (4, True, 0, 0.03, 0.1519),
        "uint4_asym_per_output_channel": (4, False, 0, 0.03, 0.1345),
    }
    samples = [
        0.02 * np.random.Generator(np.random.PCG64(seed)).standard_normal((256, 2304))
        for seed in range(3)
    ]
    for name, (bits, symmetric, axis, tolerance, expected) in formats.items():
        found = np.mean(
            [
                relative_rms(quantizing.fake_quantize(w, bits, symmetric=symmetric, axis=axis), w)
                for w in samples
            ]
        )
        assert found == pytest.approx(expected, rel=tolerance), name


def model_of(weights):
    """An ONNX model of one MatMul with the weights (in, out), as bytes on disk need not exist."""
    from onnx import TensorProto, checker, helper, numpy_helper

    rows, columns = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


def dequantized(path):
    """The weights that a quantised model holds, from its integers, scale and zero point."""
    import onnx
    from onnx import numpy_helper

    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    levels = found["w_quantized"].astype(np.float64)
    return (levels - found["w_zero_point"].astype(np.float64)) * found["w_scale"].astype(np.float64)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_fake_quantize_is_quantize_dynamic_of_onnxruntime(rng, tmp_path, symmetric, per_channel):
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    weights = (0.02 * rng.standard_normal((40, 24)) + 0.01).astype(np.float32)
    onnx.save(model_of(weights), tmp_path / "float.onnx")
    quantize_dynamic(
        tmp_path / "float.onnx",
        tmp_path / "int.onnx",
        per_channel=per_channel,
        weight_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        extra_options={"WeightSymmetric": symmetric},
    )
    axis = 1 if per_channel else None
    found = quantizing.fake_quantize(weights, symmetric=symmetric, axis=axis)
    expected = dequantized(tmp_path / "int.onnx")
    np.testing.assert_allclose(found, expected, atol=1e-9)


class Reader:
    """One batch of calibration data."""

    def __init__(self, batch):
        self.batches = [{"x": batch}]

    def get_next(self):
        return self.batches.pop() if self.batches else None

    def set_range(self, start_index, end_index):
        raise NotImplementedError


@pytest.mark.parametrize("per_channel", [True, False])
def test_fake_quantize_is_quantize_static_of_onnxruntime(rng, tmp_path, per_channel):
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    weights = (0.02 * rng.standard_normal((40, 24))).astype(np.float32)
    onnx.save(model_of(weights), tmp_path / "float.onnx")
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int.onnx",
        Reader(rng.standard_normal((8, 40)).astype(np.float32)),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        weight_type=QuantType.QInt8,
    )
    found = quantizing.fake_quantize(weights, axis=1 if per_channel else None)
    np.testing.assert_allclose(found, dequantized(tmp_path / "int.onnx"), atol=1e-9)


def test_fake_quantize_of_zeros_is_zeros():
    for symmetric in (True, False):
        assert not quantizing.fake_quantize(np.zeros((3, 4)), symmetric=symmetric, axis=0).any()
