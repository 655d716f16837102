"""Many secrets from one: HKDF-SHA-256 (RFC 5869), so that an owner keeps a single master seed.

The secret of a label is HKDF(seed, salt, info) with the salt "nnw-onnx master seed 1" and the
label in UTF-8 as info. A label is used once: for one network and one recipient, such as
"resnet-2026-11/acme". Who knows one secret learns neither the seed nor another secret; who knows
the seed and a label has the secret.
"""

from __future__ import annotations

import hashlib
import hmac

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import SECRET_BYTES

_SALT = b"nnw-onnx master seed 1"
_HASH = hashlib.sha256
_HASH_BYTES = 32
_MOST_BLOCKS = 255
LEAST_SEED = 16
"""Bytes of a master seed: fewer can be tried out."""


def hkdf(seed: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """The first `length` bytes of HKDF-SHA-256.

    Args:
        seed: input keying material; it must be hard to guess.
        salt: not secret; empty stands for 32 zero bytes.
        info: what the bytes are for; not secret.
        length: 1 to 8160.

    Raises:
        ConfigurationError: `length` is out of its range.
    """
    if not 1 <= length <= _MOST_BLOCKS * _HASH_BYTES:
        raise ConfigurationError(
            f"derivation: expected 1 to {_MOST_BLOCKS * _HASH_BYTES} bytes, got {length}; correct "
            "it"
        )
    extracted = hmac.digest(salt or bytes(_HASH_BYTES), seed, _HASH)
    out, block = b"", b""
    for number in range(1, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(extracted, block + info + bytes([number]), _HASH)
        out += block
    return out[:length]


def secret_of(seed: bytes, label: str) -> bytes:
    """The secret (32 bytes) of a label under a master seed.

    Raises:
        ConfigurationError: the seed is shorter than 16 bytes, or the label is empty.
    """
    if len(seed) < LEAST_SEED:
        raise ConfigurationError(
            f"seed: expected at least {LEAST_SEED} bytes that nobody can guess, got {len(seed)}; "
            "make one with 'nnw key seed'"
        )
    if not label.strip():
        raise ConfigurationError(
            "label: expected a text that names network and recipient, got none; give one, and each "
            "only once"
        )
    return hkdf(seed, _SALT, label.encode(), SECRET_BYTES)
