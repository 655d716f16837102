"""The lowest bits of weights drawn at random: erases what is hidden in them, at no cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.kit import knowing, mantissas
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Modified,
    Network,
    Parameter,
    WeightModification,
    Weights,
)


@dataclass(frozen=True)
class LowBits(WeightModification):
    """Of the mantissa of each weight `kept` bits stay; all below them become random.

    A weight changes by less than 2^-kept of itself. One bit at least is drawn, also of types with
    so short a mantissa. Zeros, denormal weights and types that are no floating-point numbers of 16
    to 64 bits stay as they are.
    """

    name: ClassVar[str] = "low-bits"
    layer_by_layer = True
    title = "low bits redrawn"
    summary: ClassVar[str] = "the lowest mantissa bits of every weight drawn at random"
    family: ClassVar[Family] = "adaptive"
    parameter: ClassVar[Parameter] = Parameter(
        "K", "mantissa bits that are kept", "", stronger="down", option="kept"
    )

    kept: Annotated[int, Ge(0), Le(51)] = option(
        10, help="K: bits of the mantissa that stay, as many as those of float16 by default"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer with bits of its own."""
        return {name: self._drawn(layer, rng) for name, layer in weights.items()}

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at changed."""
        return knowing.told(super().modify(network, bench, rng), "method")

    def _drawn(self, layer: Array, rng: np.random.Generator) -> Array:
        changed = np.array(layer, order="C")
        there = mantissas.carrying(changed)
        if not there.any():
            return changed
        bits = max(1, mantissas.BITS[changed.dtype.name] - self.kept)
        words = mantissas.words(changed)  # a view: the bits of `changed` itself
        low = words.dtype.type((1 << bits) - 1)
        drawn = rng.integers(1 << bits, size=int(np.count_nonzero(there)), dtype=words.dtype)
        words[there] = (words[there] & ~low) | drawn
        return changed
