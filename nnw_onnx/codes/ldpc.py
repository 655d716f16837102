"""Low-density parity checks: three for each bit, decoded by messages between bits and checks.

Gallager, "Low-Density Parity-Check Codes", 1963. Graphs by progressive edge growth: Hu,
Eleftheriou, Arnold, IEEE Trans. Information Theory 51 (2005). Decoder: normalised min-sum, Chen and
Fossorier, IEEE Trans. Communications 50 (2002).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.kit import keystream
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Code, Payload

_COLUMN = 3
_LONGEST = 1024
"""Payload bits of a word: a longer one gains little, and its graph takes seconds to make."""
_FEWEST_CHECKS = {4: 24, 6: 32, 12: 64}
"""Checks of the shortest word by row weight: fewer leave no graph without cycles of four."""
_LEVELS = 3
_NORMALISATION = 0.8
_CERTAIN = 1e12


class Graph(NamedTuple):
    """A code of `bits` bits of which `payload` are free.

    Attributes:
        bits: number of bits n of a word.
        rows: the bits of each check (m, d), filled up with n.
        payload: places of the payload (k,).
        parity: places of the bits that follow from it (rank,).
        solved: for each of those, as the bits of an integer, the places whose sum it is.
        unused: places that are always zero, where checks depend on each other.
    """

    bits: int
    rows: NDArray[np.int64]
    payload: NDArray[np.int64]
    parity: NDArray[np.int64]
    solved: tuple[int, ...]
    unused: NDArray[np.int64]


@dataclass(frozen=True)
class Ldpc(Code):
    """Words of equally many checks for each bit (3), and bits for each check (`row`, nearly).

    The rate is 1 - 3 / row for long payloads. A payload of more than 1,024 bits takes several
    words, as equal as can be; a short one is filled up with zeros that are not sent. What is sent
    is the payload, then the check bits, word by word. The graph follows from the sizes alone and
    holds no key. Confidence counts only in proportion: equal ones make a hard decoder of it, and a
    bit of none is an erasure.
    """

    name = "ldpc"
    summary = "low-density parity checks with soft decoding (min-sum): best from 64 bits on"

    row: Literal[4, 6, 12] = option(
        6, help="bits of a check: rate 1/4, 1/2 or 3/4 for long payloads"
    )
    iterations: Annotated[int, Ge(1), Le(1000)] = option(
        60, help="rounds of messages after which a word is given up"
    )

    def length(self, size: int) -> int:
        """The payload and, for each word, its check bits."""
        counts = _words(size)
        return size + len(counts) * len(self._graph(counts).parity)

    def encode(self, payload: Payload) -> Payload:
        """The words, one after the other."""
        counts = _words(len(payload))
        graph, sent, start = self._graph(counts), [], 0
        for count in counts:
            free = payload.symbols[start : start + count]
            word = sum(1 << place for place, bit in zip(graph.payload.tolist(), free, strict=False)
                       if bit)  # fmt: skip
            sent += [*free, *((row & word).bit_count() & 1 for row in graph.solved)]
            start += count
        return Payload(tuple(sent))

    def decode(self, read: Payload, confidence: tuple[float, ...], size: int) -> Payload | None:
        """The payload; None where some check of a word still fails, or a bit is undecided."""
        counts, sure = _words(size), np.array(confidence, np.float64)
        graph = self._graph(counts)
        # Min-sum has no scale of its own: what nothing is known of is read as bits alone.
        scale = float(sure.mean())
        signed = (1 - 2 * read.array()) * (sure / scale if scale > 0 else 1.0)
        found: list[int] = []
        start = 0
        for count in counts:
            length = count + len(graph.parity)
            heard = np.full(graph.bits, _CERTAIN)
            heard[graph.payload[:count]] = signed[start : start + count]
            heard[graph.parity] = signed[start + count : start + length]
            word = decoded(graph, heard, self.iterations)
            if word is None:
                return None
            found += word[graph.payload[:count]].tolist()
            start += length
        return Payload(tuple(found))

    def _graph(self, counts: list[int]) -> Graph:
        """Of the longest word; the others leave some of its payload out."""
        least = -(-_FEWEST_CHECKS[self.row] * (self.row - _COLUMN) // _COLUMN)
        return graph_of(max(counts[0], least), self.row)


def decoded(graph: Graph, heard: Array, iterations: int) -> NDArray[np.int64] | None:
    """The word (n,) that meets every check, or None where none is found.

    Args:
        graph: of the code.
        heard: (n,) how sure each bit is read, positive for 0 and negative for 1.
        iterations: most rounds of messages.
    """
    padded = graph.rows == graph.bits
    told = np.append(np.clip(heard, -_CERTAIN, _CERTAIN), _CERTAIN)
    messages = np.zeros(graph.rows.shape)
    for _ in range(iterations + 1):
        total = told + np.bincount(graph.rows.ravel(), messages.ravel(), graph.bits + 1)
        ones = total < 0
        if total.all() and not np.bitwise_xor.reduce(ones[graph.rows], axis=1).any():
            return ones[: graph.bits].astype(np.int64)
        others = np.clip(total[graph.rows] - messages, -_CERTAIN, _CERTAIN)
        negative, sizes = others < 0, np.abs(others)
        least = np.partition(sizes, 1, axis=1)[:, :2]
        # What a check tells a bit is as sure as the least sure of its other bits.
        sizes = np.where(sizes == least[:, :1], least[:, 1:], least[:, :1])
        odd = np.bitwise_xor.reduce(negative, axis=1)[:, None] ^ negative
        messages = _NORMALISATION * np.where(odd, -sizes, sizes)
        messages[padded] = 0.0
    return None


@lru_cache(maxsize=32)
def graph_of(payload: int, row: int) -> Graph:
    """The code for `payload` free bits and `row` bits a check."""
    checks = -(-_COLUMN * payload // (row - _COLUMN))
    bits = payload + checks
    columns = grown(bits, checks)
    members: list[list[int]] = [[] for _ in range(checks)]
    for bit, its in enumerate(columns):
        for check in its:
            members[check].append(bit)
    width = max(map(len, members))
    rows = np.array([its + [bits] * (width - len(its)) for its in members], np.int64)
    pivots, solved = _solved([sum(1 << bit for bit in its) for its in members], bits)
    free = np.setdiff1d(np.arange(bits), pivots)
    return Graph(
        bits, rows, free[:payload], np.array(pivots, np.int64), tuple(solved), free[payload:]
    )


def grown(bits: int, checks: int) -> list[list[int]]:
    """The three checks of each bit, grown edge by edge as far from each other as can be.

    Of the checks that are farthest from a bit, at most three steps, one of those with the fewest
    bits is taken; which one follows from a hash of the sizes.
    """
    seed = hashlib.sha256(f"nnw-onnx ldpc {bits} {checks}".encode()).digest()
    starts = keystream.integers(seed, "ldpc/graph", _COLUMN * bits, checks).tolist()
    near = [1 << check for check in range(checks)]
    every = (1 << checks) - 1
    by_weight = [every]  # checks of weight 0, 1, ... as the bits of an integer
    columns = []
    for bit in range(bits):
        its: list[int] = []
        for edge in range(_COLUMN):
            far = every & ~_reached(its, near, every)
            weight = next(w for w, having in enumerate(by_weight) if having & far)
            check = _one_of(by_weight[weight] & far, starts[_COLUMN * bit + edge])
            if weight + 1 == len(by_weight):
                by_weight.append(0)
            by_weight[weight] ^= 1 << check
            by_weight[weight + 1] ^= 1 << check
            its.append(check)
        together = sum(1 << check for check in its)
        for check in its:
            near[check] |= together
        columns.append(its)
    return columns


def _reached(its: list[int], near: list[int], every: int) -> int:
    """Checks within the most steps from a bit's own ones that leave any check out of reach."""
    reached = border = sum(1 << check for check in its)
    for _ in range(_LEVELS):
        further = 0
        for check in _places(border):
            further |= near[check]
        border = further & ~reached
        if not border or (reached | border) == every:
            break
        reached |= border
    return reached


