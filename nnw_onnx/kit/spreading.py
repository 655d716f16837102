"""Block spread spectrum: each Symbol owns random weights with random signs (chips)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit import keystream
from nnw_onnx.vocabulary import Array


@dataclass(frozen=True)
class Blocks:
    """Where each Symbol lives: disjoint positions (T, n) in the flat weights, and chips (T, n)."""

    positions: NDArray[np.int64]
    chips: NDArray[np.int8]

    @property
    def length(self) -> int:
        """Weights a Symbol."""
        return int(self.positions.shape[1])

    def statistics(self, flat: Array) -> NDArray[np.float64]:
        """Sum (T,) over each block of chip x weight."""
        blocks = zip(self.positions, self.chips, strict=True)
        return np.array([np.dot(flat[where], chips.astype(np.float64)) for where, chips in blocks])

    def deviation(self, flat: Array) -> float:
        """Standard deviation of a statistic under a random key: sqrt(n mean(w^2))."""
        return math.sqrt(self.length * float(np.mean(np.square(flat))))

    def shifted(self, flat: Array, shifts: Array) -> NDArray[np.float64]:
        """The flat weights with chip x shift added to each weight of each block."""
        moved = np.array(flat, dtype=np.float64)
        for where, chips, shift in zip(self.positions, self.chips, shifts, strict=True):
            if shift:
                moved[where] += shift * chips
        return moved


def blocks(secret: bytes, label: str, size: int, symbols: int) -> Blocks:
    """floor(size / symbols) disjoint positions and chips for each of `symbols` Symbols."""
    length = size // symbols
    used = symbols * length
    positions = keystream.permutation(secret, f"{label}/positions", size, used)
    chips = keystream.signs(secret, f"{label}/chips", used)
    return Blocks(positions.reshape(symbols, length), chips.reshape(symbols, length))


def margin_for_energy(scores: Array, energy: float) -> float:
    """The margin k with sum over scores < k of (k - score)^2 = energy.

    `scores` (T,) are signed statistics in standard deviations, `energy` > 0. The sum is increasing
    and piecewise quadratic in k, so k is a root of the piece that contains it: exact.
    """
    z = np.sort(scores)
    count = np.arange(1, len(z) + 1)
    total, squares = np.cumsum(z), np.cumsum(np.square(z))
    root = np.sqrt(np.maximum(total**2 - count * (squares - energy), 0.0))
    candidates = (total + root) / count
    upper = np.append(z[1:], np.inf)
    return float(candidates[np.argmax(candidates <= upper)])


def expected_change(margin: float, symbols: int, size: int) -> float:
    """Expected RMS change / RMS weight of raising `symbols` Symbols in `size` weights to a margin.

    sqrt(T G(k) / N) with G(k) = (k^2 + 1) Phi(k) + k phi(k), for statistics N(0, 1).
    """
    below = 0.5 * math.erfc(-margin / math.sqrt(2))
    density = math.exp(-(margin**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(symbols / size * ((margin**2 + 1) * below + margin * density))
