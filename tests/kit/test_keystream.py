"""The key stream: independent restatement, frozen values, domains and distributions."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import keystream

SECRET = bytes(range(32))
FROZEN_STREAM = "7342133f8cb7312c"
FROZEN_PERMUTATION = [9, 1, 0, 5, 6, 2, 7, 4, 8, 3]
FROZEN_SIGNS = [-1, 1, 1, 1, -1, -1, 1, 1]
FROZEN_GAUSSIAN = [1.3637901509461277, -1.4435461915853118, 1.073739435511997]


def restated(secret: bytes, label: str, block: int, size: int) -> bytes:
    text = b""
    for part in (b"nnw-onnx keystream 1", secret, label.encode()):
        text += len(part).to_bytes(8, "little") + part
    return hashlib.shake_256(text + block.to_bytes(8, "little")).digest(size)


def test_stream_is_shake_256_of_length_prefixed_parts():
    block = 1 << 20
    found = keystream.stream(SECRET, "label", block + 5).tobytes()
    assert found[:block] == restated(SECRET, "label", 0, block)
    assert found[block:] == restated(SECRET, "label", 1, 5)


def test_stream_never_changes():
    # A key file must decode for ever: these values were made by the first version.
    assert keystream.stream(SECRET, "frozen", 8).tobytes().hex() == FROZEN_STREAM
    assert keystream.permutation(SECRET, "frozen", 10).tolist() == FROZEN_PERMUTATION
    assert keystream.signs(SECRET, "frozen", 8).tolist() == FROZEN_SIGNS
    np.testing.assert_allclose(keystream.gaussian(SECRET, "frozen", 3), FROZEN_GAUSSIAN, rtol=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_longer_stream_begins_with_the_shorter(first, second):
    short, long = sorted((first, second))
    whole = keystream.stream(SECRET, "x", long)
    assert np.array_equal(keystream.stream(SECRET, "x", short), whole[:short])


def test_labels_and_secrets_do_not_share_bits():
    streams = [
        keystream.stream(secret, label, 64).tobytes()
        for secret in (SECRET, bytes(32))
        for label in ("", "a", "ab", "b")
    ]
    assert len(set(streams)) == len(streams)


def test_secret_of_another_length_is_refused():
    with pytest.raises(ConfigurationError, match="expected 32 bytes, got 31; make the key again"):
        keystream.stream(bytes(31), "label", 1)


def test_bits_are_the_bits_of_the_stream():
    data = keystream.stream(SECRET, "bits", 3).tobytes()
    expected = [int(c) for c in f"{int.from_bytes(data, 'big'):024b}"[:19]]
    assert keystream.bits(SECRET, "bits", 19).tolist() == expected
    assert keystream.signs(SECRET, "bits", 19).tolist() == [2 * b - 1 for b in expected]


@given(st.integers(1, 500), st.data())
def test_permutation_is_one(n, data):
    k = data.draw(st.integers(0, n))
    whole = keystream.permutation(SECRET, f"p{n}", n)
    assert sorted(whole.tolist()) == list(range(n))
    assert np.array_equal(keystream.permutation(SECRET, f"p{n}", n, k), whole[:k])


def test_permutations_of_four_are_uniform():
    counts: dict[tuple[int, ...], int] = {}
    for i in range(4800):
        order = tuple(keystream.permutation(SECRET, str(i), 4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_gaussian_follows_the_normal_distribution_and_is_symmetric():
    numbers = keystream.gaussian(SECRET, "normal", 200_000)
    assert stats.kstest(numbers, "norm").pvalue > 1e-4
    assert stats.kstest(np.abs(numbers[numbers > 0]), -numbers[numbers < 0]).pvalue > 1e-4
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 5 / np.sqrt(len(numbers))
    assert np.all(numbers != 0)


def test_gaussian_reaches_the_tails_exactly(monkeypatch):
    edge = np.array([0, 1, 2**64 - 1, 2**64 - 2], np.uint64)
    monkeypatch.setattr(keystream, "uint64", lambda *_: edge)
    numbers = keystream.gaussian(SECRET, "x", 4)
    tail = -stats.norm.ppf(2.0**-54)
    np.testing.assert_allclose(numbers[:2], [-tail, tail], rtol=1e-12)
    assert 0 < numbers[2] < 1e-15
    assert numbers[3] == -numbers[2]


@pytest.mark.parametrize("label", ["bits", "other"])
def test_bits_are_fair(label):
    ones = int(keystream.bits(SECRET, label, 100_000).sum())
    assert stats.binomtest(ones, 100_000).pvalue > 1e-4


def test_uniform_numbers_are_the_high_bits():
    whole = [int(n) for n in keystream.uint64(SECRET, "x", 50)]
    assert keystream.uniform(SECRET, "x", 50).tolist() == [(n >> 11) / 2**53 for n in whole]


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 1000, (1 << 62) + 1, 1 << 63])
def test_integers_pass_over_the_incomplete_last_range(limit):
    """Restated with Python's integers; of the large odd limit a quarter is passed over."""
    whole = [int(n) for n in keystream.uint64(SECRET, "x", 500)]
    kept = [n % limit for n in whole if n < (1 << 64) // limit * limit]
    found = keystream.integers(SECRET, "x", 100, limit)
    assert found.tolist() == kept[:100]
    assert found.dtype == np.int64


def test_integers_are_uniform():
    counts = np.bincount(keystream.integers(SECRET, "y", 30_000, 7), minlength=7)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("limit", [0, -1, (1 << 63) + 1])
def test_an_impossible_limit_is_told(limit):
    with pytest.raises(ConfigurationError, match=r"expected a limit from 1 to 2\^63, got"):
        keystream.integers(SECRET, "x", 3, limit)


@pytest.mark.parametrize("n", [1, 2, 3, 64, 4096, 4097])
def test_permutations_are_drawn_as_one_is(n: int) -> None:
    """Restated: places in the order of keyed numbers, of 32 bits up to 4096 and of 64 beyond."""
    size = 4 if n <= 4096 else 8
    data = keystream.stream(SECRET, "rows", 3 * n * size).tobytes()
    numbers = [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
    low = max(n - 1, 1).bit_length()
    found = keystream.permutations(SECRET, "rows", 3, n)
    for row in range(3):
        high = [number >> low for number in numbers[row * n : (row + 1) * n]]
        assert found[row].tolist() == sorted(range(n), key=lambda place: (high[place], place))


def test_rows_of_permutations_are_uniform_and_independent():
    rows = keystream.permutations(SECRET, "many", 24_000, 3).astype(int) @ [9, 3, 1]
    kinds, counts = np.unique(rows, return_counts=True)
    assert len(kinds) == 6
    assert stats.chisquare(counts).pvalue > 1e-4
    pairs = np.unique(27 * rows[::2] + rows[1::2], return_counts=True)[1]
    assert len(pairs) == 36
    assert stats.chisquare(pairs).pvalue > 1e-4
