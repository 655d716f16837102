"""Codes against published polynomials, brute force over all words, and another library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnw_onnx import plugins
from nnw_onnx.codes import bch
from nnw_onnx.codes.bch import Bch
from nnw_onnx.codes.reed_solomon import ReedSolomon
from nnw_onnx.codes.repetition import Repetition
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.testing import check_code
from nnw_onnx.vocabulary import Code, Payload, Spec

CHECKS = [
    check
    for code in (Repetition(), Repetition(times=4), Bch(), Bch(n=15, errors=2, soft=0),
                 ReedSolomon(), ReedSolomon(parity=4))
    for check in check_code(code)
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.name)
def test_common_check(check):
    check()


def test_no_code_is_left_out():
    assert {"bch", "ldpc", "reed-solomon", "repetition"} <= set(plugins.names("codes"))


def random(size, seed=0):
    return Payload.random(size, np.random.Generator(np.random.Philox(seed)))


def damaged(sent, places):
    read = sent.array()
    read[list(places)] ^= 1
    return Payload(tuple(read.tolist()))


def sure(count, value=1.0):
    return (value,) * count


# --- BCH


@pytest.mark.parametrize(
    ("n", "k", "t", "octal"),
    [
        (7, 4, 1, 0o13),
        (15, 11, 1, 0o23),
        (15, 7, 2, 0o721),
        (15, 5, 3, 0o2467),
        (31, 26, 1, 0o45),
        (31, 21, 2, 0o3551),
        (31, 16, 3, 0o107657),
        (31, 11, 5, 0o5423325),
        (31, 6, 7, 0o313365047),
        (63, 57, 1, 0o103),
        (63, 51, 2, 0o12471),
        (63, 45, 3, 0o1701317),
        (63, 39, 4, 0o166623567),
        (127, 64, 10, 0o1206534025570773100045),
    ],
)
def test_generators_are_those_of_the_tables(n, k, t, octal):
    """Peterson and Weldon, and Lin and Costello, appendix C (octal)."""
    found = bch.generator(n, t)
    assert len(found) == n - k + 1
    assert int("".join(map(str, found)), 2) == octal


@pytest.mark.parametrize(("n", "t"), [(7, 1), (15, 1), (15, 2), (15, 3), (31, 5)])
def test_the_least_distance_by_brute_force(n, t):
    """All code words: none but zero has a weight below 2 t + 1."""
    polynomial = bch.generator(n, t)
    k = n + 1 - len(polynomial)
    words = [
        bch.encoded(np.array(bits, np.uint8), polynomial)
        for bits in itertools.product((0, 1), repeat=k)
    ]
    weights = sorted(int(word.sum()) for word in words)
    assert (weights[0], weights[1]) == (0, 2 * t + 1)


@pytest.mark.parametrize(("n", "t"), [(7, 1), (15, 1), (15, 2), (15, 3)])
def test_every_word_is_decoded_as_brute_force_does(n, t):
    """All 2^n words: the code word within t, where there is one, else None."""
    polynomial = bch.generator(n, t)
    k = n + 1 - len(polynomial)
    book = np.array([
        bch.encoded(np.array(bits, np.uint8), polynomial)
        for bits in itertools.product((0, 1), repeat=k)
    ])  # fmt: skip
    step = 1 if n < 15 else 37  # a prime: words of every kind
    for number in range(0, 1 << n, step):
        word = np.array([number >> i & 1 for i in range(n)], np.uint8)
        distance = (book ^ word).sum(axis=1)
        found = bch.corrected(word, n, t)
        if distance.min() <= t:
            assert np.array_equal(found, book[distance.argmin()])
        else:
            assert found is None


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(31, 3), (63, 4), (127, 10), (255, 12), (1023, 20)]),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_so_many_errors_in_each_word_are_corrected(code, size, seed, data):
    method = Bch(n=code[0], errors=code[1], soft=0)
    payload = random(size, seed)
    sent = method.encode(payload)
    words = -(-size // (code[0] + 1 - len(bch.generator(*code))))
    wrong = data.draw(st.integers(0, code[1]))
    rng = np.random.Generator(np.random.Philox(seed))
    places = [
        place
        for word in range(words)
        for place in rng.permutation(np.arange(word, len(sent), words))[:wrong]
    ]
    read = damaged(sent, places)
    assert method.decode(read, sure(len(read)), size) == payload


def test_a_shortened_word_keeps_its_check_bits():
    code = Bch()  # (127, 64), ten errors
    assert [code.length(size) for size in (1, 8, 64, 65, 128)] == [64, 71, 127, 191, 254]
    payload = random(8)
    sent = code.encode(payload)
    assert sent.symbols[:8] == payload.symbols
    assert code.decode(damaged(sent, range(10)), sure(71), 8) == payload


def test_too_many_errors_are_told_or_end_in_another_word():
    """Far beyond its reach the code says so nearly always (about 1 - 1/10!)."""
    code, sent = Bch(soft=0), Bch().encode(random(64))
    for seed in range(20):
        rng = np.random.Generator(np.random.Philox(seed))
        read = damaged(sent, rng.permutation(127)[:40])
        assert code.decode(read, sure(127), 64) is None


def test_confidence_corrects_more():
    """Least sure bits are wrong more often: Chase reads what hard decoding does not."""
    payload = random(64)
    sent, hard, soft = Bch().encode(payload), 0, 0
    for seed in range(40):
        rng = np.random.Generator(np.random.Philox(seed))
        heard = (2 * sent.array() - 1) + 0.78 * rng.standard_normal(127)
        read = Payload(tuple((heard > 0).astype(int).tolist()))
        confidence = tuple(np.abs(heard).tolist())
        hard += Bch(soft=0).decode(read, confidence, 64) == payload
        soft += Bch(soft=6).decode(read, confidence, 64) == payload
    assert soft >= hard + 8


def test_unsure_bits_beyond_the_distance_are_found():
    payload = random(64)
    sent = Bch().encode(payload)
    wrong = list(range(0, 65, 5))  # thirteen
    confidence = tuple(0.1 + 0.001 * i if i in wrong else 2.0 for i in range(127))
    read = damaged(sent, wrong)
    assert Bch(soft=0).decode(read, confidence, 64) is None
    assert Bch(soft=5).decode(read, confidence, 64) == payload


def test_codes_that_leave_no_payload_are_refused():
    for n, errors in ((7, 4), (15, 8), (31, 16), (31, 40)):
        with pytest.raises(ConfigurationError, match="bch: expected words of more than"):
            Bch(n=n, errors=errors).length(8)
    with pytest.raises(ConfigurationError, match="bch: option n: expected 7, 15"):
        plugins.create(Code, Spec("bch", {"n": 100}))


def test_numbers_may_be_text_as_a_command_line_gives_them():
    assert plugins.create(Code, Spec("bch", {"n": "15", "errors": "2"})) == Bch(n=15, errors=2)


def test_it_agrees_with_galois():
    galois = pytest.importorskip("galois")
    for n, k, t in ((15, 7, 2), (63, 45, 3)):
        theirs = galois.BCH(n, k)
        payload = random(k, n)
        sent = Bch(n=n, errors=t).encode(payload)
        assert np.array_equal(theirs.encode(payload.array()), sent.array())


# --- Reed-Solomon


def test_wrong_bytes_and_erased_ones():
    code, payload = ReedSolomon(), random(128)
    sent = code.encode(payload)
    assert len(sent) == code.length(128) == 128 + 8 * 16
    read = sent.array().reshape(-1, 8)
    read[:8] ^= 1  # eight bytes, every bit of them
    burst = Payload(tuple(read.reshape(-1).tolist()))
    assert code.decode(burst, sure(256), 128) == payload
    read[8:12] ^= 1  # twelve
    burst = Payload(tuple(read.reshape(-1).tolist()))
    assert code.decode(burst, sure(256), 128) is None
    unsure = tuple(0.1 if i < 96 else 1.0 for i in range(256))
    assert code.decode(burst, unsure, 128) == payload


def test_reed_solomon_is_that_of_the_field_of_11d():
    """A word whose roots are the powers of 2 modulo x^8 + x^4 + x^3 + x^2 + 1, worked by hand."""
    powers = [1]
    for _ in range(254):
        powers.append(powers[-1] << 1 ^ (0x11D if powers[-1] & 0x80 else 0))
    logarithms = {value: power for power, value in enumerate(powers)}
    sent = np.packbits(ReedSolomon(parity=6).encode(random(80)).array().astype(np.uint8)).tolist()
    for root in range(6):
        value = 0
        for byte in sent:
            value = (powers[(logarithms[value] + root) % 255] if value else 0) ^ byte
        assert value == 0


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 1911, 1912, 1913, 5000])
def test_any_size_takes_as_many_words_as_it_needs(size):
    code, payload = ReedSolomon(), random(size)
    sent = code.encode(payload)
    data = -(-size // 8)
    words = -(-data // 239)
    assert len(sent) == code.length(size) == 8 * (data + 16 * words)
    assert code.decode(sent, sure(len(sent)), size) == payload
    if words > 1:
        # A burst of consecutive bytes is shared by the words.
        read = sent.array()
        read[80 : 80 + 8 * 8 * words] ^= 1
        assert code.decode(Payload(tuple(read.tolist())), sure(len(sent)), size) == payload


def test_filling_that_is_not_zero_is_a_failure():
    """A code word of nine bits' neighbours: right in itself, but nobody has sent it."""
    code = ReedSolomon()
    other = code.encode(random(16, 5))
    assert any(random(16, 5).symbols[9:])
    assert code.decode(other, sure(len(other)), 9) is None


