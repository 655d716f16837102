"""Spread spectrum over a whole network: every weight moves by one gain along a keyed chip.

Hitaj et al., "MaleficNet: Hiding Malware into Deep Neural Networks Using Spread-Spectrum Channel
Coding", ESORICS 2022, and Pagnotta et al., "TATTOOED", ACSAC 2024 (arXiv 2202.06091), with weights
of its own for each Symbol instead of shared ones, and the gain in units of each layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, evidence, injections, knowing, spreading, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
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
    Weighted,
)

_LEAST_WEIGHTS = 16
_SURE = -9.0
"""Decimal logarithm of the p-value that Symbols below a code must reach when they are put in."""


@dataclass(frozen=True)
class SpreadSpectrum(Decodes, Injects):
    """Each Symbol owns random weights all over the network and adds gain x chip x sign to them.

    Nothing is adapted to the weights that are there: they are noise to the mark, and a Symbol is
    wrong with chance Q(gain sqrt(n)) for n weights of its own, which a code is to correct (`ldpc`
    with a margin of 2, say). Without a code every Symbol must be right. Gains and sums are in units
    of each layer's root mean square, so a layer counts as much whatever its scale is. Layers that a
    suspect lacks say nothing; where they hold more than half of the weights, the carrier is
    missing. Memory: 50 bytes a weight.
    """

    name = "spread-spectrum"
    summary = "all weights move by one gain along keyed chips (MaleficNet, TATTOOED); add a code"
    card: ClassVar[Card] = Card(
        paper="Hitaj, Pagnotta, Hitaj, Mancini, Perez-Cruz, MaleficNet, ESORICS 2022; Pagnotta, "
        "Hitaj, Hitaj, Perez-Cruz, Mancini, TATTOOED, ACSAC 2024, arXiv 2202.06091",
        blind=True,
        capacity="one bit for 16 weights or more of all kernels but the last, at the rate of the "
        "code",
        key="nothing beside the secret: positions and chips follow from it",
        null="Bin(bits, 1/2), exact for any weights: chips are symmetric, and the payload is "
        "masked",
        reported=("intact although 99 % of the parameters are altered (TATTOOED, abstract)",),
        dies_of=(
            "permuting hidden units of every layer, which costs nothing: positions are counted "
            "(structure of the method)",
            "scaling each channel, partly (structure of the method)",
        ),
        strength="margin",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    margin: Annotated[float, Gt(0), Le(100)] = option(
        5.0, help="gain sqrt(n): mean of a sum, in standard deviations under a random key"
    )
    gain: Annotated[float, Gt(0), Le(10)] | None = option(
        None, help="change of a weight / root mean square of its layer; overrides the margin"
    )
    chips: Annotated[int, Ge(1)] | None = option(
        None, help="most weights a Symbol; all that there are where it is left out"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of every fit kernel of `size` weights or more but the last, or of layers asked for.

        Raises:
            InjectionError: no layer is fit, one asked for is not, or all are too small together.
        """
        carriers.check_size(size)
        asked = [carriers.named(network, name) for name in bench.layers]
        layers = asked or _chosen(network, size)
        total, least = sum(layer.size for layer in layers), _LEAST_WEIGHTS * size
        small = next((layer for layer in layers if layer.size < size), None)
        if small is not None or total < least:
            got = f"{total} in all" if layers else carriers.why_none(network)
            got = got if small is None else f"{small.size} in layer {small.name!r}"
            raise InjectionError(
                f"spread-spectrum: expected at least {least} weights in layers of at least {size} "
                f"for {size} symbols, got {got}; use a shorter payload or other layers"
            )
        taken = [carriers.take(network, layer) for layer in layers]
        length = self._length(total, size)
        why = f"{len(taken)} layers of {total} weights: {'as asked' if asked else 'all that fit'}; "
        why += f"{length} weights a symbol, each moved by {self._gain(length):.2g} of its layer"
        return carriers.key_for(self, taken, network, size, secret, [why])

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with gain x chip x sign added to the weights of each Symbol.

        Raises:
            InjectionError: a Symbol is not read back; under a code, too few of them are.
        """
        found = [carriers.find(network, key, self.name, i) for i in range(len(key.layers))]
        signs, blocks = symbols.embedded_signs(payload, key), self._blocks(key)
        nothing = np.zeros(sum(carrier.values.size for carrier in found))
        moves = blocks.shifted(nothing, signs * self._gain(blocks.length))
        marked, start = {}, 0
        for carrier in found:
            values = carrier.values
            own = moves[start : start + values.size].reshape(values.shape)
            marked[carrier.layer.name] = values + _scale(values) * own
            start += values.size
        result = network.with_weights(marked)
        read = self.decode(injections.Own(result, bench), key).payload
        told = evidence.matched(read, payload)
        enough = key.code is not None and told.log10_p is not None and told.log10_p <= _SURE
        if told.statistic < key.size and not enough:
            raise InjectionError(
                f"spread-spectrum: expected all {key.size} symbols to be read back, got "
                f"{key.size - round(told.statistic)} wrong ones; use a larger margin, a shorter "
                "payload or a code"
            )
        return result

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the chip-weighted sums.

        Raises:
            CarrierNotFoundError: layers with more than half of the weights are not there.
        """
        flat, notes = self._read(suspect, key)
        blocks = self._blocks(key)
        return symbols.read(blocks.statistics(flat), blocks.deviation(flat), key, notes)

    def _read(self, suspect: Weighted, key: Key) -> tuple[NDArray[np.float64], list[str]]:
        """All weights in units of their layers, zeros for layers that are not there, and notes."""
        found: dict[int, NDArray[np.float64]] = {}
        start, missing, refusal = 0, list[str](), None
        for index, (name, shape) in enumerate(zip(key.layers, key.shapes, strict=True)):
            try:
                found[start] = carriers.find(suspect, key, self.name, index).values
            except CarrierNotFoundError as error:
                missing.append(name)
                refusal = error
            start += math.prod(shape)
        # Also what keeps a key of huge shapes from being believed.
        if refusal is not None and 2 * sum(values.size for values in found.values()) < start:
            raise refusal
        flat = np.zeros(start)
        for first, values in found.items():
            flat[first : first + values.size] = values.reshape(-1) / (_scale(values) or 1.0)
        return flat, [f"not there: {carriers.listed(missing)}"] * bool(missing)

    def _gain(self, length: int) -> float:
        return self.margin / math.sqrt(length) if self.gain is None else self.gain

    def _length(self, total: int, size: int) -> int:
        """Weights a Symbol."""
        return total // size if self.chips is None else min(self.chips, total // size)

    def _blocks(self, key: Key) -> spreading.Blocks:
        carriers.check_method(key, self.name)
        total = sum(math.prod(shape) for shape in key.shapes)
        if not 0 < key.size <= total:
            raise ConfigurationError(
                f"key: expected from 1 to {total} symbols, got {key.size}; restore the key from a "
                "copy"
            )
        length = self._length(total, key.size)
        return spreading.blocks(key.secret, self.name, total, key.size, length)


def _chosen(network: Network, size: int) -> list[Layer]:
    """Kernels of `size` weights or more, without the last one unless it is the only one."""
    return list(_fit(network, carriers.kernels(network)[:-1], size)) or list(
        _fit(network, carriers.kernels(network), size)
    )


def _fit(network: Network, layers: list[Layer], size: int) -> Iterator[Layer]:
    for layer in layers:
        fit = layer.size >= size and carriers.is_fit(network, layer)
        if fit and carriers.doubt(network, layer) is None:
            yield layer


def _scale(values: NDArray[np.float64]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
