"""Graphs that are short to write and long to write out: functions, lists that double."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import inferring, open_network

from .handmade import make, node, values


def calling(levels: int, times: int = 1, last: str = "Relu") -> onnx.ModelProto:
    """A product, then a function whose body calls the next one so many times, and so on."""
    opset = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    made = []
    for k in range(levels):
        inner, domain = (f"f{k + 1}", "own") if k + 1 < levels else (last, "own" * (last[0] == "f"))
        names = ["a", *(f"t{i}" for i in range(times - 1)), "b"]
        body = [
            helper.make_node(inner, [names[i]], [names[i + 1]], domain=domain) for i in range(times)
        ]
        made.append(helper.make_function("own", f"f{k}", ["a"], ["b"], body, opset))
    nodes = [node("MatMul", ["x", "w"], ["t"]), node("f0", ["t"], ["y"], domain="own")]
    model = make(nodes, {"w": values(4, 5)}, (2, 4), functions=made[:1])
    model.functions.extend(made[1:])
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (calling(1, last="f0"), r"functions that do not call themselves, got one that does \('f0'"),
        (calling(3, last="f1"), "functions that do not call themselves, got one that does"),
        (calling(102), "functions that call one another at most 100 deep, got deeper"),
        (calling(20, times=2), "functions that stand for at most 300000 nodes, got more"),
        (calling(90, times=3), "functions that stand for at most 300000 nodes, got more"),
    ],
)
def test_functions_have_an_end(model: onnx.ModelProto, words: str, tmp_path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=f"model: expected {words}"):
        open_network(tmp_path / "m.onnx")


@pytest.mark.parametrize("model", [calling(3), calling(50), calling(5, times=3)])
def test_usual_functions_are_taken(model: onnx.ModelProto, tmp_path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    assert [layer.name for layer in open_network(tmp_path / "m.onnx").layers] == ["w"]


def joined(times: int) -> onnx.ModelProto:
    """A list of sizes that is joined to itself again and again."""
    nodes = [node("MatMul", ["x", "w"], ["y"]), node("Shape", ["x"], ["s0"])]
    nodes += [node("Concat", [f"s{k}"] * 2, [f"s{k + 1}"], axis=0) for k in range(times)]
    return make(nodes, {"w": values(4, 5)}, (2, 4))


def test_lists_that_double_are_not_worked_out(tmp_path) -> None:
    """Onnx would: forty nodes then take a terabyte."""
    onnx.save(joined(40), tmp_path / "m.onnx")
    assert open_network(tmp_path / "m.onnx").hidden_axes == ()
    few = {v.name: v for v in inferring.with_sizes(joined(4)).graph.value_info}
    assert few["s4"].type.tensor_type.shape.dim[0].dim_value == 32


def test_what_onnx_refuses_has_no_sizes() -> None:
    model = calling(1, last="f0")
    assert inferring.with_sizes(model) is model
