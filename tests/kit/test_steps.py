"""The values beside a weight on its grid, found by asking: against the grid itself."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.kit import steps
from nnw_onnx.modifications.int8 import Int8
from nnw_onnx.testing.array_network import ArrayNetwork
from nnw_onnx.testing.file_bench import file_bench, shipped_network


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_neighbours_are_those_of_the_stored_integers(rng, mode):
    network = Int8(mode=mode).modify(shipped_network(), file_bench(), rng).network
    layers = [x for x in network.layers if x.quantization and x.role == "kernel"]
    assert len(layers) >= 3
    for layer in layers:
        found = steps.neighbours(network, layer)
        inside = found[1] != network.weights[layer.name]
        for side, stored in zip(found, network.neighbours(layer.name), strict=True):
            assert np.array_equal(side[inside], stored[inside])
        at_end = network.neighbours(layer.name)[1] == network.weights[layer.name]
        assert np.array_equal(inside, ~at_end)


def test_steps_that_are_too_fine_are_left_alone(rng):
    """Numbers of float32 lie closer than any length that is asked for."""
    network = ArrayNetwork.of({"w": rng.standard_normal((4, 5)).astype(np.float32)})
    for found in steps.neighbours(network, network.layers[0]):
        assert np.array_equal(found, network.weights["w"])
