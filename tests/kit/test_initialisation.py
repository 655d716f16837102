"""Fresh weights: their bounds, neutral norms, what keeps its values, and which layer is the last.

tests/adapters compares them with torch's and Keras' own layers.
"""

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


def test_kernels_and_biases_are_within_the_bound_of_the_kernel(cifar, rng):
    names = ["block3.conv2.weight", "head.weight", "head.bias"]
    found = initialisation.fresh(cifar, names, rng)
    kernel, head, bias = (found[name] for name in names)
    assert kernel.shape == (128, 128, 3, 3)
    # Independent: a uniform variable from -b to b has the deviation b / sqrt(3), and 147,456 draws
    # know it to 0.1 %.
    assert kernel.std() == pytest.approx(1 / np.sqrt(3 * 128 * 9), rel=0.01)
    assert 0.999 / np.sqrt(128 * 9) < np.abs(kernel).max() < 1 / np.sqrt(128 * 9)
    bound = 1 / np.sqrt(head.shape[1])
    assert np.abs(bias).max() < bound
    assert bias.std() > bound / 4


def test_norms_are_neutral(cifar, rng):
    names = [layer.name for layer in cifar.layers]
    found = initialisation.fresh(cifar, names, rng)
    assert list(found) == names
    for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        assert (found[f"block1.norm1.{part}"] == value).all()
    cifar.with_weights(found)


def test_a_bias_that_is_added_has_the_bound_of_the_kernel_before_it(rng):
    arrays = {"wide": np.ones((8, 400)), "b": np.ones(8), "c": np.ones(5), "late": np.ones((5, 4))}
    network = ArrayNetwork.of(arrays)
    found = initialisation.fresh(network, arrays, rng)
    assert 0 < np.abs(found["b"]).max() < 1 / np.sqrt(400)
    assert (found["c"] == 0).all()  # no kernel before it has five outputs


def test_a_mask_keeps_its_values(rng):
    mask = np.eye(4)
    network = ArrayNetwork.of({"mask": mask}, mask={"role": "kernel", "learns": False})
    assert (initialisation.fresh(network, ["mask"], rng)["mask"] == mask).all()


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
