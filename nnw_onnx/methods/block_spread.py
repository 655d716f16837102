"""Block spread spectrum: each bit shifts its own random weights by random signs.

Static spread spectrum with exclusive positions (compare Hitaj et al., "MaleficNet", ESORICS 2022,
and "TATTOOED", arXiv 2202.06091); a budget of change sets the strength.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.kit import carriers, injections, knowing, spreading, symbols
from nnw_onnx.kit.carriers import Carrier
from nnw_onnx.math.blocks import MOST, mean_square, variance
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

MINIMUM_MARGIN = 2.0
MAXIMUM_MARGIN = 8.0
_LEAST_WEIGHTS = 16


@dataclass(frozen=True)
class BlockSpread(Decodes, Injects):
    """Each Symbol owns floor(N/T) random weights; their chip-weighted sum has the Symbol's sign.

    In a layer of at most 2^22 weights they lie anywhere. In a larger one each Symbol owns one of
    every run of weights (T of them, where they are many more than T), at random and independently
    of other runs, so that no part of the layer holds more of the mark than another.

    A Symbol below the margin is raised to it. The margin, in standard deviations of the sum under a
    random key, is what the budget pays for, between 2 and 8. Peak memory of a
    large layer: about 10 bytes a weight of float32, and 50 of other types.
    """

    name = "block-spread"
    summary = "each bit shifts its own random weights of one large layer"
    card: ClassVar[Card | None] = Card(
        paper="none: of this project; spread spectrum on weights is in Hitaj et al., MaleficNet, "
        "ESORICS 2022",
        blind=True,
        capacity="one bit for every 16 weights of the layer",
        key="nothing beside its secret",
        null="Bin(bits, 1/2), exact: random chips against any weights, and masked bits",
        dies_of=(
            "permuting filters or inputs, since weights are found by their index",
            "scaling single filters, in part, since they are added up as they are",
            "the middle, minimum or maximum of five recipients' copies (measured by this project)",
        ),
        strength="budget",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    budget: Annotated[float, Gt(0), Le(1)] = option(
        0.15, help="RMS change of the layer / its standard deviation; it sets the margin"
    )
    margin: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="strength in standard deviations under a random key; overrides the budget"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for; raises `InjectionError`."""
        carriers.check_size(size)
        purpose = f"{size} symbols; use a shorter payload or another layer"
        least = _LEAST_WEIGHTS * size
        carrier, reason = carriers.largest(network, bench, self.name, least, purpose)
        why = self._explain(carrier.layer, carrier.stored, size, reason)
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose block sums reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs = symbols.embedded_signs(payload, key)
        flat, blocks = _flat(carrier), _blocks(key)
        deviation = blocks.deviation(flat)
        scores = signs * blocks.statistics(flat) / deviation
        missing = np.maximum(self._margin(scores, flat) - scores, 0.0)
        marked = blocks.shifted(flat, signs * missing * deviation / blocks.length)
        marked.flags.writeable = False
        marked = marked.reshape(carrier.layer.shape)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the block sums; raises `CarrierNotFoundError`."""
        carrier = carriers.find(suspect, key, self.name)
        flat, blocks = _flat(carrier), _blocks(key)
        return symbols.read(blocks.statistics(flat), blocks.deviation(flat), key, carrier.notes)

    def _margin(self, scores: NDArray[np.float64], flat: Array) -> float:
        if self.margin is not None:
            return self.margin
        energy = self.budget**2 * flat.size * (variance(flat) / mean_square(flat))
        margin = spreading.margin_for_energy(scores, energy)
        return min(max(margin, MINIMUM_MARGIN), MAXIMUM_MARGIN)

    def _explain(self, layer: Layer, values: Array, size: int, reason: str) -> list[str]:
        each = f"{layer.size // size} weights a symbol"
        notes = [f"carrier {carriers.describe(layer)}: {reason}; {each}"]
        relative = math.sqrt(mean_square(values)) / math.sqrt(variance(values))
        least = relative * spreading.expected_change(MINIMUM_MARGIN, size, layer.size)
        if self.margin is None and least > self.budget:
            notes.append(
                f"the budget {self.budget:g} is exceeded: the least margin {MINIMUM_MARGIN:g} "
                f"changes this layer by about {least:.2g} of its standard deviation; use a "
                "shorter payload, a larger layer or the option margin"
            )
        return notes


def _flat(carrier: Carrier) -> Array:
    """The weights in their canonical order; large ones are not copied for that, see `Blocks`."""
    if carrier.layer.size <= MOST:
        return carrier.values.reshape(-1)
    return carrier.stored.reshape(-1) if carrier.stored.flags.c_contiguous else carrier.stored


def _blocks(key: Key) -> spreading.Blocks:
    size = int(np.prod(key.shapes[0], dtype=np.int64))
    return spreading.blocks(key.secret, "block-spread", size, key.size)
