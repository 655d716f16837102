"""The values beside those of stored weights, found by asking the network for other ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Layer, Network

_FIRST, _LAST = -12, 1
"""Lengths from 2^-12 to 2 times the largest weight of a filter: half a step of 8 bits is 2^-9."""


def neighbours(network: Network, layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The next smaller and the next larger value of each weight on the even grid of a quantizer.

    Every weight is asked to move up by a length that doubles until its stored value changes: the
    first one that reaches half a step is shorter than a whole step, so that the value found is the
    next one. As far below lies the next smaller one, or at the lower end the weight's own. Both are
    its own at the upper end, and where the step is not between 2^-11 and 4 times the largest weight
    of the filter. Canonical layout.
    """
    now = np.asarray(network.weights[layer.name], np.float64)
    each = np.abs(now).reshape(len(now), -1).max(axis=1)
    reach = np.where(each > 0, each, each.max()).reshape(-1, *[1] * (now.ndim - 1))
    above, still = now.copy(), np.ones(now.shape, np.bool_)
    for exponent in range(_FIRST, _LAST + 1):
        there = _stored(network, layer, np.where(still, now + 2.0**exponent * reach, now))
        moved = still & (there != now)
        if exponent > _FIRST:
            above[moved] = there[moved]
        still &= ~moved
    return _stored(network, layer, 2 * now - above), above


def _stored(network: Network, layer: Layer, asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights that a network has once it was given some."""
    marked = network.with_weights({layer.name: asked})
    return np.asarray(marked.weights[layer.name], np.float64)
