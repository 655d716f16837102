"""ST-DM: each bit decides between two interleaved lattices for a projection of the filter mean.

Li, Tondi, Barni, "Spread-Transform Dither Modulation Watermarking of Deep Neural Network", arXiv
2012.14171.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import carriers, injections, knowing, projections, symbols
from nnw_onnx.math import penalties, projection
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
    Moment,
    Network,
    Payload,
    Penalty,
    Suspect,
    Trains,
)

_PERIOD = "period"
_STEEPNESS = 10.0
"""Factor of the sine in the logistic function of the loss: alpha of the paper."""


@dataclass(frozen=True)
class StDm(Decodes, Injects, Trains):
    """The sine of a projection, 2 pi y / D, has the sign of its bit.

    Rows of the key matrix have norm 1. The period D is delta sigma / sqrt(L), delta times the
    standard deviation of a projection of L independent filters; it is told once, by the unmarked
    network, and kept as a fact of the key, because it must not follow what is done to the weights.
    A bit is put in by moving its projection to the nearest centre: D/4 above a multiple of D for
    1, below it for 0. These centres are those of the paper's sine; as the sine is odd, a random
    key reads fair coins from any weights.

    Trained, the loss gets lambda times the sum over the bits of the cross-entropy of
    sigmoid(10 sin(2 pi y / D)). The paper's term is divided by 10 (2 pi / D)^2 / L, so that a step
    of gradient descent moves a projection by at most lambda / (2 pi) of the period, times the
    learning rate, whatever the layer; with the paper's constants (D = 2 pi / 10) lambda here is
    1000 / L times its own.
    """

    name = "st-dm"
    summary = "projections of the filter mean moved to one of two lattices (ST-DM 2020)"
    card: ClassVar[Card | None] = Card(
        paper="Li, Tondi, Barni, Spread-Transform Dither Modulation Watermarking of Deep Neural "
        "Network, arXiv 2012.14171",
        blind=True,
        capacity="fewer bits than weights a filter",
        key="the period of the lattices, as a fact",
        null="Bin(bits, 1/2), exact: a random key against any weights, and masked bits",
        dies_of=(
            "multiplying the layer by 2 and undoing it in the next: half of the bits (computed by "
            "this project)",
            "scaling its channels by random factors and undoing it behind: half of the bits, and "
            "no answer changes (three CIFAR-10 networks, computed by this project)",
            "pruning 90 % of the layer by size: a third of the bits or more (computed by this "
            "project)",
            "replacing the filter mean of its layer: no data, no key, within 0.6 points on three "
            "CIFAR-10 networks (computed by this project)",
            "permuting the input channels (arXiv 2205.00199)",
            "folding a normalisation into its layer, as optimisers and exporters do: half of the "
            "bits, because a period does not outlive unknown factors; beside the network before "
            "the mark (a reference) all come back (ResNet-20 and -56, computed by this project)",
        ),
        strength="delta",
    )
    adaptive = (
        (knowing.aimed("@last", "filter-mean"),),
        (knowing.step("scaling"),),
        knowing.REORDERED,
        knowing.DISGUISED,
    )

    delta: Annotated[float, Gt(0), Le(100)] = option(
        4.0, help="strength: period, in standard deviations of a projection"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        1.0, help="lambda of the term of the loss, in steps of the period; only used when trained"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the last Conv kernel with M > 4 size, or of the one asked for (M > size).

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
        """
        carrier, why = projections.chosen(self.name, network, size, bench)
        period = self.delta * float(carrier.values.std()) / math.sqrt(len(carrier.values))
        facts = {_PERIOD: period}
        return carriers.key_for(self, [carrier], network, size, secret, why, facts=facts)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose projections are centres; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs = symbols.embedded_signs(payload, key)
        matrix, values = _matrix(key), carrier.values
        projected = matrix @ projection.filter_mean(values)
        wanted = _nearest_centres(projected, signs, _period(key))
        change = projection.minimum_norm_change(matrix, wanted - projected)
        marked = values + change.reshape(values.shape[1:])
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The cross-entropy of the sines, with its gradient by the carrier.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
            ConfigurationError: the key has no period.
        """
        shape = carriers.trained(network.weights, key, self.name).shape
        signs, name, period = symbols.embedded_signs(payload, key), key.layers[0], _period(key)
        filters, matrix = np.ones(shape[0]), _matrix(key)

        def penalty(now: Moment) -> Penalty:
            values = carriers.trained(now.weights, key, self.name)
            given = now.constant(matrix), now.constant(signs)
            by_mean = self._term(values, *given, period, now.xp)
            term = penalties.of_mean(by_mean, shape, now.constant(filters), now.xp)
            return Penalty(term.value, {name: term.derivatives})

        return Additions(penalty, carriers=key.layers, anywhere=True)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the sines.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
            ConfigurationError: the key has no period.
        """
        carrier = carriers.find(suspect, key, self.name)
        mean, frequency = projection.filter_mean(carrier.values), 2 * math.pi / _period(key)
        sines = np.sin(frequency * (_matrix(key) @ mean))
        deviation = _deviation(frequency * float(np.linalg.norm(mean)) / math.sqrt(mean.size))
        return symbols.read(sines, deviation, key, carrier.notes)

    def _term(
        self, values: Array, matrix: Array, signs: Array, period: float, xp: Any
    ) -> penalties.Term:
        """The term of the loss, with its derivatives by the filter mean."""
        frequency = 2 * math.pi / period
        phases = frequency * (matrix @ projection.filter_mean(values, xp))
        term = penalties.cross_entropy(_STEEPNESS * xp.sin(phases), signs, xp)
        factor = self.strength * len(values) / (_STEEPNESS * frequency**2)
        by_projection = term.derivatives * _STEEPNESS * frequency * xp.cos(phases)
        return penalties.Term(factor * term.value, factor * (by_projection @ matrix))


def _matrix(key: Key) -> NDArray[np.float64]:
    """The key matrix (T, M), of rows that are uniform on the unit sphere."""
    drawn = projections.matrix(key, "projection")
    unit: NDArray[np.float64] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def _nearest_centres(
    projected: NDArray[np.float64], signs: NDArray[np.float64], period: float
) -> NDArray[np.float64]:
    """The number nearest to each projection that is sign x period/4 beyond a multiple of it."""
    offset = signs * period / 4
    return offset + period * np.rint((projected - offset) / period)


def _deviation(spread: float) -> float:
    """Standard deviation of the sine of a normal variable N(0, spread^2)."""
    return math.sqrt(-math.expm1(-2 * spread**2) / 2)


def _period(key: Key) -> float:
    period = key.facts.get(_PERIOD)
    if not isinstance(period, float) or not 0 < period < math.inf:
        raise ConfigurationError(
            f"key: expected a period above 0 among its facts, got {period!r}; restore the key "
            "from a copy"
        )
    return period
