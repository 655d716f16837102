"""NeuralMark: a secret bit string, used as a filter, picks the weights whose means are projected.

Yao, Song, Jin, "Hashed Watermark as a Filter: A Unified Defense Against Forging and Overwriting
Attacks in Neural Network Watermarking", AAAI 2026, arXiv 2507.11137.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import carriers, injections, keystream, knowing, projections, symbols
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

_POOLED = 4
"""Pooled numbers a bit; the paper takes 2. With one a bit the least change explodes."""
_STRING, _ONES = 127, 64
"""Bits of the filter, and how many of them are ones.

How much is kept thus depends on the layer and not on the key. Without a common divisor the places
that are kept do not repeat: else what another key changes would meet the same places in all groups.
"""


@dataclass(frozen=True)
class NeuralMark(Decodes, Injects, Trains):
    """Signs of random projections of k = 4 T means over weights that a secret filter keeps.

    The weights of a layer, flat in canonical order, are filtered a few times: cut to a multiple of
    the filter's length, the filter laid along them again and again, those under a one kept. What is
    left is cut to n groups of k, and the mean over the groups is projected. The margin is in units
    of sigma sqrt(k/n), the standard deviation of a projection of independent weights; every group
    gets the same change. Another key keeps other weights, so that it overwrites few of these.

    It departs from the paper in one thing. There the bits are a hash of the key matrix, carry
    nothing, and are the filter as well. Here they are payload XOR mask, so that the method carries
    a payload, and the filter is a keyed string of its own. The null stays exact, and on two legs:
    the matrix is random and symmetric, whatever the means are, and the mask is fair. What the hash
    did against forging the commitment must do: no seed can be solved for that gives a wanted
    matrix, but only a payload that was bound before the suspect was seen is not made to fit.
    """

    name = "neuralmark"
    summary = "signs of projections of weights that a secret filter keeps (NeuralMark 2026)"
    card: ClassVar[Card | None] = Card(
        paper="Yao, Song, Jin, Hashed Watermark as a Filter: A Unified Defense Against Forging and "
        "Overwriting Attacks in Neural Network Watermarking, AAAI 2026, arXiv 2507.11137",
        blind=True,
        capacity="one bit for every 4 weights that the filter keeps, one in 2^rounds",
        key="nothing beside its secret",
        null="Bin(bits, 1/2), exact: a random key against any weights, and masked bits",
        dies_of=(
            "any permutation of filters or input channels (computed by this project)",
            "removing filters, which moves all later weights (by construction)",
        ),
        strength="margin",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: least projection, in standard deviations of independent weights"
    )
    rounds: Annotated[int, Ge(1), Le(8)] = option(
        4, help="times that the filter is used; each keeps half of the weights"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        1.0, help="lambda of the term of the loss, a mean over the bits; only used when trained"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel, or of the one asked for; raises `InjectionError`."""
        carriers.check_size(size)
        purpose = f"{size} symbols; use a shorter payload, fewer rounds or another layer"
        least = _least(_POOLED * size, self.rounds)
        carrier, reason = carriers.largest(network, bench, self.name, least, purpose)
        kept = _count(carrier.layer.size, self.rounds) // (_POOLED * size)
        layer = carriers.describe(carrier.layer)
        why = [f"carrier {layer}: {reason}; {kept} groups of {_POOLED * size} weights"]
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose projections reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs, groups = symbols.embedded_signs(payload, key), self._groups(key)
        matrix, marked = _matrix(key), carrier.values.reshape(-1).copy()
        projected = matrix @ marked[groups].mean(axis=0)
        margin = self.margin * float(marked.std()) * math.sqrt(groups.shape[1] / len(groups))
        wanted = projection.targets(projected, signs, margin)
        marked[groups] += projection.minimum_norm_change(matrix, wanted - projected)
        shaped = marked.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, shaped, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Lambda times the mean over the bits of the cross-entropy, with its gradient.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        carriers.trained(network.weights, key, self.name)
        signs, name, groups = symbols.embedded_signs(payload, key), key.layers[0], self._groups(key)

        def penalty(now: Moment) -> Penalty:
            values, matrix = carriers.trained(now.weights, key, self.name), _matrix(key)
            matrix, places = now.constant(matrix), now.constant(groups)
            flat = now.xp.asarray(values, dtype=now.xp.float64).reshape(-1)
            projected = matrix @ flat[places].mean(axis=0)
            term = penalties.cross_entropy(projected, now.constant(signs), now.xp)
            by_weight = now.xp.zeros_like(flat)
            by_weight[places] = term.derivatives @ matrix / (key.size * len(groups))
            gradient = self.strength * by_weight.reshape(values.shape)
            return Penalty(self.strength * term.value / key.size, {name: gradient})

        return Additions(penalty, carriers=key.layers, anywhere=True)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the projections.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
            ConfigurationError: the key has more Symbols than the filter keeps weights for.
        """
        carrier = carriers.find(suspect, key, self.name)
        means = _means(carrier.values, self._groups(key))
        deviation = float(np.linalg.norm(means))
        return symbols.read(_matrix(key) @ means, deviation, key, carrier.notes)

    def _groups(self, key: Key) -> NDArray[np.int64]:
        """Flat positions (n, k) of the weights in each group."""
        size = int(np.prod(key.shapes[0], dtype=np.int64))
        pooled = _POOLED * key.size
        if _count(size, self.rounds) < pooled:
            raise ConfigurationError(
                f"key: expected at most {_count(size, self.rounds) // _POOLED} symbols for the "
                f"{size} weights of its carrier, got {key.size}; restore the key from a copy"
            )
        kept = _kept(key.secret, size, self.rounds)
        return kept[: kept.size // pooled * pooled].reshape(-1, pooled)


def _means(values: Array, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean (k,) over the groups."""
    means: NDArray[np.float64] = np.asarray(values, np.float64).reshape(-1)[groups].mean(axis=0)
    return means


def _matrix(key: Key) -> NDArray[np.float64]:
    """The key matrix (T, k) of N(0, 1) numbers, read-only."""
    label = "neuralmark/projection"
    return projections.gaussian(key.secret, label, key.size, _POOLED * key.size)


@lru_cache(maxsize=4)
def _kept(secret: bytes, size: int, rounds: int) -> NDArray[np.int64]:
    """Flat positions that the filter keeps after so many rounds, read-only."""
    ones = keystream.permutation(secret, "neuralmark/filter", _STRING, _ONES)
    keep = np.zeros(_STRING, np.bool_)
    keep[ones] = True
    kept = np.arange(size)
    for _ in range(rounds):
        kept = kept[: kept.size // _STRING * _STRING].reshape(-1, _STRING)[:, keep].reshape(-1)
    kept.flags.writeable = False
    return kept


def _count(size: int, rounds: int) -> int:
    """How many of `size` weights the filter keeps."""
    for _ in range(rounds):
        size = size // _STRING * _ONES
    return size


def _least(count: int, rounds: int) -> int:
    """The fewest weights of which the filter keeps `count`."""
    for _ in range(rounds):
        count = -(-count // _ONES) * _STRING
    return count
