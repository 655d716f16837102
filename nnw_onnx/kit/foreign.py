"""Keys of marks that were made elsewhere: their own arrays, and what is left of an exact null.

Such a key holds the array that other keys draw from their secret (`Key.arrays`), and its payload
is not masked. A random key then gives an exact null only where each row of the matrix is symmetric
about 0 and independent of the others: then the sign of a projection is a fair coin whatever the
network is. With entries of {0, 1} all projections have the sign of the mean of what is projected,
so nothing is exact but for a payload that was itself drawn fairly. Neither can be seen in a key
for sure, and both hold only where the key is older than the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import keystream
from nnw_onnx.vocabulary import Array, Claim, Detection, Key, Null, Payload

MATRIX = "matrix"
"""Name of the array (T, M) that stands for the drawn projection matrix."""
MADE_BY = "made elsewhere"
"""Fact of such a key: what it is, in words."""
FAIR = "payload drawn fairly"
"""Fact of such a key: whether its owner says so."""
_DOUBT = 1e-9
"""Probability that a matrix of symmetric, independent rows is refused."""
_ROOM = 1 << 22


def is_foreign(key: Key) -> bool:
    """Whether a key was made elsewhere, so that its payload is not masked."""
    return isinstance(key.facts.get(MADE_BY), str)


def matrix(key: Key, features: int) -> NDArray[np.float64] | None:
    """The key's own matrix (key.size, features); None where it is drawn from the secret.

    Raises:
        ConfigurationError: it has another shape, or holds what is no finite number.
    """
    own = key.arrays.get(MATRIX) if is_foreign(key) else None
    if own is None:
        return None
    if own.shape != (key.size, features) or not np.isfinite(own).all():
        raise ConfigurationError(
            f"key: expected a matrix of {key.size} x {features} finite numbers, got one of "
            f"{' x '.join(map(str, own.shape))} or others; import it again for this layer"
        )
    return np.asarray(own, np.float64)


def judged(found: Detection, key: Key) -> Detection:
    """The evidence of a key with what its null rests on; no p-value where none is exact."""
    if not is_foreign(key):
        return found
    if key.facts.get(FAIR) is True:
        return _named(found, f"{found.null.name}, if the payload was drawn fairly, as declared")
    own = key.arrays.get(MATRIX)
    defect = "its answers were not drawn from a secret" if own is None else asymmetry(own)
    if defect is None:
        return _named(found, f"{found.null.name}, if the matrix is older than the network")
    return replace(
        found, log10_p=None, log10_tie=None, log10_inverted=None,
        null=Null(f"none is exact for this key made elsewhere: {defect}"),
    )  # fmt: skip


def asymmetry(given: Array) -> str | None:
    """Why rows (T, M) were not drawn symmetric about 0 and independent, as far as they show it.

    Entries that are symmetric have independent fair signs, given their magnitudes, so by Hoeffding
    |sum x_i| >= t ||x|| has at most the probability 2 exp(-t^2 / 2), for any such numbers: those of
    the whole, of each row, and the products of the signs of two rows. A matrix that was drawn so is
    refused with a probability of at most 1e-9. Whoever wants to deceive can pass.

    Returns:
        None where nothing shows it.
    """
    values = np.asarray(given, np.float64)
    rows = len(values)
    tests = 1 + rows + rows * (rows - 1) // 2
    limit = math.sqrt(2 * math.log(2 * tests / _DOUBT))
    if not values.any(axis=1).all():
        return "a row of its matrix is all zero"
    if _far(np.array([values.sum()]), np.array([np.square(values).sum()]), limit):
        return "the entries of its matrix are not symmetric about 0"
    if _far(values.sum(axis=1), np.square(values).sum(axis=1), limit):
        return "a row of its matrix is not symmetric about 0"
    signs = np.sign(values).astype(np.float32)  # sums of at most 2^24 of them are exact
    used = np.abs(signs)
    step = max(1, _ROOM // rows)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        products, sizes = signs[part] @ signs.T, used[part] @ used.T
        others = np.arange(rows)[part, np.newaxis] != np.arange(rows)
        if _far(products[others], sizes[others], limit):
            return "rows of its matrix depend on each other"
    return None


def wrong(claim: Claim, numbers: Sequence[int]) -> Iterator[Claim]:
    """Keys of the same make that have nothing to do with any network.

    The entries of a matrix are shuffled, those of triggers keep their inputs and their answers are
    shuffled: exchangeable with the key itself where its entries, or answers, were drawn alike.
    """
    key, own = claim.key, claim.key.arrays.get(MATRIX)
    for number in numbers:
        label = f"foreign/{number}"
        if own is not None:
            order = keystream.permutation(key.secret, label, own.size)
            drawn = own.reshape(-1)[order].reshape(own.shape)
            yield replace(claim, key=replace(key, arrays={**key.arrays, MATRIX: drawn}), of="wrong")
        elif claim.payload is not None:
            order = keystream.permutation(key.secret, label, key.size)
            answers = Payload(tuple(claim.payload.array()[order].tolist()), claim.payload.alphabet)
            yield replace(claim, payload=answers, of="wrong")


def _named(found: Detection, name: str) -> Detection:
    return replace(found, null=replace(found.null, name=name))


def _far(sums: Array, energies: Array, limit: float) -> bool:
    return bool((np.abs(sums) > limit * np.sqrt(energies)).any())
