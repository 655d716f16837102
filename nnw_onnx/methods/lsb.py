"""The last bits of weights: as much payload as one likes, and nothing that survives a change.

Liu et al., "StegoNet: Turn Deep Neural Network into a Stegomalware", ACSAC 2020; Wang, Liu, Cui,
"EvilModel: Hiding Malware Inside of Neural Network Models", ISCC 2021; arXiv 2308.15502.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, injections, keystream, knowing, mantissas, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Card,
    Decodes,
    Decoding,
    Injects,
    Key,
    Layer,
    Network,
    Payload,
    Suspect,
)


@dataclass(frozen=True)
class Lsb(Decodes, Injects):
    """The `depth` lowest mantissa bits of keyed weights are the Symbols, as they are.

    A weight changes by at most 2^(depth - mantissa bits) of itself. Any cast, any step of a
    training and any noise makes the bits random: use it as the control that must fail, or as a
    fragile mark. The layer is divided into random blocks, one for each `depth` Symbols, and the
    first weight of a block that is neither zero nor denormal carries them, so that pruned weights
    cost their own Symbols only.
    """

    name = "lsb"
    summary = "the lowest mantissa bits of keyed weights: huge, invisible, and survives nothing"
    card: ClassVar[Card] = Card(
        paper="Liu et al., StegoNet, ACSAC 2020; Wang, Liu, Cui, EvilModel, ISCC 2021; "
        "arXiv 2308.15502",
        blind=True,
        capacity="`depth` bits a weight",
        key="nothing beside the secret: positions follow from it",
        null="Bin(bits, 1/2), exact for any weights, because the payload is masked",
        reported=(
            "most bits of a parameter can be overwritten before accuracy falls (arXiv 2308.15502, "
            "abstract)",
        ),
        dies_of=(
            "any cast, such as to float16 and back: the low bits are rounded away (arithmetic)",
            "redrawing the bits below those of float16: half of the bits, at no loss (computed by "
            "this project)",
            "any noise, fine-tuning, folding of batch norms or quantizing (arithmetic)",
            "permuting hidden units: positions are counted (structure of the method)",
        ),
    )
    adaptive = ((knowing.aimed("@all", "low-bits", kept=10),),)

    depth: Annotated[int, Ge(1), Le(52)] = option(1, help="lowest mantissa bits of a weight used")

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for.

        Raises:
            InjectionError: no layer, or not this one, is fit, large enough, and not quantized.
        """
        carriers.check_size(size)
        least = max(size, self._carriers(size))
        purpose = f"{size} symbols; use a shorter payload or another layer"
        carrier, reason = carriers.largest(network, bench, self.name, least, purpose)
        self._check(carrier.layer)
        each = carrier.layer.size // self._carriers(size)
        why = f"carrier {carriers.describe(carrier.layer)}: {reason}; "
        why += f"one weight in {each} changes by at most {self._change(carrier.layer):.1g}"
        return carriers.key_for(self, [carrier], network, size, secret, [why])

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with the Symbols in its lowest bits.

        Raises:
            InjectionError: they are not read back, because what is stored is not what arrives, or
                too few weights of a block are neither zero nor denormal.
        """
        carrier = carriers.find(network, key, self.name)
        flat = np.array(network.weights[carrier.layer.name]).reshape(-1)
        chosen, there = self._chosen(flat, key)
        bits, word = symbols.embedded_signs(payload, key) > 0, mantissas.words(flat)
        for place in range(self.depth):
            own, mark = bits[place :: self.depth], word.dtype.type(1 << place)
            fit = there[: len(own)]
            where = chosen[: len(own)][fit]
            word[where] = (word[where] & ~mark) | np.where(own[fit], mark, word.dtype.type(0))
        marked = flat.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """The lowest bits; a block without a weight that carries is a tie.

        Confidence is 1 for every bit that is read: a bit that was changed does not show it.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
        """
        carrier = carriers.find(suspect, key, self.name)
        flat = np.array(suspect.weights[carrier.layer.name]).reshape(-1)
        chosen, there = self._chosen(flat, key)
        read = np.zeros((len(chosen), self.depth))
        if there.any():
            word = mantissas.words(flat)[chosen]
            for place in range(self.depth):
                ones = (word >> word.dtype.type(place)) & word.dtype.type(1)
                read[:, place] = np.where(there, 2.0 * ones - 1, 0.0)
        return symbols.read(read.reshape(-1)[: key.size], 1.0, key, carrier.notes)

    def _chosen(self, flat: Array, key: Key) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The weight that carries in each block, and whether there is one."""
        count, size = self._carriers(key.size), flat.size
        if not 0 < count <= size:
            raise ConfigurationError(
                f"key: expected from 1 to {size * self.depth} symbols, got {key.size}; restore the "
                "key from a copy"
            )
        length = size // count
        order = keystream.permutation(key.secret, "lsb/positions", size, count * length)
        places = order.reshape(count, length)
        fit = mantissas.carrying(flat)[places] & (
            self.depth <= mantissas.BITS.get(flat.dtype.name, 0)
        )
        first = np.argmax(fit, axis=1)
        rows = np.arange(count)
        return places[rows, first], fit[rows, first]

    def _carriers(self, size: int) -> int:
        """Weights that carry so many Symbols."""
        return math.ceil(size / self.depth)

    def _check(self, layer: Layer) -> None:
        """Raise `InjectionError` where the low bits of a layer are not its own."""
        got = f"weights of {layer.dtype}"
        if layer.quantization is not None:
            # The last bit of a weight on a grid is one of thousands of its steps.
            got = f"steps of {layer.quantization} larger than a last bit"
        if layer.quantization is not None or self.depth > mantissas.BITS.get(layer.dtype, 0):
            raise InjectionError(
                f"layer {layer.name!r}: expected weights with {self.depth} or more bits of "
                f"mantissa to write, got {got}; use a smaller depth or another layer"
            )

    def _change(self, layer: Layer) -> float:
        """Largest relative change of a weight."""
        return float(2.0 ** (self.depth - mantissas.BITS[layer.dtype]))
