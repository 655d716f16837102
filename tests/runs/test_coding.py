"""From bits to Symbols and back: code and alphabet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnw_onnx.codes.repetition import Repetition
from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.runs.coding import bits_of, symbols_of
from nnw_onnx.vocabulary import Code, Decoding, Payload, symbols_for

from .faulty import Plain, detecting_by, key_of


@dataclass(frozen=True)
class Wide(Plain):
    """Carries Symbols of another alphabet."""

    name = "wide"
    alphabet: int = 8


def read(symbols: Payload, confidence: tuple[float, ...] = ()) -> Decoding:
    return Decoding(symbols, confidence or (1.0,) * len(symbols))


@given(
    bits=st.lists(st.integers(0, 1), min_size=1, max_size=70).map(tuple),
    alphabet=st.sampled_from([2, 3, 8, 10, 256]),
    times=st.sampled_from([None, 1, 3]),
)
def test_what_is_packed_comes_back(bits, alphabet, times):
    method, code = Wide(alphabet), None if times is None else Repetition(times=times)
    symbols = symbols_of(method, code, Payload(bits))
    count = len(bits) * (times or 1)
    assert (symbols.alphabet, len(symbols)) == (alphabet, symbols_for(count, alphabet))
    key = key_of(len(symbols), carries=len(bits))
    assert bits_of(method, code, key, read(symbols)) == Payload(bits)


def test_an_answer_beyond_the_alphabet_is_an_unsure_bit():
    """A classifier of ten classes tells bits: a class beyond them weighs nothing in a majority."""
    code = Repetition(times=3)
    key = key_of(6, carries=2)
    told = read(Payload((1, 7, 1, 0, 1, 1), 10), (0.5, 9.0, 0.5, 0.4, 0.5, 0.4))
    # copies of the second bit: unknown, 0 and 1, which weigh alike, so the code knows no answer
    assert bits_of(Plain(), code, key, told) is None
    sure = read(Payload((1, 7, 1, 1, 1, 1), 10), (0.5, 9.0, 0.5, 0.4, 0.5, 0.4))
    assert bits_of(Plain(), code, key, sure) == Payload((1, 1))


@dataclass(frozen=True)
class Listening(Code):
    """Keeps what it hears."""

    name = "listening"
    heard = []  # noqa: RUF012 - of the test

    def length(self, size: int) -> int:
        return size

    def encode(self, payload: Payload) -> Payload:
        return payload

    def decode(self, read: Payload, confidence: tuple[float, ...], size: int) -> Payload | None:
        self.heard.append(confidence)
        return read


@pytest.mark.parametrize(
    ("alphabet", "size", "expected"),
    [
        # 7 bits are 3 Symbols of 8, of which the first holds one bit
        (8, 7, (3.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0)),
        # no Symbol of an alphabet of 10 holds a bit of its own
        (10, 9, (1.0,) * 9),
        (2, 3, (3.0, 2.0, 5.0)),
    ],
)
def test_a_bit_is_as_sure_as_the_symbol_that_holds_it(alphabet, size, expected):
    method = Wide(alphabet)
    symbols = symbols_of(method, None, Payload((1,) * size))
    Listening.heard.clear()
    bits_of(method, Listening(), key_of(3, carries=size), read(symbols, (3.0, 2.0, 5.0)))
    assert Listening.heard == [expected]


def test_what_does_not_go_together_is_told():
    silent = detecting_by(lambda claim: None)()
    assert symbols_of(silent, None, Payload()) == Payload()
    for method, code, payload, words in (
        (silent, None, Payload((1,)), "odd-test: expected no payload and no code, .* got 1 bits"),
        (silent, Repetition(), Payload(), "odd-test: expected no payload and no code"),
        (Plain(), None, Payload(), "plain: expected a payload of at least 1 bit, got none"),
        (Plain(), None, Payload((3,), 8), "expected bits, got symbols of an alphabet of 8"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            symbols_of(method, code, payload)


@dataclass(frozen=True)
class Wrong(Listening):
    """Says one length and takes another."""

    name = "wrong"

    def encode(self, payload: Payload) -> Payload:
        return Payload(payload.symbols[1:])

    def decode(self, read: Payload, confidence: tuple[float, ...], size: int) -> Payload | None:
        return Payload(read.symbols[1:])


def test_a_code_that_breaks_its_contract_is_named():
    with pytest.raises(PluginError, match=r"wrong \(tests\): encode: expected 4 bits, got 3 sym"):
        symbols_of(Plain(), Wrong(), Payload((0, 1, 0, 1)))
    told = read(Payload((0, 1, 0, 1)))
    with pytest.raises(PluginError, match=r"wrong \(tests\): decode: expected 4 bits or None, got"):
        bits_of(Plain(), Wrong(), key_of(4, carries=4), told)
    assert np.isfinite(told.confidence).all()


@pytest.mark.parametrize("length", [None, "8", 2.0, -1])
def test_a_length_that_is_none_names_the_code(length):
    @dataclass(frozen=True)
    class Odd(Code):
        name = "odd-length"

        def length(self, size):
            return length

        def encode(self, payload):
            return payload

        def decode(self, symbols, confidence, size):
            return symbols

    with pytest.raises(PluginError, match=r"odd-length .*: length: expected a number of bits, got"):
        symbols_of(Plain(), Odd(), Payload((0, 1)))


@pytest.mark.parametrize("answer", [None, (0, 1), "01"])
def test_an_encoding_that_is_no_payload_names_the_code(answer):
    @dataclass(frozen=True)
    class Odd(Code):
        name = "odd-encoding"

        def length(self, size):
            return size

        def encode(self, payload):
            return answer

        def decode(self, symbols, confidence, size):
            return symbols

    with pytest.raises(PluginError, match=r"odd-encoding .*: encode: expected 2 bits, got"):
        symbols_of(Plain(), Odd(), Payload((0, 1)))
