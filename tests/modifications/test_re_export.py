"""A round trip through torch: graphs that read sizes and bounds, and those that torch refuses."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nnw_onnx as nnw
from nnw_onnx.errors import ModelFileError, NotApplicableError
from nnw_onnx.graph import makeup, open_network

from ..runs.resnets import residual_network  # noqa: TID252 - shared by two rooms' tests
from .deployed import answers, apply, difference, samples_for

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

PAYLOAD = nnw.Payload.from_hex("0123456789abcdef")
make = helper.make_node


def network_of(path, nodes, arrays, shape=("n", 4, 8, 8), outputs=(("y", 1),), opsets=(("", 17),)):
    """A network of the input x; names that end in "weight" are drawn, others are int64."""
    rng = np.random.Generator(np.random.PCG64(3))
    stored = [
        numpy_helper.from_array(rng.normal(size=value).astype(np.float32), name)
        if name.endswith("weight") else numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in arrays.items()
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs], stored,
    )  # fmt: skip
    sets = [helper.make_opsetid(*one) for one in opsets]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), path)
    return open_network(path)


def exported(network):
    """The network after the round trip, which answers as before."""
    samples = samples_for(network, 8)
    done = apply(network, "re-export", samples)
    assert difference(answers(network, samples, 8), answers(done, samples, 8)) < 1e-5
    old, new = network.weights["weight"], [done.weights[x.name] for x in done.layers]
    assert any(np.array_equal(old, values) for values in new)
    return done


def test_bounds_that_the_file_stores_are_traced(tmp_path):
    """A shortcut of every second pixel and of channels of zeros, as ResNets for CIFAR-10 have."""
    nodes = [
        make("Conv", ["x", "weight"], ["a"], pads=[1] * 4, strides=[2, 2]),
        make("Slice", ["x", "starts", "ends", "axes", "steps"], ["b"]),
        make("Pad", ["b", "pads"], ["c"]),
        make("Add", ["a", "c"], ["y"]),
    ]
    arrays = {
        "weight": (8, 4, 3, 3), "starts": [0, 0], "ends": [1 << 30] * 2, "axes": [2, 3],
        "steps": [2, 2], "pads": [0, 2, 0, 0, 0, 2, 0, 0],
    }  # fmt: skip
    done = exported(network_of(tmp_path / "m.onnx", nodes, arrays))
    assert not isinstance(done.inputs[0].shape[0], int)
    assert makeup(done.path).operators["Slice"] >= 1


def test_sizes_that_the_graph_computes_fix_the_batch(tmp_path):
    nodes = [
        make("Conv", ["x", "weight"], ["a"], pads=[1] * 4),
        make("Shape", ["a"], ["b"], end=1),
        make("Concat", ["b", "rest"], ["c"], axis=0),
        make("Reshape", ["a", "c"], ["y"]),
    ]
    network = network_of(tmp_path / "m.onnx", nodes, {"weight": (8, 4, 3, 3), "rest": [-1]})
    done = exported(network)
    assert done.inputs[0].shape == (4, 4, 8, 8)
    assert not isinstance(network.inputs[0].shape[0], int)


TOP = [make("Conv", ["x", "weight"], ["a"], pads=[1] * 4)]
REFUSED = {
    "sizes that depend on the data": (
        [make("ReduceMax", ["a"], ["b"], keepdims=0), make("Cast", ["b"], ["c"], to=7),
         make("Unsqueeze", ["c", "zero"], ["d"]), make("Slice", ["a", "zero", "d", "one"], ["y"])],
        (("y", 1),), r"got: export: expected a model that torch exports, got: .*",
    ),
    "an operator that torch has not got here": (
        [make("TreeEnsembleClassifier", ["a"], ["b", "y"], domain="ai.onnx.ml")],
        (("y", 1),), r"got: .*ai\.onnx\.ml\.TreeEnsembleClassifier, which cannot",
    ),
    "text": (
        [make("Constant", [], ["t"], value_strings=["no", "yes"]),
         make("ArrayFeatureExtractor", ["t", "one"], ["z"], domain="ai.onnx.ml"),
         make("Relu", ["a"], ["y"])],
        (("y", 1), ("z", 8)), r"got: .*",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_torch_cannot_export_is_not_applicable_in_one_line(tmp_path, what):
    nodes, outputs, words = REFUSED[what]
    arrays = {"weight": (8, 4, 3, 3), "zero": [0], "one": [1]}
    network = network_of(
        tmp_path / "m.onnx", TOP + nodes, arrays, outputs=outputs,
        opsets=(("", 17), ("ai.onnx.ml", 1)),
    )  # fmt: skip
    expected = rf"^re-export: expected a network that torch runs and exports, {words}; leave it out"
    with pytest.raises(NotApplicableError, match=expected) as told:
        apply(network, "re-export", samples_for(network, 8))
    assert "\n" not in str(told.value)


def test_a_missing_library_is_no_fault_of_the_network(tmp_path, monkeypatch):
    network = network_of(tmp_path / "m.onnx", [make("Conv", ["x", "weight"], ["y"])],
                         {"weight": (8, 4, 3, 3)})  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnxscript.optimizer", None)
    with pytest.raises(ModelFileError, match=r"^export: expected onnxscript, got: .*; pip install"):
        apply(network, "re-export", samples_for(network, 8))


@pytest.mark.shared_data
def test_a_residual_network_keeps_its_mark(shared_data, tmp_path):
    network = open_network(residual_network(shared_data, "resnet20", tmp_path / "resnet.onnx"))
    given = nnw.inject(network, PAYLOAD, method="uchida", seed=1)
    done = apply(given.network, "re-export", samples_for(network, 8))
    assert not {x.name for x in done.layers if x.role == "kernel"} & set(given.key.layers)
    verdict = nnw.verify(done, given.claim)
    assert verdict
    assert verdict.errors == 0
