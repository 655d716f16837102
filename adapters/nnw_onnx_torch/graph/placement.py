"""Which values are computed on the CPU even if the network is elsewhere: shapes, sizes, axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import is_
from typing import Protocol

import numpy as np
import torch

from nnw_onnx_torch.graph.operators._table import Call, Operator, Value
from nnw_onnx_torch.graph.program import ARITHMETIC, NOTHING, Step

MOST_HOSTED = 1024
"""Elements of a constant that may be a shape."""
_SOURCES = frozenset({"Shape", "Size"})
_MAY_BE_HOST = frozenset(
    {"ConstantOfShape", "Range", "RandomNormal", "RandomUniform", "SequenceLength",
     "OptionalHasElement"}
)  # fmt: skip
"""Operators whose result is where the numbers are that they read, or that read no tensor."""
_VIEWS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Expand"})
_READ = {"CastLike": 1}
"""Operator -> how many of its inputs it reads the values of, where not of all."""
_RANDOM = frozenset(
    {"Dropout", "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
     "RandomUniformLike"}
)  # fmt: skip
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
HOST_INPUTS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(_REDUCTIONS, frozenset({1})),
    **dict.fromkeys(
        ("Reshape", "Expand", "Tile", "Split", "SplitToSequence", "Squeeze", "Unsqueeze", "TopK",
         "Trilu", "CumSum", "OneHot", "CenterCropPad", "Upsample", "SequenceAt", "AffineGrid"),
        frozenset({1}),
    ),
    "Slice": frozenset({1, 2, 3, 4}), "Pad": frozenset({1, 2, 3}), "Clip": frozenset({1, 2}),
    "ConstantOfShape": frozenset({0}), "Range": frozenset({0, 1, 2}), "If": frozenset({0}),
    "Loop": frozenset({0, 1}), "Resize": frozenset({1, 2, 3}), "Dropout": frozenset({1, 2}),
    "MaxUnpool": frozenset({2}), "Col2Im": frozenset({1, 2}), "SequenceInsert": frozenset({2}),
    "SequenceErase": frozenset({1}), "DFT": frozenset({1, 2}), "STFT": frozenset({1, 3}),
}  # fmt: skip
"""Operator -> inputs that it reads as numbers."""


class Bound(Protocol):
    """A weight or constant: the layer it is, if it is one, and its value."""

    @property
    def layer(self) -> str | None:
        """Name of the layer, or None."""
        ...

    @property
    def value(self) -> Value:
        """Its value."""
        ...


class Frame(Protocol):
    """Slots of a program that is being made, and what is bound to them from the start."""

    bindings: dict[int, int]
    hosted: dict[int, Value]

    def slot(self) -> int:
        """A new slot."""
        ...


def place(
    steps: Sequence[Step], frame: Frame, bound: Sequence[Bound], inputs: Sequence[int]
) -> tuple[Step, ...]:
    """The steps, reading small integer constants on the CPU where shapes are computed.

    Args:
        steps: of one graph, in order.
        frame: with the bindings of its slots; gets a slot for each constant kept on the CPU.
        bound: weights and constants by number.
        inputs: slots that may hold values on the CPU, such as the counter of a Loop.
    """
    return _Placing(frame, bound, inputs, steps).placed(steps)


class _Placing:
    """The state of `place`: `hosts` are slots on the CPU, `maybe` those that can be."""

    def __init__(
        self, frame: Frame, bound: Sequence[Bound], inputs: Sequence[int], steps: Sequence[Step]
    ) -> None:
        self.frame, self.bound = frame, bound
        self.hosts: set[int] = set(frame.hosted)
        own = {NOTHING, *frame.bindings}.union(*(step.outputs for step in steps))
        around = {slot for step in steps for slot in step.inputs} - own
        self.maybe: set[int] = {*inputs, *around}
        self.twins: dict[int, int] = {}
        self.origins: dict[int, int] = {}

    def placed(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        return tuple(self._placed(step) for step in steps)

    def _placed(self, step: Step) -> Step:
        name = step.label.partition(" ")[0]
        if name in _VIEWS:
            self.origins[step.outputs[0]] = self.origins.get(step.inputs[0], step.inputs[0])
        if name == "CastLike":
            like = step.inputs[1]
            # A view has the type of what it is of, which others may do without.
            step = replace(step, inputs=(step.inputs[0], self.origins.get(like, like)))
        given = [slot for slot in step.inputs if slot != NOTHING]
        on_host = (
            name in _SOURCES
            or (
                name not in _RANDOM
                and not step.reads
                and step.make_call is None
                and given
                # CastLike looks at the type of its second input alone.
                and all(
                    slot in self.hosts or self._is_small(slot) for slot in given[: _READ.get(name)]
                )
            )
        )
        if name in _SOURCES:
            self.hosts.update(step.outputs)
            return replace(step, operator=_RememberedShape(step.operator), hosted=True)
        if on_host:
            self.hosts.update(step.outputs)
            inputs = tuple(self._hosted(slot) for slot in step.inputs)
            # It would hold on to what CastLike only looks at.
            remembers = name not in _READ
            operator = _Remembered(step.operator) if remembers else step.operator
            return replace(step, inputs=inputs, operator=operator, hosted=True)
        read = HOST_INPUTS.get(name, frozenset())
        inputs = tuple(
            self._hosted(slot)
            if (k in read and self._is_small(slot, read=True)) or self._is_number(name, slot)
            else slot
            for k, slot in enumerate(step.inputs)
        )
        if step.make_call is not None or name in _MAY_BE_HOST:
            self.maybe.update(step.outputs)
        cpu = self.hosts | self.maybe
        moved = tuple(k for k, slot in enumerate(inputs) if k not in read and slot in cpu)
        return replace(step, inputs=inputs, moved=moved)

    def _is_small(self, slot: int, *, read: bool = False) -> bool:
        """Whether a slot holds a small constant, no weight, that may be a shape or is read."""
        number = self.frame.bindings.get(slot)
        if number is None:
            return False
        found = self.bound[number]
        value = found.value
        return (
            found.layer is None
            and isinstance(value, torch.Tensor)
            and value.numel() <= MOST_HOSTED
            and (read or not (value.is_floating_point() and value.dim()))
        )

    def _is_number(self, name: str, slot: int) -> bool:
        """Whether arithmetic takes a slot as a number, which may then stay on the CPU."""
        number = self.frame.bindings.get(slot)
        if name not in ARITHMETIC or number is None or not self._is_small(slot):
            return False
        value = self.bound[number].value
        return isinstance(value, torch.Tensor) and value.dim() == 0

    def _hosted(self, slot: int) -> int:
        """The slot of a constant's twin on the CPU."""
        if slot in self.hosts or slot not in self.frame.bindings:
            return slot
        if slot not in self.twins:
            self.twins[slot] = self.frame.slot()
            self.frame.hosted[self.twins[slot]] = self.bound[self.frame.bindings[slot]].value
            self.hosts.add(self.twins[slot])
        return self.twins[slot]


class _Remembered:
    """An operator on shapes that answers the same inputs, the very objects, as before.

    Shapes seldom change from one batch to the next, and what is computed from them is small.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._last: tuple[tuple[Value, ...], Value] = ((), None)

    def __call__(self, call: Call, *inputs: Value) -> Value:
        before, result = self._last
        if len(before) == len(inputs) and all(map(is_, before, inputs)):
            return result
        result = self._operator(call, *inputs)
        # A tensor made in inference mode could not be used in a training later.
        if not torch.is_inference_mode_enabled():
            self._last = (inputs, result)
        return result


class _RememberedShape(_Remembered):
    """The operators Shape and Size, which answer the same shape with the same object."""

    def __call__(self, call: Call, *inputs: Value) -> Value:
        shape = _shape(inputs[0])
        before, result = self._last
        if before == (shape,):
            return result
        result = self._operator(call, *inputs)
        if not torch.is_inference_mode_enabled():
            self._last = ((shape,), result)
        return result


def _shape(value: Value) -> tuple[int, ...]:
    if not isinstance(value, torch.Tensor | np.ndarray):
        raise TypeError(f"expected a tensor, got a {type(value).__name__}")
    return tuple(value.shape)
