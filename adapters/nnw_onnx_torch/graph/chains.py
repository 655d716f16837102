"""Chains of steps that one function of torch stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from nnw_onnx_torch.graph.failures import FAILURES, failed
from nnw_onnx_torch.graph.operators._table import Call, Value

if TYPE_CHECKING:
    from nnw_onnx_torch.graph.program import Step


class Graph:
    """Steps, which of them makes a slot, and how many read it."""

    def __init__(self, steps: Sequence[Step], wanted: Set[int], apart: Set[object]) -> None:
        self.steps, self._apart = steps, apart
        self._maker = {slot: k for k, step in enumerate(steps) for slot in step.outputs}
        self._uses = dict.fromkeys(wanted, 1)
        for step in steps:
            for slot in (*step.inputs, *step.reads):
                self._uses[slot] = self._uses.get(slot, 0) + 1

    def name(self, place: int) -> str:
        """The operator of the standard domain at a place."""
        return self.steps[place].label.partition(" ")[0]

    def made_by(self, slot: int, *names: str, readers: int = 1) -> int | None:
        """The place of the step that makes a slot, if its operator is one of these.

        Args:
            slot: its only output.
            names: of operators.
            readers: how often it is read, all of which the chain must hold.
        """
        place = self._maker.get(slot)
        if place is None or self.name(place) not in names:
            return None
        step = self.steps[place]
        plain = step.calls and not step.hosted and len(step.outputs) == 1
        alone = self._uses.get(slot) == readers
        return place if plain and alone and step.address not in self._apart else None

    def is_number(self, slot: int) -> bool:
        """Whether a slot may hold a number that is known without computing."""
        place = self._maker.get(slot)
        return place is None or self.steps[place].hosted


class Function(Protocol):
    """What stands for a chain.

    Attributes:
        slots: that it is told, in order.
        numbers: those of them that are numbers, and need not be where the network is.
    """

    @property
    def slots(self) -> tuple[int, ...]:
        """See above."""
        ...

    @property
    def numbers(self) -> tuple[int, ...]:
        """See above."""
        ...

    def __call__(self, *inputs: Value) -> Value:
        """The result, or None where it is for other inputs than these."""
        ...


@dataclass(frozen=True)
class Chain:
    """Steps that one function stands for: their places, the last of them last."""

    places: tuple[int, ...]
    function: Function

    def step(self, graph: Graph) -> Step:
        """The one step."""
        inner = [graph.steps[k] for k in sorted(self.places)]
        last = graph.steps[self.places[-1]]
        made = {slot for step in inner for slot in step.outputs}
        read = [slot for step in inner for slot in step.inputs if slot not in made]
        inputs = tuple(dict.fromkeys((*self.function.slots, *read)))
        picked = tuple(inputs.index(slot) for slot in self.function.slots)
        whole = Whole(self.function, tuple(inner), inputs, picked)
        numbers = {*self.function.numbers}
        there = {step.inputs[k] for step in inner for k in step.moved} - numbers
        calls = tuple(
            replace(last.calls[mode], attributes={"calls": [s.calls[mode] for s in inner]})
            for mode in range(len(last.calls))
        )
        moved = tuple(k for k, slot in enumerate(inputs) if slot in there)
        return replace(last, operator=whole, inputs=inputs, calls=calls, moved=moved)


@dataclass(frozen=True)
class Whole:
    """The operator of a fused step."""

    function: Function
    inner: tuple[Step, ...]
    inputs: tuple[int, ...]
    picked: tuple[int, ...]

    def __call__(self, call: Call, *inputs: Value) -> Value:
        """The result of the function, or of the steps one by one."""
        result = self.function(*[inputs[k] for k in self.picked])
        return self._one_by_one(call, inputs) if result is None else result

    def _one_by_one(self, call: Call, inputs: Sequence[Value]) -> Value:
        values: dict[int, Value] = dict(zip(self.inputs, inputs, strict=True))
        device = next(v.device for v in inputs if isinstance(v, torch.Tensor))
        result: Value = None
        for step, own in zip(self.inner, call.attributes["calls"], strict=True):
            given = [values[slot] for slot in step.inputs]
            for k in step.moved:
                given[k] = _there(given[k], device)
            try:
                result = step.operator(own, *given)
            except FAILURES as error:
                raise failed(step.label, error) from error
            values[step.outputs[0]] = result
        return result


def _there(value: Value, device: torch.device) -> Value:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value


def both(step: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The two inputs of a step in both orders."""
    one, other = step.inputs
    return (one, other), (other, one)


def perm(step: Step) -> list[int] | None:
    """The order of axes that a Transpose is told, or None."""
    found: Mapping[str, list[int] | None] = step.calls[0].attributes
    return found.get("perm")
