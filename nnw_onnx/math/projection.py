"""Projections of the filter mean: the arithmetic of Uchida et al. in closed form.

Uchida, Nagai, Sakazawa, Satoh, "Embedding Watermarks into Deep Neural Networks", ICMR 2017; the
minimum-norm change is the least change of the weights that reaches the wanted projections.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.math import blocks
from nnw_onnx.vocabulary import Array

_TOLERANCE = 1e-6


def filter_mean(weights: Array, xp: Any = np) -> NDArray[np.float64]:
    """Mean (M,) over the filters of weights (L, *M axes), flattened; arrays are of `xp`."""
    mean: NDArray[np.float64] = xp.mean(weights, axis=0, dtype=xp.float64)
    return mean.reshape(-1)


def signed_mean(weights: Array, filters: Array, xp: Any = np) -> NDArray[np.float64]:
    """Mean (M,) over the filters of weights (L, *M axes), each times its sign (L,), flattened.

    Arrays are of `xp`, as `vocabulary.Moment` has it.
    """
    flat = xp.asarray(weights).reshape(len(weights), -1)
    signs = xp.asarray(filters, dtype=xp.float64)
    if xp is not np:  # sizes of other libraries are no numbers, and a device has room for a copy
        other: NDArray[np.float64] = signs @ xp.asarray(flat, dtype=xp.float64) / len(flat)
        return other
    parts = (signs[part] @ np.asarray(flat[part], np.float64) for part in blocks.rows(flat))
    mean: NDArray[np.float64] = functools.reduce(np.add, parts) / len(flat)
    return mean


def to_filters(
    vector: Array, shape: tuple[int, ...], filters: Array, xp: Any = np
) -> NDArray[np.float64]:
    """A vector (M,) times the sign (L,) of each filter, as weights of shape (L, *M axes).

    Added to weights it moves their `signed_mean` by exactly the vector. Arrays are of `xp`.
    """
    signs = xp.asarray(filters, dtype=xp.float64)
    spread: NDArray[np.float64] = signs[:, None] * vector[None, :]
    return spread.reshape(shape)


def moved(weights: Array, vector: Array, filters: Array) -> Array:
    """New weights: `weights + to_filters(vector, ...)`, read-only, in `blocks.result_type`."""
    result = np.empty_like(weights, blocks.result_type(weights))
    for part in blocks.rows(weights):
        old = np.asarray(weights[part], np.float64)
        result[part] = old + to_filters(vector, old.shape, filters[part])
    result.flags.writeable = False
    return result


def natural_deviation(weights: Array) -> float:
    """Scale sigma sqrt(M/L): the deviation of a projection of iid weights (L, ...)."""
    filters = weights.shape[0]
    return math.sqrt(blocks.variance(weights)) * math.sqrt(weights.size / filters / filters)


def targets(projections: Array, signs: Array, margin: float) -> NDArray[np.float64]:
    """Projections (T,) raised to sign x margin where they are below it, else as they are."""
    reached = signs * projections >= margin
    return np.where(reached, projections, signs * margin)


def minimum_norm_change(matrix: Array, change: Array) -> NDArray[np.float64]:
    """The vector (M,) of least norm with matrix (T, M) @ vector = change (T,), T <= M.

    X^T (X X^T)^-1 d, with one step of refinement; a singular or inaccurate Gram matrix falls back
    to the singular value decomposition.

    Raises:
        InjectionError: the equations have no accurate solution.
    """
    try:
        gram = matrix @ matrix.T
        factor = np.linalg.solve(gram, change)
        factor += np.linalg.solve(gram, change - gram @ factor)
        vector: NDArray[np.float64] = matrix.T @ factor
    except np.linalg.LinAlgError:
        vector = np.full(matrix.shape[1], np.nan)
    if not _solves(matrix, vector, change):
        vector = np.linalg.lstsq(matrix, change, rcond=None)[0]
    if not _solves(matrix, vector, change):
        raise InjectionError(
            f"projection: expected {matrix.shape[0]} independent equations in {matrix.shape[1]} "
            "unknowns, got dependent ones; use a shorter payload or another layer"
        )
    return vector


def _solves(matrix: Array, vector: Array, change: Array) -> bool:
    scale = float(np.abs(change).max(initial=0.0))
    error = float(np.abs(matrix @ vector - change).max(initial=0.0))
    return bool(error <= _TOLERANCE * scale)
