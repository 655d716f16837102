"""Decoding and detecting by asking a network, in a process of its own."""

from __future__ import annotations

import dataclasses
import sys

import onnx
import pytest
from onnx import TensorProto, helper

import nnw_onnx as nnw
from nnw_onnx.errors import CarrierNotFoundError, InferenceError
from nnw_onnx.inference import memory_for

from . import answering

PAYLOAD = nnw.Payload.from_text("mine!")


@pytest.fixture(scope="module")
def claim():
    return answering.claim_of(PAYLOAD)


@pytest.fixture(scope="module")
def marked(claim, tmp_path_factory):
    return answering.write_classifier(tmp_path_factory.mktemp("marked") / "m.onnx", claim)


def test_a_watermark_in_answers_is_decoded_and_detected_in_one_go(marked, claim):
    verdict = nnw.verify(marked, claim)
    assert verdict.decoding.payload.symbols == PAYLOAD.symbols
    assert verdict.decoding.payload.alphabet == 10
    assert (verdict.errors, verdict.bits) == (0, None)
    found = verdict.detection
    assert (bool(found), found.statistic, found.null.symbols) == (True, 40, 40)
    assert (found.null.name, found.null.chance) == ("Bin(40, 1/10)", 0.1)
    assert found.log10_p == pytest.approx(-40)


def test_another_network_answers_by_chance(claim, tmp_path):
    other = answering.write_classifier(tmp_path / "o.onnx", None)
    found = nnw.detect(other, claim)
    assert not found
    assert found.statistic < 14


def test_the_key_file_brings_the_triggers(marked, claim, tmp_path):
    nnw.save_key(claim, tmp_path / "key.npz")
    assert nnw.detect(marked, nnw.load_key(tmp_path / "key.npz")).statistic == 40


def test_the_key_alone_does_not_tell_the_payload(marked, claim):
    bare = dataclasses.replace(claim, payload=None)
    assert nnw.decode(marked, claim.key).payload.symbols == PAYLOAD.symbols
    assert nnw.verify(marked, bare).detection is None
    assert PAYLOAD.bits not in repr(claim.key)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (("n", 3, 8, 8), r"expected an input that takes shape \(40, 1, 8, 8\), got .*\(n, 3, 8, 8"),
        (("n", 64), r"expected an input that takes shape \(40, 1, 8, 8\), got one .* \(n, 64\); "),
    ],
)
def test_a_network_of_other_inputs_has_no_carrier(claim, tmp_path, shape, words):
    other = answering.write_classifier(tmp_path / "m.onnx", None, shape=shape)
    with pytest.raises(CarrierNotFoundError, match=words):
        nnw.decode(other, claim)
    found = nnw.detect(other, claim)
    assert (bool(found), found.p_value) == (False, 1.0)
    assert "expected an input" in found.notes[0]


def test_a_network_of_other_classes_has_no_carrier(claim, tmp_path):
    other = answering.write_classifier(tmp_path / "m.onnx", None, classes=7)
    verdict = nnw.verify(other, claim)
    assert verdict.status == "not-applicable"
    assert "expected scores of shape (40, 10), got (40" in verdict.reason
    assert (verdict.decoding, verdict.errors) == (None, None)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (7, 1, 8, 8), ("n", 1, "h", "w")])
def test_fixed_batches_and_free_sizes(claim, tmp_path, shape):
    if not isinstance(shape[2], int):
        network = answering.write_classifier(tmp_path / "m.onnx", claim)
        model = onnx.load(network)
        for dimension, name in zip(
            model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True
        ):
            if isinstance(name, str):
                dimension.dim_param = name
        onnx.save(model, network)
    else:
        network = answering.write_classifier(tmp_path / "m.onnx", claim, shape=shape)
    assert nnw.detect(network, claim).statistic == 40


def test_a_network_that_hangs_is_stopped(claim, tmp_path):
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
        nnw.decode(path, claim, timeout=8)


def write_glutton(path, values):
    """A classifier that makes so many float32 values of each sample, in a few hundred bytes."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("ReduceSum", ["flat", "one"], ["sum"]),
        helper.make_node("Expand", ["sum", "shape"], ["much"]),
        helper.make_node("ReduceSum", ["much", "one"], ["again"]),
        helper.make_node("Expand", ["again", "ten"], ["y"]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers)
        for name, numbers in {"one": [1], "shape": [1, values], "ten": [1, 10]}.items()
    ]
    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [port("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [port("y", TensorProto.FLOAT, ["n", 10])], constants,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize(
    ("values", "limit"), [(2**30, None), (2**22, 512 << 20)], ids=["by its size", "as asked"]
)
def test_a_network_that_wants_more_memory_than_it_may_have_is_stopped(
    claim, tmp_path, values, limit
):
    path = write_glutton(tmp_path / "m.onnx", values)
    assert path.stat().st_size < 1024
    with pytest.raises(InferenceError, match="memory"):
        nnw.detect(path, claim, memory_limit=limit)


def test_what_a_network_may_take_follows_from_its_size():
    assert memory_for(0, 0) >= 1 << 30
    assert memory_for(1 << 30, 0) - memory_for(0, 0) == 8 << 30
    assert memory_for(0, 1 << 20) - memory_for(0, 0) == 64 << 20
    assert memory_for(1 << 62, 1 << 62) == sys.maxsize


def test_a_network_that_the_runtime_refuses_is_told(claim, tmp_path):
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
        nnw.detect(path, claim)
