"""Layers found by value, and kernels freed from a normalization that was folded into them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nnw_onnx as nnw
from nnw_onnx.inference import Session
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx_tensorflow._matching import match
from nnw_onnx_tensorflow._unfolding import unfold


def _network(**arrays):
    return ArrayNetwork.of({k: np.asarray(v, np.float32) for k, v in arrays.items()})


def test_equal_values_are_found_whatever_their_name_and_extra_axes(rng):
    a, b = rng.standard_normal((6, 4, 3)), rng.standard_normal(5)
    found = match(_network(a=a, b=b), _network(x=b, y=a[:, :, None]))
    assert found.renamed == {"a": "y", "b": "x"}
    assert not found.factors
    assert not found.lost


def test_kernels_are_found_up_to_a_factor_for_each_filter(rng):
    a, factor = rng.standard_normal((6, 4, 3, 3)), rng.standard_normal(6)
    found = match(_network(a=a), _network(x=a * factor[:, None, None, None]))
    assert found.renamed == {"a": "x"}
    assert np.allclose(found.factors["a"], factor, rtol=1e-6)


def test_equality_comes_before_proportionality(rng):
    a = rng.standard_normal((6, 4))
    found = match(_network(a=2 * a, b=a), _network(x=a, y=2 * a))
    assert found.renamed == {"a": "y", "b": "x"}


@pytest.mark.parametrize(
    ("mine", "its", "reason"),
    [
        (np.eye(6)[:, :4], np.ones((6, 4)), "no kernel of the file has these values, or these up"),
        (
            np.arange(24).reshape(6, 4),
            np.arange(24).reshape(4, 6),
            r"x has .* kernel \(4, 6\)",
        ),
        (np.ones((6, 4)), np.ones((6, 4)), "its values are all equal, so that it cannot be told"),
        (np.arange(6)[:, None], np.ones((6, 1)), "no kernel of the file has these values"),
        (np.arange(6), np.ones(6), "the exporter merged it into other constants, or left it out"),
    ],
)
def test_what_is_not_there_is_lost_for_a_reason(mine, its, reason):
    found = match(_network(a=mine), _network(x=its))
    assert not found.renamed
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found.lost["a"])


def _folded(path, rng, operator, *, bias, shared=False):
    """A file of one convolution by a factor times a kernel, and the kernel (canonical)."""
    shape = (6, 4, 3, 3) if operator == "Conv" else (4, 6, 3, 3)
    after = (-1, 1, 1, 1) if operator == "Conv" else (1, -1, 1, 1)
    own = rng.standard_normal(shape).astype(np.float32)
    factor = rng.uniform(-1, 2, 6).astype(np.float32)
    tensors = {"merged": own * factor.reshape(after)}
    if bias:
        tensors["bias"] = rng.standard_normal(6).astype(np.float32)
    names = list(tensors)
    nodes = [
        helper.make_node(operator, ["x", *names], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    if shared:
        nodes.append(helper.make_node(operator, ["x", "merged"], ["z"]))
    outputs = ["y", "z"] if shared else ["y"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["n", 6, "h", "w"]) for o in outputs],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        str(path),
    )
    return own if operator == "Conv" else own.swapaxes(0, 1)


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_folded_kernel_is_freed_and_the_function_kept(tmp_path, rng, operator, bias):
    path = tmp_path / "model.onnx"
    own = _folded(path, rng, operator, bias=bias)
    model = _network(kernel=own)
    inputs = rng.standard_normal((2, 4, 8, 8)).astype(np.float32)
    (before,) = Session(nnw.open(path).runnable()).run({"x": inputs})
    found = match(model, nnw.open(path))
    assert found.factors.keys() == {"kernel"}
    unfold(path, found, model.weights)
    network = nnw.open(path)
    assert np.array_equal(network.weights["merged"], own)
    again = match(model, network)
    assert again.renamed == {"kernel": "merged"}
    assert not again.factors
    (after,) = Session(network.runnable()).run({"x": inputs})
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()
    onnx.checker.check_model(str(path), full_check=True)


def test_a_kernel_of_two_convolutions_is_left(tmp_path, rng):
    path = tmp_path / "model.onnx"
    model = _network(kernel=_folded(path, rng, "Conv", bias=False, shared=True))
    unfold(path, match(model, nnw.open(path)), model.weights)
    assert match(model, nnw.open(path)).factors
