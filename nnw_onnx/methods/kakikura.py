"""A mark in a band of the cosine transform of a layer: present or not, one key for each user.

Kakikura, Kang, Iwamura, "Collusion Resistant Watermarking for Deep Learning Models Protection",
ICACT 2022; equations as in the testbed of MPAI-NNW. The test of the response is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import carriers, keystream, knowing
from nnw_onnx.math import normal
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Card,
    Detection,
    Detects,
    Injects,
    Key,
    Network,
    Null,
    Payload,
    Suspect,
    Weighted,
)

_LARGEST = 500
_LEAST_COEFFICIENTS = 2
"""Coefficients for each squared standard deviation of the margin: fewer cannot reach it."""
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Kakikura(Detects, Injects):
    """Coefficients C of the middle band move by alpha (C - R), R being the key's random numbers.

    The first N^2 weights of a layer are N rows of N, under the orthonormal cosine transform. R is
    uniform between the least and the largest coefficient of the band: its middle and half its width
    times U, keyed and symmetric on -1 to 1. The statistic is -sum C U / sqrt(sum C^2 U^2); given
    the sizes of U it is a sum of random signs, so its tail has a bound for any weights, and the
    p-value is never too small. Users are told apart by a key each, so by a claim each.
    """

    name = "kakikura"
    summary = "a band of a layer's cosine transform moves away from a keyed pattern: no payload"
    alphabet = 0
    card: ClassVar[Card] = Card(
        paper="Kakikura, Kang, Iwamura, Collusion Resistant Watermarking for Deep Learning Models "
        "Protection, ICACT 2022",
        blind=True,
        capacity="none: it says that it is there; users are told apart by a key each",
        key="nothing beside the secret: the pattern follows from it",
        null="sum of random signs, bounded by min(exp(-z^2 / 2), 3.18 P(Z >= z)): holds for any "
        "weights, and is half a decade too careful",
        reported=(
            "the testbed says Yes where the largest of 1,000 responses is the owner's and more "
            "than 3 times the second, with N = 500 and alpha = 0.04 (NNWTestbed, KAKI.py)",
        ),
        dies_of=(
            "any permutation or transposition of the layer, which costs nothing: positions are "
            "counted (structure of the method)",
            "the rule of 3 times the second fails under noise of two standard deviations, and "
            "where an attacker puts in keys of his own (simulated), of which three take this "
            "response from 8 to 7.1 to 8.0 only (eleven CIFAR-10 networks and keys not looked at, "
            "computed by this project)",
        ),
        strength="margin",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    margin: Annotated[float, Ge(1), Le(1000)] = option(
        8.0, help="strength: response in standard deviations under a random key"
    )
    alpha: Annotated[float, Gt(0), Le(10)] | None = option(
        None, help="strength of the paper, 0.04 in the testbed; overrides the margin"
    )
    side: Annotated[int, Ge(16), Le(4096)] | None = option(
        None, help="N; the largest that fits, up to 500, where it is left out"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for; raises `InjectionError`."""
        carriers.check_presence(size, self.name)
        least = self._least()
        purpose = f"a square of {least} x {least}; use a smaller margin or another layer"
        carrier, reason = carriers.largest(network, bench, self.name, least**2, purpose)
        side = self._side(carrier.layer.size)
        why = f"carrier {carriers.describe(carrier.layer)}: {reason}; {len(band(side)[0])} "
        why += f"coefficients of {side} x {side}"
        return carriers.key_for(self, [carrier], network, 0, secret, [why])

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose band has moved.

        Raises:
            InjectionError: a payload was given, or the margin is not reached.
        """
        from scipy import fft

        carriers.check_presence(len(payload), self.name)
        carrier = carriers.find(network, key, self.name)
        flat = carrier.values.reshape(-1).copy()
        side = self._side(flat.size)
        spectrum, where = _spectrum(flat, side), band(side)
        coefficients, pattern = spectrum[where], _pattern(key, side)
        low, high = float(coefficients.min()), float(coefficients.max())
        away = coefficients - (low + high) / 2 - (high - low) / 2 * pattern
        alpha = strength(coefficients, away, pattern, self.margin)
        spectrum[where] = coefficients + (alpha if self.alpha is None else self.alpha) * away
        flat[: side**2] = fft.idctn(spectrum, norm="ortho").reshape(-1)
        name = carrier.layer.name
        result = network.with_weights({name: flat.reshape(carrier.values.shape)})
        reached = self._response(result, key)[0]
        if self.alpha is None and reached < (1 - _TOLERANCE) * self.margin:
            raise InjectionError(
                f"layer {name!r}: expected a response of {self.margin:g} standard deviations, got "
                f"{reached:.3g} once stored as {carrier.layer.dtype}; use a smaller margin or "
                "another layer"
            )
        return result

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The response, with a p-value that holds for any weights.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
        """
        statistic, count, notes = self._response(suspect, key)
        return Detection(
            statistic=statistic,
            log10_p=normal.log10_signs_tail(statistic),
            null=Null(
                f"random signs of {count} coefficients",
                log10_least=normal.log10_signs_tail(math.sqrt(count)),
            ),
            log10_inverted=normal.log10_signs_tail(-statistic),
            notes=notes,
        )

    def _response(self, network: Weighted, key: Key) -> tuple[float, int, tuple[str, ...]]:
        """Statistic, number of coefficients, and notes on how the carrier was found."""
        carrier = carriers.find(network, key, self.name)
        side = self._side(carrier.values.size)
        coefficients = _spectrum(carrier.values.reshape(-1), side)[band(side)]
        products = coefficients * _pattern(key, side)
        norm = float(np.linalg.norm(products))
        found = -float(products.sum()) / norm if norm > 0 else 0.0
        return found, products.size, carrier.notes

    def _side(self, size: int) -> int:
        most = math.isqrt(size)
        return min(most, _LARGEST if self.side is None else self.side)

    def _least(self) -> int:
        """The smallest N that will do."""
        if self.side is not None:
            return self.side
        side = 16
        if self.alpha is None:
            while len(band(side)[0]) < _LEAST_COEFFICIENTS * self.margin**2 and side < _LARGEST:
                side += 1
        return side


