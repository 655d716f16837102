"""Re-synchronisation on published networks, and in the shape of the table of Find the Lady.

De Sousa Trias et al., AAAI 2024, arXiv 2312.14182, table 1: Psi is the share of neurons that are
put back after a random permutation and a Modification: noise and pruning of one layer, bits of all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.graph import fold_batch_norms
from nnw_onnx.kit import channels
from nnw_onnx.kit.alignment import aligned
from nnw_onnx.math.noise import add_gaussian
from nnw_onnx.math.quantizing import min_max
from nnw_onnx.runs.realigning import realigned
from nnw_onnx.vocabulary import Payload

from .resnets import residual_network

MODELS = Path(__file__).parents[2] / "models"
PAYLOAD = Payload.from_hex("0123456789abcdef")
LAYER = {"digits": "conv3.weight", "cifar10": "block3.conv1.weight"}
NETWORKS = {
    "digits": MODELS / "digits" / "cnn-0.onnx",
    "cifar10": MODELS / "cifar10" / "fast-0.onnx",
}


def permuted(network, rng):
    now, orders = {}, []
    for axis in network.hidden_axes:
        orders.append(rng.permutation(axis.size))
        here = {name: now.get(name, network.weights[name]) for name in axis.layers}
        now |= channels.permuted(here, axis, orders[-1])
    return network.with_weights(now), orders


def attacked(network, rng):
    """Other places, other scales and other signs of all channels that may have them."""
    now = dict(permuted(network, rng)[0].weights)
    for axis in network.hidden_axes:
        for k in range(len(axis.scalings)):
            now |= channels.scaled(now, axis, np.exp(0.5 * rng.standard_normal(axis.size)), k)
        for flips in axis.signs:
            way = replace(axis, scalings=(flips,))
            now |= channels.scaled(now, way, rng.choice([-1.0, 1.0], axis.size))
    return network.with_weights({n: now[n] for a in network.hidden_axes for n in a.layers})


def pruned(weights, share):
    sizes = np.abs(weights)
    return np.where(sizes >= np.quantile(sizes, share), weights, 0)


def psi(network, given, orders):
    """Share of the channels of all hidden axes that are put back."""
    found = aligned(network, given)
    hits = [
        orders[k][one.order.index] == np.arange(one.axis.size) for k, one in found.matched.items()
    ]
    return np.concatenate(hits).mean()


def kernels(network):
    return [layer.name for layer in network.layers if layer.role == "kernel"]


ROWS = [
    ("noise", 1), ("noise", 2), ("noise", 7), ("l1_pruning_percent", 91),
    ("l1_pruning_percent", 99), ("quantization_bits", 8), ("quantization_bits", 2),
]  # fmt: skip


def changed(network, layer, row, rng):
    """A network after the Modification of a row: of one layer, or of all for bits."""
    kind, amount = row
    change = {
        "noise": lambda w: add_gaussian(w, amount, rng),
        "l1_pruning_percent": lambda w: pruned(w, amount / 100),
        "quantization_bits": lambda w: min_max(w, amount),
    }[kind]
    names = kernels(network) if kind == "quantization_bits" else [layer]
    return network.with_weights({n: change(np.asarray(network.weights[n])) for n in names})


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_channels_are_put_back_as_often_as_published(shared_data, row, rng):
    """Both networks of CIFAR-10 in the table, within half a point."""
    content = json.loads((shared_data.parent / "reference" / "oracles.json").read_text())["oracles"]
    table = next(entry["rows"] for entry in content if entry["id"] == "ftl.table1")
    told = next(r for r in table if (r["modification"], r["intensity"]) == row)
    network = nnw.open(NETWORKS["cifar10"])
    other = changed(network, LAYER["cifar10"], row, rng)
    assert 100 * psi(network, *permuted(other, rng)) >= max(told["psi"][:2]) - 0.5


@pytest.mark.parametrize("row", [row for row in ROWS if row != ("noise", 7)], ids=str)
def test_channels_of_a_small_network_are_put_back(row, rng):
    """Of three layers, the first one of nine weights a channel."""
    network = nnw.open(NETWORKS["digits"])
    other = changed(network, LAYER["digits"], row, rng)
    assert psi(network, *permuted(other, rng)) >= 0.98


@pytest.fixture(scope="module")
def resnet(shared_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "resnet20.onnx"
    return nnw.open(residual_network(shared_data, "resnet20", path))


@pytest.mark.parametrize("method", ["uchida", "block-spread", "st-dm", "few", "emmark", "presence"])
def test_marks_of_a_published_network_are_heard_again(resnet, tmp_path, method, rng):
    made = nnw.inject(resnet, "" if method == "presence" else PAYLOAD, method=method, seed=1)
    sure = nnw.verify(made.network, made.claim).detection.log10_p
    other = attacked(made.network, rng)
    other.save(tmp_path / "other.onnx")
    assert fold_batch_norms(tmp_path / "other.onnx", tmp_path / "folded.onnx") == 19
    for given in (other, nnw.open(tmp_path / "folded.onnx")):
        assert not nnw.detect(given, made.claim)
        verdict = nnw.verify(given, made.claim, reference=resnet)
        assert verdict
        assert verdict.errors in (0, None)
        assert verdict.detection.log10_p == pytest.approx(sure, rel=0.02)


def test_a_published_network_is_put_back_whole(resnet, rng):
    other = attacked(resnet, rng)
    found = realigned(other, resnet)
    assert (found.recovered, found.missing) == (True, ())
    for layer in resnet.layers:
        own, now = (np.asarray(n.weights[layer.name]) for n in (resnet, found.network))
        if layer.role == "kernel":
            assert np.linalg.norm(own - now) < 1e-3 * np.linalg.norm(own), layer.name


def test_two_published_networks_of_one_kind_are_foreign(resnet, shared_data, tmp_path):
    """ResNet-56 has more blocks of the same shapes and names."""
    other = nnw.open(residual_network(shared_data, "resnet56", tmp_path / "resnet56.onnx"))
    assert not realigned(other, resnet).recovered
    assert not realigned(resnet, other).recovered
