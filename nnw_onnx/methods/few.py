"""Fixed weights: a few keyed weights are set to signed Laplace numbers before training, and stay.

Tondi, Costanzo, Barni, "Robust and Large-Payload DNN Watermarking via Fixed,
Distribution-Optimized, Weights", arXiv 2208.10973. The keyed signs are ours: without them the
message is only repeated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import carriers, injections, keystream, knowing, spreading, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Bench,
    Card,
    Decodes,
    Decoding,
    Injects,
    Key,
    Network,
    Payload,
    Suspect,
    Trains,
)


@dataclass(frozen=True)
class Few(Decodes, Injects, Trains):
    """Each Symbol owns `weights` random weights, each set to chip x Symbol sign x |Laplace number|.

    The numbers have the standard deviation C sigma, sigma being that of the layer before. Trained,
    they are there from the first step on and never move, so the network learns around them. Without
    training they are set and nothing makes up for it: the network loses more.
    """

    name = "few"
    summary = "fixed weights: keyed Laplace numbers that a training leaves alone (Tondi 2022)"
    card: ClassVar[Card] = Card(
        paper="Tondi, Costanzo, Barni, Robust and Large-Payload DNN Watermarking via Fixed, "
        "Distribution-Optimized, Weights, arXiv 2208.10973 (2022)",
        blind=True,
        capacity="one bit for each `weights` weights of a layer",
        key="nothing beside the secret: positions, signs and sizes follow from it",
        null="Bin(bits, 1/2), exact for any weights: keyed signs are symmetric, and the payload is "
        "masked",
        reported=(
            "256 bits with 50 weights each and C = 1 in ResNet-18, DenseNet-169 and Xception "
            "(defaults of the released code)",
        ),
        dies_of=(
            "permuting hidden units, which costs nothing: positions are counted (structure of the "
            "method)",
            "pruning 99 % by size: 2.6 % of the marked weights stay, and 27 % of the bits have "
            "none of their 50 (arithmetic, for Gaussian weights)",
        ),
        strength="strength",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    weights: Annotated[int, Ge(1), Le(1 << 20)] = option(50, help="weights of a Symbol")
    strength: Annotated[float, Gt(0), Le(100)] = option(
        1.0, help="C: standard deviation of the marked weights / that of the layer"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for; raises `InjectionError`."""
        carriers.check_size(size)
        purpose = f"{size} symbols; use a shorter payload, fewer weights a symbol or another layer"
        carrier, reason = carriers.largest(network, bench, self.name, size * self.weights, purpose)
        share = size * self.weights / carrier.layer.size
        why = (f"carrier {carriers.describe(carrier.layer)}: {reason}; {share:.2%} of it is set",)
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with its marked weights set; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        marked = self._marked(carrier.values, payload, key)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Where the training starts, and which weights it leaves alone.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        values = carriers.trained(network.weights, key, self.name).astype(np.float64)
        fixed = np.zeros(values.size, np.bool_)
        fixed[self._blocks(key).positions] = True
        name = key.layers[0]
        return Additions(
            start={name: self._marked(values, payload, key)},
            fixed={name: fixed.reshape(values.shape)},
        )

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the chip-weighted sums; raises `CarrierNotFoundError`."""
        carrier = carriers.find(suspect, key, self.name)
        flat, blocks = carrier.values.reshape(-1), self._blocks(key)
        return symbols.read(blocks.statistics(flat), blocks.deviation(flat), key, carrier.notes)

    def _marked(self, values: Array, payload: Payload, key: Key) -> NDArray[np.float64]:
        """The weights (canonical shape) with those of the Symbols set."""
        blocks, signs = self._blocks(key), symbols.embedded_signs(payload, key)
        drawn = keystream.uniform(key.secret, "few/sizes", blocks.positions.size)
        scale = self.strength * float(np.std(values)) / math.sqrt(2)
        sizes = -scale * np.log1p(-drawn.reshape(blocks.positions.shape))
        marked = np.array(values, np.float64).reshape(-1)
        marked[blocks.positions] = signs[:, None] * blocks.chips * sizes
        return marked.reshape(values.shape)

    def _blocks(self, key: Key) -> spreading.Scattered:
        """Positions and signs of each Symbol's weights; raises `ConfigurationError`."""
        shape = (key.size, self.weights)
        count, size = key.size * self.weights, math.prod(key.shapes[0])
        if count > size:
            raise ConfigurationError(
                f"key: expected at most {size} marked weights in layer {key.layers[0]!r}, got "
                f"{count}; restore the key from a copy"
            )
        where = keystream.permutation(key.secret, "few/positions", size, count)
        chips = keystream.signs(key.secret, "few/chips", count)
        return spreading.Scattered(self.weights, where.reshape(shape), chips.reshape(shape))
