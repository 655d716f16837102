"""Whether two networks were trained independently: no mark, no data, whatever the channel order.

Zhu, Ahmed, Kuditipudi, Liang, "Independence Tests for Language Models", ICML 2025, arXiv
2502.12292: hidden units are matched twice, by different weights, and matchings that agree tell
common descent. Here for any network whose hidden channels the graph proves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple, TypeAlias

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, channels, knowing
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Card,
    Detection,
    Detects,
    HiddenAxis,
    Key,
    Network,
    Null,
    Payload,
    Place,
    Suspect,
    Weights,
)

_AXES = "axes"
_FEWEST = 8
"""Channels of an axis: with fewer, chance alone reaches too little."""
_SIDES = ("out", "in")

Floats: TypeAlias = NDArray[np.float64]


class _Agreement(NamedTuple):
    """How far two matchings of an axis agree: their correlation, and logarithm (e) of p."""

    axis: HiddenAxis
    correlation: float
    log_p: float


@dataclass(frozen=True)
class Independence(Detects):
    """Channels matched by their incoming weights are those matched by their outgoing weights.

    For each hidden axis the channels of the suspect are assigned to those of the owner twice, once
    by the kernels that make them and once by those that take them in, as sorted weights whose
    order, and whose scale, do not matter. Were the networks independent, the two matchings would
    have nothing to do with each other, and their correlation that of two random orders. Axes are
    joined by Fisher's sum of logarithms.

    The p-value is approximate, and slightly too small: channels that never fire, or that do little,
    are alike on both sides in networks that have nothing else in common. It is fit for levels of
    1e-4 and below; at .05 it says Yes too often. It proves descent and not ownership.
    """

    name = "independence"
    summary = "hidden channels match twice in the same way: descent, whatever their order and scale"
    kind = "fingerprint"
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="Zhu, Ahmed, Kuditipudi, Liang, Independence Tests for Language Models, ICML 2025, "
        "arXiv 2502.12292; two matchings of the channels of any network: this project",
        blind=True,
        capacity="no payload",
        key="sorted weights of the hidden channels on both sides",
        null="correlation of random orders by axis, joined by Fisher: approximate, for levels of "
        "1e-4 and below",
        reported=(
            "90 pairs of independent networks: joined p below .05 / .01 / .001 in 7.8 / 2.2 / 0 % "
            "(computed by this project)",
            "all channels permuted and noise of .3: p from 1e-8 to 1e-18 (computed by this "
            "project)",
        ),
        dies_of=(
            "training again from other initial weights, such as distillation (by design)",
            "adding dummy neurons, which costs nothing, where nobody takes them out before: the "
            "channels that are compared are so many (by construction)",
            "flipping the signs of channels before a normalisation, in part: p from 1e-157 to "
            "1e-30 (three CIFAR-10 networks, computed by this project)",
            "noise of half a standard deviation on all weights of a perceptron of 64 and 48 "
            "channels: its sorted weights are too few (computed by this project)",
        ),
    )
    adaptive = (
        (knowing.step("sign-flips"), knowing.step("dummy-neurons")),
        (knowing.step("dummy-neurons"),),
    )

    points: Annotated[int, Ge(2), Le(1 << 16)] = option(
        64, help="sorted weights kept of each channel, for each place of a kernel"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """The fingerprint of all hidden axes, or of those that begin in the layers asked for.

        Raises:
            InjectionError: a payload was given, or the graph proves no axis of eight channels.
        """
        carriers.check_presence(size, self.name)
        found = channels.chosen(network, bench.layers, self.name)
        axes = [axis for axis in found if axis.size >= _FEWEST and _has_both(axis)]
        if not axes:
            raise InjectionError(
                f"independence: expected a hidden axis of at least {_FEWEST} channels, got "
                f"{len(found)} of fewer; use other layers"
            )
        why = f"{sum(axis.size for axis in axes)} channels of {len(axes)} hidden axes"
        facts = {_AXES: channels.to_facts(axes)}
        taken = channels.taken(network, axes)
        key = carriers.key_for(self, taken, network, 0, secret, [why], facts)
        plain = channels.balanced(network.weights, axes)
        arrays = {
            f"{index}/{side}": self._features(plain, axis, side).astype(np.float32)
            for index, axis in enumerate(axes)
            for side in _SIDES
        }
        return replace(key, arrays=arrays)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """How well the two matchings agree: -log10 of the joined p-value, axis by axis.

        Axes of which a layer is not in the suspect are left out and named in the notes.

        Raises:
            CarrierNotFoundError: none of the axes is there.
            ConfigurationError: the key has no fingerprint.
        """
        axes = channels.from_facts(key.facts.get(_AXES))
        weights, refusal = _present(suspect, key)
        there = [(k, a) for k, a in enumerate(axes) if all(n in weights for n in a.layers)]
        if not there and refusal is not None:
            raise refusal
        plain = channels.balanced(weights, [axis for _, axis in there])
        found = [self._agreement(plain, key, index, axis) for index, axis in there]
        log_p = fisher([one.log_p for one in found])
        least = fisher([log_chance(1.0, one.axis.size) for one in found])
        left = [axis.name for axis in axes if axis not in [a for _, a in there]]
        notes = [f"{sum(a.size for _, a in there)} channels of {len(found)} axes compared"]
        notes += [f"axes not found: {carriers.listed(left)}"] * bool(left)
        return Detection(
            statistic=-log_p / math.log(10),
            log10_p=log_p / math.log(10),
            null=Null(
                f"orders of hidden channels, joined by Fisher over {len(found)} axes; approximate, "
                "for levels of 1e-4 and below",
                log10_least=least / math.log(10),
            ),
            places=tuple(_place(one, weights) for one in found),
            notes=tuple(notes),
        )

    def _features(self, weights: Weights, axis: HiddenAxis, side: str) -> Floats:
        """What each channel is like on one side, (size, features)."""
        parts = [
            channels.shape_free(weights[s.layer], s, axis.size, self.points)
            for s in axis.strands
            if s.direction == side
        ]
        return np.concatenate(parts, axis=1)

    def _agreement(self, weights: Weights, key: Key, index: int, axis: HiddenAxis) -> _Agreement:
        matchings = []
        for side in _SIDES:
            own, theirs = key.arrays.get(f"{index}/{side}"), self._features(weights, axis, side)
            if own is None or own.shape != theirs.shape:
                raise ConfigurationError(
                    f"key: expected features {theirs.shape} of the channels of {axis.name!r}, got "
                    f"{'none' if own is None else own.shape}; restore the key from a copy"
                )
            matchings.append(matched(np.asarray(own, np.float64), theirs))
        correlation = _correlation(*matchings)
        return _Agreement(axis, correlation, log_chance(correlation, axis.size))


def _has_both(axis: HiddenAxis) -> bool:
    return {strand.direction for strand in axis.strands} >= set(_SIDES)


def _correlation(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Pearson's correlation of two orders (h,)."""
    middle = (len(first) - 1) / 2
    return float(np.dot(first - middle, second - middle) / np.square(first - middle).sum())


