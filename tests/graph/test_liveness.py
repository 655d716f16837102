"""Which layers can reach an output, against onnxruntime: what is dead changes no answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from nnw_onnx.graph import OnnxNetwork, open_network

from .arithmetic_models import conv, graph, image_model
from .handmade import node, run_path, values

FEED = {"x": values(1, 3, 6, 6, seed=5)}
INTS = np.int64
DECOY = conv("decoy", "x", "d", "hd")
LIVE = conv("live", "x", "w", "hw")
KERNELS = {"w": values(3, 3, 3, 3), "d": values(3, 3, 3, 3, seed=1)}
Arrays = Mapping[str, NDArray[Any]]


def _model(nodes: Sequence[Any], arrays: Arrays | None = None) -> onnx.ModelProto:
    """The live Conv computes hw, the decoy hd, and the nodes y."""
    return image_model([LIVE, DECOY, *nodes], {**KERNELS, **(arrays or {})})


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def _stored(nodes: Sequence[Any], arrays: Arrays | None = None) -> onnx.ModelProto:
    """The nodes make a kernel `k` of the tensors `w` and `d`."""
    return image_model([*nodes, conv("live", "x", "k", "y")], {**KERNELS, **(arrays or {})})


def _never_taken() -> onnx.ModelProto:
    then, other = (
        graph(name, [conv(name, "x", kernel, f"o_{name}")], f"o_{name}")
        for name, kernel in (("then", "w"), ("else", "d"))
    )
    nodes = [node("If", ["c"], ["y"], then_branch=then, else_branch=other)]
    return image_model(nodes, {**KERNELS, "c": np.array(True)})


def _call_with_an_idle_argument() -> onnx.ModelProto:
    """A function of two kernels with two results; one call uses the first, one nothing."""
    body = [
        node("Conv", ["v", "a"], ["p"], pads=[1, 1, 1, 1]),
        node("Conv", ["v", "b"], ["q"], pads=[1, 1, 1, 1]),
    ]
    opset = [helper.make_opsetid("", 21)]
    function = helper.make_function("own", "F", ["v", "a", "b"], ["p", "q"], body, opset)
    nodes = [
        node("F", ["x", "w", "d"], ["y", "unused"], domain="own"),
    ]
    return image_model(nodes, KERNELS, functions=[function])


def _loop_without_a_round() -> onnx.ModelProto:
    body = helper.make_graph(
        [conv("inside", "s", "d", "t"), node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("go", 9, []),
            helper.make_tensor_value_info("s", 1, None),
        ],
        [helper.make_tensor_value_info("on", 9, []), helper.make_tensor_value_info("t", 1, None)],
    )
    nodes = [LIVE, node("Loop", ["none", "", "hw"], ["y"], body=body)]
    return image_model(nodes, {**KERNELS, "none": np.array(0, INTS)})


CUTS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "no use": lambda: _model([node("Relu", ["hw"], ["y"])]),
    "output times zero": lambda: _model(
        [node("Mul", ["hd", "zero"], ["z"]), node("Add", ["hw", "z"], ["y"])],
        {"zero": _number(0)},
    ),
    "zero times output": lambda: _model(
        [node("Mul", ["zeros", "hd"], ["z"]), node("Add", ["hw", "z"], ["y"])],
        {"zeros": np.zeros((1, 3, 1, 1), np.float32)},
    ),
    "zero that is computed": lambda: _model(
        [
            node("Sub", ["x", "x"], ["none"]),
            node("Mul", ["hd", "none"], ["z"]),
            node("Add", ["z", "hw"], ["y"]),
        ]
    ),
    "tensor times zero": lambda: _stored(
        [node("Mul", ["d", "zero"], ["z"]), node("Add", ["z", "w"], ["k"])], {"zero": _number(0)}
    ),
    "tensor clipped to zero": lambda: _stored(
        [node("Clip", ["d", "zero", "zero"], ["z"]), node("Add", ["z", "w"], ["k"])],
        {"zero": _number(0)},
    ),
    "output clipped to a number": lambda: _model(
        [node("Clip", ["hd", "one", "one"], ["z"]), node("Add", ["hw", "z"], ["y"])],
        {"one": _number(1)},
    ),
    "to the power of zero": lambda: _model(
        [node("Pow", ["hd", "zero"], ["z"]), node("Mul", ["hw", "z"], ["y"])], {"zero": _number(0)}
    ),
    "not chosen": lambda: _model(
        [node("Where", ["c", "hw", "hd"], ["y"])], {"c": np.ones((1, 3, 1, 1), bool)}
    ),
    "not chosen, the other way": lambda: _model(
        [node("Where", ["c", "hd", "hw"], ["y"])], {"c": np.array(False)}
    ),
    "branch never taken": _never_taken,
    "condition that is computed": lambda: _model(
        [node("Less", ["two", "one"], ["c"]), node("Where", ["c", "hd", "hw"], ["y"])],
        {"two": _number(2), "one": _number(1)},
    ),
    "kernel of zeros behind it": lambda: _model(
        [conv("after", "hd", "zeros", "z"), node("Add", ["hw", "z"], ["y"])],
        {"zeros": np.zeros((3, 3, 3, 3), np.float32)},
    ),
    "normalised by zero": lambda: _model(
        [
            node("BatchNormalization", ["hd", "zeros", "bias", "zeros", "ones"], ["z"]),
            node("Add", ["hw", "z"], ["y"]),
        ],
        {"zeros": np.zeros(3, np.float32), "ones": np.ones(3, np.float32), "bias": values(3)},
    ),
    "only its shape": lambda: _model(
        [node("Shape", ["hd"], ["s"]), node("Reshape", ["hw", "s"], ["y"])]
    ),
    "left out by a Slice": lambda: _model(
        [
            node("Relu", ["hd"], ["rd"]),
            node("Concat", ["hw", "rd"], ["both"], axis=1),
            node("Slice", ["both", "zero", "three", "one"], ["y"]),
        ],
        {"zero": np.array([0], INTS), "three": np.array([3], INTS), "one": np.array([1], INTS)},
    ),
    "left out by a Split": lambda: _model(
        [
            node("Concat", ["hd", "hw"], ["both"], axis=1),
            node("Split", ["both", "sizes"], ["unused", "y"], axis=1),
        ],
        {"sizes": np.array([3, 3], INTS)},
    ),
    "left out by a Gather": lambda: _model(
        [
            node("Concat", ["hd", "hw"], ["both"], axis=1),
            node("Gather", ["both", "last"], ["y"], axis=1),
        ],
        {"last": np.array([3, 4, 5], INTS)},
    ),
    "tensor left out by a Slice": lambda: _stored(
        [
            node("Concat", ["w", "d"], ["both"], axis=0),
            node("Slice", ["both", "zero", "three"], ["k"]),
        ],
        {"zero": np.array([0], INTS), "three": np.array([3], INTS)},
    ),
    "argument of a call that is not used": _call_with_an_idle_argument,
    "loop without a round": _loop_without_a_round,
    "chain of nodes": lambda: _model(
        [
            *(node("Relu", [f"r{k}" if k else "hd"], [f"r{k + 1}"]) for k in range(20)),
            node("Mul", ["r20", "zero"], ["z"]),
            node("Add", ["z", "hw"], ["y"]),
        ],
        {"zero": _number(0)},
    ),
}


def _open(model: onnx.ModelProto, folder: Path) -> OnnxNetwork:
    onnx.save(model, folder / "m.onnx")
    return open_network(folder / "m.onnx")


def _answers_without(model: onnx.ModelProto, name: str, folder: Path) -> NDArray[Any]:
    """What onnxruntime answers when the stored tensor holds something else."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for stored in copy.graph.initializer:
        if stored.name == name:
            new = onnx.numpy_helper.to_array(stored) * 2 + 1
            stored.CopyFrom(onnx.numpy_helper.from_array(new, name))
    onnx.save(copy, folder / "other.onnx")
    return run_path(folder / "other.onnx", FEED)[0]


