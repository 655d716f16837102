"""A fragile watermark: each bit is the parity of the level that a keyed weight is rounded to."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import carriers, injections, keystream, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Decodes, Decoding, Injects, Key, Network, Payload, Suspect


@dataclass(frozen=True)
class Mantissa(Decodes, Injects):
    """Rounds one keyed weight a Symbol to an even or odd multiple of a small step.

    The step is a fraction of the layer's standard deviation, rounded to a power of two.
    """

    name = "mantissa"
    summary = "parity of keyed weights: a fragile mark, as a negative control"

    exponent: Annotated[int, Ge(2), Le(8)] = option(
        4, help="the step is about 2^-exponent of the standard deviation of the layer"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest kernel, or of the layer asked for."""
        carriers.check_size(size)
        asked = carriers.asked(bench, self.name)
        fit = carriers.kernels(network) if asked is None else [carriers.named(network, asked)]
        largest = sorted((x for x in fit if x.size >= size), key=lambda x: x.size, reverse=True)
        refusal = f"mantissa: expected a layer of {size} weights, got none; use a shorter payload"
        carrier = carriers.first_fit(network, largest, refusal)
        why = (
            f"carrier {carriers.describe(carrier.layer)}: {'as asked' if asked else 'the largest'}"
        )
        key = carriers.key_for(self, [carrier], network, size, secret, [why])
        step = 2.0 ** (np.floor(np.log2(carrier.values.std())) - self.exponent)
        return dataclasses.replace(key, facts={"step": float(step)})

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose keyed weights have the wanted parity."""
        carrier = carriers.find(network, key, self.name)
        wanted = (symbols.embedded_signs(payload, key) > 0).astype(np.int64)
        flat, step = carrier.values.flatten(), _step(key)
        where = _positions(key, flat.size)
        levels = np.rint(flat[where] / step)
        flat[where] = (levels + (levels.astype(np.int64) + wanted) % 2) * step
        marked = flat.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Parities of the levels; confidence falls from the middle of a level to its edge."""
        carrier = carriers.find(suspect, key, self.name)
        flat = carrier.values.reshape(-1)
        levels = flat[_positions(key, flat.size)] / _step(key)
        odd = np.rint(levels).astype(np.int64) % 2
        certainty = 0.5 - np.abs(levels - np.rint(levels))
        return symbols.read((2 * odd - 1) * certainty, 0.25, key, carrier.notes)


def _step(key: Key) -> float:
    step = key.facts.get("step")
    if not isinstance(step, float) or step <= 0:
        raise InjectionError(
            f"mantissa: expected a step above 0 in the key, got {step!r}; make it again"
        )
    return step


def _positions(key: Key, size: int) -> NDArray[np.int64]:
    label = hashlib.sha256(b"nnw-onnx-example mantissa").hexdigest()
    return keystream.permutation(key.secret, label, size, key.size)
