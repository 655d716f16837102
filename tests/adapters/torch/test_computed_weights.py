"""Weights that are computed before they are used: torch's normalisations and masks, and files."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Additions, Moment, Payload, Penalty, Recipe

from .small_networks import digits, job

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - needs torch
from torch.nn.utils import parametrizations, prune  # noqa: E402 - needs torch

from nnw_onnx_torch import OnnxModule, TorchNetwork, Watermark, export  # noqa: E402 - needs torch
from nnw_onnx_torch.training.trainer import TorchTrainer  # noqa: E402 - needs torch

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
PAYLOAD = Payload.from_hex("c0de")
STRONG = {"strength": 0.1}


def masked(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.4)


MAKERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "old weight norm": torch.nn.utils.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old spectral norm": torch.nn.utils.spectral_norm,
    "mask": masked,
}
NAMES = {
    "weight norm": ("2.parametrizations.weight.original1", {"original0"}),
    "old weight norm": ("2.weight_v", {"weight_g"}),
    "spectral norm": ("2.parametrizations.weight.original", {"_u", "_v"}),
    "old spectral norm": ("2.weight_orig", {"weight_u", "weight_v"}),
    "mask": ("2.weight_orig", {"weight_mask"}),
}


def network(kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2), nn.ReLU(),
        MAKERS[kind](nn.Conv2d(16, 32, 3, padding=1)), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def used(model: nn.Sequential) -> np.ndarray[Any, Any]:
    """The weights that torch itself uses, in evaluation mode."""
    model.eval()
    model(torch.zeros(1, 1, 8, 8, dtype=model[0].weight.dtype))
    return model[2].weight.detach().numpy().copy()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_layer_is_what_its_module_computes_with(kind: str) -> None:
    model = network(kind)
    name, parts = NAMES[kind]
    view = TorchNetwork(model)
    layer = next(x for x in view.layers if x.name == name)
    assert (layer.operator, layer.role, layer.shape) == ("Conv", "kernel", (32, 16, 3, 3))
    assert {p.rpartition(".")[2] for p in layer.parts} == parts
    assert layer.arithmetic
    assert layer.learns
    learning = {x.name for x in view.layers if x.learns}
    assert all(
        (part in learning) == part.endswith(("original0", "weight_g")) for part in layer.parts
    )
    np.testing.assert_array_equal(view.weights[name], used(model))


@pytest.mark.parametrize("kind", MAKERS)
def test_the_penalty_is_that_of_what_arrives_with_its_gradient(kind: str) -> None:
    """The gradient by the stored parameters, against differences of the penalty."""
    model = network(kind).double()
    mark = Watermark(model, PAYLOAD, seed=1, layer="2.weight")
    (name,) = mark.key.layers
    assert name == NAMES[kind][0]
    added = mark.method.additions(mark.network, PAYLOAD, mark.key)
    seen = {name: used(model)}
    wanted = added.penalty(Moment(seen, {}, None, np.zeros(0, bool), {}, 0, lambda w: w))
    model.train()
    value = mark.penalty()
    assert value.item() == pytest.approx(wanted.value, rel=1e-12)
    value.backward()
    by_penalty = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    mark.add_gradient()
    for parameter_name, gradient in by_penalty.items():
        parameter = model.get_parameter(parameter_name)
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
        for flat in (0, parameter.numel() // 2, parameter.numel() - 1):
            ends = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    parameter.view(-1)[flat] += step
                    ends.append(mark.penalty().item())
                    parameter.view(-1)[flat] -= step
            slope = (ends[0] - ends[1]) / 2e-6
            assert gradient.view(-1)[flat].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)
    layers = {x.name: x for x in mark.network.layers}
    assert set(by_penalty) == {name, *(p for p in layers[name].parts if layers[p].learns)}


Made = Callable[[str], tuple[nn.Sequential, Watermark, OnnxNetwork]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model into which a mark was trained, the mark, and the file of our own export, by kind."""

    @functools.cache
    def of(kind: str) -> tuple[nn.Sequential, Watermark, OnnxNetwork]:
        model = network(kind)
        mark = Watermark(model, PAYLOAD, seed=1, options=STRONG, layer="2.weight")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        assert mark.learns_by(optimizer)
        model.train()
        for _ in range(240):
            optimizer.zero_grad()
            (mark.penalty() + model(torch.rand(2, 1, 8, 8)).square().mean() * 0).backward()
            optimizer.step()
        folder = tmp_path_factory.mktemp("file")
        return model, mark, export(model, torch.rand(4, 1, 8, 8), folder / "model.onnx").network

    return of


