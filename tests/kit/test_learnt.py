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


def test_nothing_learnt_changes_nothing():
    assert commitments.learnt(BOUND, PAYLOAD, {}) == BOUND


def test_a_key_without_what_it_has_learnt_is_refused():
    key = commitments.learnt(BOUND, PAYLOAD, ARRAYS)
    lost = dataclasses.replace(key, arrays={"w": ARRAYS["w"]})
    with pytest.raises(ConfigurationError, match="expected the arrays that its training has learn"):
        commitments.binds(lost, PAYLOAD)
