"""Commitments: a hash to publish before a dispute, which binds a key without revealing it.

The key policy asks for SHA-256 over secret, payload, method, carriers and the unmarked model. It
is made in two steps, because a key exists before its payload: `commit`, then `bound`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np

from nnw_onnx.vocabulary import Array, Key, Payload


def digest(weights: Array) -> str:
    """SHA-256 (hex) of dtype, shape and values of a canonical weight array."""
    state = hashlib.sha256(f"{weights.dtype}{weights.shape}".encode())
    for row in weights:
        # Every float of at most 64 bits is exact in float64, so the byte order is the same for all.
        state.update(np.asarray(row, dtype="<f8").tobytes())
    return state.hexdigest()


def commit(secret: bytes, method: str, carriers: Iterable[tuple[str, Sequence[int], str]]) -> str:
    """SHA-256 (hex) that binds secret, method and carriers (name, shape, digest), not a payload."""
    text = json.dumps([method, [[name, list(shape), sha] for name, shape, sha in carriers]])
    return hashlib.sha256(b"nnw-onnx commitment 1" + secret + text.encode()).hexdigest()


def bound(key: Key, payload: Payload) -> Key:
    """The same key with a commitment that binds the payload as well.

    Call it once, on the key that `make_key` returned. Publish only the bound commitment: a payload
    that nothing binds could be chosen after looking at the suspect network.
    """
    text = json.dumps([key.commitment, payload.alphabet, list(payload.symbols)])
    digest_of_both = hashlib.sha256(
        b"nnw-onnx commitment with payload 1" + text.encode()
    ).hexdigest()
    return dataclasses.replace(key, commitment=digest_of_both)
