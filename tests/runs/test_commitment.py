"""What a commitment binds, and that a payload chosen after looking is no claim."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.graph import open_network
from nnw_onnx.kit import commitments
from nnw_onnx.vocabulary import Key, Spec

from . import answering, decoys

PAYLOAD = nnw.Payload.from_text("mine!")
STATIC = {
    "block-spread": PAYLOAD, "uchida": PAYLOAD, "levels": PAYLOAD, "presence": nnw.Payload(),
    "fragile": nnw.Payload(), "nct": nnw.Payload(),
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "m.onnx"
    return decoys.plain(path, decoys.kernels()["L"])


@pytest.fixture(scope="module", params=STATIC)
def claim(request, original):
    return nnw.inject(original, STATIC[request.param], method=request.param, seed=1).claim


def test_it_binds_key_payload_carrier_and_network(claim, original, tmp_path):
    found = nnw.verify_commitment(claim, original)
    assert found
    assert (found.hash, found.payload, found.network, found.reason) == (
        claim.key.commitment, True, True, None,
    )  # fmt: skip
    assert nnw.verify_commitment(claim, original, published=claim.key.commitment.upper())
    path = tmp_path / "key.npz"
    nnw.save_key(claim, path)
    assert nnw.verify_commitment(nnw.load_key(path), open_network(original))


def test_it_binds_nothing_else(claim, original):
    network = open_network(original)
    name = claim.key.layers[0]
    touched = network.with_weights({name: network.weights[name] * np.float32(1.01)})
    other = nnw.verify_commitment(claim, touched)
    assert (other.holds, other.payload, other.network) == (False, True, False)
    assert other.reason.endswith("give the network that was marked, as it was before")
    forged = [
        dataclasses.replace(claim.key, secret=b"x" * 32),
        dataclasses.replace(claim.key, method=Spec("presence")),
        dataclasses.replace(claim.key, commitment="0" * 64),
        dataclasses.replace(claim.key, layers=claim.key.layers[::-1], shapes=claim.key.shapes[::-1])
        if len(claim.key.layers) > 1
        else dataclasses.replace(claim.key, layers=("head",), shapes=((10, 32),)),
    ]
    for key in forged:
        if key.method == claim.key.method or claim.key.method.name != "presence":
            assert not nnw.verify_commitment(dataclasses.replace(claim, key=key), original)
    assert not nnw.verify_commitment(claim, original, published="ab" * 32)


def test_it_is_the_hash_of_the_key_policy(original):
    """Computed here from its parts."""
    claim = nnw.inject(original, PAYLOAD, seed=3, layer="L").claim
    weights = open_network(original).weights["L"]
    state = hashlib.sha256(f"{weights.dtype}{weights.shape}".encode())
    state.update(weights.astype("<f8").tobytes())
    text = json.dumps(["block-spread", [["L", list(weights.shape), state.hexdigest()]]])
    first = hashlib.sha256(b"nnw-onnx commitment 1" + claim.key.secret + text.encode()).hexdigest()
    text = json.dumps([first, 2, list(PAYLOAD.symbols)])
    both = hashlib.sha256(b"nnw-onnx commitment with payload 1" + text.encode()).hexdigest()
    assert (claim.key.opening, claim.key.commitment) == (first, both)


def test_another_payload_is_told(original):
    claim = nnw.inject(original, PAYLOAD, seed=1).claim
    other = dataclasses.replace(claim, payload=nnw.Payload.from_text("yours"))
    found = nnw.verify_commitment(other, original)
    assert (found.holds, found.payload, found.network) == (False, False, True)
    assert found.reason.endswith(
        "got one of another payload or key; give the payload that was bound"
    )
    none = nnw.verify_commitment(claim.key, original)
    assert (none.holds, none.payload, none.network) == (False, None, True)
    assert "expected the payload with the key" in none.reason


def test_a_network_without_the_carrier_is_a_no(original, tmp_path):
    claim = nnw.inject(original, PAYLOAD, seed=1).claim
    other = decoys.plain(tmp_path / "o.onnx", decoys.kernels()["L"], name="M")
    found = nnw.verify_commitment(claim, other)
    assert not found
    assert "expected layer L of shape (32, 8, 3, 3) in the unmarked network, got" in found.reason


def test_keys_of_earlier_versions_can_be_checked(original):
    """They have no opening; the hash is made of the same."""
    claim = nnw.inject(original, PAYLOAD, seed=1).claim
    old = dataclasses.replace(claim, key=dataclasses.replace(claim.key, opening=""))
    assert nnw.verify_commitment(old, original)
    marked = nnw.inject(original, PAYLOAD, seed=1).network
    found = nnw.verify_commitment(old, marked)
    assert (found.holds, found.payload, found.network) == (False, None, None)
    assert commitments.binds(old.key, PAYLOAD) is None


def test_what_is_no_hash_is_refused(original):
    claim = nnw.inject(original, PAYLOAD, seed=1).claim
    with pytest.raises(nnw.NnwError, match="commitment: expected 64 hexadecimal digits, got 'abc'"):
        nnw.verify_commitment(claim, original, published="abc")
    bare = dataclasses.replace(claim, key=dataclasses.replace(claim.key, commitment=""))
    with pytest.raises(nnw.NnwError, match="commitment: expected 64 hexadecimal digits, got ''"):
        nnw.verify_commitment(bare, original)


def test_triggers_are_bound_with_the_network():
    from nnw_onnx.testing import ArrayNetwork

    claim = answering.claim_of(PAYLOAD)
    assert nnw.verify_commitment(claim, ArrayNetwork.of({}))
    changed = ArrayNetwork.of({"w": np.ones((2, 2))})
    assert not nnw.verify_commitment(claim, changed)
    arrays = {"triggers": np.array(claim.key.arrays["triggers"][::-1])}
    turned = dataclasses.replace(claim, key=dataclasses.replace(claim.key, arrays=arrays))
    assert not nnw.verify_commitment(turned, ArrayNetwork.of({}))


def test_deepsigns_binds_what_it_asks_and_not_what_it_learns():
    from nnw_onnx.methods.deepsigns import DeepSigns
    from nnw_onnx.testing import ArrayBench
    from nnw_onnx.testing.array_training import run, small_network, small_samples

    network = small_network()
    bench = ArrayBench(samples=small_samples(), run=run)
    key = commitments.bound(
        DeepSigns(count=16).make_key(network, 4, bytes(32), bench), nnw.Payload.from_bits("0110")
    )
    learnt = dataclasses.replace(key, arrays={"centres": np.ones((3, 4)), **key.arrays})
    claim = nnw.Claim(learnt, nnw.Payload.from_bits("0110"))
    assert nnw.verify_commitment(claim, network)
    start = {**key.arrays, "start": key.arrays["start"] + 1}
    assert not nnw.verify_commitment(
        dataclasses.replace(claim, key=dataclasses.replace(key, arrays=start)), network
    )


class TestAfterLooking:
    """A payload that was read from a stranger's network matches it, and claims nothing."""

    @pytest.fixture(scope="class")
    def stranger(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("stranger") / "m.onnx"
        return decoys.plain(path, decoys.kernels(seed=5)["L"])

    @pytest.fixture(scope="class")
    def key(self, original):
        return nnw.inject(original, PAYLOAD, seed=1).key

    def test_it_is_no_claim_however_it_is_given(self, stranger, key, tmp_path):
        read = nnw.decode(stranger, key).payload
        nnw.save_key(nnw.Claim(key, read), tmp_path / "forged.npz")
        for found in (
            nnw.detect(stranger, key, payload=read),
            nnw.detect(stranger, nnw.Claim(key, PAYLOAD), payload=read),
            nnw.detect(stranger, nnw.Claim(key, read)),
            nnw.detect(stranger, nnw.load_key(tmp_path / "forged.npz")),
        ):
            assert not found
            assert found.p_value == 1
            assert found.null.name == "no claim: the payload is not committed"
            assert found.notes[0].startswith("payload: expected one that the commitment of the key")

    def test_of_a_key_without_opening_only_its_own_payload_is_one(self, stranger, original, key):
        marked = nnw.inject(original, PAYLOAD, seed=1).network
        old = dataclasses.replace(key, opening="")
        assert nnw.detect(marked, nnw.Claim(old, PAYLOAD))
        assert nnw.detect(marked, nnw.Claim(old, PAYLOAD), payload=PAYLOAD)
        read = nnw.decode(stranger, old).payload
        later = nnw.detect(stranger, old, payload=read)
        assert not later
        assert "got one that cannot be opened; it is no claim" in later.notes[0]

    def test_the_payload_that_was_bound_may_be_given_later(self, original, key):
        marked = nnw.inject(original, PAYLOAD, seed=1).network
        assert nnw.detect(marked, key, payload="mine!")
        assert nnw.detect(marked, key, payload=PAYLOAD)
        assert not nnw.detect(marked, key, payload="yours")

    def test_triggers_likewise(self, tmp_path):
        claim = answering.claim_of(PAYLOAD)
        other = answering.write_classifier(tmp_path / "o.onnx", None)
        read = nnw.decode(other, claim).payload
        wrong = nnw.Payload(tuple(min(s, 1) for s in read.symbols))
        forged = nnw.detect(other, dataclasses.replace(claim, payload=wrong))
        assert not forged
        assert forged.null.name == "no claim: the payload is not committed"

    def test_it_is_still_read(self, stranger, key):
        read = nnw.decode(stranger, key)
        verdict = nnw.verify(stranger, nnw.Claim(key, read.payload))
        assert verdict.decoding.payload == read.payload
        assert verdict.reason.endswith("it is no claim")


def test_openings_are_kept_in_key_files(original, tmp_path):
    claim = nnw.inject(original, PAYLOAD, seed=1).claim
    nnw.save_key(claim, tmp_path / "k.npz")
    assert nnw.load_key(tmp_path / "k.npz") == claim
    assert nnw.load_key(tmp_path / "k.npz").key.opening == claim.key.opening
    assert isinstance(claim.key, Key)
