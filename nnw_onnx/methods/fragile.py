"""A fragile mark: each block of weights vouches for itself, so that a change names its place.

A keyed hash of every block is kept in the least significant bits of some of its own weights
(compare Guan et al., "Reversible Watermarking in Deep Convolutional Neural Networks for Integrity
Authentication", arXiv 2104.04268, and Gao et al., arXiv 2308.11235).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

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
    Suspect,
)


@dataclass(frozen=True)
class Fragile(Detects, Injects):
    """The answer is Yes where the mark is there: blocks that are as they were when it was put in.

    A `Place` is a block, its statistic the number of bits of its hash that are right, and its
    p-value that of so many right by chance: all bits are right in a block that nobody touched, and
    about half of them in one where any bit of any weight was changed. The statistic of the whole is
    the number of whole blocks, which are counted in `Null.symbols`; a network without the key has
    a whole block with chance 2^-bits. Biases and other layers without blocks are not vouched for.
    """

    name = "fragile"
    summary = "blocks of weights vouch for themselves: says whether and where a network was changed"
    kind = "integrity"
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="none: of this project; compare Guan et al., arXiv 2104.04268, and Gao et al., arXiv "
        "2308.11235",
        blind=True,
        capacity="no payload; a hash of 32 bits in every 1,024 weights",
        key="nothing beside its secret",
        null="Bin(blocks, 2^-bits): a keyed hash is right in an untouched block only, or by chance",
        dies_of=(
            "any change of any weight in a block: that is its purpose; who redraws the last bits "
            "of all weights leaves no block whole, so that no place is told (by construction)",
        ),
    )
    adaptive = ((knowing.aimed("@all", "low-bits", kept=10),),)

    block: Annotated[int, Ge(64), Le(1 << 20)] = option(
        1024, help="weights of a block, the finest place of a change that is told"
    )
    bits: Annotated[int, Ge(8), Le(64)] = option(
        32, help="bits of a block's hash; as many weights of it change by at most one last bit"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of every kernel that can vouch for itself, or of the layers asked for.

        Raises:
            InjectionError: a payload was given, no layer is fit, or one asked for is not.
        """
        carriers.check_presence(size, self.name)
        return vouching.key_for(
            self,
            network,
            secret,
            bench,
            self._defect,
            f"blocks with {self.bits} weights that keep a bit",
            "use fewer bits, larger blocks, or a network that is neither sparse nor quantized",
            f"blocks of {self.block} weights",
        )

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with the hash of every block in its last bits.

        Raises:
            InjectionError: a payload was given, or a layer does not keep last bits.
        """
        carriers.check_presence(len(payload), self.name)
        marked = {}
        for index in range(len(key.layers)):
            name = carriers.find(network, key, self.name, index).layer.name
            marked[name] = self._marked(network.weights[name], key, index)
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
            return self._places(name, weights, key, index)

        return vouching.detected(suspect, key, self.name, self.bits, blocks_of, places_of)

    def _defect(self, layer: Layer, weights: Array) -> str | None:
        """Why a layer cannot vouch for itself, or None."""
        if layer.quantization is not None:
            # The last bit of a weight on a grid is one of thousands of its steps.
            return f"steps of {layer.quantization} larger than a last bit"
        blocks = vouching.blocks(weights.reshape(-1), self.block)
        least = min((int(np.count_nonzero(mantissas.carrying(x))) for _, _, x in blocks), default=0)
        return f"{least} of {weights.dtype}" if least < self.bits else None

    def _marked(self, weights: Array, key: Key, index: int) -> Array:
        flat = np.array(weights).reshape(-1)
        for start, _, block in vouching.blocks(flat, self.block):
            where = self._where(block, key, index)
            words = mantissas.words(block)  # a view: the bits of `flat` itself
            words[where] &= ~words.dtype.type(1)
            words[where] |= self._hash(block, key, index, start).astype(words.dtype)
        return flat.reshape(weights.shape)

    def _places(self, name: str, weights: Array, key: Key, index: int) -> Iterator[Place]:
        flat = np.array(weights).reshape(-1)
        for found in vouching.blocks(flat, self.block):
            start, _, block = found
            where = self._where(block, key, index)
            words = mantissas.words(block)
            read = (words[where] & words.dtype.type(1)).astype(np.uint8)
            words[where] &= ~words.dtype.type(1)
            wanted = self._hash(block, key, index, start)[: len(read)]
            yield vouching.place(name, found, int(np.count_nonzero(read == wanted)), self.bits)

    def _where(self, block: Array, key: Key, index: int) -> NDArray[np.int64]:
        """Places of the weights that keep the hash: the first ones in keyed order that can."""
        order = _order(key.secret, index, len(block))
        return order[mantissas.carrying(block)[order]][: self.bits]

    def _hash(self, block: Array, key: Key, index: int, start: int) -> NDArray[np.uint8]:
        """Bits (bits,) of the keyed hash of a block, in which the bits that keep it are zero."""
        return vouching.hash_bits(block, key.secret, self.bits, index, start)


@lru_cache(maxsize=64)
def _order(secret: bytes, index: int, length: int) -> NDArray[np.int64]:
    return keystream.permutation(secret, f"fragile/{index}", length)
