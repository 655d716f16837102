"""A method of one's own: which of two keyed weights is the larger tells a bit."""

from dataclasses import dataclass

import numpy as np

from nnw_onnx.kit import carriers, injections, keystream, symbols
from nnw_onnx.vocabulary import Bench, Decodes, Decoding, Injects, Key, Network, Payload, Suspect


@dataclass(frozen=True)
class Order(Decodes, Injects):
    """Swaps the two weights of a pair where that is needed: their distribution does not change."""

    name = "order"
    summary = "the larger of two keyed weights tells a bit; they are swapped where they must"

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        carriers.check_size(size)
        purpose = f"{size} symbols; use a shorter payload"
        carrier, why = carriers.largest(network, bench, self.name, 2 * size, purpose)
        return carriers.key_for(self, [carrier], network, size, secret, [why])

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        carrier = carriers.find(network, key, self.name)
        flat, pairs = carrier.values.flatten(), _pairs(key, carrier.values.size)
        sorted_ = np.sort(flat[pairs], axis=0)
        flat[pairs] = np.where(symbols.embedded_signs(payload, key) > 0, sorted_[::-1], sorted_)
        marked = flat.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        flat = carriers.find(suspect, key, self.name).values.flatten()
        one, other = _pairs(key, flat.size)
        return symbols.read(flat[one] - flat[other], float(np.sqrt(2) * flat.std()), key)


def _pairs(key: Key, size: int) -> np.ndarray:
    return keystream.permutation(key.secret, "order", size, 2 * key.size).reshape(2, -1)
