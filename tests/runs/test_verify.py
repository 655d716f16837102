"""Claims on one network: decoded, detected, compared."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, PluginError
from nnw_onnx.graph import open_network
from nnw_onnx.runs.suspect import Examined
from nnw_onnx.runs.verify import UNDERFLOW, read, verify
from nnw_onnx.vocabulary import (
    Claim,
    Decoding,
    Detection,
    Detects,
    Null,
    Payload,
    Spec,
)

from .faulty import (
    Plain,
    decoding_by,
    detecting_by,
    evidence_of,
    key_of,
    registered,
)

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
LEVEL = 1e-6


@pytest.fixture(scope="module")
def network():
    return open_network(MODEL)


@pytest.fixture
def suspect_of(network):
    def ask(feeds, layers):
        raise AssertionError("weights only")

    return lambda method: Examined(network, method.access, ask)


@pytest.fixture
def counted_decodes(monkeypatch):
    """Keys that the plain method has decoded with."""
    seen = []
    real = Plain.decode
    monkeypatch.setattr(
        Plain, "decode", lambda self, s, key: seen.append(key) or real(self, s, key)
    )
    return seen


def truth(network, size: int) -> Payload:
    """What the plain method reads, computed here."""
    first = network.weights[network.layers[0].name].ravel()[:size]
    return Payload(tuple((first < 0).astype(int).tolist()))


def with_errors(payload: Payload, count: int) -> Payload:
    flipped = [s ^ (i < count) for i, s in enumerate(payload.symbols)]
    return Payload(tuple(flipped))


def one(suspect_of, claim, level=LEVEL):
    (verdict,) = verify(suspect_of, [claim], level)
    return verdict


def test_what_decodes_is_tested_for_nothing(network, suspect_of, monkeypatch):
    registered(monkeypatch, Plain)
    wanted = with_errors(truth(network, 40), 3)
    verdict = one(suspect_of, Claim(key_of(40), wanted))
    assert (verdict.status, verdict.errors) == ("done", 3)
    assert verdict.payload == truth(network, 40)
    assert (verdict.bits, verdict.bit_errors) == (None, None)
    found = verdict.detection
    assert found.p_value == pytest.approx(stats.binom.sf(36, 40, 0.5), rel=1e-9)
    assert (found.level, bool(found)) == (LEVEL, True)
    assert not one(suspect_of, Claim(key_of(40), with_errors(wanted, 20))).detection


def test_nothing_claimed_is_only_read(network, suspect_of, monkeypatch):
    registered(monkeypatch, Plain)
    verdict = one(suspect_of, Claim(key_of(8)))
    assert (verdict.detection, verdict.errors) == (None, None)
    assert verdict.decoding.payload == truth(network, 8)
    assert read(suspect_of, key_of(8)) == verdict.decoding


def test_claims_that_share_a_key_are_decoded_once(suspect_of, monkeypatch, counted_decodes, rng):
    registered(monkeypatch, Plain)
    key, arrays = key_of(16), {"t": np.ones(2)}
    recipients = [Claim(key, Payload.random(16, rng), f"r{i}") for i in range(50)]
    assert len(list(verify(suspect_of, recipients, LEVEL))) == 50
    assert len(counted_decodes) == 1
    # of other files: equal but for the commitment, which binds the payload
    bound = [dataclasses.replace(key_of(16, arrays=arrays), commitment=c * 64) for c in "ab"]
    list(verify(suspect_of, [Claim(k, Payload.random(16, rng)) for k in bound], LEVEL))
    assert len(counted_decodes) == 2
    others = [
        key_of(16, arrays={"t": np.zeros(2)}), key_of(16, secret=b"k" * 32), key_of(15),
    ]  # fmt: skip
    list(verify(suspect_of, [Claim(k) for k in (*bound[1:], *others)], LEVEL))
    assert len(counted_decodes) == 6


def test_verdicts_come_one_by_one(suspect_of, monkeypatch):
    registered(monkeypatch, Plain)

    def endless():
        while True:
            yield Claim(key_of(4), Payload((0, 1, 0, 1)))

    verdicts = verify(suspect_of, endless(), LEVEL)
    assert [next(verdicts).status for _ in range(3)] == ["done"] * 3


def test_a_missing_carrier_is_a_no_with_p_1_and_the_run_goes_on(suspect_of, monkeypatch):
    def lost(suspect, key):
        if key.size == 3:
            raise CarrierNotFoundError("conv: expected it, got none; give another")
        return Decoding(Payload((0,) * key.size), (1.0,) * key.size)

    odd = decoding_by(lost)
    registered(monkeypatch, odd)
    claims = [Claim(key_of(size, method=odd().spec()), Payload((0,) * size)) for size in (2, 3, 4)]
    first, second, third = verify(suspect_of, claims, LEVEL)
    assert [v.status for v in (first, second, third)] == ["done", "not-applicable", "done"]
    assert second.reason == "conv: expected it, got none; give another"
    assert (bool(second.detection), second.detection.p_value) == (False, 1.0)
    assert (second.decoding, second.errors) == (None, None)


def test_a_method_with_a_test_of_its_own_has_it_used(suspect_of, monkeypatch):
    odd = detecting_by(lambda claim: evidence_of(30, 30))
    registered(monkeypatch, odd)
    verdict = one(suspect_of, Claim(key_of(0, method=odd().spec())))
    assert verdict.detection.p_value == pytest.approx(2.0**-30)
    assert verdict.detection
    assert (verdict.decoding, verdict.payload, verdict.errors) == (None, None, None)


def test_a_detector_is_told_the_claim_and_a_decoder_is_not(network, suspect_of, monkeypatch):
    heard = []

    @dataclass(frozen=True)
    class Soft(Plain, Detects):
        name = "soft"

        def detect(self, suspect, claim, key):
            heard.append(claim)
            return evidence_of(4, 4)

    registered(monkeypatch, Soft)
    claim = Claim(key_of(method=Soft().spec()), Payload((0, 1, 1, 0)))
    verdict = one(suspect_of, claim)
    assert heard == [claim.payload]
    assert verdict.decoding.payload == truth(network, 4)
    assert verdict.detection.null.name == "Bin(4, 1/2)"


def test_without_a_null_nothing_is_decided(suspect_of, monkeypatch):
    odd = detecting_by(lambda claim: Detection(7.0, None, Null("none known")))
    registered(monkeypatch, odd)
    found = one(suspect_of, Claim(key_of(0, method=odd().spec()))).detection
    assert (found.statistic, found.detected) == (7.0, None)
    with pytest.raises(ConfigurationError, match="expected a known null, got 'none known'"):
        found.decided(LEVEL)


def test_a_p_value_that_no_float_holds_is_a_yes_and_finite(suspect_of, monkeypatch):
    odd = detecting_by(lambda claim: Detection(7.0, -math.inf, Null("sharp")))
    registered(monkeypatch, odd)
    found = one(suspect_of, Claim(key_of(0, method=odd().spec()))).detection
    assert (bool(found), found.log10_p) == (True, UNDERFLOW)


def test_the_code_is_undone_and_both_errors_are_told(network, suspect_of, monkeypatch):
    registered(monkeypatch, Plain)
    key = key_of(12, code=Spec("repetition", {"times": 3}), carries=4)
    inside = truth(network, 12)
    verdict = one(suspect_of, Claim(key))
    assert (len(verdict.payload), verdict.bits) == (4, None)
    # a claim is a word of the code; what was read differs from it as the copies differ
    from nnw_onnx.codes.repetition import Repetition

    claimed = Repetition(times=3).encode(verdict.payload)
    verdict = one(suspect_of, Claim(key, claimed))
    assert (verdict.bits, verdict.bit_errors) == (4, 0)
    assert verdict.errors == claimed.errors(inside) > 0
    other = Repetition(times=3).encode(Payload(tuple(1 - s for s in verdict.payload.symbols)))
    assert one(suspect_of, Claim(key, other)).bit_errors == 4


def test_a_code_that_says_that_it_failed_counts_all_bits(suspect_of, monkeypatch):
    from nnw_onnx.codes.reed_solomon import ReedSolomon

    code = ReedSolomon(parity=2)
    word = code.encode(Payload.from_text("ab"))

    def garbage(suspect, key):
        inverted = [1 - s for s in word.symbols]
        return Decoding(Payload(tuple(inverted)), (1.0,) * len(word))

    odd = decoding_by(garbage)
    registered(monkeypatch, odd)
    key = key_of(len(word), method=odd().spec(), code=code.spec(), carries=16)
    verdict = one(suspect_of, Claim(key, word))
    assert (verdict.payload, verdict.bits, verdict.bit_errors) == (None, 16, 16)
    assert verdict.errors == len(word)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda s, k: Payload((0,) * 4), "odd (tests): decode: expected a Decoding, got Payload"),
        (lambda s, k: Decoding(Payload((0,)), (1.0,)), "decode: expected 4 symbols, got 1"),
        (lambda s, k: s.weights["no such layer"], "decode: expected an answer, got KeyError"),
        (lambda s, k: k.arrays["t"].sort(), "a change of an array of it"),
        (lambda s, k: s.run({}), "odd (tests): decode: run: expected a method of access 'activ"),
    ],
)
def test_a_decoder_that_breaks_its_contract_is_named(suspect_of, monkeypatch, answer, words):
    odd = decoding_by(answer)
    registered(monkeypatch, odd)
    key = key_of(method=odd().spec(), arrays={"t": np.array([2.0, 1.0])})
    with pytest.raises(PluginError) as caught:
        one(suspect_of, Claim(key, Payload((0, 1, 1, 0))))
    assert words in str(caught.value)


def test_a_claim_of_another_size_is_told(suspect_of, monkeypatch):
    registered(monkeypatch, Plain)
    with pytest.raises(ConfigurationError, match="expected 4 symbols, got 3"):
        one(suspect_of, Claim(key_of(), Payload((0, 1, 1))))


def test_several_methods_on_one_network(network, suspect_of, monkeypatch):
    odd = detecting_by(lambda claim: evidence_of(2, 2))
    registered(monkeypatch, Plain, odd)
    claims = [
        Claim(key_of(), truth(network, 4)),
        Claim(key_of(0, method=odd().spec())),
        Claim(key_of(), truth(network, 4)),
    ]
    verdicts = list(verify(suspect_of, claims, LEVEL))
    assert [v.detection.null.symbols for v in verdicts] == [4, 2, 4]
