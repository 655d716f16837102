"""What a commitment binds, and that a payload chosen after looking is no claim."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.graph import open_network
from nnw_onnx.kit import commitments, keystream
from nnw_onnx.testing import ArrayNetwork
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
    options = {"budget": 0.15, "margin": None}
    text = json.dumps([first, options, None, 40, 40, {}, {}])
    second = hashlib.sha256(b"nnw-onnx commitment with options 1" + text.encode()).hexdigest()
    text = json.dumps([second, 2, list(PAYLOAD.symbols)])
    both = hashlib.sha256(b"nnw-onnx commitment with payload 1" + text.encode()).hexdigest()
    assert (claim.key.opening, claim.key.commitment) == (second, both)


@pytest.mark.parametrize(
    ("method", "options", "other"),
    [
        ("uchida", {}, {"carrier": "mean"}),
        ("uchida", {"carrier": "signed"}, {"carrier": "mean"}),
        ("st-dm", {}, {"delta": 3.0}),
        ("levels", {}, {"step": 11.0}),
        ("spread-spectrum", {}, {"chips": 20}),
    ],
)
def test_a_key_cannot_be_read_with_other_options(original, tmp_path, method, options, other):
    claim = nnw.inject(original, PAYLOAD, method=method, options=options, seed=1).claim
    nnw.save_key(claim, tmp_path / "k.npz")
    kept = nnw.load_key(tmp_path / "k.npz")
    assert nnw.verify_commitment(kept, original).options is True
    spec = Spec(method, {**kept.key.method.options, **other})
    turned = dataclasses.replace(kept, key=dataclasses.replace(kept.key, method=spec))
    found = nnw.verify_commitment(turned, original)
    assert (found.holds, found.payload, found.network, found.options) == (False, True, False, None)
    assert "this key and payload with another network, method, option or carrier" in found.reason
    left_out = Spec(method, {k: v for k, v in spec.options.items() if k not in other})
    bare = dataclasses.replace(kept, key=dataclasses.replace(kept.key, method=left_out))
    assert not nnw.verify_commitment(bare, original)


@pytest.mark.parametrize(
    ("method", "field", "other"),
    [
        ("st-dm", "facts", {"period": 0.5}),
        ("levels", "facts", {"step": 0.5}),
        ("block-spread", "code", Spec("repetition", {"times": 3})),
        ("block-spread", "carries", 8),
        ("nct", "arrays", None),
    ],
)
def test_a_key_cannot_be_read_with_other_facts_code_or_arrays(original, method, field, other):
    payload = nnw.Payload() if method == "nct" else PAYLOAD
    claim = nnw.inject(original, payload, method=method, seed=1).claim
    was = getattr(claim.key, field)
    if field == "arrays":
        other = {name: values + np.float32(1) for name, values in was.items()}
    assert nnw.verify_commitment(claim, original)
    key = dataclasses.replace(claim.key, **{field: other})
    assert not nnw.verify_commitment(dataclasses.replace(claim, key=key), original)


class TestEarlierVersions:
    """A key that bound no options: uchida, with numbers that version 0.1 gave."""

    SECRET = bytes(range(32))
    PAYLOAD = nnw.Payload.from_bits("0110100110010110" * 2)
    COMMITMENT = "bf2a1d8f6e8d1addc4c3feb14913e533d4e06d6fa9fbacac81fecc8f824848b1"

    @pytest.fixture(scope="class")
    def network(self):
        values = 0.05 * keystream.gaussian(self.SECRET, "pinned/weights", 48 * 32 * 9) + 0.01
        return ArrayNetwork.of({"conv": values.reshape(48, 32, 3, 3).astype(np.float32)})

    def claim(self, options):
        key = Key(Spec("uchida", options), self.SECRET, 32, carries=32, layers=("conv",),
                  shapes=((48, 32, 3, 3),), commitment=self.COMMITMENT)  # fmt: skip
        return nnw.Claim(key, self.PAYLOAD)

    @pytest.mark.parametrize("options", [{}, {"margin": 2.0}, {"carrier": "signed"}])
    def test_it_opens_as_before_and_its_options_are_told_to_be_open(self, network, options):
        found = nnw.verify_commitment(self.claim(options), network)
        assert (found.holds, found.payload, found.network) == (True, True, True)
        assert (found.options, found.reason) == (False, None)
        touched = network.with_weights({"conv": network.weights["conv"] * np.float32(1.01)})
        assert not nnw.verify_commitment(self.claim(options), touched)

    def test_a_key_of_now_is_none_of_then(self, network):
        """Neither kind of hash opens as the other, so nobody can choose the weaker one later."""
        key = dataclasses.replace(self.claim({}).key, commitment="")
        bound_to = [(la.name, la.shape, commitments.digest(network.weights[la.name]))
                    for la in network.layers]  # fmt: skip
        first = commitments.commit(self.SECRET, "uchida", bound_to)
        old = commitments.bound(dataclasses.replace(key, commitment=first), self.PAYLOAD)
        new = commitments.bound(
            commitments.settled(dataclasses.replace(key, commitment=first)), self.PAYLOAD
        )
        assert old.commitment == self.COMMITMENT != new.commitment
        for one, other, options in ((old, new, True), (new, old, False)):
            claim = nnw.Claim(one, self.PAYLOAD)
            found = nnw.verify_commitment(claim, network, published=other.commitment)
            assert found.options is options  # the hash tells the kind, whatever the key file says
        signed = Spec("uchida", {"carrier": "signed"})
        turned = nnw.Claim(dataclasses.replace(old, method=signed), self.PAYLOAD)
        assert not nnw.verify_commitment(turned, network, published=new.commitment)

    def test_what_was_learnt_needs_the_payload(self, network):
        """Without it nothing binds such arrays, and declaring one as learnt frees it."""
        key = dataclasses.replace(self.claim({}).key, commitment="", arrays={"w": np.ones(3)})
        bound_to = [(la.name, la.shape, commitments.digest(network.weights[la.name]))
                    for la in network.layers]  # fmt: skip
        first = commitments.commit(self.SECRET, "uchida", bound_to)
        key = commitments.settled(dataclasses.replace(key, commitment=first))
        assert nnw.verify_commitment(key, network)
        assert not nnw.verify_commitment(
            dataclasses.replace(key, arrays={"w": np.ones(3) * 2}), network
        )
        trick = commitments.learnt(commitments.bound(key, self.PAYLOAD), self.PAYLOAD,
                                   {"w": np.ones(3) * 2})  # fmt: skip
        freed = dataclasses.replace(trick, commitment=key.commitment, opening="")
        assert not nnw.verify_commitment(freed, network)
        assert not nnw.verify_commitment(nnw.Claim(freed, self.PAYLOAD), network)
        assert nnw.verify_commitment(nnw.Claim(trick, self.PAYLOAD), network).options is True


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
