"""Inner values by the name of a layer, against copies of the graph with outputs put in by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ValueInfoProto

from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import OnnxNetwork, open_network

from .handmade import CASES, make, node, options, run_runnable, values

FEED = {"x": values(2, 3, 6, 6, seed=5)}


def saved(model: onnx.ModelProto, folder: Path) -> OnnxNetwork:
    onnx.save(model, folder / "m.onnx")
    return open_network(folder / "m.onnx")


def chain() -> onnx.ModelProto:
    """Conv with bias, Relu, Conv of the same kernel, flat, MatMul, Add of a bias."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], "first", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w"], ["d"], pads=[1, 1, 1, 1]),
        node("Flatten", ["d"], ["f"]),
        node("MatMul", ["f", "m"], ["p"]),
        node("Add", ["p", "t"], ["y"]),
    ]
    arrays = {"w": values(3, 3, 3, 3), "b": values(3), "m": values(108, 4), "t": values(4)}
    return make(nodes, arrays, ("n", 3, 6, 6))


def by_hand(model: onnx.ModelProto, name: str) -> np.ndarray:
    """The value of that name, from a copy of the graph with it as the only output."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.append(ValueInfoProto(name=name))
    session = ort.InferenceSession(copy.SerializeToString(), options(), ["CPUExecutionProvider"])
    return session.run(None, FEED)[0]


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ("w", "c"),
        ("b", "c"),
        ("m", "y"),
        ("p", "p"),
        ("t", "y"),
        ("r", "r"),
        ("f", "f"),
        ("d", "d"),
    ],
)
def test_a_name_stands_for_one_value(tmp_path, asked, value):
    """A layer: what its operator computes with its bias, the first one of a shared layer; else the
    value."""
    network = saved(chain(), tmp_path)
    before = network.path.read_bytes()
    assert network.inner([asked]) == {asked: value}
    made = network.runnable([asked])
    assert made.inner == {asked: value}
    outputs = dict(
        zip(["y"] if value == "y" else ["y", value], run_runnable(made, FEED), strict=True)
    )
    np.testing.assert_allclose(outputs[value], by_hand(chain(), value), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs["y"], by_hand(chain(), "y"), rtol=1e-5, atol=1e-5)
    assert network.path.read_bytes() == before
    assert [o.name for o in network.outputs] == ["y"]


def test_several_layers_of_one_operator_are_one_output(tmp_path):
    network = saved(chain(), tmp_path)
    made = network.runnable(["b", "w", "c", "r"])
    assert dict(made.inner) == {"b": "c", "w": "c", "c": "c", "r": "r"}
    assert len(run_runnable(made, FEED)) == 3


def test_inner_values_follow_replaced_weights(tmp_path):
    network = saved(chain(), tmp_path).with_weights({"w": np.zeros((3, 3, 3, 3))})
    inner = run_runnable(network.runnable(["w"]), FEED)[1]
    expected = np.broadcast_to(values(3)[:, None, None], (2, 3, 6, 6))
    np.testing.assert_array_equal(inner, expected)


@pytest.mark.parametrize("name", ["first", "x", "", "none"])
def test_names_of_nodes_inputs_and_nothing_are_refused(tmp_path, name):
    with pytest.raises(CarrierNotFoundError) as caught:
        saved(chain(), tmp_path).runnable([name])
    assert str(caught.value) == (
        f"layer {name!r}: expected a layer, or a value that a node of the main graph computes, got "
        "no such name; choose another one with `nnw layers`"
    )


@pytest.mark.parametrize("case", ["subgraph", "outer scope", "function argument"])
def test_layers_inside_subgraphs_and_functions_are_refused(tmp_path, case):
    made = CASES[case]()
    with pytest.raises(CarrierNotFoundError, match="a layer inside a subgraph or function, whose"):
        saved(made.model, tmp_path).inner([made.layer])


def test_a_recurrent_layer_stands_for_its_first_result_that_has_a_name(tmp_path):
    assert saved(CASES["gru"]().model, tmp_path).inner(["w"]) == {"w": "y"}


def test_the_digest_is_that_of_the_file_until_a_weight_differs(tmp_path):
    network = saved(chain(), tmp_path)
    w, b = network.weights["w"], network.weights["b"]
    assert network.digest == network.sha256
    assert network.with_weights({"w": w.astype(np.float64)}).digest == network.sha256
    both = network.with_weights({"w": w + 1, "b": b + 1})
    seen = {
        network.digest,
        network.with_weights({"w": w + 1}).digest,
        network.with_weights({"w": w + 2}).digest,
        network.with_weights({"b": b + 1}).digest,
        both.digest,
    }
    assert len(seen) == 5
    assert all(len(digest) == 64 for digest in seen)
    assert network.with_weights({"b": b + 1}).with_weights({"w": w + 1}).digest == both.digest
    assert both.with_weights({"w": w, "b": b}).digest == network.sha256
    assert both.sha256 == network.sha256


def test_the_digest_tells_layers_of_equal_values_apart(tmp_path):
    nodes = [node("Mul", ["x", "a"], ["m"]), node("Add", ["m", "c"], ["y"])]
    network = saved(make(nodes, {"a": values(1, 6), "c": values(1, 6)}, (6, 6)), tmp_path)
    ones = np.ones((1, 6))
    assert network.with_weights({"a": ones}).digest != network.with_weights({"c": ones}).digest