# --- repetition


def test_copies_lie_apart():
    assert Repetition(times=2).encode(Payload.from_bits("110")).bits == "110110"
    assert Repetition(times=5).length(64) == 320


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.sampled_from([2, 3, 4, 7]), st.integers(0, 2**32 - 1))
def test_it_is_the_weighted_majority(size, times, seed):
    rng = np.random.Generator(np.random.Philox(seed))
    read, weights = rng.integers(0, 2, times * size), rng.uniform(0, 1, times * size)
    found = Repetition(times).decode(Payload(tuple(read.tolist())), tuple(weights), size)
    for bit in range(size):
        for_one = sum(weights[i] for i in range(bit, times * size, size) if read[i])
        assert found.symbols[bit] == (for_one > weights[bit::size].sum() / 2)


def test_one_sure_copy_outweighs_two_unsure_ones():
    read = Payload.from_bits("100")
    assert Repetition().decode(read, (3.0, 1.0, 1.0), 1).bits == "1"
    assert Repetition().decode(read, (1.0, 1.0, 1.0), 1).bits == "0"
    assert Repetition().decode(read, (0.0, 0.0, 0.0), 1).bits == "0"


def test_an_undecided_bit_is_a_failure():
    assert Repetition(times=2).decode(Payload.from_bits("1100"), sure(4), 2) is None
    assert Repetition(times=2).decode(Payload.from_bits("1100"), sure(4, 0.0), 2) is None
    assert Repetition(times=2).decode(Payload.from_bits("1100"), (1.0, 1.0, 2.0, 0.5), 2).bits == (
        "01"
    )
