"""The learning rate of each step, as a pure function."""

from __future__ import annotations

import math

from nnw_onnx.vocabulary import Recipe

_WARM_UP = 0.2


def total_steps(epochs: float, batches_per_epoch: int) -> int:
    """Steps of a training of so many epochs, at least one."""
    return max(1, round(epochs * batches_per_epoch))


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate (> 0) of a step (0 ... steps - 1), by the schedule of the recipe."""
    left = (steps - step) / steps
    if recipe.schedule == "linear":
        return recipe.learning_rate * left
    if recipe.schedule == "cosine":
        return recipe.learning_rate * (1 - math.cos(math.pi * left)) / 2
    if recipe.schedule == "triangular":
        summit = max(1.0, _WARM_UP * steps)
        down = (steps - step) / max(1.0, steps - summit)
        return recipe.learning_rate * min((step + 1) / summit, down, 1.0)
    return recipe.learning_rate
