"""Graphs with functions, branches, loops and constants, and graphs that cannot be trained."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.errors import TrainingError

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch

from .made_networks import FLOAT, HEAD, by_runtime, opened, told  # noqa: E402

FUNCTION = """
<domain: "mine", opset_import: ["" : 17]>
scaled <alpha: float = 0.5> (x, w) => (y) {
    k = Constant<value_floats = [2.0, 3.0]>()
    f = Constant<value_float: float = @alpha>()
    p = Mul(x, k)
    q = Mul(p, f)
    y = MatMul(q, w)
}"""


def test_functions_of_the_model_run_with_their_attributes_and_constants(tmp_path, rng):
    text = (
        HEAD
        + """g (float[n, 2] x) => (float[n, 2] y) {
        a = mine.scaled<alpha = 4.0>(x, w)
        y = mine.scaled(a, w)
    }"""
        + FUNCTION
    )
    network = opened(tmp_path, text, w=rng.normal(size=(2, 2)).astype(np.float32))
    x = rng.random((3, 2), dtype=np.float32)
    module = OnnxModule(network)
    (wanted,) = by_runtime(network, x)
    np.testing.assert_allclose(told(module, x), wanted, rtol=1e-5)
    k = next(layer.name for layer in network.layers if layer.storage == "function")
    module(torch.from_numpy(x)).sum().backward()
    assert module.parameter(k).grad.abs().sum() > 0
    with torch.no_grad():
        module.parameter(k).mul_(3)
    (wanted,) = by_runtime(module.network(), x)
    np.testing.assert_allclose(told(module, x), wanted, rtol=1e-5)


def branch(name, weight):
    """A graph that multiplies the outer value "x" by weights of its own."""
    node = helper.make_node("MatMul", ["x", "w"], [f"{name}_y"], name=f"{name}_product")
    output = helper.make_tensor_value_info(f"{name}_y", FLOAT, None)
    return helper.make_graph([node], name, [], [output], [numpy_helper.from_array(weight, "w")])


def two_branches(rng):
    weights = [rng.normal(size=(3, 3)).astype(np.float32) for _ in range(2)]
    node = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("yes", weights[0]),
        else_branch=branch("no", weights[1]),
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
         helper.make_tensor_value_info("x", FLOAT, ("n", 3))],
        [helper.make_tensor_value_info("y", FLOAT, ("n", 3))],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_weights_of_branches_are_trained_and_written_back(tmp_path, rng):
    network = opened(tmp_path, two_branches(rng))
    names = sorted((layer.name for layer in network.layers), reverse=True)
    assert names == ["y.then_branch/w", "y.else_branch/w"]
    module = OnnxModule(network)
    x = rng.random((2, 3), dtype=np.float32)
    yes = torch.tensor(True)
    module(yes, torch.from_numpy(x)).sum().backward()
    grads = [module.parameter(name).grad for name in names]
    assert grads[1] is None
    np.testing.assert_allclose(grads[0], x.T @ np.ones((2, 3)), rtol=1e-6)
    with torch.no_grad():
        module.parameter(names[0]).sub_(grads[0])
    for flag in (True, False):
        (wanted,) = by_runtime(module.network(), np.array(flag), x)
        found = module(torch.tensor(flag), torch.from_numpy(x)).detach()
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    with module.capturing(names[0]) as captured:
        y = module(yes, torch.from_numpy(x))
    assert captured[names[0]] is y


def test_gradients_flow_through_a_loop_that_reads_weights_around_it(tmp_path):
    text = (
        HEAD
        + """g (float[2] x) => (float[2] y, float[t, 2] all) {
        y, all = Loop(trips, go, x) <body = b (int64 i, bool c, float[2] s)
                                          => (bool d, float[2] z, float[2] o) {
            d = Identity(c)
            z = Mul(s, w)
            o = Identity(z)
        }>
    }"""
    )
    weight = np.array([2.0, -1.5], np.float32)
    network = opened(tmp_path, text, trips=np.int64(3), go=np.array(True), w=weight)
    module = OnnxModule(network)
    x = torch.tensor([1.0, 2.0])
    y, every = module(x)
    y.sum().backward()
    np.testing.assert_allclose(module.parameter("w").grad, 3 * weight**2 * x.numpy())
    np.testing.assert_allclose(every.detach(), [x.numpy() * weight**k for k in (1, 2, 3)])


def test_weights_in_constants_are_trained_and_written_back(tmp_path, rng):
    text = (
        HEAD
        + """g (float[n, 2] x) => (float[n, 3] y) {
        w = Constant<value = float[2, 3] {1, 2, 3, 4, 5, 6}>()
        b = Constant<value_floats = [1.0, 2.0, 3.0]>()
        h = MatMul(x, w)
        y = Add(h, b)
    }"""
    )
    network = opened(tmp_path, text)
    module = OnnxModule(network)
    assert set(module.tensors) == {"w", "b"}
    x = rng.random((2, 2), dtype=np.float32)
    module(torch.from_numpy(x)).sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.sub_(parameter.grad)
    (wanted,) = by_runtime(module.network(), x)
    np.testing.assert_allclose(told(module, x), wanted, rtol=1e-6)


def test_thousands_of_nodes_need_no_stack(tmp_path):
    nodes = [helper.make_node("Mul", [f"v{k}", "w"], [f"v{k + 1}"]) for k in range(5000)]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes[::-1], "g", [info("v0", FLOAT, (2,))], [info("v5000", FLOAT, (2,))],
        [numpy_helper.from_array(np.ones(2, np.float32), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    module = OnnxModule(opened(tmp_path, model))
    module(torch.ones(2)).sum().backward()
    np.testing.assert_array_equal(module.parameter("w").grad, [5000, 5000])


def test_of_two_constants_of_one_name_the_last_counts_as_in_onnxruntime(tmp_path):
    info = helper.make_tensor_value_info
    constants = [
        helper.make_node("Constant", [], ["k"], value=helper.make_tensor("k", FLOAT, (1,), [v]))
        for v in (2.0, 3.0)
    ]
    nodes = [constants[0], helper.make_node("Mul", ["x", "k"], ["y"]), constants[1]]
    graph = helper.make_graph(nodes, "g", [info("x", FLOAT, (1,))], [info("y", FLOAT, (1,))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.ones(1, np.float32)
    np.testing.assert_array_equal(
        told(OnnxModule(opened(tmp_path, model)), x), session.run(None, {"x": x})[0]
    )


def test_operators_that_are_missing_are_named_all_of_them(tmp_path):
    text = (
        HEAD
        + """g (float[n] x) => (float[n] y) {
        a = Strange(x)
        b = mine.outer(a)
        c = other.Odd(b)
        y = If(flag) <then_branch = t () => (float[n] p) { p = Inner(c) },
                      else_branch = e () => (float[n] q) { q = Identity(c) }>
    }
    <domain: "mine", opset_import: ["" : 17]>
    outer (x) => (y) { y = Deep(x) }"""
    )
    text = text.replace('"mine" : 1', '"mine" : 1, "other" : 1')
    network = opened(tmp_path, text, flag=np.array(True))
    with pytest.raises(TrainingError) as raised:
        OnnxModule(network)
    assert str(raised.value) == (
        "model: expected operators that can be trained, got Deep, Inner, Strange, other.Odd, which "
        "cannot; use a network without them, or enter them into nnw_onnx_torch.graph.operators"
    )


def test_graphs_that_cannot_be_ordered_are_refused(tmp_path):
    text = HEAD + "g (float[n] x) => (float[n] y) { a = Add(b, x)\n b = Relu(a)\n y = Relu(b) }"
    model = onnx.parser.parse_model(text)
    with pytest.raises(TrainingError, match=r"expected a graph without cycles, got one with them"):
        OnnxModule(opened(tmp_path, model))
    del model.graph.node[1]
    with pytest.raises(
        TrainingError, match=r"every value to be computed somewhere, got 'b', which"
    ):
        OnnxModule(opened(tmp_path, model))


def test_types_that_torch_lacks_are_refused(tmp_path):
    text = HEAD + "g (float[n] x) => (float4e2m1[2] y) { y = Identity(k) }"
    model = onnx.parser.parse_model(text)
    array = np.zeros(2, helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT4E2M1))
    model.graph.initializer.append(numpy_helper.from_array(array, "k"))
    with pytest.raises(TrainingError, match=r"expected constants of types that torch has, got flo"):
        OnnxModule(opened(tmp_path, model))
