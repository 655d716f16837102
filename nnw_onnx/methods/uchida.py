"""Uchida's watermark: put in by a term of the loss, or by the least change of a layer.

Uchida, Nagai, Sakazawa, Satoh, "Embedding Watermarks into Deep Neural Networks", ICMR 2017 (the
"Regularisation Term Watermarking" of MPAI-NNW). Where nothing is trained, a closed form of the
least change replaces the training; both are decoded alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.kit import carriers, injections, keystream, knowing, projections, symbols
from nnw_onnx.math import penalties, projection
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
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
class Uchida(Decodes, Injects, Trains):
    """Signs of random projections of the filter mean; every filter gets the same change.

    The margin is in units of sigma sqrt(M/L), the standard deviation that a projection would have
    if the L filters of M weights were independent. Key matrix: 8 T M bytes. Trained, the term of
    the loss is lambda times the SUM over the bits of the cross-entropy in nats, as in the paper;
    MPAI's testbed takes 0.1 times the mean over the bits of that in bits.

    With carrier "signed" each filter has a keyed sign in the mean, and gets the change times that
    sign. Who replaces the mean of all filters, which costs next to nothing and erases carrier
    "mean", then meets a vector that is almost independent of the carrier; in exchange the order of
    the filters matters. Change, null and answer to noise and pruning are those of "mean".
    """

    name = "uchida"
    summary = "signs of random projections of a layer's filter mean (Uchida 2017)"
    before = MappingProxyType({"carrier": "mean"})
    card: ClassVar[Card | None] = Card(
        paper="Uchida, Nagai, Sakazawa, Satoh, Embedding Watermarks into Deep Neural Networks, "
        "ICMR 2017, arXiv 1701.04082",
        blind=True,
        capacity="fewer bits than weights a filter; a quarter of them is a good limit",
        key="nothing beside its secret",
        null="Bin(bits, 1/2), exact: a random key against any weights, and masked bits",
        reported=(
            "complete after 65 % of the parameters are pruned (abstract)",
            "best removal of the Watermark-Robustness-Toolbox: rescaled watermark accuracy 0.274 "
            "on CIFAR-10, 0.000 on ImageNet, where 0.5 is the threshold (its figure)",
        ),
        dies_of=(
            "replacing the filter mean of its layer, with carrier mean only: no data, no key, "
            "within one point of accuracy on two CIFAR-10 ResNets, and on three small networks "
            "within 0.4 points, but 4 to 8 where it is that of all layers (computed by this "
            "project)",
            "subtracting the first singular component of its layer, with carrier signed and a "
            "large margin: half of the bits at 43, at no loss, and none at 2, where it costs 3 "
            "points (three CIFAR-10 networks, computed by this project)",
            "permuting the filters, with carrier signed only (computed by this project)",
            "permuting the input channels, or changing signs of filters before a normalisation "
            "(arXiv 2205.00199)",
            "keys made for a suspect afterwards, where nothing was committed (FedMark, Lemma 1)",
        ),
        strength="margin",
    )
    adaptive = (
        (knowing.aimed("@last", "filter-mean"),),
        (knowing.aimed("@last", "leading-components", count=1),),
        (knowing.step("sign-flips"),),
        knowing.REORDERED,
        knowing.DISGUISED,
    )

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: least projection, in standard deviations of independent weights"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.01, help="lambda of the term of the loss, a sum over the bits; only used when trained"
    )
    carrier: Literal["mean", "signed"] = option(
        "signed", help="mean of the filters times keyed signs, or of the filters"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the last Conv kernel with M > 4 size, or of the one asked for (M > size).

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
        """
        carrier, why = projections.chosen(self.name, network, size, bench)
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose projections reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs = symbols.embedded_signs(payload, key)
        matrix = projections.matrix(key, "projection")
        filters = _filters(self.carrier, key)
        projected = matrix @ projection.signed_mean(carrier.stored, filters)
        margin = self.margin * projection.natural_deviation(carrier.stored)
        wanted = projection.targets(projected, signs, margin)
        change = projection.minimum_norm_change(matrix, wanted - projected)
        marked = projection.moved(carrier.stored, change, filters)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Lambda sum_j log(1 + exp(-sign_j X_j . filter mean)), with its gradient by the carrier.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        carriers.trained(network.weights, key, self.name)
        signs, name = symbols.embedded_signs(payload, key), key.layers[0]
        filters = _filters(self.carrier, key)

        def penalty(now: Moment) -> Penalty:
            values = carriers.trained(now.weights, key, self.name)
            matrix = now.constant(projections.matrix(key, "projection"))
            term = penalties.projected_mean(
                values, matrix, now.constant(signs), now.constant(filters), now.xp
            )
            return Penalty(self.strength * term.value, {name: self.strength * term.derivatives})

        return Additions(penalty, carriers=key.layers, anywhere=True)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the projections; raises `CarrierNotFoundError`."""
        carrier = carriers.find(suspect, key, self.name)
        mean = projection.signed_mean(carrier.stored, _filters(self.carrier, key))
        deviation = float(np.linalg.norm(mean))
        matrix = projections.matrix(key, "projection")
        return symbols.read(matrix @ mean, deviation, key, carrier.notes)


def _filters(carrier: str, key: Key) -> NDArray[np.int8]:
    """Signs (L,) of the filters in their mean."""
    count = key.shapes[0][0]
    if carrier == "mean":
        return np.ones(count, np.int8)
    return keystream.signs(key.secret, "uchida/filters", count)
