"""Fragile: every changed bit is told with its block, and nothing else is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnw_onnx.errors import CarrierNotFoundError, InjectionError
from nnw_onnx.methods.fragile import Fragile
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
NOTHING = Payload()
UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def marked(network, method=None, secret=SECRET):
    method = method or Fragile()
    key = method.make_key(network, 0, secret, BENCH)
    return method, key, method.inject(network, NOTHING, key, BENCH)


def hurt(found, bits=32):
    return [(p.layer, p.start, p.stop) for p in found.places if p.statistic < bits]


def test_an_untouched_network_is_whole(network):
    method, key, own = marked(network)
    assert key.layers == ("first", "wide", "last", "head")
    assert key.notes[-1] == "not vouched for: bias"
    found = method.detect(own, NOTHING, key)
    # 432 weights are one block; 36864, 13824 and 12600 are 36, 13 and 12 of 1024 or a little more
    assert [sum(p.layer == n for p in found.places) for n in key.layers] == [1, 36, 13, 12]
    assert (found.statistic, found.null.symbols, hurt(found)) == (62, 62, [])
    assert found.log10_p == pytest.approx(-62 * 32 * np.log10(2))
    assert found.places[0].log10_p == pytest.approx(-32 * np.log10(2))
    assert found.notes == ("62 of 62 blocks are whole",)
    assert [p.stop for p in found.places[:-1] if p.layer == "wide"][-1] == 64 * 64 * 9


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_only_last_bits_change(network, dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    plain = ArrayNetwork.of({n: w.astype(kind) for n, w in network.weights.items()})
    method, key, own = marked(plain)
    for name in key.layers:
        words = UNSIGNED[plain.weights[name].dtype.itemsize]
        before, after = plain.weights[name].view(words), own.weights[name].view(words)
        assert np.isin(before ^ after, (0, 1)).all()
        blocks = max(1, plain.weights[name].size // 1024)
        assert 0 < np.count_nonzero(before != after) <= 32 * blocks
    assert np.array_equal(own.weights["bias"], plain.weights["bias"])
    assert hurt(method.detect(own, NOTHING, key)) == []


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 13823), bit=st.integers(0, 31))
def test_any_flipped_bit_is_told_with_its_block(place, bit):
    method, key, own = CASE
    words = np.array(own.weights["last"]).view(np.uint32)
    words.reshape(-1)[place] ^= np.uint32(1 << bit)
    # Not by with_weights, which refuses NaN and infinity; a file may have them.
    weights = {**own.weights, "last": words.view(np.float32)}
    found = method.detect(ArrayNetwork(own.layers, weights), NOTHING, key)
    (block,) = hurt(found)
    assert block[0] == "last"
    assert block[1] <= place < block[2]
    assert found.statistic == len(found.places) - 1
    assert found.notes[1] == "changed: last"


def test_weights_that_are_no_numbers_are_a_change_like_any_other():
    method, key, own = CASE
    weights = np.array(own.weights["last"])
    weights.reshape(-1)[[5, 3000]] = np.nan, np.inf
    found = method.detect(ArrayNetwork(own.layers, {**own.weights, "last": weights}), NOTHING, key)
    assert hurt(found) == [("last", 0, 1024), ("last", 2048, 3072)]


def test_a_swap_of_blocks_or_layers_is_told(network):
    method, key, own = marked(network)
    last = np.array(own.weights["last"]).reshape(-1)
    last[:1024], last[1024:2048] = last[1024:2048].copy(), last[:1024].copy()
    swapped = own.with_weights({"last": last.reshape(48, 32, 3, 3)})
    assert hurt(method.detect(swapped, NOTHING, key)) == [("last", 0, 1024), ("last", 1024, 2048)]


@pytest.mark.parametrize("change", ["unmarked", "half", "noise", "scaled", "pruned"])
def test_a_network_changed_everywhere_has_no_whole_block(network, change):
    method, key, own = marked(network)
    rng = np.random.Generator(np.random.Philox(1))
    edit = {
        "half": lambda w: w.astype(np.float16),
        "noise": lambda w: w + 1e-4 * rng.standard_normal(w.shape),
        "scaled": lambda w: 1.001 * w,
        "pruned": lambda w: np.where(abs(w) < np.quantile(abs(w), 0.99), 0, w),
    }
    other = network if change == "unmarked" else own.with_weights(
        {n: edit[change](own.weights[n]) for n in key.layers}
    )  # fmt: skip
    found = method.detect(other, NOTHING, key)
    assert (found.statistic, found.log10_p) == (0, 0.0)
    assert len(hurt(found)) == len(found.places)
    assert not found.decided(0.01)


def test_bits_of_a_block_are_right_by_chance_of_a_half():
    rng = np.random.Generator(np.random.Philox(2))
    network = ArrayNetwork.of({"fc": rng.standard_normal((64, 100)).astype(np.float32)})
    method = Fragile(block=64, bits=8)
    right = []
    for i in range(80):
        key = method.make_key(network, 0, i.to_bytes(32, "big"), BENCH)
        right += [p.statistic for p in method.detect(network, NOTHING, key).places]
    counts = np.bincount(np.array(right, int), minlength=9)
    expected = stats.binom.pmf(range(9), 8, 0.5) * len(right)
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    # A whole block has chance 1/256.
    key = method.make_key(network, 0, SECRET, BENCH)
    assert method.detect(network, NOTHING, key).null.chance == 1 / 256


def test_zeros_stay_zeros(network):
    sparse = network.with_weights(
        {n: np.where(abs(w) > np.median(abs(w)), w, 0) for n, w in network.weights.items()}
    )
    method, key, own = marked(sparse)
    for name in key.layers:
        assert np.array_equal(own.weights[name] == 0, sparse.weights[name] == 0)
    assert hurt(method.detect(own, NOTHING, key)) == []


def test_a_lost_layer_is_a_changed_one(network):
    method, key, own = marked(network)
    cut = ArrayNetwork.of({n: w for n, w in own.weights.items() if n != "head"})
    found = method.detect(cut, NOTHING, key)
    assert {layer for layer, _, _ in hurt(found)} == {"head"}
    assert (found.statistic, found.null.symbols) == (50, 62)
    with pytest.raises(CarrierNotFoundError):
        method.detect(ArrayNetwork.of({"x": np.ones((3, 4))}), NOTHING, key)


def test_a_lost_layer_costs_nothing_whatever_its_key_says_of_its_size(network):
    method, key, own = marked(network)
    cut = ArrayNetwork.of({n: w for n, w in own.weights.items() if n != "head"})
    shapes = tuple(
        (1 << 20, 1 << 20) if n == "head" else s
        for n, s in zip(key.layers, key.shapes, strict=True)
    )
    found = method.detect(cut, NOTHING, dataclasses.replace(key, shapes=shapes))
    assert found.null.symbols == 50 + (1 << 30)
    assert len(found.places) == 51


def test_layers_that_cannot_vouch_for_themselves(network):
    wide = network.weights["wide"]
    seventh = np.where((np.arange(wide.size) % 7 == 0).reshape(wide.shape), wide, 0)
    empty = network.with_weights({"wide": seventh})
    assert "wide" in Fragile().make_key(empty, 0, SECRET, BENCH).layers
    few = Fragile(block=64)
    key = few.make_key(empty, 0, SECRET, BENCH)
    assert "wide" not in key.layers
    assert "not vouched for: wide, bias" in key.notes
    message = "blocks with 32 weights that keep a bit, got wide with 9 of float32; use fewer bits"
    with pytest.raises(InjectionError, match=message):
        few.make_key(empty, 0, SECRET, ArrayBench(layers=("wide", "last")))
    with pytest.raises(InjectionError, match="fragile: expected no payload"):
        few.make_key(network, 4, SECRET, BENCH)
    with pytest.raises(InjectionError, match="keep a bit, got none; use fewer"):
        few.make_key(ArrayNetwork.of({"bias": np.ones(90)}), 0, SECRET, BENCH)
    coarse = dataclasses.replace(network.layers[1], quantization="MatMulNBits")
    packed = ArrayNetwork((network.layers[0], coarse, *network.layers[2:]), network.weights)
    assert "wide" not in few.make_key(packed, 0, SECRET, BENCH).layers
    with pytest.raises(InjectionError, match="got wide with steps of MatMulNBits larger than"):
        few.make_key(packed, 0, SECRET, ArrayBench(layers=("wide",)))


def _case():
    rng = np.random.Generator(np.random.Philox(7))
    weights = {"last": rng.standard_normal((48, 32, 3, 3)), "head": rng.standard_normal((10, 48))}
    return marked(ArrayNetwork.of({n: w.astype(np.float32) for n, w in weights.items()}))


CASE = _case()
