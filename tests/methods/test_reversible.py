"""Reversible: changed blocks are named, and without a change every bit is as before the mark."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnw_onnx.errors import InjectionError, RestorationError
from nnw_onnx.methods import reversible
from nnw_onnx.methods.reversible import Reversible
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.testing.array_suspect import ArraySuspect
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
NOTHING = Payload()


def marked(network, method=None, secret=SECRET):
    method = method or Reversible()
    key = method.make_key(network, 0, secret, BENCH)
    return method, key, method.inject(network, NOTHING, key, BENCH)


def hurt(found, bits=32):
    return [(p.layer, p.start, p.stop) for p in found.places if p.statistic < bits]


def normal(shape, dtype=np.float32, seed=1):
    rng = np.random.Generator(np.random.Philox(seed))
    return ArrayNetwork.of({"fc": (0.05 * rng.standard_normal(shape)).astype(dtype)})


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_every_bit_is_as_before(dtype, seed):
    network = normal((128, 300), dtype, seed)
    method, key, own = marked(network)
    found = method.detect(own, NOTHING, key)
    assert (hurt(found), found.statistic, len(found.places)) == ([], 2, 2)
    assert own.weights["fc"].tobytes() != network.weights["fc"].tobytes()
    assert method.restore(own, key)["fc"].tobytes() == network.weights["fc"].tobytes()


def test_weights_change_by_one_step_and_the_finest_is_taken():
    network = normal((128, 128))
    _, key, own = marked(network)
    before, after = (n.weights["fc"].view(np.uint32) for n in (network, own))
    ((shift, full, empty),) = key.arrays["bins"].tolist()
    numbers = (before & 0x7FFFFFFF) >> shift
    assert set(np.unique(after - before).tolist()) == {0, 1 << shift}
    moved = after != before
    assert (moved == ((numbers > full) & (numbers < empty)))[numbers != full].all()
    assert not (numbers == empty).any()
    assert np.count_nonzero(numbers == full) >= 32
    finer = np.unique((before & 0x7FFFFFFF) >> (shift - 1), return_counts=True)[1]
    assert finer.max() < 32
    # 32 of 16,384 weights are 0.2 %: between 2^-8 and 2^-6 of a normal density near its deviation.
    assert 6 <= 23 - shift <= 8
    assert np.abs(own.weights["fc"] / network.weights["fc"] - 1).max() <= 2.0 ** (shift - 23)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 2 * 4096 - 1), bit=st.integers(0, 31))
def test_any_flipped_bit_is_told_with_its_block(place, bit):
    method, key, own = CASE
    words = np.array(own.weights["fc"]).view(np.uint32)
    words.reshape(-1)[place] ^= np.uint32(1 << bit)
    network = ArrayNetwork(own.layers, {"fc": words.view(np.float32)})
    bad = ArraySuspect(network, "weights", None)
    block = place // 4096 * 4096
    assert hurt(method.detect(bad, NOTHING, key)) == [("fc", block, block + 4096)]
    with pytest.raises(RestorationError, match="nobody has changed, got changed ones in fc; res"):
        method.restore(bad, key)


def test_weights_of_the_fullest_bin_beyond_the_hash_count_too():
    method, key, own = CASE
    shift, full, _ = key.arrays["bins"][0].tolist()
    flat = np.array(own.weights["fc"]).reshape(-1)
    words = flat.view(np.uint32)
    numbers = (words[:4096] & 0x7FFFFFFF) >> shift
    order = reversible._order(SECRET, 0, 4096)
    carries = order[np.isin(numbers, (full, full + 1))[order]]
    extra = carries[32:]
    assert len(extra) > 0
    assert (numbers[extra] == full).all()
    words[extra[-1]] += np.uint32(1 << shift)
    bad = own.with_weights({"fc": flat.reshape(2, 4096)})
    assert hurt(method.detect(bad, NOTHING, key)) == [("fc", 0, 4096)]


def test_swaps_and_wrong_keys_are_told():
    method, key, own = CASE
    swapped = own.with_weights({"fc": own.weights["fc"][::-1].copy()})
    assert len(hurt(method.detect(swapped, NOTHING, key))) == 2
    _, other, _ = marked(normal((2, 4096)), method, bytes(32))
    assert method.detect(own, NOTHING, other).statistic == 0


def test_zeros_and_denormal_weights_stay():
    values = np.array(normal((128, 128)).weights["fc"])
    values[:, ::2] = 0
    values[0, 1] = 1e-40
    network = ArrayNetwork.of({"fc": values})
    method, key, own = marked(network)
    small = np.abs(values) < 1e-38
    assert own.weights["fc"][small].tobytes() == values[small].tobytes()
    assert method.restore(own, key)["fc"].tobytes() == values.tobytes()


def test_layers_that_cannot_vouch_for_themselves():
    few = normal((10, 20))
    with pytest.raises(
        InjectionError, match=r"that differ by less than 2\^-4, got fc with \d+; us"
    ):
        Reversible().make_key(few, 0, SECRET, BENCH)
    assert Reversible(bits=8, coarsest=2).make_key(few, 0, SECRET, BENCH).layers == ("fc",)
    with pytest.raises(InjectionError, match="reversible: expected no payload"):
        Reversible().make_key(few, 4, SECRET, BENCH)
    # Near infinity there is no empty bin above the fullest one.
    largest = np.full((64, 64), np.finfo(np.float32).max, np.float32)
    largest[0, 0] = 1
    network = ArrayNetwork.of({"fc": largest})
    with pytest.raises(InjectionError, match="got fc with 0"):
        Reversible(coarsest=20).make_key(network, 0, SECRET, BENCH)


@pytest.mark.parametrize("bins", [[[-1, 5, 6]], [[99, 5, 6]], [[3, -7, 6]], [[3, 9, 9]]])
def test_numbers_of_a_key_are_not_believed(bins):
    method, key, own = CASE
    hostile = type(key)(**{**vars(key), "arrays": {"bins": np.array(bins * 2, np.int64)}})
    assert method.detect(own, NOTHING, hostile).statistic == 0
    short = type(key)(**{**vars(key), "arrays": {"bins": np.array(bins, np.int64)}})
    with pytest.raises(RestorationError, match="expected a key with three numbers of each of 2 b"):
        method.detect(own, NOTHING, short)


def _case():
    return marked(normal((2, 4096), seed=4), Reversible(block=4096))


CASE = _case()
