"""Decoding and detecting by asking a network, in a process of its own."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import nnw_onnx as nnw
from nnw_onnx.errors import CarrierNotFoundError, InferenceError
from nnw_onnx.graph import open_network
from nnw_onnx.methods.adi import Adi
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.runs import black_box

from . import answering

PAYLOAD = nnw.Payload.from_text("mine!")


@pytest.fixture(scope="module")
def key():
    return answering.key_of(PAYLOAD)


@pytest.fixture(scope="module")
def marked(key, tmp_path_factory):
    return answering.write_classifier(tmp_path_factory.mktemp("marked") / "m.onnx", key)


def test_a_watermark_in_answers_is_decoded_and_detected(marked, key):
    decoding = nnw.decode(marked, key)
    assert decoding.payload.symbols == PAYLOAD.symbols
    assert decoding.payload.alphabet == 10
    found = nnw.detect(marked, key)
    assert (found.detected, found.statistic, found.n, found.null) == (True, 40, 40, "Bin(40, 1/10)")
    assert found.log10_p == pytest.approx(-40)


def test_another_network_answers_by_chance(key, tmp_path):
    other = answering.write_classifier(tmp_path / "o.onnx", None)
    found = nnw.detect(other, key)
    assert not found.detected
    assert found.statistic < 14


def test_the_key_file_brings_the_triggers(marked, key, tmp_path):
    nnw.save_key(key, tmp_path / "key.npz")
    assert nnw.detect(marked, nnw.load_key(tmp_path / "key.npz")).statistic == 40


def test_weights_are_looked_at_without_running_anything(marked, monkeypatch):
    def never(*arguments, **more):
        raise AssertionError

    monkeypatch.setattr(black_box, "run_isolated", never)
    network = open_network(marked)
    assert black_box.subject(network, Uchida()) is network
    assert black_box.subject(network, Adi()) is not network


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            ("n", 3, 8, 8),
            r"m.onnx: expected triggers of shape \(n, 3, 8, 8\), got \(40, 1, 8, 8\);",
        ),
        (("n", 64), r"expected triggers of shape \(n, 64\), got \(40, 1, 8, 8\); decode a network"),
    ],
)
def test_a_network_of_other_inputs_is_told(key, tmp_path, shape, words):
    other = answering.write_classifier(tmp_path / "m.onnx", None, shape=shape)
    with pytest.raises(CarrierNotFoundError, match=words):
        nnw.decode(other, key)


def test_a_network_of_other_classes_is_told(key, tmp_path):
    other = answering.write_classifier(tmp_path / "m.onnx", None, classes=7)
    with pytest.raises(
        CarrierNotFoundError, match=r"expected scores of shape \(40, 10\), got \(40"
    ):
        nnw.detect(other, key)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (7, 1, 8, 8), ("n", 1, "h", "w")])
def test_fixed_batches_and_free_sizes(key, tmp_path, shape):
    if not isinstance(shape[2], int):
        network = answering.write_classifier(tmp_path / "m.onnx", key)
        model = onnx.load(network)
        for dimension, name in zip(
            model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True
        ):
            if isinstance(name, str):
                dimension.dim_param = name
        onnx.save(model, network)
    else:
        network = answering.write_classifier(tmp_path / "m.onnx", key, shape=shape)
    assert nnw.detect(network, key).statistic == 40


def test_a_network_that_hangs_is_stopped(key, tmp_path):
    """A loop of 2^50 trips."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["v"], ["u"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
        ],
    )
    constants = [
        helper.make_tensor("trips", TensorProto.INT64, [], [2**50]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    ]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=body)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    path = tmp_path / "endless.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(InferenceError, match="took longer than 8 s"):
        nnw.decode(path, key, timeout=8)


def test_a_network_that_the_runtime_refuses_is_told(key, tmp_path):
    node = helper.make_node("NoSuchOperator", ["x"], ["y"], domain="elsewhere")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(InferenceError, match="expected a graph that onnxruntime runs, got"):
        nnw.detect(path, key)


def test_inputs_are_checked_before_anything_is_asked(marked):
    asked = []
    box = black_box.BlackBox(open_network(marked), lambda x: asked.append(x) or [x])
    with pytest.raises(CarrierNotFoundError):
        box.infer(np.zeros((4, 8, 8), np.float32))
    assert asked == []
    box.infer(np.zeros((4, 1, 8, 8), np.float32))
    assert len(asked) == 1