@pytest.mark.parametrize("kind", CUTS, ids=lambda n: n.replace(" ", "-"))
def test_a_dead_layer_changes_no_answer_and_a_live_one_does(kind: str, tmp_path: Path) -> None:
    model = CUTS[kind]()
    network = _open(model, tmp_path)
    plain = run_path(tmp_path / "m.onnx", FEED)[0]
    assert (_answers_without(model, "w", tmp_path) != plain).any()
    assert (_answers_without(model, "d", tmp_path) == plain).all()
    live = {layer.name: layer.live for layer in network.layers}
    assert live["w"]
    assert not live.get("d", False)
    assert "d" not in [layer.name for layer in network.layers if layer.in_all]
    left = network.coverage().left
    assert left.get("dead", 0) + left.get("unused", 0) >= KERNELS["d"].size


KEPT: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "sum": lambda: _model([node("Add", ["hw", "hd"], ["y"])]),
    "small factor": lambda: _model(
        [node("Mul", ["hd", "tiny"], ["z"]), node("Add", ["hw", "z"], ["y"])],
        {"tiny": _number(1e-3)},
    ),
    "zeros in a part of the channels": lambda: _model(
        [node("Mul", ["hd", "m"], ["z"]), node("Add", ["hw", "z"], ["y"])],
        {"m": np.array([0, 0, 1], np.float32).reshape(1, 3, 1, 1)},
    ),
    "piece that a Slice takes": lambda: _model(
        [
            node("Concat", ["hw", "hd"], ["both"], axis=1),
            node("Slice", ["both", "two", "four", "one"], ["y"]),
        ],
        {"two": np.array([2], INTS), "four": np.array([4], INTS), "one": np.array([1], INTS)},
    ),
    "Slice along another axis": lambda: _model(
        [
            node("Concat", ["hw", "hd"], ["both"], axis=1),
            node("Slice", ["both", "zero", "three", "two"], ["y"]),
        ],
        {"zero": np.array([0], INTS), "three": np.array([3], INTS), "two": np.array([2], INTS)},
    ),
    "condition that is fed": lambda: _model(
        [node("Greater", ["x", "zero"], ["c"]), node("Where", ["c", "hw", "hd"], ["y"])],
        {"zero": _number(0)},
    ),
}


