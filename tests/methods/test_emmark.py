"""EmMark: steps on real grids, an exact bound, and what noise of the steps does to it."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.math import normal
from nnw_onnx.methods.emmark import EmMark
from nnw_onnx.modifications.int8 import Int8
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.testing.file_bench import file_bench, shipped_network
from nnw_onnx.vocabulary import Payload, Spec

SECRET = bytes(range(32))
BENCH = ArrayBench()
PAYLOAD = Payload.from_hex("0123456789abcdef")


@pytest.fixture(scope="module", params=["static"])
def quantized(request):
    """A digits network whose kernels onnxruntime has quantized to int8."""
    rng = np.random.Generator(np.random.PCG64(0))
    return Int8(mode=request.param).modify(shipped_network(), file_bench(), rng).network


def put_in(network, payload=PAYLOAD, secret=SECRET, method=None):
    method = method or EmMark()
    key = method.make_key(network, len(payload), secret, BENCH)
    return method.inject(network, payload, key, BENCH), key


def test_bits_are_single_steps_of_integers(quantized, tmp_path):
    """Read from the saved file; exactly the chosen integers have moved, each by one."""
    made = nnw.inject(quantized, PAYLOAD, method="emmark", seed=1)
    made.network.save(tmp_path / "marked.onnx")
    marked = nnw.open(tmp_path / "marked.onnx")
    (name,) = made.key.layers
    quantizeds = [layer for layer in quantized.layers if layer.quantization]
    assert name == max(quantizeds, key=lambda layer: layer.size).name
    before, after = (np.asarray(n.stored[name], np.int64) for n in (quantized, marked))
    assert set(np.unique(after - before)) == {-1, 0, 1}
    assert np.count_nonzero(after != before) == 4 * 64
    assert np.all(before[after != before] != 0)
    assert nnw.decode(marked, made.key).payload == PAYLOAD
    found = nnw.detect(marked, made.claim)
    assert found.statistic == pytest.approx(math.sqrt(256))
    assert bool(found)
    assert not nnw.detect(quantized, made.claim)


def test_the_largest_integers_are_the_candidates(quantized):
    """Of those that are neither zero nor -128 or 127, the 48 largest; the key takes 24 of them."""
    key = EmMark(pool=2, repeat=3).make_key(quantized, 8, SECRET, BENCH)
    (name,) = key.layers
    layer = next(x for x in quantized.layers if x.name == name)
    stored = np.transpose(np.asarray(quantized.stored[name], np.int64), layer.axes).reshape(-1)
    inside = (stored != 0) & (stored > -128) & (stored < 127)
    places = key.arrays["places"]
    assert len(set(places.tolist())) == 24
    assert inside[places].all()
    assert np.abs(stored[places]).min() >= np.sort(np.abs(stored[inside]))[-48]


def test_an_unwatermarked_network_carries_no_evidence(network):
    _, key = put_in(network)
    found = EmMark().detect(network, PAYLOAD, key)
    assert (found.statistic, found.log10_p) == (0.0, 0.0)
    assert found.notes == ("0 of 256 weights have moved by at most 8 steps",)
    assert EmMark().decode(network, key).ties == 64


def test_the_statistic_is_its_formula_and_its_bound_holds_for_every_claim(network, rng):
    """All 2^10 claims of ten bits on steps of any size: none is sure too often."""
    method = EmMark(repeat=1)
    key = method.make_key(network, 10, SECRET, BENCH)
    name, places = key.layers[0], key.arrays["places"]
    steps = rng.standard_t(2, 10)
    width = (key.arrays["above"] - key.arrays["below"]) / 2
    changed = np.array(network.weights[name], np.float64)
    changed.reshape(-1)[places] += steps * width
    wide = ArrayNetwork.of({**network.weights, name: changed})
    claims = [Payload(bits) for bits in itertools.product((0, 1), repeat=10)]
    found = [method.detect(wide, claim, key) for claim in claims]
    near = np.where(np.abs(steps) <= 8, steps, 0)
    assert np.count_nonzero(near) == 9
    every = np.array(list(itertools.product((-1, 1), repeat=10))) @ near / np.linalg.norm(near)
    # Keyed signs only change which claim has which sum.
    np.testing.assert_allclose(np.sort([f.statistic for f in found]), np.sort(every), atol=1e-6)
    p_values = np.sort([f.p_value for f in found])
    exact = np.searchsorted(np.sort(-every), -np.sort(every)[::-1] + 1e-9, side="right") / 1024
    assert (p_values >= exact - 1e-12).all()


@pytest.mark.parametrize(("reach", "equal", "statistic"), [(1, 1 / 3, 7.7), (5, 1 / 11, 3.0)])
def test_noise_of_steps(network, rng, reach, equal, statistic):
    """sqrt(n / (1 + j (j + 1) / 3)), where equality of the bits is 1 / (2 j + 1)."""
    assert math.sqrt(100 / (1 + reach * (reach + 1) / 3)) == pytest.approx(statistic, abs=0.05)
    method = EmMark(repeat=1)
    payload = Payload.random(100, rng)
    marked, key = put_in(network, payload, method=method)
    name, places = key.layers[0], key.arrays["places"]
    width = (key.arrays["above"] - key.arrays["below"]) / 2
    found, same = [], []
    for _ in range(100):
        noise = rng.integers(-reach, reach + 1, 100)
        weights = np.array(marked.weights[name], np.float64)
        weights.reshape(-1)[places] += noise * width
        noisy = ArrayNetwork.of({**network.weights, name: weights})
        found.append(method.detect(noisy, payload, key).statistic)
        same.append(np.mean(noise == 0))
    assert np.mean(found) == pytest.approx(statistic, abs=0.35)
    assert np.mean(same) == pytest.approx(equal, abs=0.02)


def test_pruned_weights_do_not_drown_the_others(network):
    """Half of the places are zeroed, tens of steps away: the other half is whole evidence."""
    marked, key = put_in(network)
    name, places = key.layers[0], key.arrays["places"]
    weights = np.array(marked.weights[name], np.float64)
    weights.reshape(-1)[places[::2]] = 0
    pruned = ArrayNetwork.of({**network.weights, name: weights})
    found = EmMark().detect(pruned, PAYLOAD, key)
    far = np.abs(key.arrays["original"]) / (key.arrays["above"] - key.arrays["below"]) * 2 > 8
    assert far.all()
    assert found.statistic == pytest.approx(math.sqrt(128))
    assert EmMark().decode(pruned, key).payload == PAYLOAD


def test_layers_that_are_not_quantized_are_stepped_by_127ths(network):
    marked, key = put_in(network)
    assert "the largest kernel; none is quantized; 256 weights on steps of 1/127" in key.notes[0]
    name = key.layers[0]
    old, new = (np.asarray(n.weights[name], np.float64) for n in (network, marked))
    step = np.abs(old).reshape(len(old), -1).max(axis=1).reshape(-1, 1, 1, 1) / 127
    moved = np.abs(new - old) / step
    assert np.count_nonzero(moved) == 256
    np.testing.assert_allclose(moved[moved > 0], 1, rtol=1e-4)
    asked = ArrayBench(layers=("last",))
    assert EmMark().make_key(network, 8, SECRET, asked).layers == ("last",)


def test_quantizing_afterwards_to_eight_bits_leaves_it(rng):
    """The mark of a floating-point layer is a step of the grid that per-channel int8 has."""
    made = nnw.inject(shipped_network(), PAYLOAD, method="emmark", seed=2)
    int8 = Int8(mode="static").modify(made.network, file_bench(), rng).network
    assert nnw.decode(int8, made.key).payload == PAYLOAD
    assert nnw.detect(int8, made.claim)


def test_too_few_weights_are_told(network):
    small = ArrayNetwork.of({"w": np.eye(6, dtype=np.float32) + network.weights["head"][:6, :6]})
    with pytest.raises(InjectionError, match=r"layer 'w': expected 256 weights that are neither z"):
        EmMark().make_key(small, 64, SECRET, BENCH)
    with pytest.raises(InjectionError, match="emmark: expected a kernel that can carry a waterma"):
        EmMark().make_key(ArrayNetwork.of({"b": np.ones(3)}), 1, SECRET, BENCH)
    with pytest.raises(InjectionError, match="expected at least one symbol, got 0"):
        EmMark().make_key(network, 0, SECRET, BENCH)


def test_what_does_not_fit_is_told(network):
    marked, key = put_in(network)
    for odd in (Payload.from_bits("01"), Payload((2,) * 64, 3)):
        with pytest.raises(ConfigurationError, match="expected 64 symbols of an alphabet of at mo"):
            EmMark().detect(marked, odd, key)
    with pytest.raises(CarrierNotFoundError, match="got none of this name"):
        EmMark().detect(ArrayNetwork.of({"v": network.weights["wide"]}), PAYLOAD, key)
    with pytest.raises(ConfigurationError, match="expected a key of method 'emmark'"):
        EmMark().decode(marked, dataclasses.replace(key, method=Spec("uchida")))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {},
        lambda a: {**a, "places": a["places"] - 10**9},
        lambda a: {**a, "places": a["places"].astype(np.float64)},
        lambda a: {**a, "original": a["original"][1:]},
        lambda a: {**a, "below": a["above"]},
        lambda a: {**a, "above": np.full_like(a["above"], np.nan)},
    ],
)
def test_keys_that_are_not_whole_are_told(network, change):
    _, key = put_in(network)
    odd = dataclasses.replace(key, arrays=change(dict(key.arrays)))
    for act in (lambda: EmMark().decode(network, odd), lambda: EmMark().committed(odd, network)):
        with pytest.raises(ConfigurationError, match=r"key: expected 256 places in its layer with"):
            act()


def test_the_commitment_binds_what_the_weights_were(network):
    key = EmMark().make_key(network, 64, SECRET, BENCH)
    moved = dict(key.arrays) | {"original": key.arrays["original"] + 1e-3}
    other = dataclasses.replace(key, arrays=moved)
    assert EmMark().committed(key, network) != EmMark().committed(other, network)
    found = normal.log10_signs_tail(16.0)
    assert EmMark().detect(network, PAYLOAD, key).null.log10_least == pytest.approx(found)
