"""Uchida's watermark without training: the least change of a layer that carries the bits.

Uchida, Nagai, Sakazawa, Satoh, "Embedding Watermarks into Deep Neural Networks", ICMR 2017 (the
"Regularisation Term Watermarking" of MPAI-NNW); the closed form replaces the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.arrays import carriers, injections, keystream, projection, symbols
from nnw_onnx.methods import _filters
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Decoding, Detection, Key, Network, Payload


@dataclass(frozen=True)
class Uchida:
    """Signs of random projections of the filter mean; every filter gets the same change.

    The margin is in units of sigma sqrt(M/L), the standard deviation that a projection would have
    if the L filters of M weights were independent. Key matrix: 8 T M bytes.
    """

    name: ClassVar[str] = "uchida"
    summary: ClassVar[str] = "signs of random projections of a layer's filter mean (Uchida 2017)"

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: least projection, in standard deviations of independent weights"
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
    """The key matrix (T, M) of N(0, 1) numbers."""
    inputs = int(np.prod(key.shapes[0][1:], dtype=np.int64))
    numbers = keystream.gaussian(key.secret, "uchida/projection", key.payload_size * inputs)
    return numbers.reshape(key.payload_size, inputs)
