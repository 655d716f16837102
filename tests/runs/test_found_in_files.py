"""Marks in files that other tools have made of a marked network."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import nnw_onnx as nnw

from . import decoys

PAYLOAD = nnw.Payload.from_text("mine!")


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A marked network's file, and its claim."""
    folder = tmp_path_factory.mktemp("marked")
    path = decoys.plain(folder / "clean.onnx", decoys.kernels()["L"])
    given = nnw.inject(path, PAYLOAD, layer="L", seed=1)
    given.network.save(folder / "marked.onnx")
    return folder / "marked.onnx", given.claim


def optimized(source, target, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(source, options)
    return target


def test_kernels_that_onnxruntime_interleaved_for_a_processor(marked, tmp_path):
    path, claim = marked
    levels = onnxruntime.GraphOptimizationLevel
    target = optimized(path, tmp_path / "all.onnx", levels.ORT_ENABLE_ALL)
    if not any(n.domain == "com.microsoft.nchwc" for n in onnx.load(target).graph.node):
        pytest.skip("this processor has no such form")
    found = nnw.detect(target, claim)
    assert found
    assert "channels in blocks of" in found.found[0].part
    assert nnw.decode(target, claim).payload == PAYLOAD


def test_kernels_that_a_quantizer_renamed(marked, tmp_path):
    path, claim = marked
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(path, tmp_path / "q.onnx", weight_type=QuantType.QInt8,
                         op_types_to_quantize=["Conv"])  # fmt: skip
    found = nnw.detect(tmp_path / "q.onnx", claim)
    assert found
    assert (found.found[0].layer, found.found[0].way) == ("L_quantized", "similar name")


def attention(path, arrays, joined):
    """x (n, 4, 64) through three products of one shape, or one of their joined kernel."""
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 64])]
    if joined:
        weights = {"qkv": np.concatenate([arrays[n].T for n in "qkv"], axis=1)}
        nodes = [helper.make_node("MatMul", ["x", "qkv"], ["all"]),
                 helper.make_node("Split", ["all"], ["Q", "K", "V"], axis=2)]  # fmt: skip
    else:
        weights = {n: np.ascontiguousarray(arrays[n].T) for n in "qkv"}
        nodes = [helper.make_node("MatMul", ["x", n], [n.upper()]) for n in "qkv"]
    nodes += [
        helper.make_node("Transpose", ["K"], ["Kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["Q", "Kt"], ["s"]),
        helper.make_node("Softmax", ["s"], ["a"]),
        helper.make_node("MatMul", ["a", "V"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", given, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(w), n) for n, w in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize("name", "qkv")
@pytest.mark.parametrize("method", ["uchida", "block-spread"])
def test_a_kernel_that_was_joined_with_its_neighbours(tmp_path, rng, name, method):
    arrays = {n: (rng.standard_normal((64, 64)) / 8).astype("f4") for n in "qkv"}
    plain = attention(tmp_path / "plain.onnx", arrays, joined=False)
    given = nnw.inject(plain, PAYLOAD, method=method, layer=name, seed=1)
    arrays = {n: np.array(given.network.weights[n]) for n in "qkv"}
    path = attention(tmp_path / "joined.onnx", arrays, joined=True)
    found = nnw.detect(path, given.claim)
    assert found
    (place,) = found.found
    start = 64 * "qkv".index(name)
    assert (place.layer, place.part) == ("qkv", f"rows {start} to {start + 63}")
    assert place.candidates == 3
    assert nnw.decode(path, given.claim).payload == PAYLOAD


@pytest.mark.shared_data
def test_a_transformer_that_onnxruntime_has_joined(shared_data):
    """A BERT of one layer, marked in its query: its name is gone, and one of its shape is left."""
    cases = shared_data.parent / "cases"
    if not (cases / "fb-xf.onnx").is_file():
        pytest.skip("the folder of small cases is absent")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        claim = nnw.load_key(cases / "fb.key.npz")
    found = nnw.detect(cases / "fb-xf.onnx", claim)
    assert found
    (place,) = found.found
    assert (place.layer, place.part) == ("Attention_0_qkv_weight", "rows 0 to 63")
    assert found.statistic == 32
    verdict = nnw.verify(cases / "fb-xf.onnx", claim)
    assert (verdict.errors, verdict.payload) == (0, claim.payload)
