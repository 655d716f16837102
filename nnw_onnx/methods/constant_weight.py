"""Constant-weight code: which few of many keyed weights are large says the payload.

Yasui, Tanaka, Malik, Kuribayashi, "Coded DNN Watermark: Robustness against Pruning Models Using
Constant Weight Code", Journal of Imaging 8(6), 152, 2022 (first in arXiv 2107.02961). Words are
numbered by enumerative coding: Schalkwijk, IEEE Trans. Information Theory 18 (1972).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, injections, keystream, knowing, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Card,
    Decodes,
    Decoding,
    Detection,
    Detects,
    Injects,
    Key,
    Network,
    Null,
    Payload,
    Suspect,
)

_MOST_ONES = 768
"""Large weights in all words together: the exact null of more takes seconds."""


@dataclass(frozen=True)
class ConstantWeight(Decodes, Detects, Injects):
    """Of `length` random weights `ones` are made large, and the others are kept small.

    Large is at least `high`, small at most `low`, in units of the layer's root mean square; signs
    stay. A word holds floor(log2 C(length, ones)) bits, and a longer payload takes several. The
    `ones` largest magnitudes are read as the word, so no threshold is needed and pruning small
    weights does no harm; but one wrong place makes all bits of a word random. The Detector
    therefore counts the places that are right, not the bits.
    """

    name = "constant-weight"
    summary = "a few of many weights are large, in a keyed pattern (Yasui 2022): outlives pruning"
    card: ClassVar[Card] = Card(
        paper="Yasui, Tanaka, Malik, Kuribayashi, Coded DNN Watermark: Robustness against Pruning "
        "Models Using Constant Weight Code, J. Imaging 8(6), 152, 2022",
        blind=True,
        capacity="66 bits for each 256 weights with 12 ones, at most 64 such words",
        key="nothing beside the secret: positions follow from it",
        null="places that are right: a sum of Hypergeometric(length, ones, ones), exact for any "
        "weights, because positions are in keyed order",
        dies_of=(
            "noise of one standard deviation: 97 % of words are wrong (simulated)",
            "setting a random 0.2 % of the weights to 4.2 times their root mean square: about 40 % "
            "of words are wrong (arithmetic), and 7 of 11 words were wrong, while 10 to 12 of 12 "
            "places are right, which stays a yes (eleven CIFAR-10 networks and keys not looked at, "
            "computed by this project)",
            "drawing anew the weights of equal size, which limiting them has made: 1 to 4 of 12 "
            "places stay, for -0.2 to 0.2 points (the same)",
            "permuting hidden units, and scaling each channel (structure of the method)",
        ),
    )
    adaptive = (
        (knowing.aimed("@largest", "redrawn-repeats"),),
        knowing.REORDERED,
        knowing.DISGUISED,
    )

    length: Annotated[int, Ge(4), Le(1024)] = option(256, help="weights of a word")
    ones: Annotated[int, Ge(1), Le(64)] = option(12, help="large weights of a word")
    high: Annotated[float, Gt(0), Le(100)] = option(
        4.0, help="least large weight / root mean square of the layer"
    )
    low: Annotated[float, Gt(0), Le(100)] = option(
        1.0, help="largest small weight / root mean square of the layer"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for.

        Raises:
            InjectionError: no layer, or not this one, is fit; or the payload takes too many words.
            ConfigurationError: options that do not fit each other.
        """
        carriers.check_size(size)
        words = self._words(size)
        if words > self._most():
            raise InjectionError(
                f"constant-weight: expected at most {self._most() * self._capacity()} symbols, got "
                f"{size}; use a shorter payload or words of fewer ones"
            )
        purpose = f"{size} symbols; use a shorter payload or another layer"
        least = words * self.length
        carrier, reason = carriers.largest(network, bench, self.name, least, purpose)
        many = f"{words} word{'s' * (words > 1)} of {self.length} weights"
        why = (f"carrier {carriers.describe(carrier.layer)}: {reason}; {many}",)
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose large weights are those of the words; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        flat = carrier.values.reshape(-1).copy()
        unit = math.sqrt(float(np.mean(np.square(flat))))
        for places, support in zip(self._places(key), self._sent(payload, key), strict=True):
            sizes = np.minimum(np.abs(flat[places]), self.low * unit)
            sizes[support] = np.maximum(np.abs(flat[places[support]]), self.high * unit)
            flat[places] = np.where(flat[places] < 0, -sizes, sizes)
        marked = flat.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """The number of each word; raises `CarrierNotFoundError`.

        A word is as sure as its least large weight is larger than the largest small one.
        """
        carrier = carriers.find(suspect, key, self.name)
        flat = carrier.values.reshape(-1)
        found, gaps = self._read(flat, key)
        bits: list[int] = []
        for support, count in zip(found, self._counts(key.size), strict=True):
            number = ranked(support)
            bits += [number >> place & 1 for place in range(count - 1, -1, -1)]
        margins = np.repeat(gaps, self._counts(key.size))
        unit = math.sqrt(float(np.mean(np.square(flat))))
        return symbols.read((2 * np.array(bits) - 1) * margins, unit, key, carrier.notes)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The large weights that are where the claim says.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
            InjectionError: the claim does not fit the key.
        """
        carrier = carriers.find(suspect, key, self.name)
        found, _ = self._read(carrier.values.reshape(-1), key)
        sent = self._sent(claim, key)
        right = sum(len({*a} & {*b}) for a, b in zip(found, sent, strict=True))
        ways = overlaps(self.length, self.ones, len(sent))
        every = math.log10(sum(ways))
        return Detection(
            statistic=right,
            log10_p=min(math.log10(sum(ways[right:])) - every, 0.0),
            null=Null(
                f"{len(sent)} x Hypergeometric({self.length}, {self.ones}, {self.ones})",
                log10_least=math.log10(ways[-1]) - every,
            ),
            log10_tie=math.log10(ways[right]) - every if ways[right] else None,
            notes=carrier.notes,
        )

    def _sent(self, payload: Payload, key: Key) -> list[list[int]]:
        """The places (ones) of the large weights of each word."""
        bits = (symbols.embedded_signs(payload, key) > 0).astype(int).tolist()
        found, start = [], 0
        for count in self._counts(key.size):
            number = int("".join(map(str, bits[start : start + count])), 2)
            found.append(unranked(number, self.length, self.ones))
            start += count
        return found

    def _read(self, flat: NDArray[np.float64], key: Key) -> tuple[list[list[int]], list[float]]:
        """The places of the large weights of each word, and how far these are from the others.

        Equal magnitudes are taken in the order of the layer: in that of the word the first words,
        which are sent more often than the last, would have them right too often.
        """
        places = self._places(key)
        sizes = np.abs(flat[places])
        order = np.lexsort((places, -sizes))
        large = np.sort(order[:, : self.ones], axis=1)
        border = np.take_along_axis(sizes, order[:, self.ones - 1 : self.ones + 1], axis=1)
        return large.tolist(), (border[:, 0] - border[:, 1]).tolist()

    def _places(self, key: Key) -> NDArray[np.int64]:
        """Positions (words, length) in the flat layer."""
        words, size = self._words(key.size), math.prod(key.shapes[0])
        if not 0 < words <= self._most() or words * self.length > size:
            raise ConfigurationError(
                f"key: expected from 1 to {self._most()} words of {self.length} weights in "
                f"{size}, got {words}; restore the key from a copy"
            )
        count = words * self.length
        order = keystream.permutation(key.secret, "constant-weight/positions", size, count)
        return order.reshape(words, self.length)

    def _counts(self, size: int) -> list[int]:
        """Bits of each word, as equal as can be."""
        words = self._words(size)
        return [size // words + (i < size % words) for i in range(words)]

    def _words(self, size: int) -> int:
        return -(-size // self._capacity())

    def _most(self) -> int:
        """Words of the longest payload."""
        return _MOST_ONES // self.ones

    def _capacity(self) -> int:
        """Bits of a word."""
        if not (2 * self.ones <= self.length and self.low < self.high):
            raise ConfigurationError(
                "constant-weight: expected at most half of the weights to be ones, and low below "
                f"high, got {self.ones} of {self.length} and {self.low:g}, {self.high:g}; "
                "correct them"
            )
        return math.comb(self.length, self.ones).bit_length() - 1


def ranked(places: Iterable[int]) -> int:
    """Number of a set of places, ascending: sum of C(place, index), the index from 1 on."""
    return sum(math.comb(place, index) for index, place in enumerate(places, 1))


def unranked(number: int, length: int, ones: int) -> list[int]:
    """The set of `ones` places, ascending, of a number below C(length, ones)."""
    found, place = [], length
    for index in range(ones, 0, -1):
        place -= 1
        while (ways := math.comb(place, index)) > number:
            place -= 1
        found.append(place)
        number -= ways
    return found[::-1]


@lru_cache(maxsize=16)
def overlaps(length: int, ones: int, words: int) -> tuple[int, ...]:
    """Ways to have 0, 1, ... places right in all of `words` sets of `ones` among `length`.

    The power of a polynomial, whose coefficients lie apart in the digits of one integer.
    """
    one = [math.comb(ones, k) * math.comb(length - ones, ones - k) for k in range(ones + 1)]
    width = words * math.comb(length, ones).bit_length()
    power = sum(ways << width * k for k, ways in enumerate(one)) ** words
    digit = (1 << width) - 1
    return tuple(power >> width * k & digit for k in range(words * ones + 1))