@pytest.mark.parametrize("kind", MAKERS)
def test_a_mark_is_trained_in_exported_and_read_back(kind: str, made: Made) -> None:
    model, mark, file = made(kind)
    assert mark.symbol_error_rate() == 0
    assert nnw.verify(file, mark.claim).errors == 0
    layer = next(x for x in file.layers if x.name == NAMES[kind][0])
    assert layer.role == "kernel"
    np.testing.assert_allclose(file.weights[layer.name], used(model), atol=1e-6)
    if kind == "mask":
        mask = network(kind)[2].weight_mask
        assert (model[2].weight_mask == mask).all()
        assert (file.weights[layer.name][mask.numpy() == 0] == 0).all()


@pytest.mark.parametrize("kind", ["weight norm", "old weight norm", "mask"])
def test_weights_are_set_as_nearly_as_the_chain_allows(kind: str) -> None:
    model = network(kind)
    model(torch.zeros(1, 1, 8, 8)).sum().backward()  # leaves weights with a history behind
    view = TorchNetwork(model)
    name = NAMES[kind][0]
    wanted = np.random.Generator(np.random.PCG64(0)).normal(size=(32, 16, 3, 3))
    changed = view.with_weights({name: wanted})
    mask = model[2].weight_mask.numpy() if kind == "mask" else 1.0
    np.testing.assert_allclose(changed.weights[name], wanted * mask, atol=1e-6)
    np.testing.assert_allclose(used(changed.model), wanted * mask, atol=1e-6)
    np.testing.assert_array_equal(view.weights[name], used(model))


@pytest.mark.parametrize("kind", ["weight norm", "spectral norm", "mask"])
def test_the_trainer_sees_what_arrives_and_keeps_constants(kind: str, made: Made) -> None:
    file = made(kind)[2]
    name = NAMES[kind][0]
    module = OnnxModule(file)
    np.testing.assert_allclose(module.weights[name], file.weights[name], atol=1e-6)
    pattern = np.random.Generator(np.random.PCG64(0)).normal(size=(32, 16, 3, 3))

    def penalty(now: Moment) -> Penalty:
        return Penalty(-float(np.vdot(pattern, now.weights[name])), {name: -pattern})

    def correlation(network: OnnxNetwork) -> float:
        return float(np.corrcoef(pattern.ravel(), network.weights[name].ravel())[0, 1])

    # With its vectors at rest a spectral norm may be passed by any step that is too large.
    rate = 5e-4 if kind == "spectral norm" else 5e-3
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=rate, momentum=0, weight_decay=0)
    additions = Additions(penalty, carriers=(name,))
    trained = TorchTrainer().train(file, job(digits(), recipe, additions=additions))
    gained = correlation(trained.network) - correlation(file)
    assert gained > (0.05 if kind == "spectral norm" else 0.25)
    constants = [x.name for x in file.layers if not x.learns]
    assert bool(constants) == (kind != "weight norm")
    for constant in constants:
        np.testing.assert_array_equal(trained.network.stored[constant], file.stored[constant])
    if kind == "weight norm":
        gains = NAMES[kind][0].replace("original1", "original0")
        assert (trained.network.stored[gains] != file.stored[gains]).all()
    if kind == "mask":
        pruned = np.asarray(file.weights[name]) == 0
        assert 0.3 < pruned.mean() < 0.5
        assert (trained.network.weights[name][pruned] == 0).all()


def test_start_and_fixed_hold_for_what_arrives(made: Made) -> None:
    file = made("weight norm")[2]
    name = NAMES["weight norm"][0]
    start = np.random.Generator(np.random.PCG64(0)).normal(size=(32, 16, 3, 3)).astype(np.float32)
    fixed = np.arange(start.size).reshape(start.shape) % 3 == 0
    additions = Additions(start={name: start}, fixed={name: fixed})
    recipe = Recipe(epochs=1, batch_size=128, learning_rate=0.05)
    trained = TorchTrainer().train(file, job(digits(), recipe, additions=additions)).network
    np.testing.assert_allclose(trained.weights[name][fixed], start[fixed], rtol=1e-4, atol=1e-5)
    assert np.abs(trained.weights[name] - start)[~fixed].max() > 1e-3


def test_a_copy_of_a_module_with_other_weights(made: Made) -> None:
    file = made("mask")[2]
    name = NAMES["mask"][0]
    module = OnnxModule(file)
    wanted = np.ones((32, 16, 3, 3), np.float32)
    changed = module.with_weights({name: wanted})
    np.testing.assert_array_equal(changed.weights[name] == 0, file.weights[name] == 0)
    assert set(np.unique(changed.weights[name])) == {0.0, 1.0}
    assert module.weights[name].std() < 0.2
    twin = copy.deepcopy(changed)
    np.testing.assert_array_equal(twin.weights[name], changed.weights[name])
