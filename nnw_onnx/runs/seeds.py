"""Identities, seeds and secrets: the only place that makes a random generator.

A seed comes from a hash of the fields of the thing that is being done, never from an order of
execution, so records are the same on any engine.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import numpy as np

from nnw_onnx.vocabulary import SECRET_BYTES


def identity(**fields: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of named JSON values, whatever their order."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def generator(**fields: Any) -> np.random.Generator:
    """A counter-based generator (Philox) whose seed is the identity of the fields."""
    seed = int(identity(**fields), 16)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def secret(seed: int | None, **fields: Any) -> bytes:
    """A secret of 32 bytes: from the operating system, or from a seed and the fields.

    A secret from a seed is only as secret as the seed: it is meant for evaluations, which must be
    repeatable, not for networks that are given away.
    """
    if seed is None:
        return secrets.token_bytes(SECRET_BYTES)
    return bytes.fromhex(identity(purpose="secret", seed=seed, **fields))
