"""Greedy residuals: the mean of the larger half of each row of pooled weights has a bit's sign.

Liu, Weng, Zhu, "Watermarking Deep Neural Networks with Greedy Residuals", ICML 2021 (PMLR 139).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.kit import carriers, injections, symbols
from nnw_onnx.math import penalties
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

_COLUMNS = 253
_LEAST_WEIGHTS = 16
_HALVINGS = 30
_BEYOND = 1 + 1e-6


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
            "moving the larger half of every row by a random sign, which takes no key (by "
            "construction)",
            "permuting filters or input channels (by construction)",
        ),
        strength="margin",
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
        columns, block = _shape(carrier.layer.size, size)
        each = f"{size} rows of {columns} x {block} weights"
        why = [f"carrier {carriers.describe(carrier.layer)}: {reason}; {each}"]
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose residuals reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs = symbols.embedded_signs(payload, key)
        pooled, marked = _pooled(carrier.values, key.size), carrier.values.reshape(-1).copy()
        moved = signs[:, None] * _least_steps(signs, pooled, self._margin(carrier.values, key.size))
        added = np.where(_larger_half(pooled), moved, 0.0)
        block = _shape(marked.size, key.size)[1]
        marked[: added.size * block] += np.repeat(added.reshape(-1), block)
        shaped = marked.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, shaped, payload, key, bench)

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
        residuals = _residuals(_pooled(carrier.values, key.size))
        scale = float(np.sqrt(np.mean(np.square(residuals))))
        return symbols.read(residuals, scale, key, carrier.notes)

    def _margin(self, values: Array, symbols: int) -> float:
        columns, block = _shape(values.size, symbols)
        return self.margin * float(np.std(values, dtype=np.float64)) / math.sqrt(columns * block)


def _shape(size: int, symbols: int) -> tuple[int, int]:
    """Columns of the pooled matrix, and weights a block, for `size` weights of a layer."""
    columns = min(_COLUMNS, size // symbols)
    return columns, size // (symbols * columns)


def _pooled(values: Array, symbols: int) -> NDArray[np.float64]:
    """The rows (symbols, columns) of means over blocks of weights."""
    columns, block = _shape(values.size, symbols)
    flat = np.asarray(values, np.float64).reshape(-1)[: symbols * columns * block]
    pooled: NDArray[np.float64] = flat.reshape(symbols, columns, block).mean(axis=2)
    return pooled


def _larger_half(pooled: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the larger half of each row is; of an odd number of columns one more stays."""
    dropped = pooled.shape[1] // 2
    order = np.argsort(np.abs(pooled), axis=1, kind="stable")
    kept = np.ones(pooled.shape, np.bool_)
    np.put_along_axis(kept, order[:, :dropped], values=False, axis=1)
    return kept


def _residuals(pooled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean (symbols,) of each row without its smaller half."""
    residuals: NDArray[np.float64] = np.where(_larger_half(pooled), pooled, 0.0).mean(axis=1)
    return residuals


def _least_steps(
    signs: NDArray[np.float64], pooled: NDArray[np.float64], margin: float
) -> NDArray[np.float64]:
    """The least steps (symbols, 1) >= 0 by which the larger half moves until a residual is enough.

    The half that is the larger may change on the way, but the residual only grows: of the numbers
    that are moved those of the wrong sign shrink, and whatever takes their place counts for more.
    """
    upright = signs[:, None] * pooled
    half = _larger_half(upright)
    low = np.zeros((len(pooled), 1))
    # Beyond it every number that is moved is larger than all others, and has the right sign.
    high = 2 * np.abs(pooled).max(axis=1, keepdims=True) + 2 * margin + low
    enough = _residuals(upright) >= margin
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = _residuals(upright + middle * half)[:, None] >= margin
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    # A little beyond, because exactly where two numbers change places rounding decides on them.
    return np.where(enough[:, None], 0.0, _BEYOND * high)


def _term(values: Array, signs: NDArray[np.float64], margin: float) -> penalties.Term:
    """What the residuals miss to the margin, with derivatives by every weight."""
    pooled = _pooled(values, len(signs))
    half = _larger_half(pooled)
    term = penalties.hinge(np.where(half, pooled, 0.0).mean(axis=1), signs, margin)
    block = _shape(values.size, len(signs))[1]
    by_block = np.where(half, term.derivatives[:, None], 0.0) / (pooled.shape[1] * block)
    by_weight = np.zeros(values.size)
    by_weight[: by_block.size * block] = np.repeat(by_block.reshape(-1), block)
    return penalties.Term(term.value, by_weight.reshape(values.shape))
