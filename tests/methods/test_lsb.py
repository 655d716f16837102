"""Last bits: what changes, what reads them, what kills them, and the null."""

from __future__ import annotations

import dataclasses
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx import graph
from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import keystream, mantissas
from nnw_onnx.math import noise
from nnw_onnx.methods.lsb import Lsb
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))


def random(size, seed=1):
    return Payload.random(size, np.random.Generator(np.random.PCG64(seed)))


def put(method, network, size):
    key = method.make_key(network, size, SECRET, BENCH)
    return key, method.inject(network, random(size), key, BENCH)


def test_bits_are_those_of_the_ieee_format():
    """Worked with the struct module: payload XOR mask, in the first fit weight of each block."""
    weights = np.array([0.0, -1.5, 1e-42, 3.25, 2.0, -7e-5, 0.1, 8.0], np.float32).reshape(2, 4)
    network, method = ArrayNetwork.of({"fc": weights}), Lsb()
    _, marked = put(method, network, 4)
    after, places = marked.weights["fc"].reshape(-1), keystream.permutation(
        SECRET, "lsb/positions", 8
    ).reshape(4, 2)  # fmt: skip
    mask = keystream.bits(SECRET, "lsb/mask", 4)
    for block, symbol, coin in zip(places, random(4).symbols, mask, strict=True):
        fit = next(p for p in block if abs(weights.reshape(-1)[p]) > 1e-37)
        (word,) = struct.unpack("<I", struct.pack("<f", after[fit]))
        assert word & 1 == symbol ^ coin
    untouched = np.abs(weights) < 1e-37
    assert np.array_equal(marked.weights["fc"][untouched], weights[untouched])


@pytest.mark.parametrize(
    ("dtype", "mantissa", "depth"),
    [("float32", 23, 1), ("float32", 23, 16), ("float16", 10, 3), ("float64", 52, 24),
     ("bfloat16", 7, 2)],
)  # fmt: skip
def test_the_change_is_below_two_to_depth_minus_mantissa(dtype, mantissa, depth):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    values = np.random.Generator(np.random.PCG64(1)).standard_normal((16, 16, 3, 3)).astype(kind)
    method = Lsb(depth=depth)
    key, marked = put(method, ArrayNetwork.of({"conv": values}), 500)
    before, after = (w.astype(np.float64) for w in (values, marked.weights["conv"]))
    assert 0 < np.abs(after / before - 1).max() <= 2.0 ** (depth - mantissa)
    assert np.count_nonzero(after != before) <= math.ceil(500 / depth)
    assert method.decode(marked, key).payload == random(500)


def test_as_many_bits_as_weights(network):
    method = Lsb()
    key, marked = put(method, network, 64 * 64 * 9)
    assert method.decode(marked, key).payload == random(64 * 64 * 9)
    deep = Lsb(depth=16)
    key, marked = put(deep, network, 64 * 64 * 9)
    assert "one weight in 16 changes by at most 0.008" in key.notes[0]
    assert deep.decode(marked, key).payload == random(64 * 64 * 9)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_every_symbol_is_read_from_real_networks(path):
    network = graph.open_network(path)
    for size in (64, 256):
        key, after = put(Lsb(), network, size)
        assert Lsb().decode(after, key).payload == random(size)


def test_a_cast_or_a_little_noise_leaves_coins(network):
    key, marked = put(Lsb(), network, 4096)
    rng = np.random.Generator(np.random.PCG64(2))
    wide = marked.weights["wide"]
    for changed in (
        wide.astype(np.float16).astype(np.float32),
        noise.add_gaussian(wide, 1e-4, rng).astype(np.float32),
    ):
        read = Lsb().decode(marked.with_weights({"wide": changed}), key)
        assert read.payload.errors(random(4096)) == pytest.approx(2048, abs=4.5 * 32)


def test_a_pruned_weight_costs_its_own_symbols_only(network):
    key, marked = put(Lsb(), network, 1024)
    pruned = marked.weights["wide"].copy()
    chosen, _ = Lsb()._chosen(pruned.reshape(-1), key)
    pruned.reshape(-1)[chosen[:100]] = 0
    read = Lsb().decode(marked.with_weights({"wide": pruned}), key).payload
    assert read.symbols[100:] == random(1024).symbols[100:]
    assert 20 < sum(a != b for a, b in zip(read.symbols, random(1024).symbols, strict=True)) < 80


def test_wrong_keys_guess_exactly(wrong_keys, assert_uniform):
    assert_uniform(wrong_keys(Lsb(depth=3)))


def test_blocks_without_a_weight_that_carries_are_ties(network):
    key, marked = put(Lsb(depth=2), network, 64)
    for empty in (0 * marked.weights["wide"], marked.weights["wide"].astype(np.int32)):
        other = ArrayNetwork.of({**network.weights, "wide": empty})
        read = Lsb(depth=2).decode(other, key)
        assert (read.ties, set(read.confidence)) == (64, {0.0})


def test_which_weights_carry_does_not_depend_on_their_mantissa():
    for dtype, least in (("float32", 2.0**-125), ("float16", 2.0**-13), ("float64", 2.0**-1021)):
        edge = np.array([least, -least, np.nextafter(np.dtype(dtype).type(least), 0), 0], dtype)
        assert mantissas.carrying(edge).tolist() == [True, True, False, False]
        mantissas.words(edge)[:] |= mantissas.words(edge).dtype.type(1)
        assert mantissas.carrying(edge).tolist() == [True, True, False, False]


def test_what_cannot_carry_is_refused(network):
    message = "lsb: largest kernel: expected at least 36865 weights for 36865 symbols, got 36864; u"
    with pytest.raises(InjectionError, match=message):
        Lsb().make_key(network, 36865, SECRET, BENCH)
    with pytest.raises(InjectionError, match="with 24 or more bits of mantissa to write, got weig"):
        Lsb(depth=24).make_key(network, 8, SECRET, BENCH)
    grid = ArrayNetwork.of({"w": network.weights["wide"]}, w={"quantization": "QLinearConv"})
    with pytest.raises(InjectionError, match="got steps of QLinearConv larger than a last bit; us"):
        Lsb().make_key(grid, 8, SECRET, BENCH)
    sparse = network.weights["wide"].copy()
    sparse.reshape(-1)[100:] = 0
    pruned = ArrayNetwork.of({"w": sparse})
    key = Lsb().make_key(pruned, 4096, SECRET, BENCH)
    with pytest.raises(InjectionError, match="expected all 4096 symbols to be read back, got"):
        Lsb().inject(pruned, random(4096), key, BENCH)
    key = Lsb().make_key(network, 8, SECRET, BENCH)
    with pytest.raises(
        ConfigurationError, match="key: expected from 1 to 36864 symbols, got 0; re"
    ):
        Lsb().decode(network, dataclasses.replace(key, size=0))
