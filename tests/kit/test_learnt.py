"""What a training has learnt for a key is bound by its commitment."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import commitments
from nnw_onnx.vocabulary import Key, Payload, Spec

PAYLOAD = Payload.from_bits("0110")
BOUND = commitments.bound(Key(Spec("riga"), bytes(32), 4, commitment="a" * 64), PAYLOAD)
ARRAYS = {"w": np.arange(6.0).reshape(2, 3), "step": np.array(3.0)}


def test_another_extractor_is_another_commitment():
    key = commitments.learnt(BOUND, PAYLOAD, ARRAYS)
    assert key.commitment != BOUND.commitment
    assert commitments.binds(key, PAYLOAD)
    assert not commitments.binds(key, Payload.from_bits("0111"))
    for name, value in (("w", ARRAYS["w"] + 1e-9), ("step", np.array(4.0))):
        other = dataclasses.replace(key, arrays={**key.arrays, name: value})
        assert not commitments.binds(other, PAYLOAD)
    forgot = dataclasses.replace(key, facts={})
    assert not commitments.binds(forgot, PAYLOAD)


def test_what_was_learnt_last_is_bound():
    first = commitments.learnt(BOUND, PAYLOAD, ARRAYS)
    again = commitments.learnt(first, PAYLOAD, {"w": ARRAYS["w"] + 1, "step": np.array(4.0)})
    assert commitments.binds(again, PAYLOAD)
    back = commitments.learnt(again, PAYLOAD, ARRAYS)
    assert back.commitment == first.commitment


def test_what_an_array_was_before_it_was_learnt_stays_bound():
    plain = dataclasses.replace(BOUND, arrays={"w": ARRAYS["w"] * 0, "kept": np.arange(3)},
                                commitment="a" * 64, opening="")  # fmt: skip
    key = commitments.bound(commitments.settled(plain), PAYLOAD)
    done = commitments.learnt(commitments.learnt(key, PAYLOAD, ARRAYS), PAYLOAD, ARRAYS)
    assert commitments.settles(done, "a" * 64) == done.opening == key.opening
    assert commitments.facts_of(done) == {"learnt": ["step", "w"]}
    for name in ("kept", "new"):
        other = dataclasses.replace(done, arrays={**done.arrays, name: np.arange(3) + 1})
        assert commitments.settles(other, "a" * 64) != done.opening
    began = {"learnt": {**done.facts["learnt"], "w": "0" * 64}}
    assert commitments.settles(dataclasses.replace(done, facts=began), "a" * 64) != done.opening


def test_keys_that_have_learnt_before_keys_were_settled_open_as_before():
    key = commitments.learnt(BOUND, PAYLOAD, ARRAYS)
    old = dataclasses.replace(key, facts={"learnt": ["step", "w"]})
    was = "2e86ea4fc0ce699e5311132a6a5fc535c6c1f8cbfa9dc099d82b8a2d86e31851"
    assert key.commitment == old.commitment == was
    assert commitments.binds(old, PAYLOAD)
    assert commitments.facts_of(old) == old.facts


def test_nothing_learnt_changes_nothing():
    assert commitments.learnt(BOUND, PAYLOAD, {}) == BOUND


def test_a_key_without_what_it_has_learnt_is_refused():
    key = commitments.learnt(BOUND, PAYLOAD, ARRAYS)
    lost = dataclasses.replace(key, arrays={"w": ARRAYS["w"]})
    with pytest.raises(ConfigurationError, match="expected the arrays that its training has learn"):
        commitments.binds(lost, PAYLOAD)
