"""A fragile mark that also heals: changed blocks come back, bit by bit, from all the others.

That the blocks of a network check and restore each other is the idea of Gao et al., arXiv
2308.11235. Here the recovery is exact: by an erasure code over groups of blocks that the key draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import RestorationError
from nnw_onnx.kit import carriers, keystream, knowing, mantissas, vouching
from nnw_onnx.math import galois
from nnw_onnx.math.galois import Bytes
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Card,
    Detection,
    Detects,
    Injects,
    Json,
    Key,
    Layer,
    Network,
    Payload,
    Place,
    Restores,
    Suspect,
    Weights,
)

_PARITY = {"float64": 8, "float32": 8, "float16": 2, "bfloat16": 1}
"""Element type -> lowest bits of a weight that hold parity; the one above them may hold a hash."""
_BYTE = 8


@dataclass(frozen=True)
class Recoverable(Detects, Injects, Restores):
    """Blocks vouch for themselves as those of `fragile` do, and hold what restores each other.

    The lowest q of the w bits of a weight (8 of 32, 8 of 64, 2 of 16 of float16, 1 of bfloat16)
    are parity of the w - q others of all blocks in its group, up to 256 q / w of them, by a Cauchy
    code over GF(2^8). From a group in which up to q / w of the blocks were changed, a quarter in
    float32, every block comes back exactly as it was when the mark was put in; its hash proves it.
    A weight that is zero holds no parity, so that sparse layers give back less; where blocks are of
    several sizes, the share is of those that are as long. What the lowest bits were before the mark
    is gone: that is less than 2^-14 of a weight in float32, the hash included.
    """

    name = "recoverable"
    summary = "blocks of weights vouch for themselves, and changed ones are restored exactly"
    kind = "integrity"
    alphabet = 0
    gives_back = "as it was with the mark in it"
    card: ClassVar[Card | None] = Card(
        paper="none: of this project; compare Gao et al., arXiv 2308.11235, with recovery",
        blind=True,
        capacity="no payload; parity in the lowest quarter of the bits, a hash in every 1,024 "
        "weights",
        key="the types of its layers beside its secret",
        null="Bin(blocks, 2^-bits): a keyed hash is right in an untouched block only, or by chance",
        reported=("recovery of networks of which less than 20 % were modified (Gao et al.)",),
        dies_of=("any change of any weight in a block: that is its purpose",),
    )
    adaptive = ((knowing.aimed("@all", "low-bits", kept=10),),)

    block: Annotated[int, Ge(64), Le(1 << 20)] = option(
        1024, help="weights of a block, the finest place of a change that is told and restored"
    )
    bits: Annotated[int, Ge(8), Le(64)] = option(32, help="bits of a block's hash")

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
            f"blocks with {self.bits} weights that keep a bit, and none below the normal numbers",
            "use fewer bits, larger blocks, or a network that is neither sparse nor quantized",
            f"blocks of {self.block} weights",
        )
        types: dict[str, Json] = {n: network.weights[n].dtype.name for n in key.layers}
        return Key(**{**vars(key), "facts": {"types": types}})

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with parity in its lowest bits, and hashes above them.

        Raises:
            InjectionError: a payload was given, or a layer does not keep lowest bits.
        """
        carriers.check_presence(len(payload), self.name)
        flat = {}
        for index, name in enumerate(key.layers):
            carriers.find(network, key, self.name, index)
            flat[name] = np.array(network.weights[name]).reshape(-1)
        for group in self._groups(key, flat):
            for one in group.blocks:
                self._set_tag(one, key, None)
            parity = group.parity(np.stack([one.data(group) for one in group.blocks]))
            for one, bits in zip(group.blocks, parity, strict=True):
                one.set_parity(bits)
                self._set_tag(one, key, self._tag(one, key))
        shapes = dict(zip(key.layers, key.shapes, strict=True))
        return vouching.stored(network, {n: w.reshape(shapes[n]) for n, w in flat.items()})

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The blocks that are whole, with every block as a place.

        Layers that are not in the suspect have only changed blocks, and are one place each.

        Raises:
            CarrierNotFoundError: none of the layers is there.
        """

        def blocks_of(size: int) -> int:
            return max(1, -(-size // self.block))

        def places_of(name: str, weights: Array, index: int) -> Iterator[Place]:
            flat = np.array(weights).reshape(-1)
            for one in self._blocks(flat, index):
                found = (one.start, one.start + one.weights.size, one.weights)
                yield vouching.place(name, found, self._right(one, key), self.bits)

        return vouching.detected(suspect, key, self.name, self.bits, blocks_of, places_of)

    def restore(self, suspect: Suspect, key: Key) -> Weights:
        """The weights of each layer with changed blocks, as they were when the mark was put in.

        Raises:
            CarrierNotFoundError: a layer is not there.
            RestorationError: a layer has another type, or more blocks of a group were changed than
                the others give back.
        """
        flat, types = {}, key.facts.get("types")
        for index, name in enumerate(key.layers):
            carriers.find(suspect, key, self.name, index, finite=False)
            weights = suspect.weights[name]
            wanted = types.get(name) if isinstance(types, dict) else None
            if weights.dtype.name != wanted:
                raise RestorationError(
                    f"layer {name!r}: expected weights of {wanted}, got {weights.dtype}; nothing "
                    "of the mark is left in another type"
                )
            flat[name] = np.array(weights).reshape(-1)
        restored: set[str] = set()
        for group in self._groups(key, flat):
            lost = [k for k, one in enumerate(group.blocks) if self._right(one, key) < self.bits]
            if lost:
                self._heal(group, lost, key)
                restored |= {key.layers[group.blocks[k].layer] for k in lost}
        shapes = dict(zip(key.layers, key.shapes, strict=True))
        return {n: flat[n].reshape(shapes[n]) for n in key.layers if n in restored}

    def _heal(self, group: _Group, lost: list[int], key: Key) -> None:
        """Write the lost blocks of a group anew; see `restore` for what raises."""
        for one in group.blocks:
            self._set_tag(one, key, None)
        data = group.recovered(lost)
        parity = group.parity(data)
        for k, one in enumerate(group.blocks):
            if k in lost:
                one.set_data(data[k])
                one.set_parity(parity[k])
            self._set_tag(one, key, self._tag(one, key))

    def _defect(self, layer: Layer, weights: Array) -> str | None:
        """Why a layer cannot vouch for itself, or None."""
        if layer.quantization is not None:
            return f"steps of {layer.quantization} larger than a last bit"
        if weights.dtype.name not in _PARITY:
            return f"weights of {weights.dtype}"
        flat = np.array(weights).reshape(-1)
        small = int(np.count_nonzero((flat != 0) & ~mantissas.carrying(flat)))
        if small:
            return f"{small} denormal weights"
        least = min(one.carrying.sum() for one in self._blocks(flat, 0))
        return f"{least} of {weights.dtype}" if least < self.bits else None

    def _blocks(self, flat: Array, layer: int) -> Iterator[_Block]:
        """Blocks of about the same size, none larger than `block`: views."""
        count = max(1, -(-flat.size // self.block))
        edges = [k * flat.size // count for k in range(count + 1)]
        for start, stop in pairwise(edges):
            yield _Block(layer, start, flat[start:stop])

    def _groups(self, key: Key, flat: dict[str, Array]) -> Iterator[_Group]:
        """All blocks in groups of about the same number, drawn by the key, types apart."""
        by_type: dict[str, list[_Block]] = {}
        for index, name in enumerate(key.layers):
            by_type.setdefault(flat[name].dtype.name, []).extend(self._blocks(flat[name], index))
        for dtype, every in by_type.items():
            order = keystream.permutation(key.secret, f"recoverable/{dtype}", len(every))
            most = galois.ORDER // (every[0].width // every[0].parity_bits)
            count = -(-len(every) // most)
            for k in range(count):
                yield _Group([every[i] for i in order[k::count]])

    def _tag_places(self, one: _Block, key: Key) -> NDArray[np.int64]:
        """Weights that keep a bit of the hash: the first ones in keyed order that can."""
        order = _order(key.secret, one.layer, one.weights.size)
        return order[one.carrying[order]][: self.bits]

    def _tag(self, one: _Block, key: Key) -> Bytes:
        """The hash (bits,) of a block whose places for it are zero."""
        return vouching.hash_bits(one.weights, key.secret, self.bits, one.layer, one.start)

    def _set_tag(self, one: _Block, key: Key, tag: Bytes | None) -> None:
        """Write the bits of the hash, or zeros."""
        words, where = mantissas.words(one.weights), self._tag_places(one, key)
        words[where] &= ~words.dtype.type(1 << one.parity_bits)
        if tag is not None:
            words[where] |= tag[: len(where)].astype(words.dtype) << one.parity_bits

    def _right(self, one: _Block, key: Key) -> int:
        """Bits of the hash that are right; of another type none. The block is left as it is."""
        if one.weights.dtype.name not in _PARITY:
            return 0
        copy = _Block(one.layer, one.start, one.weights.copy())
        words, where = mantissas.words(copy.weights), self._tag_places(copy, key)
        read = (words[where] >> copy.parity_bits & 1).astype(np.uint8)
        self._set_tag(copy, key, None)
        return int(np.count_nonzero(read == self._tag(copy, key)[: len(read)]))


@dataclass(frozen=True)
class _Block:
    """Weights (n,) of a layer from `start` on, a view; `layer` is the number of the layer.

    A cell is 8 / q weights next to each other: one byte of parity, and w / q - 1 bytes of data.
    """

    layer: int
    start: int
    weights: Array

    @property
    def width(self) -> int:
        """Bits of a weight: w."""
        return _BYTE * self.weights.dtype.itemsize

    @property
    def parity_bits(self) -> int:
        """Lowest bits of a weight that hold parity: q."""
        return _PARITY[self.weights.dtype.name]

    @property
    def cells(self) -> int:
        """Cells, the last of which may be filled with zeros."""
        return -(-self.weights.size * self.parity_bits // _BYTE)

    @property
    def carrying(self) -> NDArray[np.bool_]:
        """Which weights can hold bits; what their lowest bits are does not matter."""
        return mantissas.carrying(self.weights)

    @property
    def holding(self) -> NDArray[np.bool_]:
        """Which cells (cells,) hold parity: those in which every weight can."""
        padded = np.zeros(self.cells * _BYTE // self.parity_bits, np.bool_)
        padded[: self.weights.size] = self.carrying
        return np.asarray(padded.reshape(self.cells, -1).all(axis=1))

    def data(self, group: _Group) -> Bytes:
        """Bytes (w / q - 1, cells of the group) of all bits but those of parity."""
        high = self._bits()[:, self.parity_bits :].reshape(self.cells, -1)
        found = np.zeros((high.shape[1] // _BYTE, group.cells), np.uint8)
        found[:, : self.cells] = np.packbits(high, axis=1, bitorder="little").T
        return found

    def parity(self) -> Bytes:
        """The byte (cells,) of parity of each cell, whether it holds one or not."""
        low = self._bits()[:, : self.parity_bits].reshape(self.cells, _BYTE)
        return np.packbits(low, axis=1, bitorder="little")[:, 0]

    def set_data(self, data: Bytes) -> None:
        """Write all bits but those of parity, which become zero."""
        high = np.unpackbits(data[:, : self.cells].T, axis=1, bitorder="little")
        bits = np.zeros((self.cells * _BYTE // self.parity_bits, self.width), np.uint8)
        bits[:, self.parity_bits :] = high.reshape(len(bits), -1)
        self._write(bits)

    def set_parity(self, parity: Bytes) -> None:
        """Write bits of parity into the cells that hold them; those of the others stay."""
        bits, each = self._bits(), _BYTE // self.parity_bits
        low = np.unpackbits(parity[: self.cells, None], axis=1, bitorder="little")
        holds = np.repeat(self.holding, each)
        bits[holds, : self.parity_bits] = low.reshape(len(bits), -1)[holds]
        self._write(bits)

    def _bits(self) -> Bytes:
        """Bits (weights in all cells, w) of each weight, the lowest first."""
        words = np.zeros(self.cells * _BYTE // self.parity_bits, f"<u{self.width // _BYTE}")
        words[: self.weights.size] = mantissas.words(self.weights)
        return np.unpackbits(
            words.view(np.uint8).reshape(len(words), -1), axis=1, bitorder="little"
        )

    def _write(self, bits: Bytes) -> None:
        packed = np.packbits(bits, axis=1, bitorder="little").reshape(-1)
        words = packed.view(f"<u{self.width // _BYTE}")
        mantissas.words(self.weights)[:] = words[: self.weights.size]


@dataclass(frozen=True)
class _Group:
    """Blocks of one type that hold parity of each other."""

    blocks: list[_Block]
    cells: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", max(one.cells for one in self.blocks))

    @property
    def matrix(self) -> Bytes:
        """Row i makes the parity of block i from the data of all blocks."""
        rows = self.blocks[0].width // self.blocks[0].parity_bits - 1
        return galois.cauchy(len(self.blocks), rows * len(self.blocks))

    def parity(self, data: Bytes) -> Bytes:
        """Parity (blocks, cells) of data (blocks, rows, cells)."""
        return galois.product(self.matrix, data.reshape(-1, self.cells))

    def recovered(self, lost: list[int]) -> Bytes:
        """Data (blocks, rows, cells) with those of the lost blocks made from all others.

        Raises:
            RestorationError: there is too little parity left in some cell.
        """
        blocks, rows = self.blocks, len(self.matrix[0]) // len(self.blocks)
        data = np.stack([one.data(self) for one in blocks])
        data[lost] = 0
        made = self.parity(data)
        # Which rows are needed in a cell, and which hold parity: alike in most cells.
        needed = np.array([np.arange(self.cells) < blocks[k].cells for k in lost])
        holds = np.zeros((len(blocks), self.cells), np.bool_)
        missing = np.zeros((len(blocks), self.cells), np.uint8)
        for k, one in enumerate(blocks):
            if k not in lost:
                holds[k, : one.cells] = one.holding
                missing[k, : one.cells] = one.parity() ^ made[k, : one.cells]
        patterns, which = np.unique(np.concatenate([needed, holds]), axis=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            cells = np.flatnonzero(which.reshape(-1) == number)
            away = [k for k, there in zip(lost, pattern[: len(lost)], strict=True) if there]
            columns = np.array([rows * k + r for k in away for r in range(rows)], np.int64)
            left = np.flatnonzero(pattern[len(lost) :])
            if len(left) < len(columns):
                raise RestorationError(
                    f"recoverable: expected at most {len(blocks) // (rows + 1)} changed blocks in "
                    f"a group of {len(blocks)}, fewer where weights are zero or blocks shorter, "
                    f"got {len(lost)}; restore the network from a copy"
                )
            if not away:
                continue
            chosen = left[: len(columns)]
            part = galois.inverse(self.matrix[np.ix_(chosen, columns)])
            found = galois.product(part, missing[np.ix_(chosen, cells)])
            for k, values in zip(away, found.reshape(len(away), rows, -1), strict=True):
                data[k][:, cells] = values
        return data


@lru_cache(maxsize=64)
def _order(secret: bytes, index: int, length: int) -> NDArray[np.int64]:
    return keystream.permutation(secret, f"recoverable/{index}", length)
