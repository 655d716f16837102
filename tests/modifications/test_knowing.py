"""Modifications of someone who knows the methods and no key."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import NotApplicableError
from nnw_onnx.inference import Session
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.testing.file_bench import shipped_network
from nnw_onnx.vocabulary import Modification, Spec


def made(name: str):
    return plugins.create(Modification, Spec(name, {}))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def answers(network, count: int = 8):
    (port,) = network.inputs
    sizes = [d if isinstance(d, int) else 1 for d in port.shape[1:]]
    feeds = {port.name: generator(3).standard_normal((count, *sizes)).astype(np.float32)}
    return next(iter(Session(network.runnable()).predict(feeds).values()))


def test_the_new_mean_filter_has_the_entries_of_the_old_one(rng):
    layer = rng.standard_normal((16, 8, 3, 3)) + rng.standard_normal((8, 3, 3))
    changed = made("filter-mean").modify_weights({"a": layer}, generator())["a"]
    old, new = layer.mean(axis=0), changed.mean(axis=0)
    np.testing.assert_allclose(np.sort(new.ravel()), np.sort(old.ravel()), rtol=0, atol=1e-12)
    assert np.mean(np.isclose(new, old)) < 0.2
    np.testing.assert_allclose(changed - new, layer - old, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 50), (64,)])
def test_layers_without_a_mean_over_filters_stay(rng, shape):
    layer = rng.standard_normal(shape)
    assert made("filter-mean").modify_weights({"a": layer}, generator())["a"] == pytest.approx(
        layer, abs=0
    )


def test_permuted_channels_answer_the_same_from_other_places():
    network = shipped_network()
    done = made("permutation").modify(network, ArrayBench(), generator()).network
    before, after = answers(network), answers(done)
    assert np.abs(before - after).max() < 1e-5 * np.abs(before).max()
    moved = [x.name for x in network.layers if x.role == "kernel"]
    for name in moved:
        old, new = network.weights[name], done.weights[name]
        assert not np.array_equal(old, new)
        np.testing.assert_array_equal(np.sort(old.ravel()), np.sort(new.ravel()))


def test_a_network_without_free_channels_is_not_applicable(rng):
    network = ArrayNetwork.of({"a": rng.standard_normal((4, 4))})
    with pytest.raises(NotApplicableError, match="^permutation: expected channels"):
        made("permutation").modify(network, ArrayBench(), generator())
