"""Uchida's watermark: put in by a term of the loss, or by the least change of a layer.

Uchida, Nagai, Sakazawa, Satoh, "Embedding Watermarks into Deep Neural Networks", ICMR 2017 (the
"Regularisation Term Watermarking" of MPAI-NNW). Where nothing is trained, a closed form of the
least change replaces the training; both are decoded alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.arrays import carriers, injections, keystream, penalties, projection, symbols
from nnw_onnx.methods import _filters
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Decoding, Detection, Key, Network, Payload, Penalty, Weights


@dataclass(frozen=True)
class Uchida:
    """Signs of random projections of the filter mean; every filter gets the same change.

    The margin is in units of sigma sqrt(M/L), the standard deviation that a projection would have
    if the L filters of M weights were independent. Key matrix: 8 T M bytes. Trained, the term of
    the loss is lambda times the SUM over the bits of the cross-entropy in nats, as in the paper;
    MPAI's testbed takes 0.1 times the mean over the bits of that in bits.
    """

    name: ClassVar[str] = "uchida"
    summary: ClassVar[str] = "signs of random projections of a layer's filter mean (Uchida 2017)"

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: least projection, in standard deviations of independent weights"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.01, help="lambda of the term of the loss, a sum over the bits; only used when trained"
    )

    def make_key(
        self, network: Network, payload_size: int, secret: bytes, layer: str | None = None
    ) -> Key:
        """Key of the last Conv kernel with M > 4 payload_size, or of `layer` (M > payload_size).

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
        """
        carriers.check_size(payload_size)
        if layer is None:
            refusal = _filters.refusal(network, payload_size)
            carrier = carriers.first_fit(
                network, _filters.preference(network, payload_size), refusal
            )
        else:
            carrier = carriers.take(network, carriers.named(network, layer))
        why = _filters.explain(carrier.layer, payload_size, chosen=layer is None)
        return carriers.key_for(self.name, carrier, network, payload_size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key) -> Network:
        """The network whose projections reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs = symbols.embedded_signs(payload, key)
        matrix = _matrix(key)
        projections = matrix @ projection.filter_mean(carrier.values)
        margin = self.margin * projection.natural_deviation(carrier.values)
        wanted = projection.targets(projections, signs, margin)
        change = projection.minimum_norm_change(matrix, wanted - projections)
        marked = carrier.values + change.reshape(carrier.values.shape[1:])
        return injections.stored(self, network, carrier, marked, payload, key)

    def weight_penalty(self, weights: Weights, payload: Payload, key: Key) -> Penalty:
        """Lambda sum_j log(1 + exp(-sign_j X_j . filter mean)), and its gradient by the carrier.

        Raises:
            CarrierNotFoundError: `weights` lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        values = carriers.trained(weights, key, self.name)
        term = penalties.projected_mean(values, _matrix(key), symbols.embedded_signs(payload, key))
        gradient = {key.layers[0]: self.strength * term.derivatives}
        return Penalty(self.strength * term.value, gradient)

    def decode(self, network: Network, key: Key) -> Decoding:
        """Signs of the projections; raises `CarrierNotFoundError`."""
        carrier = carriers.find(network, key, self.name)
        mean = projection.filter_mean(carrier.values)
        deviation = float(np.linalg.norm(mean))
        return symbols.read(_matrix(key) @ mean, deviation, key, carrier.notes)

    def detect(
        self, network: Network, payload: Payload, key: Key, false_positive_rate: float = 1e-6
    ) -> Detection:
        """Exact binomial decision on the matching bits."""
        return symbols.detection(self.decode(network, key).payload, payload, false_positive_rate)


def _matrix(key: Key) -> NDArray[np.float64]:
    """The key matrix (T, M) of N(0, 1) numbers, read-only."""
    inputs = int(np.prod(key.shapes[0][1:], dtype=np.int64))
    return _drawn(key.secret, key.payload_size, inputs)


@lru_cache(maxsize=4)
def _drawn(secret: bytes, size: int, inputs: int) -> NDArray[np.float64]:
    # Kept, because a training asks for the same matrix at every step.
    matrix = keystream.gaussian(secret, "uchida/projection", size * inputs).reshape(size, inputs)
    matrix.flags.writeable = False
    return matrix