def matched(own: Floats, theirs: Floats) -> NDArray[np.int64]:
    """For each channel (h, m) the one of the other network that is most like it, each once.

    The sum of the cosines is the largest of all assignments; rows are of norm 1 or 0.
    """
    from scipy.optimize import linear_sum_assignment

    assigned: NDArray[np.int64] = linear_sum_assignment(own @ theirs.T, maximize=True)[1]
    return assigned


def log_chance(correlation: float, size: int) -> float:
    """Logarithm (e) of P(r >= correlation) of two unrelated orders of `size` >= 4 channels.

    r / c is taken as the correlation of two random directions in m + 1 dimensions, c and m such
    that the second and the fourth moment are those of all orders, 1 / (h - 1) and 3 (25 h^3 -
    38 h^2 - 35 h + 72) / (25 h (h + 1) (h - 1)^3): Student's t alone, which is m = h - 1, is too
    small far out, by a quarter at 1e-4 for 48 channels. Never below that of one order of all.
    """
    from scipy.special import betainc, betaln, hyp2f1

    h = size
    excess = 3 - 3 * (25 * h**3 - 38 * h**2 - 35 * h + 72) / (25 * h * (h + 1) * (h - 1))
    m = 2 * (3 - excess) / excess
    square = correlation**2 * (h - 1) / m
    half, rest = (m - 1) / 2, 1 - square
    if correlation <= 0:
        return math.log1p(-0.5 * float(betainc(half, 0.5, rest)))
    # I_x(a, b) = x^a (1 - x)^b F(a + b, 1; a + 1; x) / (a B(a, b)), whose
    # logarithm does not underflow.
    series = math.log(float(hyp2f1(half + 0.5, 1, half + 1, rest)))
    head = half * math.log(rest) + 0.5 * math.log(square) - math.log(half)
    return max(math.log(0.5) + head - float(betaln(half, 0.5)) + series, -_orders(size))


def fisher(log_p: Sequence[float]) -> float:
    """Logarithm (e) of the joined p-value of independent ones, by Fisher's method.

    The sum x of -log p is Gamma(k) under the null: e^-x sum_{j < k} x^j / j!.
    """
    from scipy.special import gammaln, logsumexp

    total = -sum(log_p)
    if total <= 0:
        return 0.0
    j = np.arange(len(log_p))
    return min(0.0, float(logsumexp(j * math.log(total) - gammaln(j + 1))) - total)


def _orders(size: int) -> float:
    """Logarithm (e) of the number of orders."""
    return math.lgamma(size + 1)


def _present(suspect: Suspect, key: Key) -> tuple[Weights, CarrierNotFoundError | None]:
    """The layers of the key that are in the suspect, and why the last other one is not."""
    found, refusal = {}, None
    for index, name in enumerate(key.layers):
        try:
            found[name] = carriers.find(suspect, key, "independence", index).values
        except CarrierNotFoundError as error:
            refusal = error
    return found, refusal


def _place(one: _Agreement, weights: Weights) -> Place:
    size = weights[one.axis.name].size
    return Place(one.axis.name, 0, size, one.correlation, one.log_p / math.log(10))
