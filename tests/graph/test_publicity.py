"""Layers that a public network gives away: told, and chosen by no method."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import InjectionError
from nnw_onnx.graph import open_network
from nnw_onnx.kit import carriers
from nnw_onnx.testing import ArrayBench
from nnw_onnx.vocabulary import Method, Spec

MODELS = Path(__file__).parents[2] / "models"
SECRET = hashlib.sha256(b"owner").digest()


@pytest.fixture(scope="module")
def public():
    return open_network(MODELS / "digits" / "cnn-0.onnx")


def kernels(network):
    return [layer for layer in network.layers if layer.role == "kernel"]


def moved(network, names, share, rng):
    """The network with layers moved by a share of their norm."""
    replaced = {}
    for name in names:
        values = np.asarray(network.weights[name], np.float64)
        noise = rng.standard_normal(values.shape)
        replaced[name] = values + share * np.linalg.norm(values) / np.linalg.norm(noise) * noise
    return network.with_weights(replaced)


def test_a_layer_that_was_not_trained_is_told_and_not_chosen(public, rng):
    last = kernels(public)[-1].name
    own = moved(public, [last], 0.3, rng)
    told = own.beside(public)
    assert {layer.name for layer in kernels(told) if layer.public is None} == {last}
    frozen = kernels(told)[0]
    assert frozen.public == f"equal to layer {frozen.name!r} of the reference 'cnn-0.onnx'"
    assert told.digest == own.digest
    assert kernels(own)[0].public is None
    method = plugins.create(Method, Spec("presence", {"margin": 4.0}))
    free = method.make_key(own, 0, SECRET, ArrayBench()).layers
    assert free != (last,)
    assert method.make_key(told, 0, SECRET, ArrayBench()).layers == (last,)


def test_a_frozen_layer_that_is_asked_for_is_refused(public, rng):
    last = kernels(public)[-1].name
    told = moved(public, [last], 0.3, rng).beside(public)
    first = kernels(public)[0].name
    with pytest.raises(InjectionError, match="got a layer that is equal to layer .* of the ref"):
        carriers.named(told, first)


def test_where_all_is_public_the_refusal_says_so(public):
    method = plugins.create(Method, Spec("presence", {"margin": 4.0}))
    with pytest.raises(InjectionError, match="equal to layer .* of the reference"):
        method.make_key(public.beside(public), 0, SECRET, ArrayBench())


@pytest.mark.parametrize(("share", "known"), [(3e-4, True), (0.009, True), (0.011, False)])
def test_nearly_equal_is_public_too(public, rng, share, known):
    name = kernels(public)[1].name
    told = moved(public, [name], share, rng).beside(public)
    layer = next(layer for layer in told.layers if layer.name == name)
    assert (layer.public is not None) == known


def test_renamed_layers_are_found_by_their_weights(tmp_path, public):
    import onnx

    model = onnx.load(MODELS / "digits" / "cnn-0.onnx")
    names = {tensor.name: f"other_{index}" for index, tensor in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
    onnx.save(model, tmp_path / "renamed.onnx")
    told = open_network(tmp_path / "renamed.onnx").beside(public)
    assert all(layer.public for layer in kernels(told))


def test_what_is_marked_goes_on_to_tell(public, rng):
    last = kernels(public)[-1].name
    told = moved(public, [last], 0.3, rng).beside(public)
    again = told.with_weights({last: np.asarray(told.weights[last]) * 1.001})
    assert kernels(again)[0].public is not None
