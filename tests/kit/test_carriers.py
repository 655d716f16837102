"""Carriers that several layers share, that are asked for, and what is said of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, commitments
from nnw_onnx.methods.presence import Presence
from nnw_onnx.testing import ArrayBench, ArrayNetwork

SECRET = bytes(range(32))


@pytest.fixture
def network(rng):
    arrays = {"a": rng.standard_normal((4, 5)), "b": rng.standard_normal((40, 9)), "c": np.ones(3)}
    return ArrayNetwork.of(arrays)


def test_one_layer_or_none_is_asked_for():
    assert carriers.asked(ArrayBench(), "m") is None
    assert carriers.asked(ArrayBench(layers=("a",)), "m") == "a"
    with pytest.raises(InjectionError, match="m: expected at most one carrier layer, got 2; name"):
        carriers.asked(ArrayBench(layers=("a", "b")), "m")
    carriers.refuse_layers(ArrayBench(), "m")
    with pytest.raises(InjectionError, match="m: expected no layer, .* got 'a', 'b'; leave it out"):
        carriers.refuse_layers(ArrayBench(layers=("a", "b")), "m")


def test_the_largest_or_the_one_asked_for(network):
    carrier, why = carriers.largest(network, ArrayBench(), "m", 10, "x; do y")
    assert (carrier.layer.name, why) == ("b", "the largest kernel fit to carry it")
    carrier, why = carriers.largest(network, ArrayBench(layers=("a",)), "m", 10, "x; do y")
    assert (carrier.layer.name, why) == ("a", "as asked")
    message = "m: layer 'a': expected at least 21 weights for x, got 20; do y"
    with pytest.raises(InjectionError, match=message):
        carriers.largest(network, ArrayBench(layers=("a",)), "m", 21, "x; do y")
    message = "m: largest kernel: expected at least 361 weights for x, got 360; do y"
    with pytest.raises(InjectionError, match=message):
        carriers.largest(network, ArrayBench(), "m", 361, "x; do y")


def test_a_kernel_of_more_than_enough_weights_is_taken_where_no_smaller_one_will_do(
    network, monkeypatch
):
    monkeypatch.setattr(carriers, "ENOUGH", 100)
    carrier, why = carriers.largest(network, ArrayBench(), "m", 10, "x; do y")
    found = "the largest kernel of at most 100 weights fit to carry it"
    assert (carrier.layer.name, why) == ("a", found)
    carrier, why = carriers.largest(network, ArrayBench(), "m", 21, "x; do y")
    assert (carrier.layer.name, why) == ("b", "the largest kernel fit to carry it")
    monkeypatch.setattr(carriers, "ENOUGH", 10)
    assert [x.name for x in carriers.largest_first(network.layers[:2])] == ["a", "b"]


def test_a_key_of_several_carriers(network):
    chosen = [carriers.take(network, layer) for layer in network.layers[:2]]
    key = carriers.key_for(Presence(), chosen, network, 3, SECRET, ["why"], {"n": 2})
    assert (key.layers, key.shapes, key.size) == (("a", "b"), ((4, 5), (40, 9)), 3)
    assert (key.method, dict(key.facts), key.notes) == (Presence().spec(), {"n": 2}, ("why",))
    bound = [
        (n, s, commitments.digest(network.weights[n]))
        for n, s in zip(key.layers, key.shapes, strict=True)
    ]
    assert key.commitment == commitments.commit(SECRET, "presence", bound)
    assert np.array_equal(carriers.find(network, key, "presence", 1).values, network.weights["b"])
    with pytest.raises(ConfigurationError, match="expected carrier number 3 with its shape, got 2"):
        carriers.find(network, key, "presence", 2)
    with pytest.raises(ConfigurationError, match="a key of method 'other', got one of 'presence'"):
        carriers.find(network, key, "other")
    with pytest.raises(ConfigurationError, match="expected carrier number 1 with its shape, got 1"):
        carriers.find(network, dataclasses.replace(key, layers=("a",), shapes=()), "presence")
    gone = ArrayNetwork.of({"a": network.weights["a"]})
    with pytest.raises(CarrierNotFoundError, match="expected layer b"):
        carriers.find(gone, key, "presence", 1)


def test_zeros_are_noted_only_where_they_are_filled(network):
    sparse = ArrayNetwork.of({"a": np.eye(6)})
    filled = carriers.take(sparse, sparse.layers[0])
    assert filled.notes == ("83% of its weights are zero; the watermark fills them",)
    assert carriers.take(sparse, sparse.layers[0], fills=False).notes == ()
    assert carriers.is_fit(sparse, sparse.layers[0])
    assert not carriers.is_fit(network, network.layers[2])  # all the same


def test_many_names_are_cut():
    assert carriers.listed(["a", "b"]) == "a, b"
    assert carriers.listed([str(n) for n in range(11)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"


def test_sizes_that_a_method_does_not_take():
    with pytest.raises(InjectionError, match="expected at least one symbol, got 0; give a longer"):
        carriers.check_size(0)
    with pytest.raises(
        InjectionError, match="m: expected no payload, because it only says that it"
    ):
        carriers.check_presence(1, "m")
