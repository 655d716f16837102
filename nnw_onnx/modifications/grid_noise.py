"""Whole steps of noise on the largest integers of a layer: drowns marks of single steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.kit import knowing
from nnw_onnx.kit.steps import neighbours
from nnw_onnx.math.casting import cast_like
from nnw_onnx.math.selection import largest
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Layer,
    Modification,
    Modified,
    Network,
    Parameter,
)

_TOP = 127
"""Largest number of the 8-bit grid that a layer of floating-point weights is given."""


@dataclass(frozen=True)
class GridNoise(Modification):
    """The weights of the largest integers move by a uniform number of steps from -J to J.

    The steps are those of the grid of a quantized layer, else of 8 bits with a scale for each
    filter. The ends of a filter are not passed. Of n weights that were marked by one step each the
    statistic sqrt(n) becomes about sqrt(n / (1 + J (J + 1) / 3)); of a Decoder that leaves out
    weights more than 8 steps away it is 0 on average from J = 9 on, because all that it counts is
    as often above as below.

    Its defaults were chosen with a look at `emmark` in three small networks of CIFAR-10; its card
    tells of networks and keys not looked at.
    """

    name: ClassVar[str] = "grid-noise"
    title = "steps of noise"
    summary: ClassVar[str] = "the largest integers of each layer moved by a few steps"
    family: ClassVar[Family] = "adaptive"
    parameter: ClassVar[Parameter] = Parameter("J", "largest number of steps", "", option="steps")
    aims = True

    steps: Annotated[int, Ge(1), Le(64)] = option(10, help="J: largest number of steps")
    count: Annotated[int, Ge(1), Le(1 << 30)] = option(
        1 << 14, help="weights of each layer that move, those of the largest integers"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every layer aimed at changed."""
        layers = {layer.name: layer for layer in network.layers}
        changed = {name: self._moved(network, layers[name], rng) for name in bench.layers}
        done = Modified(network.with_weights(changed))
        return knowing.told(done, "method and defaults")

    def _moved(self, network: Network, layer: Layer, rng: np.random.Generator) -> Array:
        stored = network.weights[layer.name]
        values = np.asarray(stored, np.float64)
        step = _steps(network, layer, values)
        units = np.divide(np.abs(values), step, out=np.zeros(values.shape), where=step > 0)
        chosen = largest(np.rint(units), self.count)
        most = np.abs(values).reshape(len(values), -1).max(axis=1)
        limit = np.broadcast_to(most.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
        noise = np.zeros(values.size)
        noise[chosen] = rng.integers(-self.steps, self.steps + 1, size=len(chosen))
        moved = values + step * noise.reshape(values.shape)
        return cast_like(np.clip(moved, -limit, limit), stored)


def _steps(network: Network, layer: Layer, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The step of the grid at each weight; 0 where it has no other value beside it."""
    if layer.quantization is not None:
        below, above = neighbours(network, layer)
        return (above - below) / 2
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    each = largest.reshape(-1, *[1] * (values.ndim - 1)) / _TOP
    return np.broadcast_to(each, values.shape)
