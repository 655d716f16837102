"""Random objects of a key: every one of them is derived from a 32-byte secret and a label.

The stream is SHAKE-256 (FIPS 202) over a length-prefixed domain, secret, label and block number,
so it is the same on every machine and in every version, and two labels never share bits.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.math.quantile import quantiles
from nnw_onnx.vocabulary import SECRET_BYTES, Array

_DOMAIN = b"nnw-onnx keystream 1"
_BLOCK = 1 << 20


def stream(secret: bytes, label: str, size: int) -> NDArray[np.uint8]:
    """The first `size` bytes of the stream of a label.

    Block i of 2^20 bytes is SHAKE-256(p(domain) p(secret) p(label) i), where p(x) is the length of
    x in 8 little-endian bytes followed by x, and i takes 8 little-endian bytes. A longer request
    begins with the bytes of a shorter one.

    Raises:
        ConfigurationError: the secret does not have 32 bytes.
    """
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            f"secret: expected {SECRET_BYTES} bytes, got {len(secret)}; make the key again"
        )
    base = hashlib.shake_256()
    for part in (_DOMAIN, secret, label.encode()):
        base.update(len(part).to_bytes(8, "little") + part)
    out = np.empty(size, np.uint8)
    for start in range(0, size, _BLOCK):
        block = base.copy()
        block.update((start // _BLOCK).to_bytes(8, "little"))
        count = min(_BLOCK, size - start)
        out[start : start + count] = np.frombuffer(block.digest(count), np.uint8)
    return out


def uint64(secret: bytes, label: str, n: int) -> NDArray[np.uint64]:
    """Independent uniform integers (n,) of 64 bits."""
    return stream(secret, label, 8 * n).view("<u8").astype(np.uint64, copy=False)


def uniform(secret: bytes, label: str, n: int) -> NDArray[np.float64]:
    """Independent uniform numbers (n,), multiples of 2^-53 in [0, 1)."""
    return (uint64(secret, label, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(secret: bytes, label: str, n: int, limit: int) -> NDArray[np.int64]:
    """Independent integers (n,), exactly uniform on 0 ... limit - 1 (at most 2^63).

    Numbers of 64 bits from the largest multiple of `limit` on are passed over.

    Raises:
        ConfigurationError: `limit` is out of its range.
    """
    if not 1 <= limit <= 1 << 63:
        raise ConfigurationError(
            f"integers: expected a limit from 1 to 2^63, got {limit}; correct it"
        )
    highest = np.uint64((1 << 64) - (1 << 64) % limit - 1)
    asked = n
    while True:
        numbers = uint64(secret, label, asked)
        kept = numbers[numbers <= highest]
        if len(kept) >= n:
            return (kept[:n] % np.uint64(limit)).astype(np.int64)
        asked = 2 * asked + 1


def bits(secret: bytes, label: str, n: int) -> NDArray[np.uint8]:
    """Independent fair bits (n,), 0 or 1, most significant bit of each byte first."""
    return np.unpackbits(stream(secret, label, -(-n // 8)), count=n)


def signs(secret: bytes, label: str, n: int) -> NDArray[np.int8]:
    """Independent fair signs (n,), -1 or +1."""
    found = bits(secret, label, n).view(np.int8)
    found *= 2
    found -= 1
    return found


def permutation(secret: bytes, label: str, n: int, k: int | None = None) -> NDArray[np.int64]:
    """The first k (default: all) positions of a random permutation of 0 ... n-1.

    Positions are sorted by a keyed number whose low bits are replaced by the position, so that
    all numbers differ and every sorting algorithm gives the same result. Peak memory: 24 n bytes.
    """
    low = np.uint64((1 << max(n - 1, 1).bit_length()) - 1)
    numbers = uint64(secret, label, n)
    numbers &= ~low
    numbers |= np.arange(n, dtype=np.uint64)
    numbers.sort()
    return (numbers[:k] & low).astype(np.int64)


def permutations(secret: bytes, label: str, count: int, n: int) -> Array:
    """Independent random permutations (count, n) of 0 ... n-1, for many short ones.

    They are drawn as `permutation` draws one, from 32 bits a number where n is at most 2^12: which
    of two numbers comes first is decided by chance but for 2^-21 at most.
    """
    kind = np.uint32 if n <= 1 << 12 else np.uint64
    low = kind((1 << max(n - 1, 1).bit_length()) - 1)
    size = np.dtype(kind).itemsize
    drawn = stream(secret, label, size * count * n).view(f"<u{size}").astype(kind, copy=False)
    numbers: Array = drawn.reshape(count, n)
    numbers &= ~low
    numbers |= np.arange(n, dtype=kind)
    numbers.sort(axis=1)
    numbers &= low
    return numbers


def gaussian(secret: bytes, label: str, n: int) -> NDArray[np.float64]:
    """Independent N(0, 1) numbers (n,): the quantile of 52 random bits, and a sign of its own.

    The sign makes the distribution exactly symmetric about 0, on which the random-key null rests.
    """
    numbers = uint64(secret, label, n)
    tails = ((numbers >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-53
    magnitude = -quantiles(tails)
    return np.where(numbers & np.uint64(1), magnitude, -magnitude)
