"""Block spread spectrum: the choice of the layer, the budget, and its cost in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.math import noise
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.plugins import create
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Method, Payload, Spec

SECRET = bytes(range(32))
BENCH = ArrayBench()


def relative_change(before, after) -> float:
    before, after = before.astype(np.float64), after.astype(np.float64)
    return float(np.sqrt(np.mean((after - before) ** 2)) / before.std())


def inject(method, network, size):
    key = method.make_key(network, size, SECRET, BENCH)
    payload = Payload.random(size, np.random.Generator(np.random.PCG64(1)))
    marked = method.inject(network, payload, key, BENCH)
    name = key.layers[0]
    return key, relative_change(network.weights[name], marked.weights[name]), marked, payload


def test_the_largest_kernel_is_chosen(network):
    key = BlockSpread().make_key(network, 64, SECRET, BENCH)
    assert key.layers == ("wide",)
    note = "carrier wide (64x64x3x3): the largest kernel fit to carry it; 576 weights a symbol"
    assert key.notes[0] == note


def test_a_filter_axis_is_not_needed(network):
    odd = ArrayNetwork.of(dict(network.weights), wide={"axes": None})
    assert BlockSpread().make_key(odd, 64, SECRET, BENCH).layers == ("wide",)


@pytest.mark.parametrize(("budget", "size"), [(0.05, 32), (0.1, 64), (0.2, 128)])
def test_the_budget_is_met_exactly(rng, budget, size):
    weights = (0.02 * rng.standard_normal((128, 128, 3, 3)) + 0.005).astype(np.float32)
    network = ArrayNetwork.of({"conv": weights})
    key, change, _, _ = inject(BlockSpread(budget=budget), network, size)
    assert change == pytest.approx(budget, rel=1e-4)
    assert len(key.notes) == 1


def test_the_margin_is_capped(rng):
    network = ArrayNetwork.of({"conv": rng.standard_normal((128, 128, 3, 3)).astype(np.float32)})
    key, change, marked, _ = inject(BlockSpread(budget=0.5), network, 8)
    assert change < 0.1
    confidence = BlockSpread().decode(marked, key).confidence
    assert np.allclose(confidence, 8.0, rtol=0.01)


def test_a_budget_that_is_too_small_is_exceeded_and_noted(network):
    key, change, marked, _ = inject(BlockSpread(budget=0.01), network, 256)
    assert change > 0.01
    noted = "the budget 0.01 is exceeded: the least margin 2 changes this layer by about "
    assert key.notes[1].startswith(noted)
    about = float(key.notes[1].removeprefix(noted).split()[0])
    assert about == pytest.approx(change, rel=0.1)
    assert min(BlockSpread().decode(marked, key).confidence) > 1.8


def test_the_margin_option_overrides_the_budget(network):
    key, _, marked, _ = inject(BlockSpread(budget=0.01, margin=5.0), network, 64)
    assert len(key.notes) == 1
    deviation = math.sqrt(576 * np.mean(network.weights["wide"].astype(np.float64) ** 2))
    after = math.sqrt(576 * np.mean(marked.weights["wide"].astype(np.float64) ** 2))
    confidence = np.array(BlockSpread().decode(marked, key).confidence) * after / deviation
    assert confidence.min() == pytest.approx(5.0, rel=1e-4)


def test_symbols_beyond_the_margin_are_left_alone(network):
    key, _, marked, payload = inject(BlockSpread(margin=0.5), network, 64)
    before = BlockSpread().decode(network, key)
    untouched = [
        i
        for i, (symbol, wanted) in enumerate(
            zip(before.payload.symbols, payload.symbols, strict=True)
        )
        if symbol == wanted and before.confidence[i] > 0.5
    ]
    changed = np.count_nonzero(network.weights["wide"] != marked.weights["wide"])
    assert len(untouched) > 5
    assert changed <= (64 - len(untouched)) * 576


def test_a_layer_with_fewer_than_16_weights_a_symbol_is_refused(network):
    largest = 64 * 64 * 9
    method = BlockSpread()
    assert method.make_key(network, largest // 16, SECRET, BENCH).layers == ("wide",)
    message = "largest kernel: expected at least 36880 weights for 2305 symbols, got 36864; use"
    with pytest.raises(InjectionError, match=message):
        method.make_key(network, largest // 16 + 1, SECRET, BENCH)
    message = "layer 'first': expected at least 448 weights for 28 symbols, got 432; use a shorter"
    with pytest.raises(InjectionError, match=message):
        method.make_key(network, 28, SECRET, ArrayBench(layers=("first",)))


@pytest.mark.parametrize("options", [{"budget": 0}, {"budget": 2}, {"margin": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"block-spread: option .* expected .*; got"):
        create(Method, Spec("block-spread", options))


@pytest.mark.parametrize("margin", [2.0, 4.0])
def test_it_survives_the_noise_of_the_standard(network, margin):
    """Noise 0.3 moves a sum of margin k by N(0, 0.3): Q(2 / 0.3) is 1e-11."""
    key, _, marked, payload = inject(BlockSpread(margin=margin), network, 64)
    rng = np.random.Generator(np.random.PCG64(2))
    noisy = marked.with_weights({"wide": noise.add_gaussian(marked.weights["wide"], 0.3, rng)})
    assert BlockSpread().decode(noisy, key).payload == payload
