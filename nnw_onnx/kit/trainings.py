"""What Modifications that train share: another recipe, some of the samples, a seed."""

from __future__ import annotations

import dataclasses

import numpy as np

from nnw_onnx.kit.samples import Drawn
from nnw_onnx.vocabulary import Recipe, Samples


def changed(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe with every change that is not None."""
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(recipe, **given)  # type: ignore[arg-type]  # each of its own type


def some(samples: Samples, count: int | None, rng: np.random.Generator) -> Samples:
    """So many samples drawn without replacement, or all where there are not more (or None)."""
    if count is None or count >= len(samples):
        return samples
    return Drawn(samples, np.sort(rng.permutation(len(samples))[:count]))


def seed(rng: np.random.Generator) -> int:
    """A seed for a training."""
    return int(rng.integers(1 << 62))
