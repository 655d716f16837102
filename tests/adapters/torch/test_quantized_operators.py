"""Quantized operators: integers as onnxruntime's, and gradients straight through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.operators import OPERATORS  # noqa: E402

from .single_nodes import assert_same, by_torch, call_of, exact_products  # noqa: E402

RNG = np.random.Generator(np.random.Philox(6))
MICROSOFT = "com.microsoft"


def real(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def bytes_of(*shape: int, dtype: type = np.uint8) -> Any:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def scale(*values: float) -> Any:
    return np.array(values[0] if len(values) == 1 else values, np.float32)


def zero(value: Any, dtype: type = np.uint8) -> Any:
    return np.array(value, dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_quantize_and_dequantize(dtype: type) -> None:
    opset = 21 if np.iinfo(dtype).bits == 16 else 13
    x = 50 * real(3, 4, 5)
    x[0, 0] = [0.5, 1.5, 2.5, -0.5, -1.5]
    for step, shift, attributes in (
        (scale(1.0), zero(3, dtype), {}),
        (scale(0.1), zero(100, dtype), {}),
        (scale(0.1, 0.2, 0.3, 2.0), zero([0, 1, 2, 3], dtype), {"axis": 1}),
        (scale(0.1, 0.2, 1.0), zero([9, 5, 7], dtype), {"axis": -3}),
    ):
        assert_same("QuantizeLinear", [x, step, shift], attributes, opset=opset)
        q = bytes_of(3, 4, 5, dtype=dtype)
        assert_same("DequantizeLinear", [q, step, shift], attributes, opset=opset)
    assert_same("QuantizeLinear", [x, scale(0.4)], {}, opset=13)


@pytest.mark.parametrize("axis", [0, 1])
def test_quantization_in_blocks(axis: int) -> None:
    steps = np.abs(real(*((2, 5) if axis == 0 else (4, 2)))) + 0.1
    shifts = bytes_of(*steps.shape)
    attributes = {"axis": axis, "block_size": 2 if axis == 0 else 3}
    assert_same("QuantizeLinear", [50 * real(4, 5), steps, shifts], attributes, opset=21)
    assert_same("DequantizeLinear", [bytes_of(4, 5), steps, shifts], attributes, opset=21)


def test_dequantize_int32_keeps_large_numbers() -> None:
    x = np.array([[2**30 + 1, -(2**30), 7]], np.int32)
    assert_same("DequantizeLinear", [x, scale(1e-6)], {}, opset=13)


@pytest.mark.parametrize("x", [real(3, 4), np.abs(real(3, 4)) + 1, -np.abs(real(3, 4)) - 2])
def test_dynamic_quantize_linear(x: Any) -> None:
    assert_same("DynamicQuantizeLinear", [x], {}, outputs=3, opset=11)


CONVOLUTIONS: list[dict[str, Any]] = [
    {},
    {"pads": [1, 0, 2, 1], "strides": [2, 1]},
    {"group": 2, "dilations": [1, 2], "pads": [1, 1, 1, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
]


SATURATING = pytest.mark.skipif(
    not exact_products(), reason="onnxruntime saturates signed products on a processor without VNNI"
)


@pytest.mark.parametrize("attributes", CONVOLUTIONS)
@pytest.mark.parametrize("weight_type", [np.uint8, pytest.param(np.int8, marks=SATURATING)])
def test_convolutions(attributes: dict[str, Any], weight_type: type) -> None:
    x = bytes_of(2, 4, 7, 6)
    w = bytes_of(6, 4 // attributes.get("group", 1), 3, 2, dtype=weight_type)
    shift = zero(3, weight_type)
    assert_same("ConvInteger", [x, w, zero(120), shift], attributes, opset=10)
    assert_same("ConvInteger", [x, w], attributes, opset=10)
    bias = RNG.integers(-9999, 9999, 6).astype(np.int32)
    head, tail = [x, scale(0.02), zero(130), w], [scale(3.3), zero(110)]
    one = [*head, scale(0.7), shift, *tail, bias]
    assert_same("QLinearConv", one, attributes, opset=10)
    many = [*head, scale(0.1, 0.2, 0.3, 0.4, 0.5, 0.6), zero([3] * 6, weight_type), *tail]
    assert_same("QLinearConv", many, attributes, opset=10)


@SATURATING
def test_products() -> None:
    a, b = bytes_of(2, 3, 4), bytes_of(4, 5, dtype=np.int8)
    assert_same("MatMulInteger", [a, b, zero(7), zero(-3, np.int8)], {}, opset=10)
    assert_same("MatMulInteger", [a, b], {}, opset=10)
    columns = [scale(0.1, 0.2, 0.3, 0.4, 0.5), zero([1, 2, 3, -4, 5], np.int8)]
    for right in ([scale(0.3), zero(-3, np.int8)], columns):
        inputs = [a, scale(0.02), zero(7), b, *right, scale(1.1), zero(99)]
        assert_same("QLinearMatMul", inputs, {}, opset=10)


def test_products_of_the_runtime() -> None:
    a, b = bytes_of(3, 4), bytes_of(4, 5)
    head = [a, scale(0.02), zero(7), b, scale(0.3), zero(120)]
    bias = RNG.integers(-999, 999, 5).astype(np.int32)
    shared = {"outputs": 1, "opset": 1, "domain": MICROSOFT}
    assert_same("QGemm", [*head, bias, scale(1.1), zero(99)], {"alpha": 1.0}, **shared)
    assert_same("QGemm", [*head, bias], {"alpha": 0.5}, **shared)
    turned = [a.T.copy(), *head[1:3], b.T.copy(), *head[4:]]
    assert_same("QGemm", turned, {"transA": 1, "transB": 1, "alpha": 1.0}, **shared)
    whole = [a, b, scale(0.02), scale(0.3), zero(7), zero(120), real(5)]
    assert_same("MatMulIntegerToFloat", whole, {}, **shared)
    assert_same("DynamicQuantizeMatMul", [real(3, 4), b, scale(0.3), zero(120), real(5)], {},
                tolerance=1e-4, **shared)  # fmt: skip


def one_apart(name: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    """As the runtime, but for a last bit: it multiplies by a rounded factor or looks in a table."""
    assert_same(name, inputs, attributes, opset=1, domain=MICROSOFT, tolerance=1.01)


def test_elementwise_of_the_runtime() -> None:
    a = [bytes_of(2, 4, 6, 6), scale(0.05), zero(110)]
    b = [bytes_of(2, 4, 6, 6), scale(0.07), zero(90)]
    out = [scale(0.09), zero(100)]
    one_apart("QLinearAdd", [*a, *b, *out], {})
    one_apart("QLinearMul", [*a, *b, scale(0.4), zero(100)], {})
    one_apart("QLinearSigmoid", [*a, scale(1 / 256), zero(0)], {})
    one_apart("QLinearLeakyRelu", [*a, *out], {"alpha": 0.1})
    one_apart("QLinearConcat", [*out, *a, *b], {"axis": 1})
    one_apart("QLinearGlobalAveragePool", [*a, scale(0.01), zero(100)], {})
    pool = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]}
    one_apart("QLinearAveragePool", [*a, *out], pool)
    one_apart("QLinearSoftmax", [*a, scale(1 / 256), zero(0)], {"axis": 1, "opset": 12})
    one_apart("QLinearSoftmax", [*a, scale(1 / 256), zero(0)], {"axis": 1, "opset": 13})


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_matmul_nbits(bits: int, zeros: bool) -> None:
    columns, blocks = 40, 3
    inputs = [real(2, 3, columns), bytes_of(6, blocks, 16 * bits // 8), real(6, blocks)]
    if zeros:
        inputs.append(bytes_of(6, -(-blocks * bits // 8)))
    attributes = {"N": 6, "K": columns, "bits": bits, "block_size": 16}
    shared = {"opset": 1, "domain": MICROSOFT, "tolerance": 2e-3 * 2**bits}
    assert_same("MatMulNBits", inputs, attributes, **shared)


def test_rounding_has_the_gradient_of_the_identity_within_the_range() -> None:
    quantize, dequantize = OPERATORS["", "QuantizeLinear"], OPERATORS["", "DequantizeLinear"]
    x = torch.tensor([0.26, -0.13, 9.0, -9.0, 0.0], requires_grad=True)
    step, shift = torch.tensor(0.05), torch.tensor(3, dtype=torch.int8)
    q = quantize(call_of({}), x, step, shift)
    y = dequantize(call_of({}), q, step, shift)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 0, 1]
    exact = quantize(call_of({}), x.detach(), step, shift)
    assert exact.dtype == torch.int8
    assert exact.tolist() == q.detach().tolist() == [8, 0, 127, -128, 3]
    torch.testing.assert_close(y.detach(), torch.tensor([0.25, -0.15, 6.2, -6.55, 0.0]))


def test_a_step_learns_as_in_learned_step_size_quantization() -> None:
    # Esser et al. 2020 (arXiv:1902.08153), equation 3, for x / s = 2.6 and beyond the range.
    step = torch.tensor(0.5, requires_grad=True)
    x = torch.tensor([1.3, 100.0], requires_grad=True)
    q = OPERATORS["", "QuantizeLinear"](call_of({"output_dtype": 3}), x, step)
    OPERATORS["", "DequantizeLinear"](call_of({}), q, step).sum().backward()
    assert step.grad is not None
    assert float(step.grad) == pytest.approx((3 - 2.6) + 127)


def test_gradient_passes_a_quantized_convolution() -> None:
    x = torch.rand(1, 2, 5, 5, requires_grad=True)
    w = torch.randint(-128, 127, (3, 2, 3, 3), dtype=torch.int8)
    steps, shift = torch.tensor(0.004), torch.tensor(0, dtype=torch.uint8)
    q = OPERATORS["", "QuantizeLinear"](call_of({}), x, steps, shift)
    inputs = [q, steps, shift, w, torch.tensor(0.01), torch.tensor(0, dtype=torch.int8)]
    y = OPERATORS["", "QLinearConv"](call_of({}), *inputs, torch.tensor(0.05), shift + 128)
    y.sum().backward()
    real_w = w.float() * 0.01
    z = torch.nn.functional.conv2d(x.detach(), real_w)
    inside = (((z / 0.05) > -127) & ((z / 0.05) < 126)).float() / 0.05
    expected = torch.nn.functional.conv_transpose2d(inside, real_w)
    torch.testing.assert_close(x.grad, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("signed", "narrow", "low", "high"), [
    (1, 0, -8, 7), (1, 1, -7, 7), (0, 0, 0, 15), (0, 1, 0, 14)])  # fmt: skip
def test_qonnx_quant(signed: int, narrow: int, low: int, high: int) -> None:
    x = 3 * real(50)
    inputs = [x, scale(0.25), scale(0.0), scale(4.0)]
    attributes = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
    (y,) = by_torch("Quant", inputs, attributes, 1, 1, "onnx.brevitas")
    np.testing.assert_array_equal(y, np.rint(x / 0.25).clip(low, high) * np.float32(0.25))


def test_qonnx_bipolar_quant() -> None:
    x = np.float32([-2, -0.1, 0.0, 0.1, 3])
    (y,) = by_torch("BipolarQuant", [x, scale(0.5)], {}, 1, 1, "onnx.brevitas")
    assert y.tolist() == [-0.5, -0.5, 0.5, 0.5, 0.5]
