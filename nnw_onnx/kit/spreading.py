"""Block spread spectrum: each Symbol owns random weights with random signs (chips)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit import keystream
from nnw_onnx.math import blocks as weighed
from nnw_onnx.vocabulary import Array

_STEP = 1 << 19
"""Weights of a large layer whose owners are drawn at once."""


@dataclass(frozen=True)
class Blocks(ABC):
    """Which weights each of T Symbols owns, none with another, and their signs (chips).

    Attributes:
        length: weights a Symbol.
    """

    length: int

    @abstractmethod
    def statistics(self, weights: Array) -> NDArray[np.float64]:
        """Sum (T,) over the weights of each Symbol of chip x weight."""

    @abstractmethod
    def shifted(self, weights: Array, shifts: Array) -> Array:
        """The weights with chip x shift (T,) added to each weight of each Symbol.

        They are in float64, or large ones of float32 in that.
        """

    def deviation(self, weights: Array) -> float:
        """Standard deviation of a statistic under a random key: sqrt(n mean(w^2))."""
        return math.sqrt(self.length * weighed.mean_square(weights))


@dataclass(frozen=True)
class Scattered(Blocks):
    """Weights anywhere in a flat array: positions (T, n), all different, with chips (T, n)."""

    positions: NDArray[np.int64]
    chips: NDArray[np.int8]

    def statistics(self, weights: Array) -> NDArray[np.float64]:
        """Sums over weights that are given flat."""
        found = np.zeros(len(self.positions))
        for symbol, where in enumerate(self.positions):
            values = np.asarray(weights[where], np.float64)
            found[symbol] = np.dot(values, self.chips[symbol].astype(np.float64))
        return found

    def shifted(self, weights: Array, shifts: Array) -> Array:
        """New weights of those that are given flat."""
        moved = np.array(weights, dtype=weighed.result_type(weights))
        for symbol, where in enumerate(self.positions):
            if shifts[symbol]:
                moved[where] += shifts[symbol] * self.chips[symbol]
        return moved


@dataclass(frozen=True)
class Runs(Blocks):
    """In each of n runs of equally many weights, each Symbol owns one, at random.

    Weights are given flat or with all their axes, in any order in memory: they are read once, as
    they lie, where scattered ones of a large layer wait for memory one by one.

    Attributes:
        cells: for each weight in its canonical order 2 t where Symbol t owns it with chip +1,
            2 t + 1 with chip -1, and 2 T where nobody does.
        symbols: their number T.
    """

    cells: Array
    symbols: int

    def statistics(self, weights: Array) -> NDArray[np.float64]:
        """Sums over weights of any shape."""
        sums, cells = np.zeros(2 * self.symbols + 1), self.cells.reshape(weights.shape)
        for part in weighed.rows(weights):
            values = np.asarray(weights[part], np.float64).reshape(-1)
            sums += np.bincount(cells[part].reshape(-1), values, minlength=sums.size)
        return np.asarray(sums[:-1:2] - sums[1::2])

    def shifted(self, weights: Array, shifts: Array) -> Array:
        """New weights in the shape and the order in memory of those that are given."""
        moved: Array = np.array(weights, dtype=weighed.result_type(weights))
        cells = self.cells.reshape(moved.shape)
        moves = np.append(np.outer(shifts, (1, -1)), 0.0).astype(moved.dtype)
        for part in weighed.rows(moved):
            moved[part] += moves[cells[part]]
        return moved


@lru_cache(maxsize=1)
def blocks(secret: bytes, label: str, size: int, symbols: int, length: int | None = None) -> Blocks:
    """Blocks of `symbols` Symbols in `size` weights, each of floor(size / symbols) weights.

    Up to `math.blocks.MOST` weights they lie anywhere, as keys of version 0.1 have it. In a larger
    layer they are `Runs`: which Symbol owns a weight is as random within a run, chips are as
    random everywhere, and so a statistic of any weights is as symmetric under a random key.

    Args:
        secret: of the key, 32 bytes.
        label: tells the draws of one method from another's.
        size: number of weights.
        symbols: number of Symbols, at most `size`.
        length: weights a Symbol, where they are fewer.
    """
    # Kept, because what is injected is read back: of a large layer making them costs most.
    draw = _scattered if size <= weighed.MOST else _runs
    return draw(secret, label, size, symbols, length or size // symbols)


def _scattered(secret: bytes, label: str, size: int, symbols: int, length: int) -> Scattered:
    most = size // symbols
    positions = keystream.permutation(secret, f"{label}/positions", size, symbols * most)
    chips = keystream.signs(secret, f"{label}/chips", symbols * most)
    positions.flags.writeable = chips.flags.writeable = False
    shape = symbols, most
    return Scattered(length, positions.reshape(shape)[:, :length], chips.reshape(shape)[:, :length])


def _runs(secret: bytes, label: str, size: int, symbols: int, length: int) -> Runs:
    run, nobody = size // length, 2 * symbols
    cells = np.full(size, nobody, np.uint16 if nobody < 1 << 16 else np.uint32)
    runs, step = cells[: run * length].reshape(length, run), max(1, _STEP // run)
    for number, start in enumerate(range(0, length, step)):
        part = runs[start : start + step]
        owners = keystream.permutations(secret, f"{label}/runs/{number}", len(part), run)
        negative = keystream.bits(secret, f"{label}/chips/{number}", part.size)
        part[:] = np.minimum(2 * owners + negative.reshape(part.shape), nobody)
    cells.flags.writeable = False
    return Runs(length, cells, symbols)


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
