"""What a method adds to a training.

A method that training puts in is written once, in numpy, with its own gradient; an adapter only
brings the gradient to where the optimizer of its framework finds it, and knows no method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary.networks import Array, Values, Weights
from nnw_onnx.vocabulary.tasks import Samples, Targets


def _as_it_is(array: Array) -> Any:
    return array


@dataclass(frozen=True)
class Moment:
    """One step of a training, as a method sees it.

    Attributes:
        weights: by layer, canonical layout, as they are before the step.
        activations: layer of `Additions.activations` -> output of its operator (n, ...) for the
            batch, own samples last.
        targets: of the samples of the batch (n, ...), or None where the loop was not told.
        own: (n,) bool, which samples of the batch are the method's own.
        state: the method's own arrays, as the last step left them.
        step: 0, 1, ...
        task_gradient: gradient, by layer, of the task's loss on this batch were the weights those
            given (others stay as they are); costs a forward and a backward pass.
        xp: functions of arrays under numpy's names: numpy, or for a penalty that can be computed
            `anywhere` another library, of which `weights` then are.
        constant: an array of numpy as one of that library, where the weights are; the same array
            is moved once. It must not change.
    """

    weights: Weights
    activations: Values
    targets: Targets | None
    own: NDArray[np.bool_]
    state: Mapping[str, Array]
    step: int
    task_gradient: Callable[[Weights], Weights]
    # A default with words of its own would be told of twice in the reference.
    xp: Any = field(default_factory=lambda: np)
    constant: Callable[[Array], Any] = _as_it_is


@dataclass(frozen=True)
class Penalty:
    """What a method adds to the loss of a step, and what becomes of its own arrays.

    Attributes:
        value: of the term: a float, or a scalar of the library that the moment names.
        weights: its gradient by layer, canonical layout; layers that are not in it have none.
        activations: its gradient by layer of `Additions.activations`, (n, ...).
        state: the method's own arrays after the step; those that are not in it stay.
    """

    value: Any
    weights: Weights = field(default_factory=dict)
    activations: Values = field(default_factory=dict)
    state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Additions:
    """Everything that a method adds to a training; the same for every trainer and adapter.

    Attributes:
        penalty: a term of the loss, asked for at each step; pure, since state goes in and comes
            out (who trains keeps and checkpoints it and knows nothing of its optimizer;
            `kit.optimizers` helps). None where nothing is added to the loss.
        carriers: layers whose weights the penalty reads or has gradients for.
        activations: layers whose outputs it wants.
        samples: of the method's own, `Recipe.own_per_batch` of them in each batch, in turn.
        state: its own arrays before the first step; after the last they join `Key.arrays`.
        start: values that weights are set to before the first step.
        fixed: layer -> True for each weight (canonical layout) that then stays as it is.
        anywhere: whether the penalty computes with weights alone, by operators and by functions of
            `Moment.xp` that numpy and torch have alike, and moves what it brings by
            `Moment.constant`. Who trains on a device then need not fetch weights at each step. No
            targets, samples or states are told there.
    """

    penalty: Callable[[Moment], Penalty] | None = None
    carriers: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    samples: Samples | None = None
    state: Mapping[str, Array] = field(default_factory=dict)
    start: Weights = field(default_factory=dict)
    fixed: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    anywhere: bool = False
