"""A torch model as a Network: names, layouts and roles, against what the modules compute."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, InferenceError, ModelFileError, TrainingError
from nnw_onnx.testing import ArrayBench
from nnw_onnx.vocabulary import Injects, Method, Payload, Spec, TensorInfo

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - needs torch

from nnw_onnx_torch.graph.torch_network import TorchNetwork  # noqa: E402 - needs torch

KERNELS = [
    (nn.Conv1d(4, 6, 3), (2, 4, 7), 1),
    (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 7, 7), 1),
    (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), 1),
    (nn.ConvTranspose1d(4, 6, 3), (2, 4, 7), 1),
    (nn.ConvTranspose2d(4, 6, 3), (2, 4, 7, 7), 1),
    (nn.Linear(5, 7), (3, 5), 1),
    (nn.Linear(5, 7), (3, 2, 5), 2),
]


@pytest.mark.parametrize(("module", "feed", "axis"), KERNELS)
def test_the_first_axis_is_that_of_the_output(
    module: Any, feed: tuple[int, ...], axis: int
) -> None:
    """Changing the first filter changes the first output channel and no other."""
    network = TorchNetwork(module)
    layer = next(x for x in network.layers if x.role == "kernel")
    changed = np.array(network.weights[layer.name])
    assert changed.shape == layer.shape
    changed[0] += 1
    x = torch.randn(feed)
    before, after = module(x), network.with_weights({layer.name: changed}).model(x)
    moved = (after - before).detach().abs().movedim(axis, 0).flatten(1).amax(1) > 1e-6
    assert moved.tolist() == [True] + [False] * (len(moved) - 1)


class Everything(nn.Module):
    """One of each, and a tied pair."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 8)
        self.norm = nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.memory = nn.LSTM(8, 4)
        self.layer_norm = nn.LayerNorm(4)
        self.head = nn.Linear(8, 9, bias=False)
        self.head.weight = self.tokens.weight
        self.scale = nn.Parameter(torch.ones(3))


def test_layers_are_named_and_known() -> None:
    found = {x.name: (x.operator, x.role) for x in TorchNetwork(Everything()).layers}
    assert found == {
        "scale": ("Everything", "other"),
        "tokens.weight": ("Gather", "embedding"),
        "norm.weight": ("BatchNormalization", "norm"),
        "norm.bias": ("BatchNormalization", "norm"),
        "norm.running_mean": ("BatchNormalization", "other"),
        "norm.running_var": ("BatchNormalization", "other"),
        "attention.in_proj_weight": ("MatMul", "kernel"),
        "attention.in_proj_bias": ("MatMul", "bias"),
        "attention.out_proj.weight": ("Gemm", "kernel"),
        "attention.out_proj.bias": ("Gemm", "bias"),
        "memory.weight_ih_l0": ("LSTM", "recurrent"),
        "memory.weight_hh_l0": ("LSTM", "recurrent"),
        "memory.bias_ih_l0": ("LSTM", "bias"),
        "memory.bias_hh_l0": ("LSTM", "bias"),
        "layer_norm.weight": ("LayerNormalization", "norm"),
        "layer_norm.bias": ("LayerNormalization", "norm"),
    }
    tied = next(x for x in TorchNetwork(Everything()).layers if x.name == "tokens.weight")
    assert tied.shared
    assert set(found) <= set(Everything().state_dict())


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)
    )


def test_wrappers_do_not_change_names() -> None:
    plain = [x.name for x in TorchNetwork(convolutions()).layers]
    for wrapped in (
        nn.DataParallel(convolutions()),
        torch.compile(convolutions()),
        nn.DataParallel(torch.compile(convolutions())),
    ):
        assert [x.name for x in TorchNetwork(wrapped).layers] == plain
    inner = nn.Sequential(*convolutions())
    inner[0] = torch.compile(inner[0])
    assert [x.name for x in TorchNetwork(inner).layers] == plain


def test_a_static_watermark_goes_into_a_copy() -> None:
    model = convolutions()
    network = TorchNetwork(model)
    method: Any = plugins.create(Method, Spec("block-spread"))
    payload = Payload.from_text("mine")
    bench: Any = ArrayBench()
    key = method.make_key(network, len(payload), bytes(32), bench)
    assert isinstance(method, Injects)
    marked: Any = method.inject(network, payload, key, bench)
    assert method.decode(marked, key).payload == payload
    assert method.decode(network, key).payload != payload
    assert marked.model is not model
    assert not np.array_equal(marked.weights["4.weight"], network.weights["4.weight"])


