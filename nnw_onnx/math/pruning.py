"""Weights set to zero: the smallest, or some drawn at random (MPAI-NNT, Modifications 1 and 2)."""

from __future__ import annotations

import numpy as np

from nnw_onnx.vocabulary import Array


def count(percent: float, n: int) -> int:
    """round(percent n / 100), half to even: how many of n weights are removed."""
    return round(percent * n / 100)


def smallest(weights: Array, removed: int) -> Array:
    """Weights with the `removed` smallest absolute values set to 0; ties by lowest flat index.

    The dtype is kept; 0 <= removed <= size.
    """
    wide = np.float64 if weights.dtype.itemsize > 4 else np.float32
    magnitude = np.abs(weights.astype(wide)).reshape(-1)
    pruned = np.array(weights).reshape(-1)
    if removed > 0:
        limit = np.partition(magnitude, removed - 1)[removed - 1]
        below = magnitude < limit
        tied = np.flatnonzero(magnitude == limit)[: removed - int(np.count_nonzero(below))]
        pruned[below] = 0
        pruned[tied] = 0
    return pruned.reshape(weights.shape)


def drawn(weights: Array, removed: int, rng: np.random.Generator) -> Array:
    """Weights with `removed` of them, drawn without replacement, set to 0; the dtype is kept."""
    pruned = np.array(weights).reshape(-1)
    pruned[rng.choice(pruned.size, removed, replace=False, shuffle=False)] = 0
    return pruned.reshape(weights.shape)


def shares(sizes: list[int], removed: int, rng: np.random.Generator) -> list[int]:
    """How many of `removed` weights, drawn from all layers together, fall in each layer.

    Multivariate hypergeometric: the same law as one draw over all weights, in the memory of one
    layer at a time.
    """
    left, remaining, result = sum(sizes), removed, []
    for size in sizes:
        left -= size
        here = int(rng.hypergeometric(size, left, remaining)) if remaining else 0
        remaining -= here
        result.append(here)
    return result
