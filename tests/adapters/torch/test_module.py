"""OnnxModule: the same network in torch, trained, and written back."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nnw_onnx
from nnw_onnx.errors import TrainingError
from nnw_onnx.inference import Session

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule, supported_operators  # noqa: E402 - needs torch

from .made_networks import HEAD, by_runtime, opened, told  # noqa: E402

MODELS = Path(__file__).resolve().parents[3] / "models"
FAST, DIGITS = MODELS / "cifar10" / "fast-0.onnx", MODELS / "digits" / "cnn-0.onnx"


MLP = (
    HEAD
    + """g (float[n, 3] x) => (float[n, 2] y) {
    h = MatMul(x, w)
    a = Add(h, b)
    r = Relu(a)
    y = Gemm<transB = 1>(r, v, c)
}"""
)


@pytest.fixture
def mlp(tmp_path, rng):
    return opened(
        tmp_path, MLP,
        w=rng.normal(size=(3, 4)).astype(np.float32), b=rng.normal(size=4).astype(np.float32),
        v=rng.normal(size=(2, 4)).astype(np.float32), c=rng.normal(size=2).astype(np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(("path", "shape"), [(FAST, (4, 3, 32, 32)), (DIGITS, (4, 1, 8, 8))])
def test_forward_is_that_of_onnxruntime(path, shape, rng):
    network = nnw_onnx.open(path)
    x = rng.random(shape, dtype=np.float32)
    module = OnnxModule(network).eval()
    (wanted,) = by_runtime(network, x)
    np.testing.assert_allclose(told(module, x), wanted, atol=1e-5)
    np.testing.assert_array_equal(module(torch.from_numpy(x)).detach().numpy(), told(module, x))


def test_layers_become_parameters_and_statistics_buffers():
    network = nnw_onnx.open(FAST)
    module = OnnxModule(network)
    assert set(module.tensors) == {layer.name for layer in network.layers}
    for layer in network.layers:
        tensor = module.parameter(layer.name)
        running = layer.name.endswith(("running_mean", "running_var"))
        assert isinstance(tensor, torch.nn.Parameter) != running
        assert tuple(tensor.shape) == layer.stored_shape
        np.testing.assert_array_equal(module.weights[layer.name], network.weights[layer.name])
    assert "stored.block1/conv1/weight" in module.state_dict()
    assert "stored.block1/norm1/running_mean" in dict(module.named_buffers())
    assert module.layers == network.layers
    assert not module.weights["stem.weight"].flags.writeable


def test_a_trained_network_answers_in_onnxruntime_as_in_torch(rng):
    network = nnw_onnx.open(FAST)
    module = OnnxModule(network)
    x = rng.random((8, 3, 32, 32), dtype=np.float32)
    labels = torch.arange(8)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), labels).backward()
        optimizer.step()
    trained = module.network()
    assert trained.replaced == {layer.name for layer in network.layers}
    (wanted,) = by_runtime(trained, x)
    np.testing.assert_allclose(told(module, x), wanted, atol=2e-5)
    assert np.abs(wanted - by_runtime(network, x)[0]).max() > 0.1
    again = OnnxModule(network)
    again.load(trained)
    np.testing.assert_array_equal(told(again, x), told(module, x))


def test_gradients_are_those_of_the_closed_form(mlp, rng):
    module = OnnxModule(mlp).double()
    x = torch.from_numpy(rng.normal(size=(5, 3)))
    module(x).sum().backward()
    w, b, v = (module.tensors[n].detach().numpy() for n in ("w", "b", "v"))
    hidden = x.numpy() @ w + b
    flow = np.ones((5, 2)) @ v * (hidden > 0)
    np.testing.assert_allclose(module.parameter("w").grad, x.numpy().T @ flow, rtol=1e-12)
    np.testing.assert_allclose(module.parameter("b").grad, flow.sum(0), rtol=1e-12)
    expected = np.ones((2, 5)) @ np.maximum(hidden, 0)
    np.testing.assert_allclose(module.parameter("v").grad, expected, rtol=1e-12)


def test_canonical_is_a_view_through_which_gradients_flow(mlp):
    module = OnnxModule(mlp)
    view = module.canonical("w")
    assert tuple(view.shape) == (4, 3)
    (view * torch.arange(12.0).reshape(4, 3)).sum().backward()
    np.testing.assert_array_equal(module.parameter("w").grad, np.arange(12).reshape(4, 3).T)
    np.testing.assert_array_equal(view.detach().numpy(), mlp.weights["w"])


def test_running_statistics_follow_batchnorm2d_of_torch(tmp_path, rng):
    text = (
        HEAD
        + """g (float[n, 3, h, w] x) => (float[n, 3, h, w] y) {
        y = BatchNormalization<epsilon = 0.001, momentum = 0.8>(x, s, b, m, v)
    }"""
    )
    start = {k: rng.random(3).astype(np.float32) + 0.5 for k in "sbmv"}
    module = OnnxModule(opened(tmp_path, text, **start)).train()
    native = torch.nn.BatchNorm2d(3, eps=0.001, momentum=0.2).train()
    state = {"weight": "s", "bias": "b", "running_mean": "m", "running_var": "v"}
    native.load_state_dict(
        {k: torch.from_numpy(start[n]) for k, n in state.items()}
        | {"num_batches_tracked": torch.tensor(0)}
    )
    for _ in range(3):
        x = torch.from_numpy(rng.normal(size=(4, 3, 5, 5)).astype(np.float32))
        torch.testing.assert_close(module(x), native(x))
    for name, mine in state.items():
        torch.testing.assert_close(module.tensors[mine], getattr(native, name))
    module.eval(), native.eval()
    torch.testing.assert_close(module(x), native(x))
    frozen = OnnxModule(module.network(), batch_norm="freeze").train()
    torch.testing.assert_close(frozen(x), native(x))
    np.testing.assert_array_equal(frozen.weights["m"], module.weights["m"])


def test_statistics_that_the_graph_computes_are_never_replaced_by_those_of_the_batch(tmp_path):
    """Keras exports LayerNormalization as BatchNormalization of given statistics."""
    text = (
        HEAD
        + """g (float[n, 3, h] x, float[3] m) => (float[n, 3, h] y) {
        mean = Mul(m, two)
        y = BatchNormalization(x, s, s, mean, s)
    }"""
    )
    network = opened(tmp_path, text, two=np.float32(2), s=np.ones(3, np.float32))
    x = torch.arange(12.0).reshape(2, 3, 2)
    m = torch.arange(3.0)
    found = OnnxModule(network).train()(x, m).detach()
    expected = (x - 2 * m.reshape(1, 3, 1)) / np.sqrt(1 + 1e-5) + 1
    torch.testing.assert_close(found, expected)


def test_dropout_drops_in_training_mode_only(tmp_path):
    text = HEAD + """g (float[n] x) => (float[n] y) { y = Dropout(x, ratio) }"""
    module = OnnxModule(opened(tmp_path, text, ratio=np.float32(0.25)))
    x = torch.ones(4000)
    assert torch.equal(module.eval()(x), x)
    torch.manual_seed(0)
    dropped = module.train()(x)
    assert sorted(set(dropped.tolist())) == pytest.approx([0, 4 / 3])
    assert 0.2 < float((dropped == 0).float().mean()) < 0.3


def test_a_shared_tensor_is_one_parameter(tmp_path):
    text = (
        HEAD
        + """g (float[n, 2] x) => (float[n, 2] y) {
        h = MatMul(x, w)
        y = MatMul(h, w)
    }"""
    )
    module = OnnxModule(opened(tmp_path, text, w=np.eye(2, dtype=np.float32)))
    module(torch.ones(1, 2)).sum().backward()
    assert len(list(module.parameters())) == 1
    np.testing.assert_array_equal(module.parameter("w").grad, 2 * np.ones((2, 2)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_types_of_the_file_are_kept(tmp_path, dtype):
    kind = "double" if dtype == "float64" else dtype
    text = HEAD + f"g ({kind}[n, 2] x) => ({kind}[n, 2] y) {{ y = MatMul(x, w) }}"
    values = numpy_helper.from_array(np.eye(2), "w")
    model = onnx.parser.parse_model(text)
    number = model.graph.input[0].type.tensor_type.elem_type
    model.graph.initializer.append(helper.make_tensor("w", number, (2, 2), [1, 0, 0, 1]))
    module = OnnxModule(opened(tmp_path, model))
    assert module.parameter("w").dtype == getattr(torch, dtype)
    with torch.no_grad():
        module.parameter("w").add_(0.5)
    assert module.network().weights["w"].dtype.name == dtype
    np.testing.assert_array_equal(
        module.network().weights["w"].astype(float), numpy_helper.to_array(values).T + 0.5
    )


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ("y = Softmax<axis = -1>(a)", True),
        ("y = LogSoftmax(a)", True),
        ("s = Softmax(a)\n y = Identity(s)", True),
        ("s = Softmax(a)\n y = Reshape(s, whole)", True),
        ("y = Identity(a)", False),
        ("y = Softmax<axis = 0>(a)", False),
        ("s = Softmax(a)\n y = Mul(s, s)", False),
    ],
)
def test_scores_before_a_softmax(tmp_path, end, wanted):
    text = HEAD + f"g (float[n, 3] x) => (float[n, 3] y) {{ a = MatMul(x, w)\n {end} }}"
    network = opened(
        tmp_path, text, w=2 * np.eye(3, dtype=np.float32), whole=np.array([-1, 3], np.int64)
    )
    module = OnnxModule(network)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert module.ends_in_softmax() is wanted
    torch.testing.assert_close(module.scores(x), 2 * x if wanted else module(x))
    (answer,) = by_runtime(network, x.numpy())
    np.testing.assert_allclose(module(x).detach(), answer, atol=1e-6)


def test_what_a_layer_answers_is_captured_with_its_gradient(mlp):
    module = OnnxModule(mlp)
    x = torch.ones(2, 3)
    with module.capturing("w", "v") as captured:
        y = module(x)
        assert captured["v"] is y
        # With the bias that is added, as a runtime tells what a layer answers.
        *_, hidden = Session(mlp.runnable(["w"])).run({"x": x.numpy()})
        np.testing.assert_allclose(captured["w"].detach(), hidden, rtol=1e-6)
        captured["w"].sum().backward()
        assert module.parameter("w").grad.sum() == 24
        assert module.parameter("v").grad is None
    assert module(x).shape == y.shape
    assert dict(captured.items()).keys() == {"w", "v"}


def test_values_can_be_asked_for_by_name(mlp):
    module = OnnxModule(mlp)
    x = torch.ones(2, 3)
    found = module.compute({"x": x}, ["h", "y"])
    torch.testing.assert_close(found["h"], x @ module.parameter("w"))
    torch.testing.assert_close(found["y"], module(x))


def test_a_copy_shares_nothing_that_is_trained(mlp):
    module = OnnxModule(mlp)
    copied = copy.deepcopy(module)
    with torch.no_grad():
        copied.parameter("c").add_(1)
    x = torch.ones(1, 3)
    torch.testing.assert_close(copied(x), module(x) + 1)
    module.load_state_dict(copied.state_dict())
    torch.testing.assert_close(copied(x), module(x))


def test_values_are_let_go_after_their_last_use(mlp, monkeypatch):
    module = OnnxModule(mlp)
    frames = []
    make = type(module._program).frame
    monkeypatch.setattr(
        type(module._program), "frame", lambda s, run: frames.append(make(s, run)) or frames[0]
    )
    module(torch.ones(1, 3))
    names = module._program.names
    kept = {name for name in ("x", "h", "a", "r", "y") if frames[0][names[name]] is not None}
    assert kept == {"y"}


def test_channels_last_stays_channels_last():
    module = OnnxModule(nnw_onnx.open(FAST)).to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 32, 32).to(memory_format=torch.channels_last)
    with module.capturing("block3.conv2.weight") as captured:
        module(x)
    assert captured["block3.conv2.weight"].is_contiguous(memory_format=torch.channels_last)
    assert module.network().weights["stem.weight"].shape == (24, 3, 2, 2)


def test_errors_say_what_was_expected(mlp, monkeypatch):
    module = OnnxModule(mlp)
    with pytest.raises(TrainingError, match=r"inputs: expected 1 \(x\), got 2; give one tensor"):
        module(torch.ones(1, 3), torch.ones(1))
    with pytest.raises(TrainingError, match=r"inputs: expected x, got z; give one tensor"):
        module.compute({"z": torch.ones(1, 3)})
    with pytest.raises(TrainingError, match=r"layer 'no': expected the name of a layer of float"):
        module.parameter("no")
    with pytest.raises(TrainingError, match=r"value 'no': expected the name of a value of the"):
        module.compute({"x": torch.ones(1, 3)}, ["no"])
    with pytest.raises(
        TrainingError, match=r"MatMul '': expected inputs that it can compute with, got an error"
    ):
        module(torch.ones(1, 4))
    runnable = replace(mlp.runnable(), folder=Path())
    monkeypatch.setattr(type(mlp), "runnable", lambda self: runnable)
    with pytest.raises(TrainingError, match=r"made.onnx: expected a model whose constants fit"):
        OnnxModule(mlp)


def test_the_table_has_names_and_domains():
    names = supported_operators()
    assert ("", "Conv") in names
    assert ("com.microsoft", "FusedMatMul") in names
    assert list(names) == sorted(names)


def test_captures_can_be_nested(mlp):
    module = OnnxModule(mlp)
    x = torch.ones(2, 3)
    with module.capturing("w") as outer:
        with module.capturing("v") as inner:
            module(x)
            assert set(inner) == {"w", "v"}
        y = module(x)
        assert "w" in outer
        torch.testing.assert_close(outer["w"], x @ module.parameter("w") + module.parameter("b"))
    assert y.shape == (2, 2)


def test_autocast_trains_in_bfloat16(rng):
    module = OnnxModule(nnw_onnx.open(FAST)).train()
    x = torch.from_numpy(rng.random((8, 3, 32, 32), dtype=np.float32))
    with torch.autocast("cpu", torch.bfloat16):
        scores = module(x)
    assert scores.dtype == torch.bfloat16
    exact = OnnxModule(nnw_onnx.open(FAST)).train()(x)
    assert (scores.float() - exact).norm() < 0.05 * exact.norm()
    scores.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in module.parameters())
