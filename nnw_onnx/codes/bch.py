"""Binary BCH codes, narrow-sense and primitive, shortened to the payload; soft decoding by Chase.

Bose and Ray-Chaudhuri 1960, Hocquenghem 1959; Berlekamp-Massey and Chien's search as in Lin and
Costello, "Error Control Coding", chapter 6; Chase, "A Class of Algorithms for Decoding Block Codes
with Channel Measurement Information", IEEE Trans. Information Theory 18 (1972), algorithm 2.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Code, Payload

_PRIMITIVE = {3: 0o13, 4: 0o23, 5: 0o45, 6: 0o103, 7: 0o211, 8: 0o435, 9: 0o1021, 10: 0o2011}
"""m -> primitive polynomial of GF(2^m), the usual ones (Lin and Costello, table 2.7)."""

Bits = NDArray[np.uint8]


class Field(NamedTuple):
    """GF(2^m): powers of the primitive element (twice over), and logarithms."""

    powers: NDArray[np.int64]
    logarithms: NDArray[np.int64]
    order: int

    def product(self, a: int, b: int) -> int:
        """A b."""
        return int(self.powers[self.logarithms[a] + self.logarithms[b]]) if a and b else 0

    def quotient(self, a: int, b: int) -> int:
        """A / b; b is not 0."""
        power = self.logarithms[a] - self.logarithms[b] + self.order
        return int(self.powers[power]) if a else 0


@dataclass(frozen=True)
class Bch(Code):
    """Words of at most 2^m - 1 bits of which any `errors` wrong ones are corrected.

    The payload is spread as evenly as can be over the words that it needs, and each word is
    shortened: leading zeros of the full code are not sent. Words take turns bit by bit. With
    `soft` = p the 2^p patterns of the p least sure bits of a word are tried, and of the code words
    found the one nearest to what was read, weighted by confidence, is taken.
    """

    name = "bch"
    summary = "binary BCH code, shortened to the payload, with soft decoding (Chase)"

    n: Literal[7, 15, 31, 63, 127, 255, 511, 1023] = option(
        127, help="bits of a whole word, before it is shortened"
    )
    errors: Annotated[int, Ge(1), Le(255)] = option(
        10, help="wrong bits of a word that are surely corrected"
    )
    soft: Annotated[int, Ge(0), Le(10)] = option(
        5, help="least sure bits of a word whose patterns are tried; 0 decodes without confidence"
    )

    def length(self, size: int) -> int:
        """Payload and check bits of every word.

        Raises:
            ConfigurationError: the code corrects so many errors that no payload is left.
        """
        return size + len(self._words(size)) * (len(generator(self.n, self.errors)) - 1)

    def encode(self, payload: Payload) -> Payload:
        """The words, bit by bit in turn."""
        bits, start, words = payload.array().astype(np.uint8), 0, []
        for count in self._words(len(payload)):
            words.append(encoded(bits[start : start + count], generator(self.n, self.errors)))
            start += count
        sent = np.empty(sum(map(len, words)), np.uint8)
        for word, places in zip(words, self._places(len(payload)), strict=True):
            sent[places] = word
        return Payload(tuple(sent.tolist()))

    def decode(self, read: Payload, confidence: tuple[float, ...], size: int) -> Payload | None:
        """The payload; None where a word is too far from every code word."""
        bits, sure = read.array().astype(np.uint8), np.array(confidence, np.float64)
        found: list[int] = []
        for places, count in zip(self._places(size), self._words(size), strict=True):
            word = self._decoded(bits[places], sure[places])
            if word is None:
                return None
            found += word[:count].tolist()
        return Payload(tuple(found))

    def _decoded(self, word: Bits, sure: NDArray[np.float64]) -> Bits | None:
        """The code word nearest to one read, or None."""
        weakest = np.argsort(sure, kind="stable")[: self.soft if np.ptp(sure) > 0 else 0]
        best: tuple[float, Bits] | None = None
        for pattern in itertools.product((0, 1), repeat=len(weakest)):
            tried = word.copy()
            tried[weakest] ^= np.array(pattern, np.uint8)
            whole = corrected(tried, self.n, self.errors)
            if whole is not None:
                distance = float(sure[whole != word].sum())
                if best is None or distance < best[0]:
                    best = distance, whole
                if distance == 0:
                    break  # nothing is nearer, and most words of an untouched network are right
        return None if best is None else best[1]

    def _words(self, size: int) -> list[int]:
        """Payload bits of each word, as equal as can be."""
        most = self.n + 1 - len(generator(self.n, self.errors))
        count = max(1, -(-size // most))
        return [size // count + (i < size % count) for i in range(count)]

    def _places(self, size: int) -> list[NDArray[np.int64]]:
        """For each word the places of its bits."""
        check = len(generator(self.n, self.errors)) - 1
        lengths = [count + check for count in self._words(size)]
        # The words differ by one bit at most and the longer ones come first.
        return [np.arange(length) * len(lengths) + i for i, length in enumerate(lengths)]


@lru_cache(maxsize=32)
def field(n: int) -> Field:
    """GF(n + 1)."""
    degree = n.bit_length()
    powers, logarithms, element = np.zeros(2 * n, np.int64), np.zeros(n + 1, np.int64), 1
    for power in range(n):
        powers[power] = powers[power + n] = element
        logarithms[element] = power
        element <<= 1
        element ^= _PRIMITIVE[degree] if element > n else 0
    return Field(powers, logarithms, n)


@lru_cache(maxsize=64)
def generator(n: int, errors: int) -> tuple[int, ...]:
    """Coefficients of the generator polynomial, the highest power first.

    It has the roots a, a^2, ..., a^(2 errors) and their conjugates, once each.

    Raises:
        ConfigurationError: nothing is left for a payload.
    """
    roots = {power * 2**i % n for power in range(1, 2 * errors, 2) for i in range(n.bit_length())}
    if 2 * errors >= n or len(roots) >= n:
        raise ConfigurationError(
            f"bch: expected words of more than {2 * errors} bits of which some are payload, got "
            f"n = {n} for {errors} errors; use a larger n or fewer errors"
        )
    found, gf = [1], field(n)
    for root in sorted(roots):
        shifted = [gf.product(int(gf.powers[root]), c) for c in found]
        found = [a ^ b for a, b in zip([*found, 0], [0, *shifted], strict=True)]
    return tuple(found)


def encoded(payload: Bits, polynomial: Sequence[int]) -> Bits:
    """The systematic code word: the payload, then the remainder of its division."""
    check = len(polynomial) - 1
    rest = np.concatenate([payload, np.zeros(check, np.uint8)])
    divisor = np.array(polynomial, np.uint8)
    for place in np.arange(len(payload)):
        if rest[place]:
            rest[place : place + check + 1] ^= divisor
    return np.concatenate([payload, rest[len(payload) :]])


def corrected(word: Bits, n: int, errors: int) -> Bits | None:
    """The code word within `errors` of a (shortened) word, or None where there is none."""
    syndromes = _syndromes(word, n, errors)
    if not any(syndromes):
        return word
    locator = _berlekamp_massey(syndromes, field(n))
    places = _roots(locator, len(word), n)
    # Fewer roots than the degree: more errors than the code bears, or some before the first bit.
    if len(locator) - 1 > errors or len(places) != len(locator) - 1:
        return None
    whole = word.copy()
    whole[places] ^= 1
    return None if any(_syndromes(whole, n, errors)) else whole


def _syndromes(word: Bits, n: int, errors: int) -> list[int]:
    """The word as a polynomial, its first bit the highest power, at a, a^2, ..., a^(2 errors)."""
    powers = len(word) - 1 - np.flatnonzero(word)
    gf = field(n)
    return [
        int(np.bitwise_xor.reduce(gf.powers[powers * j % n], initial=0))
        for j in range(1, 2 * errors + 1)
    ]


def _berlekamp_massey(syndromes: Sequence[int], gf: Field) -> list[int]:
    """The shortest register that makes the syndromes: the error locator, lowest power first."""
    locator, before = [1], [1]
    length, gap, last = 0, 1, 1
    for step, syndrome in enumerate(syndromes):
        discrepancy = syndrome
        for i in range(1, min(step + 1, len(locator))):
            discrepancy ^= gf.product(locator[i], syndromes[step - i])
        if discrepancy == 0:
            gap += 1
            continue
        factor = gf.quotient(discrepancy, last)
        moved = [0] * gap + [gf.product(factor, c) for c in before]
        longer = [a ^ b for a, b in itertools.zip_longest(locator, moved, fillvalue=0)]
        if 2 * length <= step:
            length, before, last, gap = step + 1 - length, locator, discrepancy, 1
        else:
            gap += 1
        locator = longer
    while locator[-1] == 0:
        locator.pop()
    return locator


def _roots(locator: Sequence[int], length: int, n: int) -> NDArray[np.int64]:
    """Places of the errors: bits whose power p makes a^-p a root (Chien's search)."""
    gf, powers = field(n), np.arange(length - 1, -1, -1)
    values = np.zeros(length, np.int64)
    for i, coefficient in enumerate(locator):
        if coefficient:
            values ^= gf.powers[(gf.logarithms[coefficient] - i * powers) % n]
    return np.flatnonzero(values == 0)
