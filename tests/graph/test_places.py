"""Names, order and kinds of kernels beyond a plain operator: experts, styles, loops, branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network

from .arithmetic_models import graph, image_model
from .handmade import make, node, options, run_runnable, tensor, values

INTS = np.int64


def opened(model: onnx.ModelProto, folder: Path) -> OnnxNetwork:
    onnx.save(model, folder / "m.onnx")
    return open_network(folder / "m.onnx")


@dataclass(frozen=True)
class Kind:
    """A model with a kernel `w`; slice 0 of it shows in `y` where `shows` says, and nowhere else.

    Attributes:
        model: the model.
        shape: canonical shape of `w`.
        feeds: what it is asked.
        shows: index into `y`.
        operator: consumer of `w`.
    """

    model: onnx.ModelProto
    shape: tuple[int, ...]
    feeds: Mapping[str, NDArray[Any]]
    shows: tuple[Any, ...]
    operator: str


X = values(3, 4, seed=5)
EVERY = slice(None)


def _expert_by_number() -> Kind:
    """Each row of x goes to the expert of its number."""
    nodes = [
        node("Gather", ["w", "i"], ["e"]),
        node("Unsqueeze", ["x", "one"], ["u"]),
        node("MatMul", ["u", "e"], ["m"]),
        node("Squeeze", ["m", "one"], ["y"]),
    ]
    chosen = helper.make_tensor_value_info("i", TensorProto.INT64, [3])
    arrays = {"w": values(2, 4, 5), "one": np.array([1], INTS)}
    model = make(nodes, arrays, (3, 4), extra_inputs=[chosen])
    feeds = {"x": X, "i": np.array([1, 0, 1], INTS)}
    return Kind(model, (2, 5, 4), feeds, (1,), "MatMul")


def _experts_one_by_one() -> Kind:
    nodes = []
    for k in range(2):
        nodes += [
            node("Gather", ["w", f"i{k}"], [f"e{k}"]),
            node("Gemm", ["x", f"e{k}"], [f"y{k}"], transB=1),
        ]
    nodes += [node("Concat", ["y0", "y1"], ["y"], axis=1)]
    model = make(nodes, {"w": values(2, 5, 4)}, (3, 4))
    numbers = (onnx.numpy_helper.from_array(np.array(k), f"i{k}") for k in range(2))
    model.graph.initializer.extend(numbers)
    return Kind(model, (2, 5, 4), {"x": X}, (EVERY, slice(0, 5)), "Gemm")


def _moe(*, second: bool) -> Kind:
    """Rows 0 and 2 go to the second expert; of the second layer's experts this shows alike."""
    names = {"w": "first", "other": "second"} if not second else {"other": "first", "w": "second"}
    by_place = {place: name for name, place in names.items()}
    inputs = ["x", "probabilities", by_place["first"], "", by_place["second"]]
    nodes = [node("MoE", inputs, ["y"], domain="com.microsoft", k=1, activation_type="identity")]
    arrays = {by_place["first"]: values(2, 6, 4), by_place["second"]: values(2, 4, 6, seed=1)}
    arrays["probabilities"] = np.array([[0, 9], [9, 0], [0, 9]], np.float32)
    shape = (2, 4, 6) if second else (2, 6, 4)
    return Kind(make(nodes, arrays, (3, 4)), shape, {"x": X}, (1,), "MoE")


