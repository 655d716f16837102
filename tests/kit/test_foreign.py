"""Keys made elsewhere: which matrices keep an exact null, checked by drawing and by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import evidence, foreign
from nnw_onnx.vocabulary import Claim, Key, Payload, Spec

RNG = np.random.default_rng(20261126)
BITS = Payload((1, 0, 1, 1) * 16)


def key(matrix: np.ndarray | None = None, fair: bool = False, size: int = 64) -> Key:
    arrays = {} if matrix is None else {foreign.MATRIX: matrix}
    facts = {foreign.MADE_BY: "a test", foreign.FAIR: fair}
    return Key(Spec("uchida"), bytes(32), size, facts=facts, arrays=arrays)


def judged(one: Key):
    return foreign.judged(evidence.matched(BITS, BITS), one)


@pytest.mark.parametrize(
    "matrix",
    [
        RNG.standard_normal((64, 144)),
        RNG.choice([-1.0, 1.0], (64, 4608)),
        RNG.choice([-1, 0, 1], (64, 288), p=[0.1, 0.8, 0.1]),
        RNG.standard_t(2, (256, 576)),
        RNG.standard_normal((64, 144)) * np.geomspace(1e-3, 1e3, 144),
    ],
    ids=["normal", "signs", "sparse signs", "heavy tails", "uneven columns"],
)
def test_a_symmetric_matrix_keeps_the_exact_null(matrix):
    assert foreign.asymmetry(matrix) is None
    found = judged(key(matrix))
    assert found.log10_p == pytest.approx(-64 * np.log10(2))
    assert found.null.name == "Bin(64, 1/2), if the matrix is older than the network"


def repeated() -> np.ndarray:
    matrix = RNG.standard_normal((64, 144))
    matrix[40:] = -matrix[:24]
    return matrix


def lifted() -> np.ndarray:
    matrix = RNG.standard_normal((64, 144))
    matrix[5] = abs(matrix[5])
    matrix[6] = -abs(matrix[6])
    return matrix


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        (RNG.integers(0, 2, (64, 144)), "the entries of its matrix are not symmetric about 0"),
        (RNG.random((64, 144)), "the entries of its matrix are not symmetric about 0"),
        (lifted(), "a row of its matrix is not symmetric about 0"),
        (repeated(), "rows of its matrix depend on each other"),
        (np.vstack([RNG.standard_normal((63, 144)), np.zeros(144)]),
         "a row of its matrix is all zero"),
    ],
    ids=["zeros and ones", "uniform", "one-sided rows", "repeated rows", "a zero row"],
)  # fmt: skip
def test_any_other_matrix_has_no_exact_null(matrix, why):
    assert foreign.asymmetry(matrix) == why
    found = judged(key(matrix))
    assert (found.statistic, found.log10_p, found.log10_tie) == (64, None, None)
    assert found.null.name == f"none is exact for this key made elsewhere: {why}"


def test_zeros_and_ones_give_what_statistics_say():
    """Every projection of one-sided weights has one sign: no spread at all from key to key."""
    mean = abs(RNG.standard_normal(144))
    matches = {
        int(np.sum((RNG.integers(0, 2, (64, 144)) @ mean >= 0) == BITS.array())) for _ in range(50)
    }
    assert matches == {48}  # as many as the payload has ones
    signs = [
        int(np.sum((RNG.choice([-1, 1], (64, 144)) @ mean >= 0) == BITS.array()))
        for _ in range(400)
    ]
    assert np.mean(signs) == pytest.approx(32, abs=4 * 4 / 20)
    assert np.var(signs) == pytest.approx(16, rel=0.3)


def test_a_fair_payload_is_exact_whatever_the_key():
    """All payloads of 8 bits against one reading: the count is Bin(8, 1/2) by enumeration."""
    read = Payload((1, 1, 1, 1, 1, 0, 1, 1))
    counts = np.bincount(
        [8 - read.errors(Payload(bits)) for bits in itertools.product((0, 1), repeat=8)]
    )
    assert counts.tolist() == [1, 8, 28, 56, 70, 56, 28, 8, 1]
    found = judged(key(RNG.integers(0, 2, (64, 144)), fair=True))
    assert found.log10_p == pytest.approx(-64 * np.log10(2))
    assert found.null.name == "Bin(64, 1/2), if the payload was drawn fairly, as declared"


def test_a_true_matrix_is_refused_less_than_it_says():
    assert not any(foreign.asymmetry(RNG.standard_normal((16, 40))) for _ in range(2000))


def test_triggers_have_no_exact_null_unless_their_labels_are_declared_fair():
    assert judged(key()).log10_p is None
    assert judged(key(fair=True)).log10_p is not None


def test_other_keys_are_left_alone():
    plain = Key(Spec("uchida"), bytes(32), 64, arrays={foreign.MATRIX: np.ones((64, 144))})
    found = evidence.matched(BITS, BITS)
    assert not foreign.is_foreign(plain)
    assert foreign.matrix(plain, 144) is None
    assert foreign.judged(found, plain) is found


def test_the_matrix_must_fit():
    with pytest.raises(ConfigurationError, match="expected a matrix of 64 x 100 finite numbers"):
        foreign.matrix(key(np.ones((64, 144))), 100)
    with pytest.raises(ConfigurationError, match="import it again"):
        foreign.matrix(key(np.full((64, 144), np.nan)), 144)


def test_wrong_keys_are_shuffles_of_the_key():
    matrix = RNG.standard_normal((64, 144))
    wrong = [c.key.arrays[foreign.MATRIX] for c in foreign.wrong(Claim(key(matrix), BITS), (0, 1))]
    for other in wrong:
        assert not np.array_equal(other, matrix)
        assert np.array_equal(np.sort(other, axis=None), np.sort(matrix, axis=None))
    assert not np.array_equal(*wrong)
    answers = Payload((3, 1, 2, 0) * 16, 4)
    (shuffled,) = foreign.wrong(Claim(key(), answers), [0])
    assert shuffled.payload != answers
    assert sorted(shuffled.payload.symbols) == sorted(answers.symbols)
