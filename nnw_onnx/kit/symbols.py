"""From Symbols to signs and back: masking, ties and confidence.

The embedded bits are the payload XOR a keyed stream, so they are fair coins whatever the payload
is; that makes the null distribution of `evidence.matched` exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import foreign, keystream
from nnw_onnx.vocabulary import Array, Decoding, Key, Payload


def embedded_signs(payload: Payload, key: Key) -> NDArray[np.float64]:
    """Signs (key.size,) to embed: +1 where payload XOR mask is one, else -1.

    Raises:
        InjectionError: the payload is not of bits, or not of the size the key was made for.
    """
    values = fitting(payload, key, 2)
    return np.where(values ^ _mask(key), 1.0, -1.0)


def fitting(payload: Payload, key: Key, alphabet: int) -> NDArray[np.int64]:
    """The Symbols (key.size,) of a payload that fits the key.

    Raises:
        InjectionError: it has another size, or Symbols beyond the alphabet.
    """
    if len(payload) != key.size or payload.alphabet > alphabet:
        raise InjectionError(
            f"{key.method.name}: expected a payload of {key.size} symbols from at most {alphabet}, "
            f"got {len(payload)} from {payload.alphabet}; make a key for this payload"
        )
    return payload.array()


def read(statistics: Array, deviation: float, key: Key, notes: Sequence[str] = ()) -> Decoding:
    """The Decoding of one statistic per Symbol; its sign is the embedded bit.

    Args:
        statistics: (key.size,) finite numbers; an exact 0 is a tie, decided by the key.
        deviation: standard deviation of a statistic under a random key, >= 0.
        key: key of the watermark.
        notes: plain words on how the carrier was found.
    """
    undecided = statistics == 0
    coin = keystream.bits(key.secret, f"{key.method.name}/ties", key.size)
    embedded = np.where(undecided, coin, statistics > 0).astype(np.int64)
    confidence = np.abs(statistics) / deviation if deviation > 0 else np.zeros(len(statistics))
    return Decoding(
        payload=Payload(tuple((embedded ^ _mask(key)).tolist())),
        confidence=tuple(confidence.tolist()),
        ties=int(np.count_nonzero(undecided)),
        notes=tuple(notes),
    )


def _mask(key: Key) -> NDArray[np.int64]:
    if foreign.is_foreign(key):
        return np.zeros(key.size, np.int64)
    return keystream.bits(key.secret, f"{key.method.name}/mask", key.size).astype(np.int64)
