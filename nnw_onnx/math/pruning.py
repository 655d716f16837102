"""Weights set to zero: the smallest, or some drawn at random (MPAI-NNT, Modifications 1 and 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import kernels
from nnw_onnx.math.selection import kth_magnitude, magnitudes
from nnw_onnx.vocabulary import Array

_SHARES = 1 << 16


def count(percent: float, n: int) -> int:
    """round(percent n / 100), half to even: how many of n weights are removed."""
    return round(percent * n / 100)


def smallest(weights: Array, removed: int) -> Array:
    """Weights with the `removed` smallest absolute values set to 0; ties by lowest flat index.

    The dtype is kept; 0 <= removed <= size.
    """
    values = kernels.flat(weights)
    if not removed:
        return values.reshape(weights.shape).copy()
    limit = kth_magnitude(values, removed - 1)
    tied = removed - limit.below
    if tied == limit.equal:
        return _only(values, limit.value, np.greater).reshape(weights.shape)
    pruned = _only(values, limit.value, np.greater_equal)
    _zero_first(pruned, limit.value, tied)
    return pruned.reshape(weights.shape)


def drawn(weights: Array, removed: int, rng: np.random.Generator) -> Array:
    """Weights with `removed` of them, drawn without replacement, set to 0; the dtype is kept.

    Each stretch has its share of them, and generates its own.
    """
    values = kernels.flat(weights)
    parts = kernels.stretches(values.size)
    here = shares([part.stop - part.start for part in parts], removed, rng)
    pruned, stream = np.empty_like(values), kernels.streams(rng)

    def work(stretch: slice) -> None:
        size, removed_here = stretch.stop - stretch.start, here[stretch.start // kernels.STRETCH]
        gone = _chosen(size, removed_here, stream(stretch))
        _keep(values[stretch], ~gone, pruned[stretch])

    kernels.over(values.size, work)
    return pruned.reshape(weights.shape)


def shares(sizes: list[int], removed: int, rng: np.random.Generator) -> list[int]:
    """How many of `removed` weights, drawn from all layers together, fall in each layer.

    Multivariate hypergeometric: the same law as one draw over all weights. Each weight is taken by
    itself, and what is too much or missing drawn back, as in `drawn`: numpy's own generator of
    this law ends at 10^9 weights.
    """
    total = sum(sizes)
    if not total:
        return [0 for _ in sizes]
    taken = np.array([rng.binomial(size, removed / total) for size in sizes], np.int64)
    excess = int(taken.sum()) - removed
    if excess:
        among = np.cumsum(taken if excess > 0 else np.array(sizes) - taken)
        back = rng.choice(int(among[-1]), abs(excess), replace=False, shuffle=False)
        owners = np.searchsorted(among, back, side="right")
        taken -= np.sign(excess) * np.bincount(owners, minlength=len(sizes))
    return [int(here) for here in taken]


def _only(values: Array, limit: float, compare: np.ufunc) -> Array:
    """The weights of which the absolute value compares so with the limit, all others set to 0."""
    pruned = np.empty_like(values)

    def work(stretch: slice) -> None:
        for block in kernels.within(stretch):
            _keep(values[block], compare(magnitudes(values[block]), limit), pruned[block])

    kernels.over(values.size, work)
    return pruned


def _keep(values: Array, kept: NDArray[np.bool_], into: Array) -> None:
    """Write the weights that are kept, and 0 for the others."""
    # Their bits times 1 or 0: an index by a mask that is half full costs five times as much.
    words = np.dtype(f"u{values.dtype.itemsize}")
    np.multiply(values.view(words), kept, out=into.view(words))


def _zero_first(pruned: Array, limit: float, tied: int) -> None:
    """Set the first `tied` weights of this absolute value to 0, in place."""
    for stretch in kernels.stretches(pruned.size):
        part = pruned[stretch]
        places = np.flatnonzero(magnitudes(part) == limit)[:tied]
        part[places] = 0
        tied -= len(places)
        if not tied:
            return


def _chosen(size: int, removed: int, stream: np.random.Generator) -> NDArray[np.bool_]:
    """Exactly so many of `size` places, all sets of them being equally likely.

    Each place is taken by 16 bits of its own; of those too many, or of the others, as many as it
    takes are drawn back. No place differs from another in either step, so no set does.
    """
    mask: NDArray[np.bool_] = kernels.bits(stream, size, np.uint16) < round(
        _SHARES * removed / size
    )
    excess = int(np.count_nonzero(mask)) - removed
    if excess:
        places = np.flatnonzero(mask if excess > 0 else ~mask)
        drawn_back = stream.choice(len(places), abs(excess), replace=False, shuffle=False)
        mask[places[drawn_back]] = excess < 0
    return mask
