"""Dither modulation of projections, over an alphabet of any size.

Chen and Wornell, "Quantization Index Modulation", IEEE Trans. Information Theory 47 (2001), with
spread transform; on the weights of networks in Li, Tondi, Barni, "Spread-Transform Dither
Modulation Watermarking of Deep Neural Network", arXiv 2012.14171. Here static, with exclusive
weights for each Symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import carriers, injections, keystream, knowing, spreading, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Card,
    Decodes,
    Decoding,
    Injects,
    Key,
    Network,
    Payload,
    Suspect,
)

_LEAST_WEIGHTS = 16
_REMEDY = "use a shorter payload or another layer"
_STEP = "step"


@dataclass(frozen=True)
class Levels(Decodes, Injects):
    """The chip-weighted sum of each Symbol's own weights moves to the nearest of its levels.

    Symbol s of an alphabet of a has the levels step (k + s / a) + dither, k being any integer. The
    dither is uniform over a step and keyed, so what a network that was made without the key
    answers is exactly uniform over the alphabet, whatever its weights are. The step is fixed when
    the key is made: multiplying the layer by a number moves all levels.
    """

    name = "levels"
    summary = "sums of random weights of one large layer are quantised to keyed levels (QIM)"
    card: ClassVar[Card | None] = Card(
        paper="Li, Tondi, Barni, Spread-Transform Dither Modulation Watermarking of Deep Neural "
        "Network, arXiv 2012.14171; exclusive weights for each Symbol are of this project",
        blind=True,
        capacity="one Symbol of up to 256 values for every 16 weights of the layer",
        key="the distance of levels",
        null="Bin(symbols, 1/alphabet), exact: a keyed dither makes any answer uniform",
        dies_of=(
            "multiplying the layer by a number: half of the bits are wrong at 2 (computed by this "
            "project for the form with projections)",
            "noise and pruning that move a sum by more than half a level (the same)",
            "permuting filters or inputs, since weights are found by their index",
            "flipping the signs of channels before a normalisation: 9 to 11 of 64 symbols are "
            "right, of 8 by chance; scaling channels leaves 20 to 37 (three CIFAR-10 networks, "
            "computed by this project)",
        ),
        strength="step",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED, (knowing.step("sign-flips"),))

    alphabet: Annotated[int, Ge(2), Le(256)] = option(8, help="number of different Symbols")
    step: Annotated[float, Gt(0), Le(1000)] = option(
        12.0, help="distance of equal levels, in standard deviations of a sum under a random key"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for; raises `InjectionError`."""
        carriers.check_size(size)
        least, purpose = _LEAST_WEIGHTS * size, f"{size} symbols; {_REMEDY}"
        carrier, reason = carriers.largest(network, bench, self.name, least, purpose)
        each = f"{carrier.layer.size // size} weights a symbol"
        why = (f"carrier {carriers.describe(carrier.layer)}: {reason}; {each}",)
        blocks = spreading.blocks(secret, self.name, carrier.layer.size, size)
        step = self.step * blocks.deviation(carrier.values.reshape(-1))
        return carriers.key_for(self, [carrier], network, size, secret, why, facts={_STEP: step})

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose sums are on the levels of their Symbols; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        wanted = symbols.fitting(payload, key, self.alphabet)
        flat, blocks, step = carrier.values.reshape(-1), _blocks(key), _step(key)
        origin = step * (wanted / self.alphabet + _dither(key))
        away = (blocks.statistics(flat) - origin) / step
        shifts = step * (np.rint(away) - away) / blocks.length
        marked = blocks.shifted(flat, shifts).reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """The nearest level of each sum; raises `CarrierNotFoundError`.

        An exact tie of two levels has probability 0 and goes to the even one.
        """
        carrier = carriers.find(suspect, key, self.name)
        flat, blocks, step = carrier.values.reshape(-1), _blocks(key), _step(key)
        place = self.alphabet * (blocks.statistics(flat) / step - _dither(key))
        nearest = np.rint(place)
        to_border = (0.5 - np.abs(place - nearest)) * step / self.alphabet
        deviation = blocks.deviation(flat)
        sure = to_border / deviation if deviation > 0 else np.zeros(key.size)
        read = np.mod(nearest, self.alphabet).astype(np.int64)
        payload = Payload(tuple(read.tolist()), self.alphabet)
        return Decoding(payload, tuple(sure.tolist()), notes=carrier.notes)


def _blocks(key: Key) -> spreading.Blocks:
    size = int(np.prod(key.shapes[0], dtype=np.int64))
    return spreading.blocks(key.secret, "levels", size, key.size)


def _dither(key: Key) -> NDArray[np.float64]:
    """The dither (key.size,) in steps, uniform in [0, 1)."""
    return keystream.uniform(key.secret, "levels/dither", key.size)


def _step(key: Key) -> float:
    step = key.facts.get(_STEP)
    if not isinstance(step, float) or not 0 < step < np.inf:
        raise ConfigurationError(
            f"key: expected a step above 0 among its facts, got {step!r}; restore the key from a "
            "copy"
        )
    return step
