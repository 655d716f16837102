"""A fragile mark that leaves no trace: who has the key takes it out, and every bit is as before.

Histogram shifting (Ni et al., "Reversible Data Hiding", IEEE TCSVT 16, 2006) on the leading bits of
weights, as Guan et al., "Reversible Watermarking in Deep Convolutional Neural Networks for
Integrity Authentication" (arXiv 2104.04268), do on decimal digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import RestorationError
from nnw_onnx.kit import carriers, keystream, knowing, mantissas, vouching
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Card,
    Detection,
    Detects,
    Injects,
    Key,
    Layer,
    Network,
    Payload,
    Place,
    Restores,
    Suspect,
    Weights,
)

_LEAST_EXPONENT = 2


@dataclass(frozen=True)
class Reversible(Detects, Injects, Restores):
    """The keyed hash of each block as it was before the mark, in its own histogram.

    The magnitude of a weight without its s lowest bits is the number of its bin: steps of 2^-r of
    a weight, r bits of the mantissa being left. Bins above the fullest one p move up by one until
    the first empty one z, so that p + 1 is empty; then each weight of bin p stays for a bit 0 of
    the hash and moves up for a bit 1. Read backwards, this gives hash and weights as they were,
    bit by bit; the hash proves it. Each block takes the finest steps in which its fullest bin has
    as many weights as the hash bits; the key holds s, p and z.

    A trained float32 weight has no redundancy in its low bits, so that nothing can make room there
    and come back. Room is in the shape of the distribution: 32 bits in 16,384 weights take steps
    of about 2^-7, and smaller blocks coarser ones. Layers that would need steps coarser than
    2^-`coarsest` are not vouched for; a `Place` is as in `fragile`.
    """

    name = "reversible"
    summary = "blocks of weights vouch for themselves, and the mark comes out without a trace"
    kind = "integrity"
    alphabet = 0
    gives_back = "as it was before the mark"
    card: ClassVar[Card | None] = Card(
        paper="Guan et al., arXiv 2104.04268, on leading bits instead of decimal digits",
        blind=True,
        capacity="no payload; a hash of 32 bits in every 16,384 weights",
        key="three numbers of each block beside its secret",
        null="Bin(blocks, 2^-bits): a keyed hash is right in an untouched block only, or by chance",
        reported=("accuracy changes by less than 0.5 points, restored exactly (Guan et al.)",),
        dies_of=("any change of any weight in a block: that is its purpose",),
    )
    adaptive = ((knowing.aimed("@all", "low-bits", kept=10),),)

    block: Annotated[int, Ge(64), Le(1 << 24)] = option(
        16384, help="weights of a block, the finest place of a change that is told"
    )
    bits: Annotated[int, Ge(8), Le(64)] = option(32, help="bits of a block's hash")
    coarsest: Annotated[int, Ge(1), Le(20)] = option(
        4, help="a weight changes by at most 2^-coarsest of itself"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of every kernel that can vouch for itself, or of the layers asked for.

        Raises:
            InjectionError: a payload was given, no layer is fit, or one asked for is not.
        """
        carriers.check_presence(size, self.name)
        key = vouching.key_for(
            self,
            network,
            secret,
            bench,
            self._defect,
            f"blocks with {self.bits} weights that differ by less than 2^-{self.coarsest}",
            "use fewer bits, larger blocks, or coarser steps",
            f"blocks of {self.block} weights",
        )
        bins = [found for name in key.layers for found in self._bins(network.weights[name])]
        return Key(**{**vars(key), "arrays": {"bins": np.array(bins, np.int64)}})

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with the hash of every block in its histogram.

        Raises:
            InjectionError: a payload was given, or a layer does not keep the weights.
        """
        carriers.check_presence(len(payload), self.name)
        marked = {}
        for index, name in enumerate(key.layers):
            carriers.find(network, key, self.name, index)
            flat = np.array(network.weights[name]).reshape(-1)
            for found, bins in self._with_bins(flat, key, index):
                self._mark(found, bins, key, index)
            marked[name] = flat.reshape(key.shapes[index])
        return vouching.stored(network, marked)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The blocks that are whole, with every block as a place.

        Layers that are not in the suspect have only changed blocks, and are one place each.

        Raises:
            CarrierNotFoundError: none of the layers is there.
        """

        def blocks_of(size: int) -> int:
            return vouching.count(size, self.block)

        def places_of(name: str, weights: Array, index: int) -> Iterator[Place]:
            flat = np.array(weights).reshape(-1)
            for found, bins in self._with_bins(flat, key, index):
                right = self._unmark(found, bins, key, index)
                yield vouching.place(name, found, right, self.bits)

        return vouching.detected(suspect, key, self.name, self.bits, blocks_of, places_of)

    def restore(self, suspect: Suspect, key: Key) -> Weights:
        """The weights of every layer as they were before the mark.

        Raises:
            CarrierNotFoundError: a layer is not there.
            RestorationError: a block was changed, so that nobody can say what it was.
        """
        restored, hurt = {}, []
        for index, name in enumerate(key.layers):
            carriers.find(suspect, key, self.name, index, finite=False)
            flat = np.array(suspect.weights[name]).reshape(-1)
            right = [
                self._unmark(found, bins, key, index)
                for found, bins in self._with_bins(flat, key, index)
            ]
            restored[name] = flat.reshape(key.shapes[index])
            hurt += [name] * (min(right) < self.bits)
        if hurt:
            raise RestorationError(
                "reversible: expected blocks that nobody has changed, got changed ones in "
                f"{carriers.listed(hurt)}; restore the network from a copy"
            )
        return restored

    def _defect(self, layer: Layer, weights: Array) -> str | None:
        """Why a layer cannot vouch for itself, or None."""
        if layer.quantization is not None:
            return f"steps of {layer.quantization}"
        if weights.dtype.name not in mantissas.BITS:
            return f"weights of {weights.dtype}"
        shift = self._coarsest(weights)
        least = min(_fullest(block, shift)[0] for _, _, block in self._blocks(weights))
        return f"{least}" if least < self.bits else None

    def _blocks(self, weights: Array) -> Iterator[vouching.Block]:
        return vouching.blocks(np.array(weights).reshape(-1), self.block)

    def _coarsest(self, weights: Array) -> int:
        """Most bits that a bin leaves out."""
        return max(0, mantissas.BITS[weights.dtype.name] - self.coarsest)

    def _bins(self, weights: Array) -> list[tuple[int, int, int]]:
        """Of each block the bits left out, the fullest bin, and the first empty one above it."""
        return [self._finest(block) for _, _, block in self._blocks(weights)]

    def _finest(self, block: Array) -> tuple[int, int, int]:
        """Joining bins makes none emptier, so that the finest steps are found by halving."""
        low, high = 0, self._coarsest(block)
        while low < high:
            middle = (low + high) // 2
            enough = _fullest(block, middle)[0] >= self.bits
            low, high = (low, middle) if enough else (middle + 1, high)
        _, full, empty = _fullest(block, low)
        return low, full, empty

    def _with_bins(
        self, flat: Array, key: Key, index: int
    ) -> Iterator[tuple[vouching.Block, tuple[int, int, int]]]:
        """Blocks (views) with the numbers that the key holds of them.

        Raises:
            RestorationError: the key holds those of another number of blocks.
        """
        blocks = list(vouching.blocks(flat, self.block))
        begin = sum(vouching.count(math.prod(shape), self.block) for shape in key.shapes[:index])
        bins = key.arrays.get("bins", np.empty((0, 3), np.int64))
        found = bins[begin : begin + len(blocks)]
        if found.shape != (len(blocks), 3):
            raise RestorationError(
                f"reversible: expected a key with three numbers of each of {len(blocks)} blocks of "
                f"layer {key.layers[index]!r}, got an array of shape {bins.shape}; restore the key "
                "from a copy"
            )
        for block, (shift, full, empty) in zip(blocks, found.tolist(), strict=True):
            yield block, (int(shift), int(full), int(empty))

    def _mark(
        self, found: vouching.Block, bins: tuple[int, int, int], key: Key, index: int
    ) -> None:
        start, _, block = found
        tag = self._tag(block, key, index, start, bins, b"")
        shift, full, empty = bins
        words, numbers = mantissas.words(block), _numbers(block, shift)
        carries = self._carrying(numbers == full, key, index)
        step = words.dtype.type(1 << shift)
        words[(numbers > full) & (numbers < empty)] += step
        words[carries[: self.bits]] += tag.astype(words.dtype) * step

    def _unmark(
        self, found: vouching.Block, bins: tuple[int, int, int], key: Key, index: int
    ) -> int:
        """Take the mark out of a block; the number of bits of its hash that are right."""
        start, _, block = found
        shift, full, empty = bins
        if block.dtype.name not in mantissas.BITS or not _fits(block, bins):
            return 0
        words, numbers = mantissas.words(block), _numbers(block, shift)
        carries = self._carrying((numbers == full) | (numbers == full + 1), key, index)
        read = (numbers[carries] == full + 1).astype(np.uint8)
        words[(numbers > full) & (numbers <= empty)] -= words.dtype.type(1 << shift)
        # Weights of the fullest bin beyond the hash have stayed, and what they say belongs to it.
        more = read[self.bits :].tobytes() if read[self.bits :].any() else b""
        tag = self._tag(block, key, index, start, bins, more)
        return int(np.count_nonzero(read[: self.bits] == tag[: len(read)]))

    def _tag(
        self,
        block: Array,
        key: Key,
        index: int,
        start: int,
        bins: tuple[int, int, int],
        more: bytes,
    ) -> NDArray[np.uint8]:
        """The hash (bits,) of a block without its mark."""
        return vouching.hash_bits(block, key.secret, self.bits, index, start, *bins, more.hex())

    def _carrying(self, there: NDArray[np.bool_], key: Key, index: int) -> NDArray[np.int64]:
        """The places of some weights, in keyed order."""
        order = _order(key.secret, index, len(there))
        return order[there[order]]


