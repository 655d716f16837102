"""Fresh weights: He's deviation, neutral norms, and which layer is the last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.kit import initialisation
from nnw_onnx.testing import ArrayNetwork

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(scope="module")
def cifar():
    return nnw.open(MODELS / "cifar10" / "fast-0.onnx")


def test_kernels_have_the_deviation_of_he_et_al(cifar, rng):
    name = "block3.conv2.weight"
    found = initialisation.fresh(cifar, [name], rng)[name]
    assert found.shape == (128, 128, 3, 3)
    # Independent: 147,456 draws know their deviation to 0.2 %.
    assert found.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.01)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(found.size)


def test_norms_and_biases_are_neutral(cifar, rng):
    names = [layer.name for layer in cifar.layers]
    found = initialisation.fresh(cifar, names, rng)
    assert list(found) == names
    for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        assert (found[f"block1.norm1.{part}"] == value).all()
    assert (found["head.bias"] == 0).all()
    cifar.with_weights(found)


def test_only_the_named_layers_are_drawn_in_the_order_of_the_network(cifar):
    def generator():
        return np.random.Generator(np.random.Philox(3))

    one = initialisation.fresh(cifar, ["head.weight", "stem.weight"], generator())
    other = initialisation.fresh(cifar, ["stem.weight", "head.weight"], generator())
    assert list(one) == ["stem.weight", "head.weight"]
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_other_roles_keep_their_values(rng):
    network = ArrayNetwork.of({"positions": np.ones((3, 4))}, positions={"role": "other"})
    assert (initialisation.fresh(network, ["positions"], rng)["positions"] == 1).all()


def test_the_last_layer_is_the_one_computed_last_with_its_bias(cifar):
    assert initialisation.last_layer(cifar) == ("head.weight", "head.bias")
    digits = nnw.open(MODELS / "digits" / "cnn-0.onnx")
    assert initialisation.last_layer(digits) == ("head.weight", "head.bias")


def test_a_network_without_kernels_has_no_last_layer():
    assert initialisation.last_layer(ArrayNetwork.of({"bias": np.ones(3)})) == ()
