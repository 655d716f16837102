"""Identities, seeds and secrets: the only place that makes a random generator.

A seed comes from a hash of the fields of the thing that is being done, never from an order of
execution, so records are the same on any engine.
"""

from __future__ import annotations

import hashlib
import json
import secrets

import numpy as np

from nnw_onnx.vocabulary import SECRET_BYTES

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def identity(**fields: object) -> str:
    """SHA-256 (64 hexadecimal digits) of named JSON values, whatever their order."""
    return hashlib.sha256(_CANONICAL.encode(fields).encode()).hexdigest()


def generator(**fields: object) -> np.random.Generator:
    """A counter-based generator (Philox) whose seed is the identity of the fields."""
    seed = int(identity(**fields), 16)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def secret(seed: int | None, **fields: object) -> bytes:
    """A secret of 32 bytes: from the operating system, or from a seed and the fields.

    A secret from a seed is only as secret as the seed: it is meant for evaluations, which must be
    repeatable, not for networks that are given away.
    """
    if seed is None:
        return secrets.token_bytes(SECRET_BYTES)
    return bytes.fromhex(identity(purpose="secret", seed=seed, **fields))


def bits(count: int, **fields: object) -> tuple[int, ...]:
    """Fair bits that follow from the identity of the fields: for many small draws.

    A generator takes longer to make than such a draw.
    """
    data = hashlib.shake_256(identity(purpose="bits", **fields).encode()).digest(-(-count // 8))
    return tuple(np.unpackbits(np.frombuffer(data, np.uint8), count=count).tolist())
