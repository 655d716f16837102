"""An optimizer of a method's own arrays: pure, since state goes in and comes out.

For `Additions.state`: the arrays and what the optimizer remembers of them are one mapping, which
who trains keeps and checkpoints without knowing what it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnw_onnx.vocabulary import Array

_STEPS = "adam.steps"


def adam_state(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The state before the first step of `adam`: the arrays and its moments, zero."""
    moments = {
        f"adam.{moment}.{name}": np.zeros(array.shape)
        for name, array in arrays.items()
        for moment in ("first", "second")
    }
    return {**arrays, **moments, _STEPS: np.zeros(())}


def adam(
    state: Mapping[str, Array],
    gradients: Mapping[str, Array],
    rate: float = 1e-3,
    decays: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> dict[str, Array]:
    """The state after one step of Adam (Kingma and Ba, ICLR 2015, algorithm 1).

    Args:
        state: of `adam_state`, or of the step before.
        gradients: of some of its arrays.
        rate: the learning rate.
        decays: of the first and the second moment.
        epsilon: added to the root of the second moment.
    """
    steps = float(state[_STEPS]) + 1
    found: dict[str, Array] = {**state, _STEPS: np.array(steps)}
    for name, slope in gradients.items():
        first, second = f"adam.first.{name}", f"adam.second.{name}"
        found[first] = decays[0] * state[first] + (1 - decays[0]) * slope
        found[second] = decays[1] * state[second] + (1 - decays[1]) * np.square(slope)
        mean = found[first] / (1 - decays[0] ** steps)
        spread = np.sqrt(found[second] / (1 - decays[1] ** steps))
        found[name] = state[name] - rate * mean / (spread + epsilon)
    return found