def _magnitudes(block: Array) -> NDArray[np.unsignedinteger[Any]]:
    """The bits of weights without their sign, which grow with the magnitude."""
    words = mantissas.words(block)
    found: NDArray[np.unsignedinteger[Any]] = words & words.dtype.type(
        (1 << (8 * block.dtype.itemsize - 1)) - 1
    )
    return found


def _numbers(block: Array, shift: int) -> NDArray[np.unsignedinteger[Any]]:
    """The bin of each weight."""
    magnitudes = _magnitudes(block)
    return np.asarray(magnitudes >> magnitudes.dtype.type(shift))


def _limits(block: Array, shift: int) -> tuple[int, int]:
    """The first bin of numbers that are not denormal, and that of infinity."""
    mantissa = mantissas.BITS[block.dtype.name]
    exponents = (1 << (8 * block.dtype.itemsize - 1 - mantissa)) - 1
    return _LEAST_EXPONENT << (mantissa - shift), exponents << (mantissa - shift)


def _fullest(block: Array, shift: int) -> tuple[int, int, int]:
    """Weights of the fullest bin, its number, and the first empty bin above it.

    Of a block without any weight that can change, or without an empty bin, no weights.
    """
    least, infinite = _limits(block, shift)
    there, counts = np.unique(_numbers(block, shift), return_counts=True)
    usable = (there >= least) & (there < infinite)
    if not usable.any():
        return 0, 0, 0
    there, counts = there[usable].astype(np.int64), counts[usable]
    first = int(np.argmax(counts))
    gaps = np.flatnonzero(np.diff(there[first:]) > 1)
    last = there[first + int(gaps[0])] if len(gaps) else there[-1]
    empty = int(last) + 1
    return (int(counts[first]) if empty < infinite else 0), int(there[first]), empty


def _fits(block: Array, bins: tuple[int, int, int]) -> bool:
    """Whether numbers of a key can be those of a block of this type."""
    shift, full, empty = bins
    if not 0 <= shift <= mantissas.BITS[block.dtype.name]:
        return False
    least, infinite = _limits(block, shift)
    return least <= full < empty < infinite


@lru_cache(maxsize=64)
def _order(secret: bytes, index: int, length: int) -> NDArray[np.int64]:
    return keystream.permutation(secret, f"reversible/{index}", length)
