"""Marks are those of version 0.1: numbers that its code gave, from the same secrets.

A key that somebody has published must open for ever: whoever changes the keystream, a label, an
order of drawing or the arithmetic of an injection sees it here.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nnw_onnx.kit import commitments, keystream, spreading
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.methods.adi import Adi
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Moment, Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()
PAYLOAD = Payload.from_bits("0110100110010110" * 2)
PLACES = [0, 1, 4000, 9000, 13823]


@pytest.fixture(scope="module")
def plain():
    values = 0.05 * keystream.gaussian(SECRET, "pinned/weights", 48 * 32 * 9) + 0.01
    return ArrayNetwork.of({"conv": values.reshape(48, 32, 3, 3).astype(np.float32)})


def sha(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("method", "marked", "read", "commitment"),
    [
        (
            Uchida(carrier="mean"),
            [-0.0002304345, 0.0415528156, -0.1161585823, -0.0512567721, -0.0675448552],
            "01110000101111110000111001110100",
            "bf2a1d8f6e8d1addc4c3feb14913e533d4e06d6fa9fbacac81fecc8f824848b1",
        ),
        (
            BlockSpread(),
            [0.0015260584, 0.0411797277, -0.1274190098, -0.0571112372, -0.0609746650],
            "01111110010011110011110011001000",
            "8419f264df70de18e737cdaa2292588abc841eed88b590ae261de406f2870526",
        ),
    ],
    ids=["uchida", "block-spread"],
)
def test_marked_weights(plain, method, marked, read, commitment):
    key = method.make_key(plain, 32, SECRET, BENCH)
    found = method.inject(plain, PAYLOAD, key, BENCH).weights["conv"].reshape(-1)
    np.testing.assert_allclose(found[PLACES], marked, rtol=1e-6)
    assert method.decode(plain, key).payload.bits == read  # what the secret reads without a mark
    assert commitments.bound(key, PAYLOAD).commitment == commitment


def test_the_term_of_the_loss(plain):
    key = Uchida(carrier="mean").make_key(plain, 32, SECRET, BENCH)
    now = Moment(plain.weights, {}, None, np.zeros(0, bool), {}, 0, lambda w: {})
    found = Uchida(carrier="mean").additions(plain, PAYLOAD, key).penalty(now)
    assert found.value == pytest.approx(float.fromhex("0x1.cbfe9dfcfdfacp-3"), rel=1e-12)


def test_triggers_with_their_classes():
    values = keystream.uniform(SECRET, "pinned/samples", 20 * 3 * 8 * 8)
    data = ArraySamples(
        {"x": values.reshape(20, 3, 8, 8).astype(np.float32)},
        np.arange(20) % 10,
        {"classes": list("0123456789")},
    )
    key = Adi().make_key(ArrayNetwork.of({}), 32, SECRET, ArrayBench(samples=data))
    batch = Adi().additions(ArrayNetwork.of({}), PAYLOAD, key).samples.read(np.arange(32))
    held = key.arrays["triggers"].reshape(32, -1)[[0, 1, 31], [0, 100, 191]]
    np.testing.assert_allclose(held, [0.2373492271, 0.3074873686, 0.2544509768], rtol=1e-6)
    wanted = "47889903814768503414683550278077"
    assert "".join(map(str, batch.targets)) == wanted


def test_draws_are_the_same_to_the_bit():
    blocks = spreading.blocks(SECRET, "block-spread", 13824, 32)
    mask = keystream.integers(SECRET, "adi/mask", 1000, 10)
    assert sha(blocks.positions.astype("<i8")) == (
        "618471765b1f706fffc52eadb2e1d94a03a24b038d37585a6e3be371ffaf5b6f"
    )
    assert sha(blocks.chips) == "2c0b20a20fae2cbfad68add4bdebf7acd051ed54079d94b9cfb4cc6359b25365"
    assert sha(mask.astype("<i8")) == (
        "4792b978acee239d027dedf1e881b6929f590b608ab59a2c4b5d88f4b097a91a"
    )
    drawn = keystream.gaussian(SECRET, "uchida/projection", 32 * 288)[[0, 1, 5000]]
    np.testing.assert_allclose(drawn, [0.39895273879, -0.37145766519, -0.53369191317], rtol=1e-9)
