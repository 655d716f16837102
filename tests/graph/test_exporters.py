"""Reparametrised modules of torch through its exporters: the weights are those of the module."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnw_onnx.graph import OnnxNetwork, open_network

from .handmade import run_path

torch = pytest.importorskip("torch")
adapter = pytest.importorskip("nnw_onnx_torch")


def _pruned() -> Any:
    from torch.nn.utils import prune

    module = torch.nn.Conv2d(3, 8, 3)
    prune.l1_unstructured(module, "weight", amount=0.5)
    return module


def _low_rank() -> Any:
    class LowRank(torch.nn.Module):
        """A dense layer with a sum of low rank."""

        def __init__(self) -> None:
            super().__init__()
            self.dense = torch.nn.Linear(12, 8)
            self.a = torch.nn.Parameter(torch.randn(2, 12))
            self.b = torch.nn.Parameter(torch.randn(8, 2))

        @property
        def weight(self) -> Any:
            """What a dense layer would have."""
            return self.dense.weight + 0.5 * (self.b @ self.a)

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.linear(x.flatten(1)[:, :12], self.weight, self.dense.bias)

    return LowRank()


def _settled(module: Any) -> Any:
    """In evaluation mode, with the weights that the module computes in it."""
    module.eval()
    with torch.no_grad():
        module(torch.zeros(1, 3, 6, 6))
    return module


MODULES: Mapping[str, tuple[Callable[[], Any], set[str]]] = {
    "weight_norm": (
        lambda: torch.nn.utils.weight_norm(torch.nn.Conv2d(3, 8, 3)), set(),
    ),
    "weight_norm, parametrized": (
        lambda: torch.nn.utils.parametrizations.weight_norm(torch.nn.ConvTranspose2d(3, 8, 3)),
        set(),
    ),
    "spectral_norm": (
        lambda: torch.nn.utils.spectral_norm(torch.nn.Conv2d(3, 8, 3)),
        {"weight_u", "weight_v"},
    ),
    "pruned": (_pruned, {"weight_mask"}),
    "low rank": (_low_rank, set()),
}  # fmt: skip


def _by_torch(module: Any, path: Path) -> None:
    example = (torch.zeros(1, 3, 6, 6),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, example, str(path), dynamo=False, do_constant_folding=False)


def _by_us(module: Any, path: Path) -> None:
    adapter.export(module, torch.zeros(1, 3, 6, 6), path)


@pytest.fixture(params=[_by_torch, _by_us], ids=["torch", "own"])
def export(request: pytest.FixtureRequest) -> Callable[[Any, Path], None]:
    return request.param


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODULES, ids=lambda n: n.replace(" ", "-"))
def test_weights_of_reparametrised_modules(
    name: str, export: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    make, fixed = MODULES[name]
    torch.manual_seed(0)
    module = _settled(make())
    export(module, tmp_path / "m.onnx")
    network = open_network(tmp_path / "m.onnx")
    (layer,) = [found for found in network.layers if found.in_all]
    right = module.weight.detach().numpy()
    if "Transpose" in type(module).__name__:
        right = right.swapaxes(0, 1)
    np.testing.assert_allclose(network.weights[layer.name], right, rtol=2e-5, atol=2e-6)
    assert {found.name for found in network.layers if not found.learns} == fixed
    _new_weights_arrive(network, layer.name, tmp_path)


def _new_weights_arrive(network: OnnxNetwork, name: str, folder: Path) -> None:
    """Twice the weights give twice the answer, but for the bias."""
    feeds = {"x": np.random.Generator(np.random.PCG64(1)).random((1, 3, 6, 6), np.float32)}
    feeds = {network.inputs[0].name: feeds["x"]}
    nothing = {key: np.zeros_like(value) for key, value in feeds.items()}
    bias = run_path(network.path, nothing)[0]
    before = run_path(network.path, feeds)[0] - bias
    changed = network.with_weights({name: 2 * network.weights[name]})
    changed.save(folder / "twice.onnx")
    after = run_path(folder / "twice.onnx", feeds)[0] - bias
    np.testing.assert_allclose(after, 2 * before, rtol=1e-4, atol=1e-5)
