"""From Symbols to signs and back: masking, ties, confidence and the exact decision.

The embedded bits are the payload XOR a keyed stream, so they are fair coins whatever the payload
is; that makes the null distribution of the Detector exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import binomial, keystream
from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.vocabulary import Decoding, Detection, Key, Payload


def embedded_signs(payload: Payload, key: Key) -> NDArray[np.float64]:
    """Signs (payload_size,) to embed: +1 where payload XOR mask is one, else -1.

    Raises:
        InjectionError: the payload is not of bits, or not of the size the key was made for.
    """
    if payload.alphabet != 2:
        raise InjectionError(
            f"{key.method}: expected a payload of bits, got an alphabet of {payload.alphabet}; "
            "write the symbols as bits first"
        )
    if len(payload) != key.payload_size:
        raise InjectionError(
            f"{key.method}: expected a payload of {key.payload_size} symbols, got {len(payload)}; "
            "make a key for this payload size"
        )
    return np.where(payload.array() ^ _mask(key), 1.0, -1.0)


def read(
    statistics: NDArray[Any], deviation: float, key: Key, notes: Sequence[str] = ()
) -> Decoding:
    """The Decoding of one statistic per Symbol; its sign is the embedded bit.

    Args:
        statistics: (payload_size,) finite numbers; an exact 0 is a tie, decided by the key.
        deviation: standard deviation of a statistic under a random key, >= 0.
        key: key of the watermark.
        notes: plain words on how the carrier was found.
    """
    undecided = statistics == 0
    coin = keystream.bits(key.secret, f"{key.method}/ties", key.payload_size)
    embedded = np.where(undecided, coin, statistics > 0).astype(np.int64)
    confidence = np.abs(statistics) / deviation if deviation > 0 else np.zeros(len(statistics))
    return Decoding(
        payload=Payload(tuple((embedded ^ _mask(key)).tolist())),
        confidence=tuple(confidence.tolist()),
        ties=int(np.count_nonzero(undecided)),
        notes=tuple(notes),
    )


def detection(decoded: Payload, payload: Payload, false_positive_rate: float) -> Detection:
    """The exact decision on the number of matching bits: null Bin(size, 1/2).

    Raises:
        ConfigurationError: sizes or alphabets differ, or the rate is not between 0 and 1.
    """
    binomial.check_rate(false_positive_rate)
    if payload.alphabet != decoded.alphabet:
        raise ConfigurationError(
            f"payload: expected an alphabet of {decoded.alphabet}, got {payload.alphabet}; give "
            "the payload that was injected"
        )
    n = len(decoded)
    matches = n - decoded.errors(payload)
    p_value, log10_p = binomial.tail(matches, n)
    p_inverted, log10_p_inverted = binomial.tail(n - matches, n)
    return Detection(
        detected=p_value <= false_positive_rate,
        statistic=matches,
        n=n,
        p_value=p_value,
        log10_p=log10_p,
        p_inverted=p_inverted,
        log10_p_inverted=log10_p_inverted,
        false_positive_rate=false_positive_rate,
        null=f"Bin({n}, 1/2)",
    )


def _mask(key: Key) -> NDArray[np.int64]:
    return keystream.bits(key.secret, f"{key.method}/mask", key.payload_size).astype(np.int64)