def band(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the band: N-1 - (N/2 + N/10) <= row + column <= N-2 - (N/2 - N/10).

    For N = 500 that is 199 to 298, as in the testbed.
    """
    half, tenth = side // 2, side // 10
    low, high = side - 1 - half - tenth, side - 2 - half + tenth
    rows, columns = np.indices((high + 1, high + 1))
    there = (rows + columns >= low) & (rows + columns <= high)
    return rows[there], columns[there]


def strength(coefficients: Array, away: Array, pattern: Array, margin: float) -> float:
    """The alpha >= 0 for which C + alpha (C - R) has a response of the margin; 0 if it is beyond.

    With c = C and d = C - R the condition -sum u (c + a d) = m sqrt(sum u^2 (c + a d)^2) is a
    quadratic equation, of which this is the larger root.

    Raises:
        InjectionError: no alpha is large enough.
    """
    c, d = pattern * coefficients, pattern * away
    now, slope = -float(c.sum()), -float(d.sum())
    energy, mixed, own = float(c @ c), float(c @ d), float(d @ d)
    if now >= margin * math.sqrt(energy):
        return 0.0
    lead = slope**2 - margin**2 * own
    half, rest = now * slope - margin**2 * mixed, now**2 - margin**2 * energy
    if slope <= 0 or lead <= 0:
        raise InjectionError(
            f"kakikura: expected a band that reaches a response of {margin:g} standard deviations, "
            f"got {slope / math.sqrt(own or 1.0):.3g} at most; use a smaller margin or another "
            "layer"
        )
    return (math.sqrt(half**2 - lead * rest) - half) / lead


def _spectrum(flat: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The orthonormal cosine transform (N, N) of the first N^2 weights."""
    from scipy import fft

    square: NDArray[np.float64] = flat[: side**2].reshape(side, side)
    return np.asarray(fft.dctn(square, norm="ortho"), np.float64)


def _pattern(key: Key, side: int) -> NDArray[np.float64]:
    """Numbers of the band, uniform on -1 to 1; signs of their own make them exactly symmetric."""
    count = len(band(side)[0])
    signs = keystream.signs(key.secret, "kakikura/signs", count)
    return signs * keystream.uniform(key.secret, "kakikura/sizes", count)
