"""Carriers are found again, and looking for them raises no false alarm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import carriers
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.methods.fragile import Fragile
from nnw_onnx.methods.levels import Levels
from nnw_onnx.methods.nct import Nct
from nnw_onnx.methods.presence import Presence
from nnw_onnx.methods.spread_spectrum import SpreadSpectrum
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.runs.suspect import Examined
from nnw_onnx.runs.verify import BY_NAME, Search, verify
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Claim, Decodes, Decoding, Key, Payload

from ..kit.blocks import ODD, interleaved  # noqa: TID252 - shared by two rooms' tests
from .faulty import registered

THOROUGH = Search(thorough=True)
SHAPE = (32, 64)


def kernels(rng, *names, shape=SHAPE):
    return {name: rng.standard_normal(shape) for name in names}


def suspects(network):
    def ask(feeds, layers):
        raise AssertionError("weights only")

    return lambda method: Examined(network, method.access, ask)


def one(network, claim, search=THOROUGH, level=1e-6):
    (verdict,) = verify(suspects(network), [claim], level, search)
    return verdict


def put_in(method, network, rng, layer="w", size=32):
    """A claim, and the marked weights of its layer."""
    secret, bench = rng.bytes(32), ArrayBench(layers=(layer,))
    payload = Payload.random(size, rng) if method.alphabet else Payload()
    if method.alphabet > 2:
        payload = payload.packed(method.alphabet)
    key = method.make_key(network, len(payload), secret, bench)
    marked = method.inject(network, payload, key, bench)
    return Claim(key, payload), np.array(marked.weights[layer])


@pytest.fixture(params=[BlockSpread, Uchida, Levels, Presence], ids=lambda m: m.name)
def marked(request, rng):
    return put_in(request.param(), ArrayNetwork.of(kernels(rng, "w", "v")), rng)


@pytest.mark.parametrize(
    ("arrange", "layer", "part", "way"),
    [
        (lambda w, o: {"w": w, "v": o}, "w", "", "name"),
        (lambda w, o: {"model.w": w, "v": o}, "model.w", "", "similar name"),
        (lambda w, o: {"onnx::MatMul_12": w}, "onnx::MatMul_12", "", "shape"),
        (lambda w, o: {"a": o, "b": w, "c": o[::-1].copy()}, "b", "", "shape"),
        (lambda w, o: {"a": o, "b": w.T.copy()}, "b", "transposed", "shape"),
        (lambda w, o: {"w": o, "x": w}, "x", "", "shape"),
        (
            lambda w, o: {"qkv": np.concatenate([o, w, o[::-1]])},
            "qkv", "rows 32 to 63", "shape",
        ),
        (
            lambda w, o: {"a": o, "qkv": np.concatenate([o, w, o[::-1]]).T.copy()},
            "qkv", "columns 32 to 63, transposed", "shape",
        ),
    ],
)  # fmt: skip
def test_a_mark_is_found_where_tools_have_put_it(marked, rng, arrange, layer, part, way):
    claim, values = marked
    verdict = one(ArrayNetwork.of(arrange(values, rng.standard_normal(SHAPE))), claim)
    (found,) = verdict.found
    assert (found.layer, found.part, found.way, found.carrier) == (layer, part, way, "w")
    assert verdict.detection
    assert verdict.detection.found == verdict.found
    if verdict.decoding is not None:
        assert verdict.errors == 0
        assert verdict.decoding.found == verdict.found


def test_evidence_is_corrected_for_the_places_that_were_read(rng):
    claim, values = put_in(BlockSpread(), ArrayNetwork.of(kernels(rng, "w")), rng)
    alone = one(ArrayNetwork.of({"w": values}), claim).detection
    others = kernels(rng, "a", "b", "c")
    searched = one(ArrayNetwork.of({**others, "x": values}), claim)
    assert searched.found[0].candidates == 4
    assert searched.detection.log10_p == pytest.approx(alone.log10_p + np.log10(4))
    assert searched.detection.null.log10_least == pytest.approx(
        alone.null.log10_least + np.log10(4)
    )
    assert searched.detection.log10_tie is None
    assert searched.detection.notes == (
        "carrier w (32x64) was read from x, the best of 4 places of its shape; the p-value is "
        "corrected for their number",
    )
    # after a No under the name the search has a hundredth of the level
    after = one(ArrayNetwork.of({**others, "w": others["a"][::-1].copy(), "x": values}), claim)
    assert after.found[0].layer == "x"
    assert after.detection.log10_p == pytest.approx(alone.log10_p + np.log10(400))


def test_a_no_says_what_was_read(rng):
    claim, _ = put_in(BlockSpread(), ArrayNetwork.of(kernels(rng, "w")), rng)
    verdict = one(ArrayNetwork.of(kernels(rng, "w", "b", "c")), claim)
    assert not verdict.detection
    assert verdict.detection.notes == (
        "2 other places of this shape were read too: it is in none of them",
    )
    assert verdict.found[0].plain
    # the name alone: as a run does
    assert one(ArrayNetwork.of(kernels(rng, "w", "b")), claim, BY_NAME).detection.notes == ()


def test_no_place_at_all_is_a_no_with_the_reason(rng):
    claim, _ = put_in(BlockSpread(), ArrayNetwork.of(kernels(rng, "w")), rng)
    verdict = one(ArrayNetwork.of(kernels(rng, "w", shape=(8, 8))), claim)
    assert (verdict.status, verdict.detection.p_value, verdict.found) == ("not-applicable", 1.0, ())
    assert verdict.reason.startswith("carrier: expected layer w (32x64), got one of shape 8x8, and")
    dead = ArrayNetwork.of(kernels(rng, "w"), w={"live": False})
    assert "got one of this name of which no output is made" in one(dead, claim).reason
    assert "got none of this name" in one(ArrayNetwork.of(kernels(rng, "u", shape=(3, 3))),
                                          claim).reason  # fmt: skip


def test_an_inverted_mark_is_told_wherever_it_is(rng):
    claim, values = put_in(BlockSpread(), ArrayNetwork.of(kernels(rng, "w")), rng)
    found = one(ArrayNetwork.of({**kernels(rng, "a", "b"), "x": -values}), claim)
    assert found.found[0].layer == "x"
    assert not found.detection
    assert found.detection.log10_inverted < -6


def test_without_a_payload_the_surest_place_is_decoded(rng):
    claim, values = put_in(BlockSpread(), ArrayNetwork.of(kernels(rng, "w")), rng)
    network = ArrayNetwork.of({**kernels(rng, "a", "b", "c"), "x": values})
    verdict = one(network, Claim(claim.key))
    assert verdict.detection is None
    assert verdict.decoding.payload == claim.payload
    assert verdict.decoding.found[0].layer == "x"


@pytest.mark.parametrize("method", [Fragile, Nct], ids=lambda m: m.name)
def test_keys_of_many_layers_find_them_by_name_and_order(rng, method):
    arrays = {f"block.{i}.w": rng.standard_normal((16, 128)).astype("f4") for i in range(6)}
    arrays["head"] = rng.standard_normal((8, 64)).astype("f4")
    network = ArrayNetwork.of(arrays)
    key = method().make_key(network, 0, rng.bytes(32), ArrayBench())
    if method is Fragile:
        network = method().inject(network, Payload(), key, ArrayBench())
    forms = {
        "prefix": {f"m.{n}": network.weights[n] for n in network.weights},
        "renamed": {f"val_{i}": network.weights[n] for i, n in enumerate(network.weights)},
        "some": {(f"v{i}" if i % 2 else n): network.weights[n]
                 for i, n in enumerate(network.weights)},
    }  # fmt: skip
    for form, weights in forms.items():
        verdict = one(ArrayNetwork.of(weights), Claim(key, Payload()))
        assert verdict.detection, form
        assert len(verdict.found) == 7
    assert {f.way for f in verdict.found} == {"name", "order"}


@pytest.mark.parametrize("block", [8, 16])
def test_a_mark_in_many_kernels_is_read_in_blocks_of_channels(rng, block):
    """Sixteen and 32 channels fit blocks of 8 and of 16: both are read, and the p-value says so."""
    shapes = [(16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3)]
    plain = {f"c{k}": rng.standard_normal(shape) for k, shape in enumerate(shapes)}
    plain["head"] = rng.standard_normal((10, 32))
    network, method = ArrayNetwork.of(plain), SpreadSpectrum()
    payload = Payload.random(64, rng)
    key = method.make_key(network, 64, rng.bytes(32), ArrayBench())
    marked = method.inject(network, payload, key, ArrayBench())
    assert key.layers == ("c0", "c1", "c2", "c3")

    def in_blocks(given):
        kernels = [interleaved(given.weights[name], block) for name in key.layers]
        stored = {f"reorder_token_{k}": values for k, values in enumerate(kernels)}
        odd = dict.fromkeys(stored, ODD)
        return ArrayNetwork.of({**stored, "head": given.weights["head"]}, **odd)

    verdict = one(in_blocks(marked), Claim(key, payload), BY_NAME)
    assert verdict.errors == 0
    assert {(f.part, f.candidates) for f in verdict.found} == {
        (f"channels in blocks of {block} put in order", 2)
    }
    assert verdict.detection.p_value == pytest.approx(2 * 0.5**64)
    assert "best of 2 places of its shape; the p-value is corrected" in verdict.detection.notes[0]
    assert one(in_blocks(network), Claim(key, payload)).detection.detected is False


@dataclass(frozen=True)
class Coin(Decodes):
    """Symbols are signs of weights at places that the secret chooses: quick to read."""

    name = "coin"

    def make_key(self, network, size, secret, bench):
        raise NotImplementedError

    def decode(self, suspect, key):
        values = carriers.find(suspect, key, self.name).values.ravel()
        drawn = np.frombuffer(key.secret, np.uint8)[: 2 * key.size].astype(int)
        places, flips = drawn[: key.size] % values.size, drawn[key.size :] % 2
        read = (values[places] > 0).astype(int) ^ flips
        return Decoding(Payload(tuple(read.tolist())), (1.0,) * key.size)


def p_values(network, count, level, search):
    """Of wrong keys of 12 Symbols on one network."""
    rng = np.random.Generator(np.random.PCG64(7))
    claims = (
        Claim(
            Key(Coin().spec(), rng.bytes(32), 12, carries=12, layers=("w",), shapes=((6, 12),)),
            Payload.random(12, rng),
        )
        for _ in range(count)
    )
    return np.array([v.detection.p_value for v in verify(suspects(network), claims, level, search)])


LEVEL, COUNT = 0.1, 400
EXACT = 299 / 4096
"""P(Bin(12, 1/2) >= 9), the largest that is at most the level: 1 + 12 + 66 + 220 of 2^12."""


@pytest.mark.parametrize("named", [True, False], ids=["name there", "name gone"])
@pytest.mark.parametrize("search", [THOROUGH, BY_NAME], ids=["thorough", "by name"])
def test_a_search_keeps_the_rate_of_false_alarms(rng, monkeypatch, named, search):
    registered(monkeypatch, Coin)
    arrays = kernels(rng, "w" if named else "u", "a", "b", "c", shape=(6, 12))
    arrays["turned"] = rng.standard_normal((12, 6))
    arrays["joined"] = rng.standard_normal((18, 12))
    rate = np.mean(p_values(ArrayNetwork.of(arrays), COUNT, LEVEL, search) <= LEVEL)
    spread = 3 * np.sqrt(LEVEL / COUNT)
    assert rate <= 1.01 * LEVEL + spread
    if named and search is BY_NAME:
        assert rate == pytest.approx(EXACT, abs=spread)


def test_without_the_correction_a_search_would_raise_false_alarms(rng, monkeypatch):
    registered(monkeypatch, Coin)
    network = ArrayNetwork.of(kernels(rng, *"abcdefgh", shape=(6, 12)))
    found = p_values(network, COUNT, LEVEL, THOROUGH)
    assert np.mean(found / 8 <= LEVEL) > 0.3
    assert np.mean(found <= LEVEL) < LEVEL


def test_find_is_exact(rng):
    network = ArrayNetwork.of({"model.w": rng.standard_normal(SHAPE)})
    key = Key(BlockSpread().spec(), bytes(32), 8, layers=("w",), shapes=(SHAPE,))
    with pytest.raises(carriers.CarrierNotFoundError, match="layer w .32x64., got none of this na"):
        carriers.find(network, key, "block-spread")


def test_a_layer_that_is_not_there_is_answered_with_one_that_could_be_read(marked, rng):
    claim, values = marked
    network = ArrayNetwork.of({"conv1.weight": values, "conv9.bias": rng.standard_normal(32)})
    with pytest.raises(ConfigurationError) as error:
        one(network, claim, Search(layer="conv9.weigh"))
    assert str(error.value) == (
        "layer: expected the name of a layer of this network, got 'conv9.weigh' (did you mean "
        "'conv1.weight'?); see 'nnw layers'"
    )
    with pytest.raises(ConfigurationError, match="did you mean 'conv9.bias'"):
        one(network, claim, Search(layer="cnv9.bias"))
