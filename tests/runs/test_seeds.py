import hashlib

import pytest

from nnw_onnx.runs import seeds


def test_identity_is_the_digest_of_canonical_json():
    expected = hashlib.sha256(b'{"a":1,"b":"x"}').hexdigest()
    assert seeds.identity(b="x", a=1) == expected


def test_generator_depends_on_fields_only():
    first = seeds.generator(purpose="x", n=1).integers(0, 2**63, 4).tolist()
    assert seeds.generator(n=1, purpose="x").integers(0, 2**63, 4).tolist() == first
    assert seeds.generator(n=2, purpose="x").integers(0, 2**63, 4).tolist() != first


def test_secret_from_a_seed_is_repeatable_and_from_none_is_fresh():
    assert seeds.secret(1, network="a") == seeds.secret(1, network="a")
    assert seeds.secret(1, network="a") != seeds.secret(1, network="b")
    assert seeds.secret(None) != seeds.secret(None)
    assert len(seeds.secret(None)) == len(seeds.secret(3)) == 32


def test_identity_refuses_what_json_cannot_hold():
    with pytest.raises(ValueError, match="JSON"):
        seeds.identity(x=float("nan"))


def test_bits_are_fair_and_follow_from_the_fields():
    drawn = [seeds.bits(61, key=n) for n in range(2000)]
    assert drawn[7] == seeds.bits(61, key=7)
    assert len(set(drawn)) == 2000
    ones = sum(map(sum, drawn))
    n = 61 * 2000
    assert abs(ones - n / 2) < 4 * (n / 4) ** 0.5
    assert set(map(len, drawn)) == {61}
    assert seeds.bits(0, key=1) == ()
