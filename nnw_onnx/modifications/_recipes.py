"""How an attacker's options change the recipe of an evaluation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Recipe, TrainingData


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with every change that is not None."""
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(recipe, **given)


def drawn(data: TrainingData, samples: int, rng: np.random.Generator) -> TrainingData:
    """So many samples drawn without replacement, or all of them where there are not more."""
    if samples >= len(data):
        return data
    chosen = np.sort(rng.permutation(len(data))[:samples])
    return TrainingData(data.inputs[chosen], data.labels[chosen], data.classes)


def seed(rng: np.random.Generator) -> int:
    """A seed for a training."""
    return int(rng.integers(1 << 62))


def probabilities(scores: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """Class probabilities (n, classes) of a teacher: softmax(scores / temperature).

    Scores that are probabilities already (>= 0, rows sum to 1) stand for their logarithms.
    """
    values = np.asarray(scores, np.float64).reshape(len(scores), -1)
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        values = np.log(np.maximum(values, 1e-30))
    values = values / temperature
    values = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