@pytest.mark.parametrize("kind", KEPT, ids=lambda n: n.replace(" ", "-"))
def test_what_reaches_an_output_in_part_is_live(kind: str, tmp_path: Path) -> None:
    model = KEPT[kind]()
    network = _open(model, tmp_path)
    plain = run_path(tmp_path / "m.onnx", FEED)[0]
    for name in ("w", "d"):
        assert (_answers_without(model, name, tmp_path) != plain).any()
    assert {layer.name: layer.live for layer in network.layers if layer.name in "wd"} == {
        "w": True,
        "d": True,
    }


def test_a_tensor_with_a_live_and_a_dead_use_is_that_of_the_live_one(tmp_path: Path) -> None:
    """One minus the tensor is computed with; the plain copy is a decoy."""
    nodes = [
        node("Sub", ["one", "w"], ["k"]),
        conv("live", "x", "k", "hk"),
        conv("decoy", "x", "w", "hd"),
        node("Mul", ["hd", "zero"], ["z"]),
        node("Add", ["hk", "z"], ["y"]),
    ]
    arrays = {"w": KERNELS["w"], "one": _number(1), "zero": _number(0)}
    network = _open(image_model(nodes, arrays), tmp_path)
    (layer,) = [layer for layer in network.layers if layer.role == "kernel"]
    assert (layer.node, layer.live, layer.arithmetic) == ("live", True, ("Sub",))
    np.testing.assert_array_equal(network.weights["w"], 1 - KERNELS["w"])


def test_a_network_whose_kernels_are_all_dead_says_so(tmp_path: Path) -> None:
    nodes = [LIVE, node("Mul", ["hw", "zero"], ["y"])]
    network = _open(image_model(nodes, {"w": KERNELS["w"], "zero": _number(0)}), tmp_path)
    assert network.no_weights_reason == (
        "none of the 1 kernels of this model can reach an output: it answers whatever they are"
    )
