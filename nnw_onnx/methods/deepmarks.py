"""DeepMarks: a user's code vector in an orthonormal basis, as projections of the filter mean.

Chen, Rouhani, Koushanfar, "DeepMarks: A Digital Fingerprinting Framework for Deep Neural Networks",
arXiv 1804.03648 (ICMR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class DeepMarks(Decodes, Injects, Trains):
    """The projections X w of the filter mean w are f = m U b, for the code vector b of a user.

    U is a keyed orthonormal basis (T, T), b the masked payload as signs, and m the margin in
    standard deviations of a projection of independent weights, sigma sqrt(M/L). A bit is the sign
    of its coefficient in U^T X w. X is N(0, 1), thus centred: with the U(0, 1) that others take,
    all projections lean to one side and unrelated networks correlate.

    Put in by training, the loss gets gamma ||X w - f||^2; without it, the weights change least such
    that this term is 0: unlike a margin that may be exceeded, every user's vector has the same
    length, so that the coefficients of averaged copies are the average of their code vectors. The
    code is the payload's: whoever hands out copies draws it, one payload a user, under one key.
    """

    name = "deepmarks"
    summary = "a user's code vector in a keyed basis of the filter mean (DeepMarks 2019)"
    card: ClassVar[Card | None] = Card(
        paper="Chen, Rouhani, Koushanfar, DeepMarks: A Digital Fingerprinting Framework for Deep "
        "Neural Networks, arXiv 1804.03648 (ICMR 2019)",
        blind=True,
        capacity="fewer bits than weights a filter, one payload a user",
        key="nothing beside its secret",
        null="Bin(bits, 1/2), exact: centred random projections against any weights, and masked "
        "bits",
        reported=(
            "best removal of the Watermark-Robustness-Toolbox: rescaled watermark accuracy 0.292 "
            "on CIFAR-10, 0.305 on ImageNet, where 0.5 is the threshold (its figure)",
            "loss of accuracy by embedding on CIFAR-10 0.11 points, the least of its 11 methods "
            "(the same figure)",
        ),
        dies_of=(
            "replacing the filter mean of its layer: no data, no key, within 0.6 points on three "
            "CIFAR-10 networks (computed by this project)",
            "permuting the input channels, or changing signs of filters before a normalisation "
            "(arXiv 2205.00199)",
        ),
        strength="margin",
    )
    adaptive = (
        (knowing.aimed("@last", "filter-mean"),),
        (knowing.step("sign-flips"),),
        knowing.REORDERED,
        knowing.DISGUISED,
    )

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: each coefficient, in standard deviations of independent weights"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.1, help="gamma of the term of the loss; only used when trained"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the last Conv kernel with M > 4 size, or of the one asked for (M > size).

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
        """
        carrier, why = projections.chosen(self.name, network, size, bench)
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose projections are the code vector's; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        values, matrix = carrier.values, projections.matrix(key, "projection")
        missing = self._code_vector(values, payload, key) - matrix @ projection.filter_mean(values)
        change = projection.minimum_norm_change(matrix, missing)
        marked = values + change.reshape(values.shape[1:])
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Gamma ||X . filter mean - f||^2, with its gradient by the carrier.

        The length of f is that of the network given.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        start, name = carriers.trained(network.weights, key, self.name), key.layers[0]
        wanted, filters = self._code_vector(start, payload, key), np.ones(len(start))

        def penalty(now: Moment) -> Penalty:
            values = carriers.trained(now.weights, key, self.name)
            matrix = now.constant(projections.matrix(key, "projection"))
            projected = matrix @ projection.filter_mean(values, now.xp)
            apart = penalties.squared_distance(projected, now.constant(wanted), now.xp)
            by_mean = penalties.Term(apart.value, apart.derivatives @ matrix)
            term = penalties.of_mean(by_mean, values.shape, now.constant(filters), now.xp)
            return Penalty(self.strength * term.value, {name: self.strength * term.derivatives})

        return Additions(penalty, carriers=key.layers, anywhere=True)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the coefficients U^T X . filter mean; raises `CarrierNotFoundError`."""
        carrier = carriers.find(suspect, key, self.name)
        mean = projection.filter_mean(carrier.values)
        projected = projections.matrix(key, "projection") @ mean
        coefficients = _basis(key.secret, key.size).T @ projected
        return symbols.read(coefficients, float(np.linalg.norm(mean)), key, carrier.notes)

    def _code_vector(self, values: Array, payload: Payload, key: Key) -> NDArray[np.float64]:
        """The vector f (T,): the margin times the code vector, in the keyed basis."""
        signs = symbols.embedded_signs(payload, key)
        basis = _basis(key.secret, key.size)
        return self.margin * projection.natural_deviation(values) * (basis @ signs)


@lru_cache(maxsize=4)
def _basis(secret: bytes, size: int) -> NDArray[np.float64]:
    """An orthonormal basis (size, size), a vector a column, read-only."""
    drawn = projections.gaussian(secret, "deepmarks/basis", size, size)
    found, upper = np.linalg.qr(drawn)
    # Of Gram-Schmidt; libraries differ in the signs, and a key must open on every machine.
    basis: NDArray[np.float64] = found * np.sign(np.diag(upper))
    basis.flags.writeable = False
    return basis