def _one_of(having: int, start: int) -> int:
    """The first place of an integer's ones from `start` on, or the first of all."""
    above = having >> start
    return start + _lowest(above) if above else _lowest(having)


def _lowest(number: int) -> int:
    return (number & -number).bit_length() - 1


def _places(number: int) -> Iterator[int]:
    while number:
        yield _lowest(number)
        number &= number - 1


def _solved(equations: list[int], bits: int) -> tuple[list[int], list[int]]:
    """Places that follow from the others, and for each those whose sum it is (Gauss-Jordan)."""
    left, pivots, done = list(equations), [], list[int]()
    for place in range(bits - 1, -1, -1):
        mark = 1 << place
        found = next((i for i, equation in enumerate(left) if equation & mark), None)
        if found is None:
            continue
        pivot = left.pop(found)
        left = [x ^ pivot if x & mark else x for x in left]
        done = [x ^ pivot if x & mark else x for x in done]
        done.append(pivot)
        pivots.append(place)
    return pivots, [x ^ (1 << place) for x, place in zip(done, pivots, strict=True)]


def _words(size: int) -> list[int]:
    """Payload bits of each word, as equal as can be, the longest first."""
    count = max(1, -(-size // _LONGEST))
    return [size // count + (i < size % count) for i in range(count)]