def _style() -> Kind:
    """A kernel times a style that is fed, and demodulated, as in a generator of faces."""
    nodes = [
        node("Mul", ["w", "style"], ["s"]),
        node("ReduceSumSquare", ["s", "ax"], ["n"], keepdims=1),
        node("Add", ["n", "little"], ["e"]),
        node("Sqrt", ["e"], ["r"]),
        node("Reciprocal", ["r"], ["d"]),
        node("Mul", ["s", "d"], ["m"]),
        node("Reshape", ["m", "shape"], ["k"]),
        node("Conv", ["x", "k"], ["y"], "modulated"),
    ]
    arrays = {
        "w": values(1, 5, 4, 3, 3), "ax": np.array([2, 3, 4], INTS),
        "little": np.array(1e-8, np.float32), "shape": np.array([5, 4, 3, 3], INTS),
    }  # fmt: skip
    style = helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 1, 4, 1, 1])
    model = make(nodes, arrays, (1, 4, 5, 5), extra_inputs=[style])
    feeds = {"x": values(1, 4, 5, 5), "style": values(1, 1, 4, 1, 1, seed=3)}
    return Kind(model, (5, 4, 3, 3, 1), feeds, (EVERY, 0), "Conv")


def _loop_state() -> Kind:
    """A kernel that a loop hands on from round to round; one round is made."""
    body = helper.make_graph(
        [
            node("Gemm", ["s", "k"], ["t"], transB=1),
            node("Identity", ["k"], ["k2"]),
            node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("k", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("k2", TensorProto.FLOAT, None),
        ],
    )
    nodes = [node("Loop", ["once", "", "x", "w"], ["y", "unused"], body=body)]
    arrays = {"w": values(4, 4), "once": np.array(1, INTS)}
    return Kind(make(nodes, arrays, (3, 4)), (4, 4), {"x": X}, (EVERY, 0), "Gemm")


def _scanned() -> Kind:
    """Kernels that a Scan takes one after the other; what each computes is kept."""
    body = helper.make_graph(
        [node("Gemm", ["s", "k"], ["t"], transB=1), node("Identity", ["s"], ["same"])],
        "body",
        [
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [3, 4]),
            helper.make_tensor_value_info("k", TensorProto.FLOAT, [5, 4]),
        ],
        [
            helper.make_tensor_value_info("same", TensorProto.FLOAT, [3, 4]),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, [3, 5]),
        ],
    )
    nodes = [node("Scan", ["x", "w"], ["unused", "y"], body=body, num_scan_inputs=1)]
    return Kind(make(nodes, {"w": values(2, 5, 4)}, (3, 4)), (2, 5, 4), {"x": X}, (0,), "Gemm")


def _chosen_by_if() -> Kind:
    """One of two kernels, by a condition that is fed."""
    branches = {
        f"{name}_branch": graph(name, [node("Identity", [kernel], [f"o{kernel}"])], f"o{kernel}")
        for name, kernel in (("then", "w"), ("else", "v"))
    }
    nodes = [node("If", ["c"], ["k"], **branches), node("Gemm", ["x", "k"], ["y"], transB=1)]
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    arrays = {"w": values(5, 4), "v": values(5, 4, seed=1)}
    model = make(nodes, arrays, (3, 4), extra_inputs=[condition])
    return Kind(model, (5, 4), {"x": X, "c": np.array(True)}, (EVERY, 0), "Gemm")


def _fused_gemm() -> Kind:
    nodes = [
        node("FusedGemm", ["x", "w"], ["y"], domain="com.microsoft", transB=1, activation="Relu")
    ]
    model = make(nodes, {"w": np.abs(values(5, 4))}, (3, 4))
    return Kind(model, (5, 4), {"x": np.abs(X)}, (EVERY, 0), "FusedGemm")


KINDS: Mapping[str, Callable[[], Kind]] = {
    "experts by Gather": _expert_by_number,
    "experts one by one": _experts_one_by_one,
    "MoE, first layer": lambda: _moe(second=False),
    "MoE, second layer": lambda: _moe(second=True),
    "style": _style,
    "state of a Loop": _loop_state,
    "Scan": _scanned,
    "chosen by If": _chosen_by_if,
    "FusedGemm": _fused_gemm,
}