def test_inference_leaves_the_model_as_it_was() -> None:
    model = convolutions().train()
    model[1].eval()
    mean = model[1].running_mean.clone()
    inputs = np.random.Generator(np.random.PCG64(0)).standard_normal((300, 3, 8, 8))
    (found,) = TorchNetwork(model).run({"x": inputs.astype(np.float32)}).values()
    assert [m.training for m in model] == [True, False, True, True, True]
    assert torch.equal(model[1].running_mean, mean)
    assert all(p.grad is None for p in model.parameters())
    expected = model.eval()(torch.tensor(inputs, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


class Answers(nn.Module):
    """A model that returns a mapping, as those of transformers do."""

    def forward(self, x: Any) -> Any:
        return {"loss": None, "logits": 2 * x, "states": (x, [x])}


def test_every_output_is_found() -> None:
    inputs = np.ones((3, 2), np.float32)
    found = TorchNetwork(Answers()).run({"x": inputs})
    assert {n: float(f[0, 0]) for n, f in found.items()} == {
        "output0": 2,
        "output1": 1,
        "output2": 1,
    }


class Two(nn.Module):
    """A model of token ids and features, with an option."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.fc = nn.Embedding(7, 3), nn.Linear(5, 3)

    def forward(self, ids: Any, x: Any, *, scale: float = 1.0) -> Any:
        return scale * (self.tokens(ids).mean(1) + self.fc(x))


@pytest.mark.parametrize("names", [("ids", "x"), ("x", "ids"), ("first", "second")])
def test_inner_values_and_several_inputs(names: tuple[str, str]) -> None:
    """By name in any order, or by place; more samples than one piece."""
    torch.manual_seed(0)
    model = Two()
    network = TorchNetwork(model)
    assert network.inputs == (TensorInfo("ids", (), "float32"), TensorInfo("x", (), "float32"))
    ids = np.arange(600 * 4).reshape(600, 4) % 7
    x = np.random.Generator(np.random.PCG64(0)).standard_normal((600, 5))
    given = {"ids": ids, "x": x, "first": ids, "second": x}
    found = network.run({n: given[n] for n in names}, ["fc.weight", "tokens.weight"])
    assert list(found) == ["output", "fc.weight", "tokens.weight"]
    inner = x @ network.weights["fc.weight"].T + network.weights["fc.bias"]
    embedded = network.weights["tokens.weight"][ids]
    np.testing.assert_allclose(found["fc.weight"], inner, atol=1e-5)
    np.testing.assert_allclose(found["tokens.weight"], embedded, atol=1e-6)
    np.testing.assert_allclose(found["output"], embedded.mean(1) + inner, atol=1e-5)
    assert not model.fc._forward_hooks


def test_a_digest_is_that_of_the_weights() -> None:
    torch.manual_seed(0)
    model = convolutions()
    network = TorchNetwork(model)
    before = network.digest
    assert before == TorchNetwork(copy.deepcopy(model)).digest
    changed = network.with_weights({"0.weight": network.weights["0.weight"] + 1})
    assert changed.digest != before == network.digest


def test_weights_are_snapshots() -> None:
    model = convolutions()
    before = TorchNetwork(model).weights["0.weight"]
    kept = before.copy()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert np.array_equal(before, kept)
    assert not before.flags.writeable


def test_what_is_no_network() -> None:
    network = TorchNetwork(convolutions())
    weights = np.array(network.weights["0.weight"])
    for change, message in (
        ({"0.weigt": weights}, "got '0.weigt' (did you mean '0.weight'?); see TorchNetwork"),
        ({"0.weight": weights[0]}, "expected weights of shape (16, 3, 3, 3), got (3, 3, 3); keep"),
        ({"0.weight": weights * np.inf}, "expected finite weights that fit float32, got others"),
    ):
        with pytest.raises(ModelFileError) as caught:
            network.with_weights(change)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CarrierNotFoundError, match="got another .did you mean '0.weight'.*; use"):
        network.run({"x": weights}, ["0.weigt"])
    with pytest.raises(InferenceError, match="expected to run on x, got an error of torch"):
        network.run({"x": weights[:, :2]})
    with pytest.raises(TrainingError, match="got a lazy layer that has none yet; run the model"):
        _ = TorchNetwork(nn.Sequential(nn.LazyLinear(3))).layers
