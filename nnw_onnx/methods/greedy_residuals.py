"""Greedy residuals: the mean of the larger half of each row of pooled weights has a bit's sign.

Liu, Weng, Zhu, "Watermarking Deep Neural Networks with Greedy Residuals", ICML 2021 (PMLR 139).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.kit import carriers, injections, knowing, symbols
from nnw_onnx.math import penalties, residuals
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

_LEAST_WEIGHTS = 16


@dataclass(frozen=True)
class GreedyResiduals(Decodes, Injects, Trains):
    """Row i of the pooled weights, without its smaller half, has a mean of the sign of bit i.

    The weights of a layer, flat in canonical order, are cut to T rows of 253 blocks and averaged in
    each block; a layer too small for that has shorter rows. The half of a row with the largest
    magnitudes stays, the rest counts as zero, and the mean of the row is its residual. The margin
    is in units of sigma / sqrt(weights a row). In the paper there are always 256 rows, of a layer
    of any size, and signs from the hash of a signed statement; here they are payload XOR mask.

    Weights beside each other often lean to one side, and a residual that leans to the wrong one has
    to be turned: in trained networks that takes more than methods with keyed signs need.

    Without training, each residual below the margin is raised to it by the least constant that is
    added to all weights of the half that stays. Trained, the loss gets lambda sum_i
    max(0, margin - sign_i residual_i), as in the paper, whose margin is 0.1 for all layers.

    Rows are where they are for every key: whoever knows the method can move all residuals. Only the
    mask of the payload makes the null exact.
    """

    name = "greedy-residuals"
    summary = "signs of the means of the larger weights, row by row (Liu 2021)"
    card: ClassVar[Card | None] = Card(
        paper="Liu, Weng, Zhu, Watermarking Deep Neural Networks with Greedy Residuals, ICML 2021, "
        "PMLR 139",
        blind=True,
        capacity="one bit for every 16 weights; 256 in the paper",
        key="nothing beside its secret",
        null="Bin(bits, 1/2), exact by the masked payload alone: every key reads the same weights",
        dies_of=(
            "moving the larger half of every row by a random sign, which takes no key: half of 64 "
            "bits within 0.7 points by who knows their number, a fifth to a third by who reckons "
            "with 256 (three CIFAR-10 networks, computed by this project)",
            "permuting filters or input channels (by construction)",
        ),
        strength="margin",
    )
    adaptive = (
        (knowing.aimed("@largest", "residual-signs", rows=64),),
        (knowing.aimed("@largest", "residual-signs", rows=256),),
        knowing.REORDERED,
        knowing.DISGUISED,
    )

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: least residual, in standard deviations of the mean of a row"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        1.0, help="lambda of the term of the loss, a sum over the bits; only used when trained"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for; raises `InjectionError`."""
        carriers.check_size(size)
        purpose = f"{size} symbols; use a shorter payload or another layer"
        least = _LEAST_WEIGHTS * size
        carrier, reason = carriers.largest(network, bench, self.name, least, purpose)
        columns, block = residuals.shape(carrier.layer.size, size)
        each = f"{size} rows of {columns} x {block} weights"
        why = [f"carrier {carriers.describe(carrier.layer)}: {reason}; {each}"]
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose residuals reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs = symbols.embedded_signs(payload, key)
        marked = residuals.raised(carrier.values, signs, self._margin(carrier.values, key.size))
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Lambda sum_i max(0, margin - sign_i residual_i), with its gradient by the carrier.

        The margin is that of the network given; which half is the larger is seen at each step.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        start, name = carriers.trained(network.weights, key, self.name), key.layers[0]
        signs, margin = symbols.embedded_signs(payload, key), self._margin(start, key.size)

        def penalty(now: Moment) -> Penalty:
            values = carriers.trained(now.weights, key, self.name)
            term = _term(values, signs, margin)
            return Penalty(self.strength * term.value, {name: self.strength * term.derivatives})

        return Additions(penalty, carriers=key.layers)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the residuals; raises `CarrierNotFoundError`.

        The confidence is a residual in units of the root of the mean square of all of them.
        """
        carrier = carriers.find(suspect, key, self.name)
        found = residuals.means(residuals.pooled(carrier.values, key.size))
        scale = float(np.sqrt(np.mean(np.square(found))))
        return symbols.read(found, scale, key, carrier.notes)

    def _margin(self, values: Array, symbols: int) -> float:
        return self.margin * residuals.deviation(values, symbols)


def _term(values: Array, signs: NDArray[np.float64], margin: float) -> penalties.Term:
    """What the residuals miss to the margin, with derivatives by every weight."""
    pooled = residuals.pooled(values, len(signs))
    half = residuals.larger_half(pooled)
    term = penalties.hinge(np.where(half, pooled, 0.0).mean(axis=1), signs, margin)
    block = residuals.shape(values.size, len(signs))[1]
    by_block = np.where(half, term.derivatives[:, None], 0.0) / (pooled.shape[1] * block)
    by_weight = np.zeros(values.size)
    by_weight[: by_block.size * block] = np.repeat(by_block.reshape(-1), block)
    return penalties.Term(term.value, by_weight.reshape(values.shape))
