"""Fresh weights against torch's own layers: the same distribution, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx.kit import initialisation
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import Array

from .small_networks import MODELS

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - needs torch

DRAWS = 20_000
"""Values at least that are compared: a bound that is wrong by 3 % is then seen."""

# Module, and for each parameter its canonical layout, operator, input index, role and groups.
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[Any, ...]]]] = {
    "linear": (lambda: nn.Linear(48, 64), {
        "weight": ("oi->oi", "Gemm", 1, "kernel", 1), "bias": ("o->o", "Gemm", 2, "bias", 1)}),
    "convolution": (lambda: nn.Conv2d(12, 32, 3), {
        "weight": ("oihw->oihw", "Conv", 1, "kernel", 1), "bias": ("o->o", "Conv", 2, "bias", 1)}),
    "grouped": (lambda: nn.Conv2d(24, 48, (3, 5), groups=4), {
        "weight": ("oihw->oihw", "Conv", 1, "kernel", 4), "bias": ("o->o", "Conv", 2, "bias", 4)}),
    "depthwise": (lambda: nn.Conv1d(64, 128, 7, groups=64), {
        "weight": ("oik->oik", "Conv", 1, "kernel", 64), "bias": ("o->o", "Conv", 2, "bias", 64)}),
    "transposed": (lambda: nn.ConvTranspose2d(40, 12, 3), {
        "weight": ("iohw->oihw", "ConvTranspose", 1, "kernel", 1),
        "bias": ("o->o", "ConvTranspose", 2, "bias", 1)}),
    "grouped and transposed": (lambda: nn.ConvTranspose1d(32, 48, 4, groups=8), {
        "weight": ("iok->oik", "ConvTranspose", 1, "kernel", 8),
        "bias": ("o->o", "ConvTranspose", 2, "bias", 8)}),
    "embedding": (lambda: nn.Embedding(200, 16), {
        "weight": ("ne->ne", "Gather", 0, "embedding", 1)}),
    "slope": (lambda: nn.PReLU(8), {"weight": ("c->c", "PRelu", 1, "other", 1)}),
    "normalisation": (lambda: nn.BatchNorm2d(9), {
        "weight": ("c->c", "BatchNormalization", 1, "norm", 1),
        "bias": ("c->c", "BatchNormalization", 2, "norm", 1),
        "running_mean": ("c->c", "BatchNormalization", 3, "other", 1),
        "running_var": ("c->c", "BatchNormalization", 4, "other", 1)}),
    "layer norm": (lambda: nn.LayerNorm(9), {
        "weight": ("c->c", "LayerNormalization", 1, "norm", 1),
        "bias": ("c->c", "LayerNormalization", 2, "norm", 1)}),
}  # fmt: skip


def _of_torch(make: Callable[[], nn.Module], name: str, layout: str, modules: int) -> Array:
    """Values of a parameter of several modules, canonical, along a new first axis."""
    torch.manual_seed(3)
    found = [make().state_dict()[name].numpy() for _ in range(modules)]
    return np.stack([np.einsum(layout, values) for values in found])


def _agree(ours: Array, theirs: Array) -> bool:
    if np.ptp(theirs) == 0:
        return bool((ours == theirs.flat[0]).all())
    return float(stats.ks_2samp(ours.reshape(-1), theirs.reshape(-1)).pvalue) > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_layers_start_as_those_of_torch(case: str) -> None:
    make, uses = CASES[case]
    smallest = min(t.numel() for t in make().state_dict().values() if t.ndim)
    modules = min(400, -(-DRAWS // smallest))
    theirs = {name: _of_torch(make, name, use[0], modules) for name, use in uses.items()}
    fields = {
        name: {"operator": operator, "consumers": (f"{operator}::{index}",), "role": role,
               "group": group, "position": 0, "learns": not name.startswith("running")}
        for name, (_, operator, index, role, group) in uses.items()
    }  # fmt: skip
    network = ArrayNetwork.of({n: values[0] + 7 for n, values in theirs.items()}, **fields)
    rng = np.random.Generator(np.random.PCG64(5))
    drawn = [initialisation.fresh(network, list(uses), rng) for _ in range(modules)]
    for name in uses:
        assert _agree(np.stack([d[name] for d in drawn]), theirs[name]), name


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_start_as_those_of_torch(kind: str, gates: int) -> None:
    torch.manual_seed(1)
    hidden, inputs = 48, 20
    module = getattr(nn, kind)(inputs, hidden, bidirectional=True)
    state = {name: values.numpy() for name, values in module.state_dict().items()}
    arrays = {
        "W": np.ones((gates * hidden, inputs, 2)), "R": np.ones((gates * hidden, hidden, 2)),
        "B": np.ones((2, 2 * gates * hidden)),
    }  # fmt: skip
    fields = {
        name: {"operator": kind, "consumers": (f"{kind}::{index}",),
               "role": "bias" if name == "B" else "recurrent"}
        for index, name in enumerate(arrays, start=1)
    }  # fmt: skip
    rng = np.random.Generator(np.random.PCG64(5))
    network = ArrayNetwork.of(arrays, **fields)
    found = initialisation.fresh(network, list(arrays), rng)
    theirs = {"W": "weight_ih_l0", "R": "weight_hh_l0", "B": "bias_hh_l0"}
    for name, key in theirs.items():
        assert _agree(found[name], state[key]), name


def test_attention_draws_its_joined_kernel_by_glorot() -> None:
    torch.manual_seed(1)
    module = nn.MultiheadAttention(64, 4)
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    values = {name: module.state_dict()[name].numpy() for name in names}
    network = ArrayNetwork.of({name: array + 7 for name, array in values.items()})
    found = initialisation.fresh(network, names, np.random.Generator(np.random.PCG64(5)))
    assert all(_agree(found[name], values[name]) for name in names)


def test_a_student_of_a_file_starts_as_a_model_that_torch_has_just_made() -> None:
    """The digits network: 12 fresh ones of each kind, layer by layer."""

    def made(seed: int) -> dict[str, Array]:
        torch.manual_seed(seed)
        parts = {"conv1": nn.Conv2d(1, 16, 3), "conv2": nn.Conv2d(16, 32, 3),
                 "conv3": nn.Conv2d(32, 64, 3), "head": nn.Linear(64, 10)}  # fmt: skip
        return {n: t.detach().numpy() for n, t in nn.ModuleDict(parts).state_dict().items()}

    network = nnw.open(MODELS / "digits" / "cnn-0.onnx")
    names = [layer.name for layer in network.layers]
    rng = np.random.Generator(np.random.PCG64(5))
    ours = [initialisation.fresh(network, names, rng) for _ in range(12)]
    theirs = [made(seed) for seed in range(12)]
    for name in names:
        assert _agree(np.stack([x[name] for x in ours]), np.stack([x[name] for x in theirs])), name
