"""Recoverable: changed blocks are named, and come back bit by bit from the others."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnw_onnx.errors import CarrierNotFoundError, InjectionError, RestorationError
from nnw_onnx.methods.recoverable import Recoverable
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.testing.array_suspect import ArraySuspect
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
NOTHING = Payload()
WORDS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def marked(network, method=None, secret=SECRET):
    method = method or Recoverable()
    key = method.make_key(network, 0, secret, BENCH)
    return method, key, method.inject(network, NOTHING, key, BENCH)


def hurt(found, bits=32):
    return [(p.layer, p.start, p.stop) for p in found.places if p.statistic < bits]


def damaged(network, places, rng):
    weights = {name: np.array(network.weights[name]) for name, _, _ in places}
    for name, start, stop in places:
        flat = weights[name].reshape(-1)
        flat[start:stop] = rng.standard_normal(stop - start)
    return network.with_weights(weights)


def same(network, other):
    return all(network.weights[n].tobytes() == other.weights[n].tobytes() for n in other.weights)


def small(blocks, dtype=np.float32, seed=1, length=64):
    rng = np.random.Generator(np.random.Philox(seed))
    values = rng.standard_normal((blocks, length)).astype(dtype)
    return ArrayNetwork.of({"fc": values}), Recoverable(block=length, bits=16)


def test_only_low_bits_change_and_everything_is_whole(network):
    method, key, own = marked(network)
    found = method.detect(own, NOTHING, key)
    assert hurt(found) == []
    assert found.null.symbols == len(found.places) == 1 + 36 + 14 + 13
    for name in key.layers:
        before, after = (n.weights[name].view(np.uint32) for n in (network, own))
        assert (before ^ after).max() < 1 << 9
        assert np.abs(own.weights[name] / network.weights[name] - 1).max() < 2**-14
        # The bit of the hash is above those of parity, in 32 weights of a block at most.
        blocks = sum(p.layer == name for p in found.places)
        assert 0 < np.count_nonzero((before ^ after) >> 8) <= 32 * blocks
    assert method.restore(own, key) == {}


@pytest.mark.parametrize(
    ("dtype", "bits", "blocks", "most"),
    [(np.float32, 9, 8, 2), (np.float64, 9, 8, 1), (np.float16, 3, 8, 1),
     (ml_dtypes.bfloat16, 2, 16, 1)],
)  # fmt: skip
def test_every_way_to_lose_so_many_blocks_is_healed_and_one_more_is_not(dtype, bits, blocks, most):
    network, method = small(blocks, dtype)
    _, key, own = marked(network, method)
    words = WORDS[np.dtype(dtype).itemsize]
    assert (network.weights["fc"].view(words) ^ own.weights["fc"].view(words)).max() < 1 << bits
    rng = np.random.Generator(np.random.Philox(2))
    for lost in list(combinations(range(blocks), most))[:28]:
        bad = damaged(own, [("fc", 64 * k, 64 * k + 64) for k in lost], rng)
        assert hurt(method.detect(bad, NOTHING, key), 16) == [
            ("fc", 64 * k, 64 * k + 64) for k in lost
        ]
        assert same(bad.with_weights(method.restore(bad, key)), own)
    many = damaged(own, [("fc", 64 * k, 64 * k + 64) for k in range(most + 1)], rng)
    with pytest.raises(RestorationError, match=rf"at most {most} changed blocks in a group of {blo}"
                       if (blo := blocks) else ""):  # fmt: skip
        method.restore(many, key)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 8 * 64 - 1), bit=st.integers(0, 31))
def test_any_flipped_bit_is_told_and_healed(place, bit):
    method, key, own = CASE
    words = np.array(own.weights["fc"]).view(np.uint32)
    words.reshape(-1)[place] ^= np.uint32(1 << bit)
    other = words.view(np.float32)
    bad = ArraySuspect(ArrayNetwork(own.layers, {"fc": other}), "weights", None)
    block = place // 64 * 64
    found = method.detect(bad, NOTHING, key)
    assert hurt(found, 16) == [("fc", block, block + 64)]
    given_ = method.restore(bad, key)["fc"]
    assert given_.tobytes() == own.weights["fc"].tobytes()


def test_what_a_group_of_blocks_of_several_sizes_gives_back(network):
    method, key, own = marked(network)
    places = [(p.layer, p.start, p.stop) for p in method.detect(own, NOTHING, key).places]
    rng = np.random.Generator(np.random.Philox(3))
    # 64 blocks are one group; 36 of them are the longest, so that any quarter of these may be lost.
    assert sum(stop - start == 1024 for _, start, stop in places) == 36
    for lost in (9, 9, 9, 1):
        chosen = [places[k] for k in rng.choice(len(places), lost, replace=False)]
        bad = damaged(own, chosen, rng)
        assert sorted(hurt(method.detect(bad, NOTHING, key))) == sorted(chosen)
        assert same(bad.with_weights(method.restore(bad, key)), own)


def test_groups_are_of_equal_size_and_drawn_by_the_key():
    network, method = small(130)
    _, key, _ = marked(network, method)
    groups = list(method._groups(key, {"fc": np.array(network.weights["fc"]).reshape(-1)}))
    assert sorted(len(g.blocks) for g in groups) == [43, 43, 44]
    starts = [sorted(b.start for b in g.blocks) for g in groups]
    assert sorted(s for group in starts for s in group) == list(range(0, 130 * 64, 64))
    other = dataclasses.replace(key, secret=bytes(32))
    again = list(method._groups(other, {"fc": np.array(network.weights["fc"]).reshape(-1)}))
    assert [sorted(b.start for b in g.blocks) for g in again] != starts


def test_zeros_stay_zeros_and_sparse_networks_give_back_less():
    network, method = small(16, length=128)
    values = np.array(network.weights["fc"])
    values[:, ::3] = 0
    values[0, 1] = -0.0
    sparse = ArrayNetwork.of({"fc": values})
    _, key, own = marked(sparse, method)
    assert np.array_equal(own.weights["fc"] == 0, values == 0)
    assert np.array_equal(np.signbit(own.weights["fc"]), np.signbit(values))
    rng = np.random.Generator(np.random.Philox(5))
    # In every third column nobody holds parity, so that nothing comes back there but what is zero.
    bad = damaged(own, [("fc", 128, 256)], rng)
    with pytest.raises(
        RestorationError, match="fewer where weights are zero or blocks shorter, got 1"
    ):
        method.restore(bad, key)
    few = np.array(network.weights["fc"])
    few[:3, 5] = 0
    _, key, own = marked(ArrayNetwork.of({"fc": few}), method)
    bad = damaged(own, [("fc", 0, 256)], rng)
    assert same(bad.with_weights(method.restore(bad, key)), own)


def test_layers_that_cannot_vouch_for_themselves(network):
    tiny = np.array(network.weights["last"])
    tiny.reshape(-1)[7] = 1e-40
    method = Recoverable()
    key = method.make_key(network.with_weights({"last": tiny}), 0, SECRET, BENCH)
    assert "last" not in key.layers
    with pytest.raises(InjectionError, match="got last with 1 denormal weights; use fewer bits"):
        method.make_key(
            network.with_weights({"last": tiny}), 0, SECRET, ArrayBench(layers=("last",))
        )


def test_what_is_not_there_or_of_another_type_is_not_given_back(network):
    method, key, own = marked(network)
    cut = ArrayNetwork.of({n: w for n, w in own.weights.items() if n != "head"})
    with pytest.raises(CarrierNotFoundError):
        method.restore(cut, key)
    half = ArrayNetwork.of({n: w.astype(np.float16) for n, w in own.weights.items()})
    assert method.detect(half, NOTHING, key).statistic == 0
    with pytest.raises(RestorationError, match="expected weights of float32, got float16; nothing"):
        method.restore(half, key)


def _case():
    network, method = small(8)
    return marked(network, method)


CASE = _case()
