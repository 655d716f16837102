"""Only outputs that somebody reads are fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session, SessionSettings
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.runs.modify import differ_on
from nnw_onnx.runs.quality import measure, task_for
from nnw_onnx.runs.suspect import Running, isolated, suspects, wrapped
from nnw_onnx.vocabulary import Spec

SETTINGS = SessionSettings()
X = np.array([[0, 0], [1, 0], [0, 1], [2, 2]], np.float32)


@pytest.fixture
def with_map(tmp_path: Path) -> OnnxNetwork:
    """As skl2onnx writes a classifier: labels, and a ZipMap of probabilities."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["p"], ["map"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
    ]
    kinds = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    maps = helper.make_value_info("map", helper.make_sequence_type_proto(kinds))
    label = helper.make_tensor_value_info("label", TensorProto.INT64, ["n"])
    scores = helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])
    return _opened(tmp_path / "m.onnx", nodes, [maps, label, scores])


def _opened(path: Path, nodes, outputs) -> OnnxNetwork:
    weights = numpy_helper.from_array(np.array([[1, -1], [-1, 1]], np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "g", [x], outputs, [weights])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return open_network(path)


def _quality(network: OnnxNetwork, output: int):
    task = task_for(Spec("image-classification", {"output": output}), network)
    samples = ArraySamples({"x": X}, np.array([0, 0, 1, 1]), {"classes": ["a", "b"]})
    ask = wrapped(Running(network, SETTINGS, 3).reading(task.reads()))
    return measure(ask, task, samples, 3)


@pytest.mark.parametrize("output", [1, 2])
def test_a_task_counts_outputs_as_the_graph_does(with_map, output):
    np.testing.assert_array_equal(_quality(with_map, output).scores, [1, 1, 1, 0])


def test_a_task_that_reads_no_tensor_is_told(with_map):
    with pytest.raises(InferenceError, match=r"output 'map': expected a tensor, got a list; expor"):
        _quality(with_map, 0)
    with pytest.raises(ConfigurationError, match=r"expected an output below 3, got 3"):
        _quality(with_map, 3)


def test_a_black_box_method_sees_what_is_a_tensor_in_its_place(with_map):
    class Asking:
        access = "answers"

    for ask in (Running(with_map, SETTINGS, 64), isolated(with_map)):
        told = suspects(with_map, ask)(Asking()).run({"x": X})
        assert list(told) == ["map", "label", "p"]
        assert told["map"].tolist() == [None] * 4
        assert told["label"].tolist() == [0, 0, 1, 0]
        assert told["p"].shape == (4, 2)


def test_answers_are_compared_where_they_are_numbers(with_map):
    class Now:
        network, around = with_map, ()

    differ = differ_on(ArraySamples({"x": X}, np.zeros(4)), SETTINGS, 64)
    assert differ(Now(), Now()) == 0


def test_what_is_not_read_need_not_be_of_one_shape(tmp_path):
    """The second output is another for each sample; the first one is all that the task reads."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"]),
        helper.make_node("NonZero", ["x"], ["places"]),
    ]
    outputs = [
        helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("places", TensorProto.INT64, None),
    ]
    network = _opened(tmp_path / "m.onnx", nodes, outputs)
    assert Running(network, SETTINGS, 4)({"x": X})["places"].dtype == object
    with pytest.raises(ConfigurationError, match=r"expected answers of one shape, got .*'places'"):
        _quality(network, 1)
    np.testing.assert_array_equal(_quality(network, 0).scores, [1, 1, 1, 0])


def test_a_session_that_is_asked_for_a_map_by_name_refuses(with_map):
    with pytest.raises(InferenceError, match=r"output 'map': expected a tensor"):
        Session(with_map.runnable()).predict(X, outputs=["map"])