@pytest.mark.parametrize("name", KINDS, ids=lambda n: n.replace(" ", "-"))
def test_kernel_and_its_first_axis(name: str, tmp_path: Path) -> None:
    """Changing slice 0 changes the outputs that depend on it, and no others."""
    kind = KINDS[name]()
    network = opened(kind.model, tmp_path)
    layer = next(layer for layer in network.layers if layer.name == "w")
    assert (layer.role, layer.shape, layer.operator) == ("kernel", kind.shape, kind.operator)
    assert layer.live
    assert layer.in_all
    array = np.array(network.weights["w"])
    array[0] += 3
    changed = network.with_weights({"w": array})
    np.testing.assert_array_equal(changed.weights["w"], array)
    before = run_runnable(network.runnable(), kind.feeds)[0]
    after = run_runnable(changed.runnable(), kind.feeds)[0]
    different = before != after
    assert different[kind.shows].any()
    different[kind.shows] = False
    assert not different.any()


def test_order_of_computation_decides_not_that_of_the_file(tmp_path: Path) -> None:
    kernels = {name: values(3, 3, 1, 1, seed=k) for k, name in enumerate("abcd")}
    names = ["x", "h1", "h2", "h3", "y"]
    nodes = [node("Conv", [names[k], kernel], [names[k + 1]]) for k, kernel in enumerate("abcd")]
    seen = []
    for k, (order, arrays) in enumerate(
        [
            (nodes, kernels),
            (nodes, dict(reversed(kernels.items()))),
            (nodes[::-1], kernels),
        ]
    ):
        (tmp_path / str(k)).mkdir()
        network = opened(image_model(order, arrays), tmp_path / str(k))
        seen.append([(layer.name, layer.position) for layer in network.layers])
    assert seen[0] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]


def test_order_through_subgraphs_and_functions(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 21)]
    function = helper.make_function(
        "own", "F", ["v", "k"], ["z"], [node("MatMul", ["v", "k"], ["z"])], opset
    )
    then, other = (
        graph(name, [node("MatMul", ["h", "b"], [f"o_{name}"])], f"o_{name}")
        for name in ("then", "else")
    )
    nodes = [
        node("MatMul", ["q", "d"], ["y"]),
        node("F", ["x", "a"], ["h"], domain="own"),
        node("If", ["c"], ["p"], then_branch=then, else_branch=other),
        node("MatMul", ["p", "m"], ["q"]),
    ]
    arrays = {name: values(4, 4, seed=k) for k, name in enumerate("dmba")}
    model = make(nodes, {**arrays, "c": np.array(True)}, (2, 4), functions=[function])
    network = opened(model, tmp_path)
    assert [layer.name for layer in network.layers] == ["a", "b", "m", "d"]


def test_a_function_called_twice_shares_its_weights(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 21)]
    body = [
        node("Constant", [], ["k"], value=tensor(values(4, 4), "")),
        node("MatMul", ["v", "k"], ["z"]),
    ]
    function = helper.make_function("own", "F", ["v"], ["z"], body, opset)
    nodes = [node("F", ["x"], ["h"], domain="own"), node("F", ["h"], ["y"], domain="own")]
    network = opened(make(nodes, {}, (2, 4), functions=[function]), tmp_path)
    (layer,) = network.layers
    assert (layer.name, layer.storage, layer.live) == ("k", "function", True)
    changed = network.with_weights({"k": np.eye(4)})
    np.testing.assert_array_equal(run_runnable(changed.runnable(), {"x": X[:2]})[0], X[:2])
    same = [node("F", ["x", "w"], ["h"], domain="own"), node("F", ["h", "w"], ["y"], domain="own")]
    function = helper.make_function(
        "own", "F", ["v", "k"], ["z"], [node("MatMul", ["v", "k"], ["z"])], opset
    )
    network = opened(make(same, {"w": values(4, 4)}, (2, 4), functions=[function]), tmp_path)
    (layer,) = network.layers
    assert layer.shared


