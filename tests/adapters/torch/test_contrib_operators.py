"""Operators of the domains `com.microsoft` and `ai.onnx.ml`, judged by onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nnw_onnx.errors import TrainingError  # noqa: E402

from .single_nodes import assert_same, by_torch  # noqa: E402

RNG = np.random.Generator(np.random.Philox(7))
MICROSOFT: dict[str, Any] = {"opset": 1, "domain": "com.microsoft"}
ML: dict[str, Any] = {"opset": 1, "domain": "ai.onnx.ml"}
N, S, HEADS, SIZE = 2, 5, 2, 4
D = HEADS * SIZE


def real(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> Any:
    return np.abs(real(*shape)) + np.float32(0.1)


def whole(values: Any, dtype: type = np.int32) -> Any:
    return np.array(values, dtype)


FUSED: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("FusedMatMul", [real(2, 3, 4), real(2, 5, 4)], {"transB": 1, "alpha": 0.5}),
    ("FusedMatMul", [real(2, 4, 3), real(2, 4, 5)], {"transA": 1}),
    ("FusedMatMul", [real(3, 2, 4), real(2, 4, 5)], {"transBatchA": 1}),
    ("FusedMatMul", [real(4, 2, 3), real(2, 4, 5)], {"transBatchA": 1, "transA": 1}),
    ("TransposeMatMul", [real(2, 3, 4), real(2, 5, 4)], {"transB": 1}),
    ("FusedGemm", [real(3, 4), real(4, 5), real(5)], {"activation": "Relu"}),
    ("FusedGemm", [real(3, 4), real(5, 4), real(5)],
     {"transB": 1, "activation": "LeakyRelu", "activation_alpha": 0.2}),
    ("FusedConv", [real(1, 3, 6, 6), real(4, 3, 3, 3), real(4)], {"activation": "Tanh"}),
    ("FusedConv", [real(1, 3, 6, 6), real(4, 3, 3, 3), real(4), real(1, 4, 4, 4)],
     {"activation": "Relu"}),
    ("FusedConv", [real(1, 3, 6, 6), real(4, 3, 3, 3)],
     {"activation": "Clip", "activation_params": [-0.5, 0.5], "pads": [1, 1, 1, 1]}),
    ("FusedConv", [real(1, 3, 6, 6), real(4, 3, 3, 3)],
     {"activation": "HardSigmoid", "activation_params": [0.2, 0.4]}),
    ("BiasGelu", [real(2, 3, 4), real(4)], {}),
    ("Gelu", [real(2, 3)], {}),
    ("FastGelu", [real(2, 3, 4), real(4)], {}),
    ("FastGelu", [real(2, 3, 4)], {}),
    ("QuickGelu", [real(2, 3)], {"alpha": 1.3}),
    ("Inverse", [real(2, 4, 4)], {}),
    ("Trilu", [real(4, 5), whole(1, np.int64)], {"upper": 0}),
    ("ExpandDims", [real(2, 3), whole(-2)], {}),
    ("GatherND", [real(3, 4), whole([[0, 1], [2, 3]], np.int64)], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"), FUSED, ids=[f"{k}-{c[0]}" for k, c in enumerate(FUSED)]
)
def test_fused(name: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    assert_same(name, inputs, attributes, tolerance=1e-4, **MICROSOFT)


def test_unique_in_order_of_appearance() -> None:
    x = RNG.integers(0, 5, 20).astype(np.float32)
    assert_same("Unique", [x], {}, outputs=3, **MICROSOFT)


def test_channels_last_is_channels_first_transposed() -> None:
    x, w, bias = real(2, 6, 5, 3), real(4, 3, 2, 3), real(4)
    (got,) = by_torch("NhwcConv", [x, w, bias], {"pads": [0, 1, 1, 0]}, 1, 1, "com.microsoft")
    first = [x.transpose(0, 3, 1, 2), w.transpose(0, 3, 1, 2), bias]
    (expected,) = by_torch("Conv", first, {"pads": [0, 1, 1, 0]}, 1, 17, "")
    np.testing.assert_allclose(got, expected.transpose(0, 2, 3, 1), atol=1e-6)
    small = RNG.integers(0, 255, (2, 6, 5, 3)).astype(np.uint8)
    pool = {"kernel_shape": [2, 2], "strides": [2, 1]}
    assert_same("NhwcMaxPool", [small], pool, **MICROSOFT)


def test_group_norm_channels_last() -> None:
    x, scale, bias = real(2, 3, 4, 6), real(6), real(6)
    attributes = {"groups": 3, "activation": 1, "channels_last": 1}
    (got,) = by_torch("GroupNorm", [x, scale, bias], attributes, 1, 1, "com.microsoft")
    parts = x.reshape(2, 12, 3, 2)
    deviation = np.sqrt(parts.var((1, 3), keepdims=True) + 1e-5)
    y = ((parts - parts.mean((1, 3), keepdims=True)) / deviation).reshape(x.shape) * scale + bias
    np.testing.assert_allclose(got, y / (1 + np.exp(-y)), atol=1e-5)


def test_skip_normalizations() -> None:
    x, skip, scale, shift, bias = real(N, S, D), real(N, S, D), real(D), real(D), real(D)
    for extra in ([], [shift], [shift, bias]):
        assert_same("SkipLayerNormalization", [x, skip, scale, *extra], {"epsilon": 1e-5},
                    **MICROSOFT)  # fmt: skip
    for extra in ([], [bias]):
        assert_same("SkipSimplifiedLayerNormalization", [x, skip, scale, *extra],
                    {"epsilon": 1e-5}, **MICROSOFT)  # fmt: skip
    inputs = [x, skip, scale, shift, bias]
    *_, total = by_torch("SkipLayerNormalization", inputs, {}, 4, 1, "com.microsoft")
    np.testing.assert_allclose(total, x + skip + bias, atol=1e-6)
    for axis in (-1, 1):
        size = D if axis == -1 else (S, D)
        gain = real(D) if axis == -1 else real(*size)  # type: ignore[misc]
        assert_same("SimplifiedLayerNormalization", [x, gain], {"axis": axis, "epsilon": 1e-5},
                    outputs=2 if axis == -1 else 1, opset=17)  # fmt: skip


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("segments", [False, True])
def test_embed_layer_normalization(masked: bool, segments: bool) -> None:
    tokens = RNG.integers(0, 9, (N, S)).astype(np.int32)
    kinds = RNG.integers(0, 2, (N, S)).astype(np.int32) if segments else None
    inputs = [tokens, kinds, real(9, D), real(S, D), real(2, D) if segments else None, real(D),
              real(D)]  # fmt: skip
    if masked:
        inputs.append(whole([[1] * S, [1, 1, 1, 0, 0]]))
    assert_same("EmbedLayerNormalization", inputs, {"epsilon": 1e-5}, outputs=2, **MICROSOFT)


MASKS = [None, whole([5, 3]), whole([5, 4, 0, 1]), whole([[1] * S, [1, 0, 1, 1, 0]]),
         whole(RNG.integers(0, 2, (N, S, S))) | np.eye(S, dtype=np.int32)]  # fmt: skip


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [0, 1])
def test_attention(mask: Any, causal: int) -> None:
    inputs = [real(N, S, 6), real(6, 3 * D), real(3 * D), mask]
    attributes = {"num_heads": HEADS, "unidirectional": causal}
    assert_same("Attention", inputs, attributes, outputs=1, **MICROSOFT)


def test_attention_with_past_bias_and_value_sizes() -> None:
    past = real(2, N, HEADS, 3, SIZE)
    inputs = [real(N, S, 6), real(6, 3 * D), real(3 * D), None, past]
    attributes = {"num_heads": HEADS, "unidirectional": 1}
    assert_same("Attention", inputs, attributes, outputs=2, **MICROSOFT)
    added = [real(N, S, 6), real(6, 3 * D), real(3 * D), None, None, real(N, HEADS, S, S)]
    assert_same("Attention", added, {"num_heads": HEADS, "scale": 0.3}, **MICROSOFT)
    sizes = {"num_heads": HEADS, "qkv_hidden_sizes": [D, D, 12]}
    assert_same("Attention", [real(N, S, 6), real(6, 28), real(28)], sizes, **MICROSOFT)


@pytest.mark.parametrize("mask", [None, whole([5, 3]), whole([[1] * S, [1, 0, 1, 1, 0]])])
@pytest.mark.parametrize("causal", [0, 1])
def test_multi_head_attention(mask: Any, causal: int) -> None:
    inputs = [real(N, S, D), real(N, S, D), real(N, S, D), real(3 * D), mask]
    attributes = {"num_heads": HEADS, "unidirectional": causal}
    assert_same("MultiHeadAttention", inputs, attributes, **MICROSOFT)
    if mask is None:
        crossed = [real(N, 3, D), real(N, HEADS, S, SIZE), real(N, HEADS, S, SIZE)]
        assert_same("MultiHeadAttention", crossed, {"num_heads": HEADS}, **MICROSOFT)
        past = [real(N, HEADS, 3, SIZE), real(N, HEADS, 3, SIZE)]
        assert_same("MultiHeadAttention", [*inputs[:3], None, None, real(1, HEADS, S, 8), *past],
                    attributes, outputs=3, **MICROSOFT)  # fmt: skip


def grouped(steps: int, before: int, *, packed: bool, rotary: bool) -> list[Any]:
    """Inputs of GroupQueryAttention with 4 heads of queries and 2 of keys, of 16 features."""
    q, k, v = real(N, steps, 64), real(N, steps, 32), real(N, steps, 32)
    joined = [np.concatenate([q, k, v], 2), None, None] if packed else [q, k, v]
    cache = [real(N, 2, before, 16), real(N, 2, before, 16)] if before else [None, None]
    total = before + steps
    counts = [whole([total - 1] * N), whole(total)]
    angles = [real(32, 8), real(32, 8)] if rotary else [None, None]
    return [*joined, *cache, *counts, *angles]


@pytest.mark.parametrize(("steps", "before"), [(5, 0), (1, 6)])
@pytest.mark.parametrize("packed", [False, True])
def test_group_query_attention(steps: int, before: int, packed: bool) -> None:
    attributes: dict[str, Any] = {"num_heads": 4, "kv_num_heads": 2}
    for rotary, extra in (
        (False, {}),
        (True, {"do_rotary": 1}),
        (True, {"do_rotary": 1, "rotary_interleaved": 1}),
        (False, {"local_window_size": 3}),
        (False, {"softcap": 2.0, "scale": 0.4}),
        (False, {"smooth_softmax": 1}),
    ):
        inputs = grouped(steps, before, packed=packed, rotary=rotary)
        assert_same("GroupQueryAttention", inputs, {**attributes, **extra}, outputs=3,
                    tolerance=1e-4, **MICROSOFT)  # fmt: skip


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved: int) -> None:
    angles = [real(16, 2), real(16, 2)]
    for positions in (whole([3], np.int64), RNG.integers(0, 16, (N, S))):
        assert_same("RotaryEmbedding", [real(N, S, D), positions, *angles],
                    {"interleaved": interleaved}, **MICROSOFT)  # fmt: skip


LEARNED: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Scaler", [real(3, 4)], {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5] * 4}),
    ("Normalizer", [positive(3, 4)], {"norm": "MAX"}),
    ("Normalizer", [real(3, 4)], {"norm": "L1"}),
    ("Normalizer", [real(3, 4)], {"norm": "L2"}),
    ("Imputer", [np.float32([[1, np.nan], [np.nan, 2]])],
     {"imputed_value_floats": [7.0, 8.0], "replaced_value_float": float("nan")}),
    ("Imputer", [np.int64([[1, -1], [-1, 2]])],
     {"imputed_value_int64s": [7, 8], "replaced_value_int64": -1}),
    ("Binarizer", [real(3, 4)], {"threshold": 0.2}),
    ("ArrayFeatureExtractor", [real(3, 4), np.int64([[2, 0]])], {}),
    ("FeatureVectorizer", [real(3, 4), real(3, 2)], {"inputdimensions": [4, 2]}),
    ("LinearRegressor", [real(3, 4)],
     {"coefficients": [0.1 * k for k in range(8)], "intercepts": [1.0, -1.0], "targets": 2}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"), LEARNED, ids=[f"{k}-{c[0]}" for k, c in enumerate(LEARNED)]
)
def test_learned(name: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    assert_same(name, inputs, attributes, **ML)


@pytest.mark.parametrize("how", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("rows", [1, 3])
def test_linear_classifier(how: str, rows: int) -> None:
    attributes = {
        "coefficients": real(rows * 4).tolist(),
        "intercepts": real(rows).tolist(),
        "classlabels_ints": [5, 6] if rows == 1 else [5, 6, 8],
        "post_transform": how,
    }
    assert_same("LinearClassifier", [real(9, 4)], attributes, outputs=2, **ML)


def test_a_map_of_scores_is_the_scores() -> None:
    scores = real(3, 2)
    (got,) = by_torch("ZipMap", [scores], {"classlabels_strings": ["a", "b"]}, 1, 1, "ai.onnx.ml")
    np.testing.assert_array_equal(got, scores)


def test_classes_that_are_text_are_refused() -> None:
    attributes = {"coefficients": [1.0, 2.0], "classlabels_strings": ["a", "b"]}
    with pytest.raises(TrainingError) as error:
        by_torch("LinearClassifier", [real(3, 2)], attributes, 2, 1, "ai.onnx.ml")
    assert str(error.value) == (
        "expected classes that are integers, got text; "
        "train on the scores and remove the output of class names"
    )


def test_an_unknown_post_transform_is_refused() -> None:
    attributes = {"coefficients": [1.0, 2.0], "post_transform": "PROBIT"}
    with pytest.raises(TrainingError) as error:
        by_torch("LinearRegressor", [real(3, 2)], attributes, 1, 1, "ai.onnx.ml")
    assert str(error.value) == (
        "expected the post_transform NONE, LOGISTIC, SOFTMAX or SOFTMAX_ZERO, got PROBIT; "
        "export the model without it"
    )
