"""Gradient descent on a penalty alone, and finite differences to check its gradient with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.testing.array_network import ArrayNetwork
from nnw_onnx.vocabulary import Key, Payload, Penalty

STEPS = 300
_STEP = 1e-6
_GROWTH = 1.5

Arrays = dict[str, NDArray[np.float64]]
Function = Callable[[Arrays], Penalty]
"""Arrays by name -> a value, and the gradient by name."""


def descended(method: Any, plain: ArrayNetwork, payload: Payload, key: Key) -> ArrayNetwork:
    """The network after gradient descent on the `weight_penalty` of a method alone."""
    found = minimise(
        lambda weights: method.weight_penalty({**plain.weights, **weights}, payload, key),
        {name: np.asarray(plain.weights[name], np.float64) for name in key.layers},
    )
    return plain.with_weights(found)


def minimise(function: Function, start: Arrays, steps: int = STEPS) -> Arrays:
    """Where so many steps of gradient descent lead; the rate adapts itself to the penalty.

    A step that does not lower the value is taken back and tried at half the rate.
    """
    here, told, rate = start, function(start), 1.0
    for _ in range(steps):
        there = {name: x - rate * told.gradient[name] for name, x in here.items()}
        ahead = function(there)
        if ahead.value < told.value:
            here, told, rate = there, ahead, rate * _GROWTH
        else:
            rate /= 2
    return here


def slopes(
    function: Function, at: Arrays, name: str, direction: NDArray[np.float64]
) -> tuple[float, float]:
    """The slope along a direction in one array: by the gradient, and by central differences."""
    told = float(np.vdot(function(at).gradient[name], direction))
    above, below = (function({**at, name: at[name] + s * direction}) for s in (_STEP, -_STEP))
    return told, (above.value - below.value) / (2 * _STEP)


def directions(shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Directions to look along: single elements here and there, and everything at once."""
    size = int(np.prod(shape))
    found = []
    for index in sorted({0, size // 3, size // 2, size - 1}):
        one = np.zeros(size)
        one[index] = 1.0
        found.append(one.reshape(shape))
    phase = np.arange(size, dtype=np.float64).reshape(shape)
    return [*found, np.cos(1.7 * phase), np.sin(0.9 * phase + 0.3), np.ones(shape)]
