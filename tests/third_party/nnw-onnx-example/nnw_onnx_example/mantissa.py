"""A fragile watermark: each bit is the parity of the level that a keyed weight is rounded to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.arrays import carriers, injections, keystream, symbols
from nnw_onnx.errors import InjectionError
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Decoding, Detection, Key, Network, Payload


@dataclass(frozen=True)
class Mantissa:
    """Rounds one keyed weight a Symbol to an even or odd multiple of a small step.

    The step is a fraction of the layer's standard deviation, rounded to a power of two.
    """

    name: ClassVar[str] = "mantissa"
    summary: ClassVar[str] = "parity of keyed weights: a fragile mark, as a negative control"

    exponent: Annotated[int, Ge(2), Le(8)] = option(
        4, help="the step is about 2^-exponent of the standard deviation of the layer"
    )

    def make_key(
        self, network: Network, payload_size: int, secret: bytes, layer: str | None = None
    ) -> Key:
        """Key of the largest kernel, or of `layer`."""
        carriers.check_size(payload_size)
        fit = [named for named in carriers.kernels(network) if named.size >= payload_size]
        if layer is not None:
            fit = [carriers.named(network, layer)]
        refusal = f"mantissa: expected a layer of {payload_size} weights, got none; use less"
        largest = sorted(fit, key=lambda named: named.size, reverse=True)
        carrier = carriers.first_fit(network, largest, refusal)
        if carrier.layer.size < payload_size:
            raise InjectionError(refusal)
        why = [f"carrier {carriers.describe(carrier.layer)}: the largest kernel"]
        key = carriers.key_for(self.name, carrier, network, payload_size, secret, why)
        step = 2.0 ** (np.floor(np.log2(carrier.values.std())) - self.exponent)
        return Key(**{**vars(key), "options": {"exponent": self.exponent, "step": float(step)}})

    def inject(self, network: Network, payload: Payload, key: Key) -> Network:
        """The network whose keyed weights have the wanted parity."""
        carrier = carriers.find(network, key, self.name)
        wanted = (symbols.embedded_signs(payload, key) > 0).astype(np.int64)
        flat, step = carrier.values.flatten(), key.options["step"]
        where = _positions(key, flat.size)
        levels = np.rint(flat[where] / step)
        flat[where] = (levels + (levels.astype(np.int64) + wanted) % 2) * step
        marked = flat.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, marked, payload, key)

    def decode(self, network: Network, key: Key) -> Decoding:
        """Parities of the levels; confidence falls from the middle of a level to its edge."""
        carrier = carriers.find(network, key, self.name)
        flat = carrier.values.reshape(-1)
        levels = flat[_positions(key, flat.size)] / key.options["step"]
        odd = np.rint(levels).astype(np.int64) % 2
        certainty = 0.5 - np.abs(levels - np.rint(levels))
        return symbols.read((2 * odd - 1) * certainty, 0.25, key, carrier.notes)

    def detect(
        self, network: Network, payload: Payload, key: Key, false_positive_rate: float = 1e-6
    ) -> Detection:
        """Exact binomial decision: the embedded bits are fair coins."""
        return symbols.detection(self.decode(network, key).payload, payload, false_positive_rate)


def _positions(key: Key, size: int) -> NDArray[np.int64]:
    label = hashlib.sha256(b"nnw-onnx-example mantissa").hexdigest()
    return keystream.permutation(key.secret, label, size, key.payload_size)
