"""A mark without payload: the weights of a layer correlate with keyed random signs.

Additive spread spectrum in its plain form (Cox, Kilian, Leighton, Shamoon, "Secure Spread Spectrum
Watermarking for Multimedia", IEEE Trans. Image Processing 6 (1997)), on all weights of one layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import carriers, keystream, knowing
from nnw_onnx.math import normal
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Card,
    Detection,
    Detects,
    Injects,
    Key,
    Network,
    Null,
    Payload,
    Suspect,
    Weighted,
)

_LEAST_WEIGHTS = 4
"""Weights for each squared standard deviation of the margin: fewer change by more than half."""
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Presence(Detects, Injects):
    """Every weight of the largest kernel moves by one small step along its own keyed sign.

    The statistic is S = sum sign_i w_i / ||w||. Under a random key its mean is 0 and its variance 1
    whatever the weights are, and its tail has a bound that holds for all of them
    (`math.normal.log10_signs_tail`): the p-value is an upper limit, never too small.
    """

    name = "presence"
    summary = "one layer correlates with keyed signs: present or not, no payload"
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="Cox, Kilian, Leighton, Shamoon, Secure Spread Spectrum Watermarking for Multimedia, "
        "IEEE Trans. Image Processing 6, 1997; on the weights of a layer: of this project",
        blind=True,
        capacity="no payload; says that it is there",
        key="nothing beside its secret",
        null="random signs of any weights: a bound on the tail, not an approximation "
        "(Bentkus and Dzindzalieta, Bernoulli 21, 2015)",
        dies_of=("permuting filters or inputs, since weights are found by their index",),
        strength="margin",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    margin: Annotated[float, Ge(1), Le(1000)] = option(
        12.0, help="strength: correlation in standard deviations under a random key"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for; raises `InjectionError`."""
        carriers.check_presence(size, self.name)
        least = math.ceil(_LEAST_WEIGHTS * self.margin**2)
        purpose = f"a margin of {self.margin:g}; use a smaller margin or another layer"
        carrier, reason = carriers.largest(network, bench, self.name, least, purpose)
        why = (f"carrier {carriers.describe(carrier.layer)}: {reason}",)
        return carriers.key_for(self, [carrier], network, 0, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose correlation is the margin.

        Raises:
            InjectionError: a payload was given, or the layer's type is too coarse for the step.
        """
        carriers.check_presence(len(payload), self.name)
        carrier = carriers.find(network, key, self.name)
        flat, signs = carrier.values.reshape(-1), _signs(key, carrier.values.size)
        marked = flat + _step(flat, signs, self.margin) * signs
        result = network.with_weights({carrier.layer.name: marked.reshape(carrier.values.shape)})
        reached = self._correlation(result, key)[0]
        if reached < (1 - _TOLERANCE) * self.margin:
            raise InjectionError(
                f"layer {carrier.layer.name!r}: expected a correlation of {self.margin:g} standard "
                f"deviations, got {reached:.3g} once stored as {carrier.layer.dtype}; use a larger "
                "margin or another layer"
            )
        return result

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The correlation, with a p-value that holds for any weights.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
        """
        statistic, size, notes = self._correlation(suspect, key)
        return Detection(
            statistic=statistic,
            log10_p=normal.log10_signs_tail(statistic),
            null=Null(
                f"random signs of {size} weights",
                log10_least=normal.log10_signs_tail(math.sqrt(size)),
            ),
            log10_inverted=normal.log10_signs_tail(-statistic),
            notes=notes,
        )

    def _correlation(self, network: Weighted, key: Key) -> tuple[float, int, tuple[str, ...]]:
        """Statistic, number of weights, and notes on how the carrier was found."""
        carrier = carriers.find(network, key, self.name)
        flat = carrier.values.reshape(-1)
        norm = float(np.linalg.norm(flat))
        dot = float(np.dot(flat, _signs(key, flat.size)))
        return dot / norm if norm > 0 else 0.0, flat.size, carrier.notes


def _signs(key: Key, size: int) -> NDArray[np.float64]:
    return keystream.signs(key.secret, "presence/signs", size).astype(np.float64)


def _step(flat: NDArray[np.float64], signs: NDArray[np.float64], margin: float) -> float:
    """The step g >= 0 for which sum s (w + g s) / ||w + g s|| is the margin; 0 where it is beyond.

    With S = sum s w and Q = ||w||^2 the condition is (S + g n)^2 = m^2 (Q + 2 g S + g^2 n), of
    which this is the larger root.
    """
    n, dot, energy = flat.size, float(np.dot(flat, signs)), float(np.dot(flat, flat))
    if dot >= margin * math.sqrt(energy):
        return 0.0
    rest = n * (dot**2 - margin**2 * energy) / (n - margin**2)
    return (math.sqrt(dot**2 - rest) - dot) / n