def _clash(kind: str) -> onnx.ModelProto:
    w, other = values(4, 5), values(4, 5, seed=1)
    product = node("MatMul", ["x", "w"], ["y"])
    if kind == "initializer and Constant":
        return make(
            [node("Constant", [], ["w"], value=tensor(other, "")), product], {"w": w}, (2, 4)
        )
    if kind == "initializer and result":
        return make([node("Neg", ["v"], ["w"]), product], {"w": w, "v": other}, (2, 4))
    if kind == "input and result":
        return make([node("Neg", ["x"], ["x"]), product], {"w": w}, (2, 4))
    if kind == "result in a branch":
        then, el = (
            graph(
                name,
                [node("Neg", ["v"], ["w"]), node("MatMul", ["x", "w"], [f"o_{name}"])],
                f"o_{name}",
            )
            for name in ("then", "else")
        )
        nodes = [node("If", ["c"], ["y"], then_branch=then, else_branch=el)]
        return make(nodes, {"w": w, "v": other, "c": np.array(True)}, (2, 4))
    body = [node("Constant", [], ["k"], value=tensor(other, "")), node("MatMul", ["v", "k"], ["z"])]
    function = helper.make_function(
        "own", "F", ["v", "k"], ["z"], body, [helper.make_opsetid("", 21)]
    )
    nodes = [node("F", ["x", "w"], ["y"], domain="own")]
    return make(nodes, {"w": w}, (2, 4), functions=[function])


@pytest.mark.parametrize(
    "kind",
    [
        "initializer and Constant", "initializer and result", "input and result",
        "result in a branch", "argument of a function",
    ],
)  # fmt: skip
def test_two_values_of_one_name_are_refused(kind: str, tmp_path: Path) -> None:
    """onnxruntime refuses them as well, but for a Constant beside an initializer."""
    with pytest.raises(ModelFileError, match="expected one value of each name, got a result of"):
        opened(_clash(kind), tmp_path)
    if kind != "initializer and Constant":
        with pytest.raises(Exception, match=r"invalid model|existing|INVALID_GRAPH"):
            ort.InferenceSession(str(tmp_path / "m.onnx"), options(), ["CPUExecutionProvider"])


def test_an_initializer_of_a_branch_hides_the_one_outside(tmp_path: Path) -> None:
    """So it is in onnxruntime too; both are layers."""
    inner = values(4, 5, seed=1)
    then, other = (
        graph(name, [node("MatMul", ["x", "w"], [f"o_{name}"])], f"o_{name}", arrays={"w": inner})
        for name in ("then", "else")
    )
    nodes = [node("If", ["c"], ["y"], then_branch=then, else_branch=other),
             node("MatMul", ["x", "w"], ["z"])]  # fmt: skip
    model = make(nodes, {"w": values(4, 5), "c": np.array(True)}, (2, 4))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    network = opened(model, tmp_path)
    assert {layer.name for layer in network.layers} == {"w", "y.then_branch/w", "y.else_branch/w"}
    changed = network.with_weights({"y.then_branch/w": np.zeros((5, 4))})
    y, z = run_runnable(changed.runnable(), {"x": X[:2]})
    assert not y.any()
    assert z.any()


def test_attributes_of_calls_are_the_reason(tmp_path: Path) -> None:
    constant = node("Constant", [], ["k"])
    constant.attribute.append(
        onnx.AttributeProto(name="value", ref_attr_name="w", type=onnx.AttributeProto.TENSOR)
    )
    function = helper.make_function(
        "own", "Lin", ["v"], ["z"], [constant, node("MatMul", ["v", "k"], ["z"])],
        [helper.make_opsetid("", 21)], ["w"],
    )  # fmt: skip
    nodes = [node("Lin", ["x"], ["y"], domain="own", w=tensor(values(4, 5), "w"))]
    network = opened(make(nodes, {}, (2, 4), functions=[function]), tmp_path)
    assert network.no_weights_reason == (
        "the weights of this model are attributes where its own functions are called (Lin), not "
        "tensors of the graph; inline the functions first"
    )
    assert network.coverage().left == {"attribute": 20}
