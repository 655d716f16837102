"""Operators with state, indices, resampling and integers, judged by onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from .single_nodes import assert_same, by_torch  # noqa: E402

RNG = np.random.Generator(np.random.Philox(5))
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def real(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values: Any, dtype: type = np.int64) -> Any:
    return np.array(values, dtype)


def recurrent(name: str, direction: str, *, batch_first: bool, lengths: bool) -> list[Any]:
    """Inputs of 5 steps, 3 samples, 4 features and 6 hidden ones."""
    d, gates = 1 + (direction == "bidirectional"), GATES[name]
    x = real(3, 5, 4) if batch_first else real(5, 3, 4)
    state = (3, d, 6) if batch_first else (d, 3, 6)
    states = [real(*state) for _ in range(1 + (name == "LSTM"))]
    counts = whole(5, 2, 3, dtype=np.int32) if lengths else None
    inputs = [x, real(d, gates * 6, 4), real(d, gates * 6, 6), real(d, 2 * gates * 6)]
    peepholes = [real(d, 18)] if name == "LSTM" else []
    return [*inputs, counts, *states, *peepholes]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("opset", [7, 14, 22])
def test_recurrent(name: str, direction: str, opset: int) -> None:
    outputs = 3 if name == "LSTM" else 2
    for lengths in (False, True):
        inputs = recurrent(name, direction, batch_first=False, lengths=lengths)
        attributes: dict[str, Any] = {"direction": direction, "hidden_size": 6}
        assert_same(name, inputs, attributes, outputs=outputs, opset=opset)
        if name == "GRU":
            before = {**attributes, "linear_before_reset": 1}
            assert_same(name, inputs, before, outputs=outputs, opset=opset)
        # Without peepholes and lengths torch's own layer computes it.
        short = [*inputs[:4], None, *inputs[5:7]][: len(inputs)]
        assert_same(name, short, attributes, outputs=outputs, opset=opset)
        assert_same(name, inputs[:3], attributes, outputs=outputs, opset=opset)


RECURRENT_EXTRAS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"activations": ["HardSigmoid", "Elu", "ScaledTanh"],
              "activation_alpha": [0.3, 0.7, 1.2], "activation_beta": [0.4, 0.9]}),
    ("LSTM", {"activations": ["Sigmoid", "Softsign", "Softplus"], "clip": 0.5}),
    ("LSTM", {"input_forget": 1}),
    ("GRU", {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.3, 0.2],
             "activation_beta": [0.4]}),
    ("GRU", {"activations": ["Sigmoid", "Affine"], "activation_alpha": [0.6],
             "activation_beta": [0.1], "clip": 0.8}),
    ("RNN", {"activations": ["Relu"]}),
    ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.3]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "attributes"), RECURRENT_EXTRAS)
def test_recurrent_extras(name: str, attributes: dict[str, Any]) -> None:
    inputs = recurrent(name, "forward", batch_first=False, lengths=True)
    outputs = 3 if name == "LSTM" else 2
    assert_same(name, inputs, {"hidden_size": 6, **attributes}, outputs=outputs, opset=14)


@pytest.mark.parametrize("name", GATES)
def test_batch_first_is_time_first_transposed(name: str) -> None:
    inputs = recurrent(name, "bidirectional", batch_first=True, lengths=False)
    outputs = 3 if name == "LSTM" else 2
    attributes = {"direction": "bidirectional", "hidden_size": 6}
    got = by_torch(name, inputs, {**attributes, "layout": 1}, outputs, 14, "")
    turned = [x.swapaxes(0, 1) if k in (0, 5, 6) and x is not None and x.ndim == 3 else x
              for k, x in enumerate(inputs)]  # fmt: skip
    expected = by_torch(name, turned, attributes, outputs, 14, "")
    # Five steps in single precision, with sums in another order.
    np.testing.assert_allclose(got[0], expected[0].transpose(2, 0, 1, 3), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(mine, theirs.swapaxes(0, 1), rtol=1e-5, atol=1e-5)


X = real(3, 4, 5)
INDEXING: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("Gather", [X, whole([0, -1], [1, 1])], {"axis": 1}, 13),
    ("Gather", [X, whole(-2).reshape(())], {"axis": -1}, 11),
    ("GatherElements", [X, RNG.integers(-4, 4, (3, 2, 5))], {"axis": 1}, 13),
    ("GatherND", [X, whole([0, 1], [-1, -2])], {}, 11),
    ("GatherND", [X, whole([[0], [1]], [[3], [-1]], [[2], [2]])], {"batch_dims": 1}, 13),
    ("Scatter", [X, RNG.integers(0, 4, (2, 1, 5)), real(2, 1, 5)], {"axis": 1}, 9),
    *(("ScatterElements", [X, whole([[0, 1 if r == "none" else 0, -1, 2, 3]] * 2), real(1, 2, 5)],
       {"axis": 2, "reduction": r}, opset)
      for r, opset in (("none", 16), ("add", 16), ("mul", 16), ("min", 18), ("max", 18))),
    *(("ScatterND", [X, whole([0, 1], [-1, -2], [0, 1])[: 2 if r == "none" else 3],
                     real(3, 5)[: 2 if r == "none" else 3]], {"reduction": r}, opset)
      for r, opset in (("none", 11), ("none", 16), ("add", 16), ("mul", 16), ("min", 18),
                       ("max", 18))),
    ("NonZero", [(X > 0).astype(np.float32)], {}, 13),
    ("Compress", [X, whole(1, 0, 1, dtype=np.bool_)], {"axis": 1}, 11),
    ("Compress", [X, whole(0, 1, 1, 0, 1, dtype=np.bool_)], {}, 11),
    ("OneHot", [whole(0, 3, -1, 9), whole(4).reshape(()), whole(2, 7)], {"axis": 0}, 11),
    ("OneHot", [whole([0, 3], [1, 2]), whole(4), np.float32([0, 1])], {}, 11),
    ("ReverseSequence", [X, whole(4, 1, 2)], {"batch_axis": 0, "time_axis": 1}, 10),
    ("ReverseSequence", [X, whole(3, 1, 2, 1)], {}, 10),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "opset"),
    INDEXING,
    ids=[f"{c[0]}-{c[2].get('reduction', k)}-{c[3]}" for k, c in enumerate(INDEXING)],
)
def test_indexing(name: str, inputs: list[Any], attributes: dict[str, Any], opset: int) -> None:
    attributes = {k: v for k, v in attributes.items() if (k, v) != ("reduction", "none")}
    assert_same(name, inputs, attributes, opset=opset)


@pytest.mark.parametrize("attributes", [{}, {"sorted": 0}, {"axis": 1}, {"axis": 0, "sorted": 0}])
def test_unique(attributes: dict[str, Any]) -> None:
    x = RNG.integers(0, 3, (6, 5)).astype(np.float32)
    x[:, 3] = x[:, 1]
    x[4] = x[2]
    assert_same("Unique", [x], attributes, outputs=4, opset=11)


@pytest.mark.parametrize("center", [0, 1])
def test_non_max_suppression(center: int) -> None:
    boxes = np.abs(real(2, 12, 4))
    scores = np.abs(real(2, 3, 12))
    thresholds = [whole(4), np.float32([0.2]), np.float32([0.3])]
    inputs = [boxes, scores, *thresholds]
    assert_same("NonMaxSuppression", inputs, {"center_point_box": center}, opset=11)


MODES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"]
RESIZED = [("scales", [1, 1, 1.3, 0.6]), ("scales", [1, 1, 2, 3]), ("sizes", [1, 2, 9, 3])]


def resized(kind: str, target: list[float], opset: int = 18) -> list[Any]:
    x, roi = real(1, 2, 5, 8), np.float32([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.1])
    if kind == "scales":
        return [x, roi, np.float32(target)]
    return [x, roi, np.float32([]) if opset < 13 else None, np.int64(target)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "target"), RESIZED)
@pytest.mark.parametrize("opset", [11, 13, 18, 19])
def test_resize(mode: str, kind: str, target: list[float], opset: int) -> None:
    inputs = resized(kind, target, opset)
    shared = {"coordinate_transformation_mode": mode, "extrapolation_value": 7.0}
    for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        attributes = {"mode": "nearest", "nearest_mode": nearest}
        assert_same("Resize", inputs, {**shared, **attributes}, opset=opset)
    assert_same("Resize", inputs, {**shared, "mode": "linear"}, opset=opset)
    for excluded in (0, 1):
        attributes = {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": excluded}
        assert_same("Resize", inputs, {**shared, **attributes}, opset=opset, tolerance=5e-5)
    assert_same("Resize", inputs, {**shared, "mode": "cubic"}, opset=opset, tolerance=5e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("excluded", [0, 1])
def test_resize_with_antialias(mode: str, excluded: int) -> None:
    attributes = {"mode": mode, "antialias": 1, "exclude_outside": excluded}
    for target in ([1, 1, 0.6, 0.3], [1, 1, 0.5, 1.7]):
        assert_same("Resize", resized("scales", target), attributes, opset=18, tolerance=1e-4)


@pytest.mark.parametrize("mode", ["half_pixel_symmetric", "tf_half_pixel_for_nn"])
def test_resize_by_rare_coordinates(mode: str) -> None:
    opset = 11 if mode == "tf_half_pixel_for_nn" else 19
    for kind in ("nearest", "linear", "cubic"):
        attributes = {"mode": kind, "coordinate_transformation_mode": mode}
        assert_same("Resize", resized("scales", [1, 1, 1.3, 0.6]), attributes, opset=opset,
                    tolerance=5e-5)  # fmt: skip


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_resize_keeps_the_aspect(policy: str) -> None:
    inputs = [real(1, 2, 5, 8), None, None, whole(9, 9)]
    attributes = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy}
    assert_same("Resize", inputs, attributes, opset=18)


def test_resize_of_integers_and_of_one_axis() -> None:
    x = RNG.integers(0, 255, (1, 3, 4, 6)).astype(np.uint8)
    assert_same("Resize", [x, None, np.float32([1, 1, 2, 2])], {"mode": "nearest"}, opset=13)
    assert_same("Resize", [real(1, 3, 4, 6), None, np.float32([1, 1, 1, 2])], {"mode": "linear"},
                opset=13)  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factors", [[1, 1, 2, 2], [1, 1, 3, 1.5], [1, 1, 0.5, 0.7]])
def test_resize_of_old(mode: str, factors: list[float]) -> None:
    x, scales = real(1, 2, 4, 6), np.float32(factors)
    assert_same("Resize", [x, scales], {"mode": mode}, opset=10)
    if min(factors) >= 1:
        assert_same("Upsample", [x, scales], {"mode": mode}, opset=9)
        assert_same("Upsample", [x], {"mode": mode, "scales": [float(f) for f in factors]},
                    opset=7)  # fmt: skip


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
def test_grid_sample(padding: str, aligned: int) -> None:
    x, grid = real(2, 3, 5, 6), (1.3 * real(2, 4, 7, 2)).clip(-1.37, 1.37)
    shared = {"padding_mode": padding, "align_corners": aligned}
    for mode, opset in (("bilinear", 16), ("nearest", 16), ("bicubic", 16), ("linear", 20),
                        ("cubic", 20)):  # fmt: skip
        assert_same("GridSample", [x, grid], {"mode": mode, **shared}, opset=opset, tolerance=1e-4)
    solid, places = real(1, 2, 3, 4, 5), real(1, 2, 3, 4, 3).clip(-1.37, 1.37)
    for mode in ("linear", "nearest"):
        assert_same("GridSample", [solid, places], {"mode": mode, **shared}, opset=20,
                    tolerance=1e-4)  # fmt: skip


@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(ratio: int) -> None:
    rois = np.float32([[0, 0, 7, 7], [1.2, 2.5, 9.1, 6.3], [3, 3, 3.4, 3.2], [-3, -2, 40, 30]])
    inputs = [real(2, 3, 10, 12), rois, whole(0, 1, 1, 0)]
    attributes: dict[str, Any] = {"output_height": 3, "output_width": 2, "sampling_ratio": ratio}
    attributes["spatial_scale"] = 0.7
    for opset in (10, 16):
        for mode in ("avg", "max"):
            assert_same("RoiAlign", inputs, {**attributes, "mode": mode}, opset=opset)


@pytest.mark.parametrize("shape", [[3, 9, 4], [5, 2, 7]])
def test_center_crop_pad(shape: list[int]) -> None:
    assert_same("CenterCropPad", [real(4, 5, 6), whole(*shape)], {}, opset=18)


def test_col2im() -> None:
    attributes = {"strides": [2, 1], "pads": [1, 0, 0, 2], "dilations": [1, 2]}
    columns = real(2, 3 * 6, 3 * 6)
    assert_same("Col2Im", [columns, whole(5, 8), whole(2, 3)], attributes, opset=18)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("inverse", [0, 1])
def test_dft(opset: int, inverse: int) -> None:
    axis = {} if opset == 20 else {"axis": 1}
    last = [whole(1).reshape(())] if opset == 20 else []
    for length in (None, whole(8).reshape(())):
        inputs = [real(2, 6, 3, 2), length, *last]
        assert_same("DFT", inputs, {"inverse": inverse, **axis}, opset=opset)
        if not inverse:
            inputs = [real(2, 6, 3, 1), length, *last]
            assert_same("DFT", inputs, {"onesided": 1, **axis}, opset=opset)


def test_stft_and_windows() -> None:
    signal, step, length = real(2, 30, 1), whole(4).reshape(()), whole(8).reshape(())
    for onesided in (0, 1):
        inputs = [signal, step, real(8), length]
        assert_same("STFT", inputs, {"onesided": onesided}, opset=17, tolerance=1e-4)
    for name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        for periodic in (0, 1):
            assert_same(name, [length], {"periodic": periodic}, opset=17, tolerance=1e-6)
    mel = [whole(v).reshape(()) for v in (8, 64, 8000)]
    edges = [np.array(v, np.float32) for v in (20.0, 4000.0)]
    assert_same("MelWeightMatrix", [*mel, *edges], {}, opset=17)
