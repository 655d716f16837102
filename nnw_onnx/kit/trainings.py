"""What Modifications that train share: another recipe, some of the samples, a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from nnw_onnx.kit.samples import Drawn
from nnw_onnx.vocabulary import Layer, Recipe, Samples

_FLOATING = ("float64", "float32", "float16", "bfloat16")
_NAMED = 6
"""Layers that are named in a line; the others are counted."""


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


class Learning(NamedTuple):
    """What a training of a network changes by gradients, and what it leaves as it is.

    Attributes:
        trained: names of layers.
        frozen: names of the others, such as masks, statistics and layers that nobody asked for.
    """

    trained: tuple[str, ...]
    frozen: tuple[str, ...]

    def __str__(self) -> str:
        kept = f"; {_listed(self.frozen)} stay as they are" if self.frozen else ""
        return f"{_listed(self.trained)} learn{kept}"


def learning(layers: Sequence[Layer], trainable: Collection[str] | None = None) -> Learning:
    """Which layers learn: those of floating-point numbers that outputs depend on.

    Args:
        layers: of the network.
        trainable: names of layers that alone shall learn; all that can if None.
    """
    trained = tuple(
        layer.name
        for layer in layers
        if layer.learns
        and layer.live
        and layer.quantization is None
        and layer.dtype in _FLOATING
        and (trainable is None or layer.name in trainable)
    )
    return Learning(trained, tuple(x.name for x in layers if x.name not in set(trained)))


def _listed(names: Sequence[str]) -> str:
    """The number of layers, and the first of their names."""
    if not names:
        return "no layers"
    more = ", ..." if len(names) > _NAMED else ""
    noun = "layer" if len(names) == 1 else "layers"
    return f"{len(names)} {noun} ({', '.join(names[:_NAMED])}{more})"
