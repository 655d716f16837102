"""Block spread spectrum: each Symbol owns random weights with random signs (chips)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit import keystream
from nnw_onnx.math import blocks as weighed
from nnw_onnx.vocabulary import Array


@dataclass(frozen=True)
class Blocks:
    """Where each Symbol lives: disjoint positions (T, n) in the flat weights, and chips (T, n).

    Weights are given flat, or with all their axes: then their places follow from the positions, so
    that nobody has to copy large ones that lie in another order in memory.
    """

    positions: NDArray[np.int64] | NDArray[np.uint32]
    chips: NDArray[np.int8]

    @property
    def length(self) -> int:
        """Weights a Symbol."""
        return int(self.positions.shape[1])

    def statistics(self, flat: Array) -> NDArray[np.float64]:
        """Sum (T,) over each block of chip x weight."""
        found = np.zeros(len(self.positions))
        for symbol, where, chips in self._parts():
            values = np.asarray(flat[_at(flat, where)], np.float64)
            found[symbol] += np.dot(values, chips.astype(np.float64))
        return found

    def deviation(self, flat: Array) -> float:
        """Standard deviation of a statistic under a random key: sqrt(n mean(w^2))."""
        return math.sqrt(self.length * weighed.mean_square(flat))

    def shifted(self, flat: Array, shifts: Array) -> Array:
        """The weights with chip x shift added to each weight of each block.

        They are in float64, or large ones of float32 in that.
        """
        moved = np.array(flat, dtype=weighed.result_type(flat))
        for symbol, where, chips in self._parts():
            if shifts[symbol]:
                moved[_at(moved, where)] += shifts[symbol] * chips
        return moved

    def _parts(self) -> Iterator[tuple[int, Array, Array]]:
        """Symbol, positions and chips, of no more weights at once than a block of `math.blocks`."""
        for symbol, (where, chips) in enumerate(zip(self.positions, self.chips, strict=True)):
            for part in weighed.rows(where):
                yield symbol, where[part], chips[part]


def _at(weights: Array, where: Array) -> Any:
    return where if weights.ndim == 1 else np.unravel_index(where, weights.shape)


@lru_cache(maxsize=1)
def blocks(secret: bytes, label: str, size: int, symbols: int) -> Blocks:
    """floor(size / symbols) disjoint positions and chips for each of `symbols` Symbols."""
    # Kept, because what is injected is read back: of a large layer making them costs most.
    length = size // symbols
    used = symbols * length
    draw = keystream.positions if weighed.MOST < size < 1 << 32 else keystream.permutation
    positions = draw(secret, f"{label}/positions", size, used)
    chips = keystream.signs(secret, f"{label}/chips", used)
    positions.flags.writeable = chips.flags.writeable = False
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
