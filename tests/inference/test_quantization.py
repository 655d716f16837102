"""onnxruntime's conversions: what they promise of weights and answers, read back by ourselves."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import Session, quantize_dynamic, quantize_static, to_float16
from nnw_onnx.vocabulary import TensorInfo

from .graphs import Graph, graph_of

INPUT = TensorInfo("x", ("n", 8), "float32")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two layers whose filters have very different sizes."""
    rng = np.random.Generator(np.random.PCG64(8))
    arrays = {
        "w": (rng.normal(size=(8, 6)) * np.array([1, 2, 0.1, 5, 1, 0.01])).astype(np.float32),
        "v": rng.normal(size=(6, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    onnx.save(graph_of(nodes, {"x": ["n", 8]}, {"y": ["n", 3]}, arrays), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def samples(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.normal(size=(count, 8)).astype(np.float32)


def arrays(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    return Session(Graph(path.read_bytes())).predict(x)["y"]


def test_static_weights_are_off_by_half_a_step_of_their_channel(source, tmp_path):
    target = tmp_path / "q.onnx"
    before = source.read_bytes()
    quantize_static(source, target, [INPUT], [{"x": samples(100)}, {"x": samples(50, 2)}])
    assert source.read_bytes() == before
    found, given = arrays(target), arrays(source)
    for name in ("w", "v"):
        stored, scale = found[f"{name}_quantized"], found[f"{name}_scale"]
        assert stored.dtype == np.int8
        expected = np.abs(given[name]).max(axis=0) / 127  # a scale for each output channel
        np.testing.assert_allclose(scale, expected, rtol=1e-6)
        errors = np.abs(stored * scale - given[name])
        assert (errors <= scale / 2 * (1 + 1e-5)).all()
        assert errors.max() > 0
    x = samples(100)  # within the ranges that were seen
    exact = answers(source, x)
    assert 0 < np.abs(answers(target, x) - exact).max() < 0.05 * np.abs(exact).max()


def test_activations_have_the_range_of_the_samples(source, tmp_path):
    target = tmp_path / "q.onnx"
    for factor in (1, 3):
        quantize_static(source, target, [INPUT], [{"x": samples(80) * factor}])
        scale = arrays(target)["x_scale"]
        np.testing.assert_allclose(scale, np.abs(samples(80)).max() * factor / 127.5, rtol=0.01)


def test_samples_are_cut_to_a_batch_size_that_is_fixed(source, tmp_path):
    model = onnx.load(source)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7
    onnx.save(model, source)
    fixed = TensorInfo("x", (7, 8), "float32")
    quantize_static(source, tmp_path / "q.onnx", [fixed], [{"other name": samples(20)}])
    assert arrays(tmp_path / "q.onnx")["w_quantized"].dtype == np.int8


def test_dynamic_weights_have_one_step_a_tensor(source, tmp_path):
    target = tmp_path / "q.onnx"
    quantize_dynamic(source, target)
    found, given = arrays(target), arrays(source)
    for name in ("w", "v"):
        scale = found[f"{name}_scale"]
        np.testing.assert_allclose(scale, np.abs(given[name]).max() / 127, rtol=1e-6)
        assert np.abs(found[f"{name}_quantized"] * scale - given[name]).max() <= scale * 0.50001
    x = samples(40, 3)
    exact = answers(source, x)
    assert np.abs(answers(target, x) - exact).max() < 0.05 * np.abs(exact).max()


def test_half_precision_rounds_weights_and_keeps_the_types_of_inputs(source, tmp_path):
    target = tmp_path / "h.onnx"
    to_float16(source, target)
    found, given = arrays(target), arrays(source)
    for name in ("w", "v"):
        np.testing.assert_array_equal(found[name], given[name].astype(np.float16))
    session = Session(Graph(target.read_bytes()))
    assert (session.inputs[0].dtype, session.outputs[0].dtype) == ("float32", "float32")
    onnx.checker.check_model(onnx.load(target))  # with nodes in order, among others
    x = samples(40, 3)
    exact = answers(source, x)
    assert 0 < np.abs(answers(target, x) - exact).max() < 0.01 * np.abs(exact).max()


def test_conversions_say_nothing_and_leave_logging_as_it_was(source, tmp_path, capfd, caplog):
    quantize_static(source, tmp_path / "q.onnx", [INPUT], [{"x": samples(10)}])
    quantize_dynamic(source, tmp_path / "q.onnx")
    to_float16(source, tmp_path / "q.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert logging.root.manager.disable == 0


def test_what_the_tools_cannot_take_is_one_line(source, tmp_path):
    words = r"^quantizer: expected a model that onnxruntime's quantizer takes, got: \w+: .*; leave"
    with pytest.raises(InferenceError, match=words) as caught:
        quantize_static(source, tmp_path / "q.onnx", [INPUT], [])
    assert "\n" not in str(caught.value)
    with pytest.raises(InferenceError, match=r"input 'x': expected samples of shape \(n, 8\), got"):
        quantize_static(source, tmp_path / "q.onnx", [INPUT], [{"x": np.zeros((3, 9))}])
