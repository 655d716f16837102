"""Operators away from the CPU, in a process of their own: see `test_on_a_device`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import nnw_onnx

torch = pytest.importorskip("torch", minversion="2.10")

from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch

from .backend_cases import node_cases, run_case, stored_cases  # noqa: E402 - needs torch
from .fake_device import counting, device, moved  # noqa: E402 - needs torch

NO_KERNEL = r"test_lstm_(defaults|with_initial_bias|batchwise|reverse|bidirectional)"
"""Cases of a kernel that torch has for accelerators alone, so that no CPU can stand in for it."""
LEFT_OUT = rf"{NO_KERNEL}|test_(training_dropout|bernoulli|cast|castlike).*|.*_expanded(_ver\d+)?"
"""Also what is random, what only names types, and functions whose operators have their own."""


@pytest.mark.filterwarnings("ignore")
def test_every_case_comes_out_as_on_the_cpu(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    apart, other = device(), {}
    for case in (*node_cases(), *stored_cases()):
        if re.fullmatch(LEFT_OUT, case.name):
            continue
        with counting():
            found = run_case(case, tmp_path, apart)
        if found.kind == "failed":
            # Half precision adds up in another order there, so what fails here may pass.
            other[case.name] = found, run_case(case, tmp_path)
    assert {name: f for name, (f, cpu) in other.items() if cpu.kind != "failed"} == {}


def made(path: Path, nodes: list, inputs: list, outputs: list, **stored: np.ndarray) -> OnnxModule:
    """A network of these nodes."""
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [onnx.numpy_helper.from_array(v, n) for n, v in stored.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return OnnxModule(nnw_onnx.open(path))


def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniform"])
def test_what_is_made_of_nothing_is_brought_to_the_network(tmp_path: Path, name: str) -> None:
    nodes = [
        helper.make_node(name, [], ["r"], shape=[3]),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    module = made(tmp_path / "m.onnx", nodes, [floats("x", 3)], [floats("y", 3)])
    with counting():
        assert module.to(device())(moved(torch.zeros(3))).device == device()


def test_the_length_of_a_sequence_is_brought_to_the_network(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("SequenceLength", ["s"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=1),
        helper.make_node("Reshape", ["f", "one"], ["v"]),
        helper.make_node("Mul", ["x", "v"], ["y"]),
    ]
    one = np.ones(1, np.int64)
    module = made(tmp_path / "m.onnx", nodes, [floats("x", 3)], [floats("y", 3)], one=one)
    with counting():
        assert module.to(device())(moved(torch.ones(3))).cpu().tolist() == [2, 2, 2]


def test_the_device_refuses_what_accelerators_refuse() -> None:
    with counting() as waits:
        x = torch.arange(3.0, device=device())
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(3)
        assert not waits
        assert x.sum().item() == 3.0
        x[x > 1]
        torch.ones(2).to(device())
    assert dict(waits) == {"_local_scalar_dense": 1, "index by a mask": 1,
                           "copy between devices": 1}  # fmt: skip
