"""Merkle trees: one hash for many pieces, none of which can be exchanged, moved, left out or added.

The tree is that of RFC 6962 (2.1) with SHA-256. Leaves and inner nodes are hashed with a byte of
their own in front, so that no inner node passes for a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_LEAF, _NODE = b"\0", b"\1"


def leaf(content: bytes | memoryview) -> bytes:
    """SHA-256 (32 bytes) of a piece."""
    state = hashlib.sha256(_LEAF)
    state.update(content)
    return state.digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The hash (32 bytes) of all leaves in their order; of none that of the empty text.

    A last one without a partner goes up as it is. This is the tree of RFC 6962, which splits n
    leaves at the largest power of two below n.
    """
    level = list(leaves)
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hashlib.sha256(_NODE + a + b).digest() for a, b in pairs] + odd
    return level[0]
