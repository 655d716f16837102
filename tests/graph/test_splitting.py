"""Cutting a graph before what new weights reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from nnw_onnx.graph import open_network
from nnw_onnx.graph.splitting import cuts
from nnw_onnx.inference import Session

from .handmade import tensor, values

FAST = Path(__file__).resolve().parents[2] / "models" / "cifar10" / "fast-0.onnx"


def changed(network, *names):
    return network.with_weights({name: network.weights[name] * 1.5 for name in names})


def first_values(*names):
    base = open_network(FAST)
    return [cut.values for cut in changed(base, *names).cuts(base)][:1]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["head.weight"], [("flatten/Flatten_output_0",)]),
        (["block3.conv2.weight"], [("block3/relu1/Relu_output_0",)]),
        (["head.weight", "block3.conv1.weight"], [("block2/relu2/Relu_output_0",)]),
        # A normalisation is computed with the convolution before it: no cut between the two.
        (["block2.norm2.weight"], [("block2/relu1/Relu_output_0",)]),
        (["stem.weight"], []),
        (["block1.conv2.weight"], []),  # too little comes before it
        ([], []),
    ],
)
def test_the_latest_cut_lies_before_the_first_new_weight(names, expected):
    assert first_values(*names) == expected


def test_another_file_has_no_cut(tmp_path):
    base, other = open_network(FAST), open_network(FAST.with_name("fast-1.onnx"))
    assert changed(other, "head.weight").cuts(base) == ()


def test_the_parts_answer_as_the_whole():
    base = open_network(FAST)
    network = changed(base, "block3.conv2.weight")
    images = values(3, 3, 32, 32)
    (wanted,) = Session(network.runnable()).predict(images).values()
    for cut in network.cuts(base):
        head = Session(base.head(cut))
        told = head.predict(images)
        assert tuple(told) == cut.values
        (found,) = Session(network.tail(cut, head.outputs)).predict(told).values()
        np.testing.assert_array_equal(found, wanted)


def model(nodes, arrays, outputs=("y",)):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [tensor(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def cut_of(made, name):
    names = [t.name for t in made.graph.initializer]
    address = (("graph", 0), ("initializer", names.index(name)))
    return [(cut.values, sorted(cut.head), sorted(cut.tail)) for cut in cuts(made.graph, [address])]


KERNELS = {name: values(8, 8) for name in "abc"}


def test_both_branches_of_a_shortcut_go_to_the_tail():
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("MatMul", ["q", "b"], ["r"]),
        helper.make_node("Relu", ["r"], ["s"]),
        helper.make_node("MatMul", ["s", "c"], ["t"]),
        helper.make_node("Add", ["t", "q"], ["y"]),
    ]
    assert cut_of(model(nodes, KERNELS), "c") == [
        (("q", "s"), [0, 1, 2, 3], [4, 5]),
        (("q",), [0, 1], [2, 3, 4, 5]),
    ]


def test_what_depends_on_nothing_fed_is_computed_in_both_parts():
    nodes = [
        helper.make_node("Neg", ["a"], ["minus"]),
        helper.make_node("MatMul", ["x", "minus"], ["p"]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Neg", ["b"], ["other"]),
        helper.make_node("MatMul", ["q", "other"], ["r"]),
        helper.make_node("MatMul", ["r", "minus"], ["y"]),
    ]
    assert cut_of(model(nodes, KERNELS), "b") == [(("q",), [0, 1, 2], [0, 3, 4, 5])]
    assert cut_of(model(nodes, KERNELS), "a") == []


def test_a_graph_that_cannot_be_cut_is_left_whole():
    head = [helper.make_node("MatMul", ["x", "a"], ["p"]), helper.make_node("Relu", ["p"], ["q"])]
    last = helper.make_node("MatMul", ["q", "b"], ["y"])
    assert cut_of(model([*head, last], KERNELS), "b")
    assert cut_of(model([*head, last], KERNELS, ("y", "q")), "b") == []  # the head has an answer
    assert cut_of(model([last, *head], KERNELS), "b") == []  # no order of computation
    function = [(("functions", 0), ("node", 0), ("attribute", 0))]
    assert list(cuts(model([*head, last], KERNELS).graph, function)) == []
    assert list(cuts(model([*head, last], KERNELS).graph, [])) == []


def test_a_value_read_inside_a_subgraph_goes_to_the_tail():
    inside = helper.make_graph(
        [helper.make_node("MatMul", ["q", "b"], ["z"])], "then", [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("ReduceMax", ["q"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["y"], then_branch=inside, else_branch=inside),
    ]
    assert cut_of(model(nodes, KERNELS), "b")[0][0] == ("q", "yes")
