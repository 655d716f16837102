"""A graph as a list of steps over numbered values, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn, TypeAlias

import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx_torch.graph.operators._table import Call, Operator, Value

Address = tuple[tuple[str, int], ...]
NOTHING, UNUSED = 0, 1
"""Slot of an input left out, which is always None; slot of results that nobody wants."""


@dataclass(frozen=True, eq=False)
class Step:
    """A node: its operator, and the slots that it reads and writes.

    Attributes:
        operator: the function of the table.
        inputs: slots in order, `NOTHING` for an input left out.
        outputs: slots in order, `UNUSED` for an output without a name.
        calls: what the operator is told in each `Mode`; empty where it holds graphs.
        make_call: makes it from the run and the frame, where it holds graphs.
        reads: slots around it that its subgraphs read.
        moved: inputs that are computed on the CPU, but are needed where the network is.
        address: place of the node in the model.
        label: operator and name, for messages.
    """

    operator: Operator
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[Call, ...]
    make_call: Callable[[Run, list[Value]], Call] | None
    reads: frozenset[int]
    address: Address
    label: str
    moved: tuple[int, ...] = ()

    def call(self, run: Run, values: list[Value]) -> Call:
        """What the operator is told in this run and frame."""
        if self.make_call is None:
            return self.calls[run.mode]
        return self.make_call(run, values)


_Kind: TypeAlias = tuple[frozenset[Address], frozenset[Address], bool]


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps that are needed, each with the slots that are free after it."""

    steps: tuple[tuple[Step, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Run:
    """One execution of a module.

    Attributes:
        mode: index into `Step.calls`: 0 evaluates, 1 trains, 2 trains with statistics of batches.
        bound: weights and constants by number.
        device: where the network is.
        captures: address of a node -> names under which its first output is kept.
        captured: what was kept.
        skipped: addresses of nodes that hand on their first input instead.
    """

    mode: int
    bound: list[Value]
    device: torch.device
    captures: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    captured: dict[str, torch.Tensor] = field(default_factory=dict)
    skipped: frozenset[Address] = frozenset()

    @property
    def key(self) -> _Kind:
        """What a plan depends on."""
        return frozenset(self.captures), self.skipped, self.device.type == "cpu"


@dataclass(eq=False)
class Block:
    """A graph: its inputs, outputs and steps, in a frame that it may share with others."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    plans: dict[tuple[_Kind, tuple[int, ...]], Plan] = field(default_factory=dict)

    def plan(self, run: Run, wanted: tuple[int, ...]) -> Plan:
        """The steps for those slots."""
        key = (run.key, wanted)
        if key not in self.plans:
            self.plans[key] = make_plan(self, wanted, run)
        return self.plans[key]

    def execute(
        self, run: Run, values: list[Value], given: Iterable[Value], wanted: tuple[int, ...]
    ) -> list[Value]:
        """Values of the wanted slots, for these inputs, in this frame."""
        for slot, value in zip(self.inputs, given, strict=False):
            values[slot] = value
        follow(self.plan(run, wanted), run, values)
        return [values[slot] for slot in wanted]

    def as_function(self, run: Run, values: list[Value]) -> Callable[..., list[Value]]:
        """The graph as a function of its inputs, seeing the values around it."""
        return partial(self._call, run, values)

    def _call(self, run: Run, values: list[Value], *given: Value) -> list[Value]:
        results = self.execute(run, values, given, self.outputs)
        for step in self.steps:
            for slot in step.outputs:
                values[slot] = None
        return results


@dataclass(eq=False)
class Program:
    """A graph or function body with a frame of its own.

    Attributes:
        block: its graph.
        size: number of slots of a frame.
        bindings: slot -> number of the weight or constant in `Run.bound`.
        hosted: slot -> constant that stays on the CPU.
        names: name of a value of the graph -> slot.
    """

    block: Block
    size: int
    bindings: tuple[tuple[int, int], ...]
    hosted: tuple[tuple[int, Value], ...]
    names: Mapping[str, int]

    def __deepcopy__(self, memo: dict[int, object]) -> Program:
        return self

    def frame(self, run: Run) -> list[Value]:
        """A fresh frame with weights and constants in it."""
        values: list[Value] = [None] * self.size
        bound = run.bound
        for slot, number in self.bindings:
            values[slot] = bound[number]
        for slot, value in self.hosted:
            values[slot] = value
        return values

    def as_function(self, run: Run) -> Callable[..., list[Value]]:
        """The body as a function of its inputs."""
        return partial(self._call, run)

    def _call(self, run: Run, *given: Value) -> list[Value]:
        return self.block.execute(run, self.frame(run), given, self.block.outputs)


# What torch and the functions of the table raise, on any device: errors of an accelerator, lack of
# memory and NotImplementedError are RuntimeErrors; optional parts of torch may not be installed.
_FAILURES = (
    RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError,
    AssertionError, MemoryError, ImportError,
)  # fmt: skip


def make_plan(block: Block, wanted: tuple[int, ...], run: Run) -> Plan:
    """The steps that the wanted slots or captures need, and when each value is used last."""
    needed, kept = set(wanted), {*wanted, NOTHING}
    own = {*block.inputs, UNUSED}.union(*(step.outputs for step in block.steps))
    chosen: list[tuple[Step, tuple[int, ...]]] = []
    for step in reversed(block.steps):
        if step.address not in run.captures and not needed.intersection(step.outputs):
            continue
        read = {*step.inputs, *step.reads}
        last = (read | set(step.outputs)) - needed - kept
        chosen.append((_adapted(step, run), tuple(sorted(last & own))))
        needed |= read
    return Plan(tuple(reversed(chosen)))


def _adapted(step: Step, run: Run) -> Step:
    """The step as this kind of run needs it."""
    if step.address in run.skipped:
        step = replace(step, operator=_first_input)
    if step.address in run.captures:
        step = _recording(step)
    return _moving(step) if step.moved and run.device.type != "cpu" else step


def follow(plan: Plan, run: Run, values: list[Value]) -> None:
    """Run the steps of a plan in a frame; raises `TrainingError` naming the node that fails."""
    mode = run.mode
    step = None
    try:
        for step, free in plan.steps:
            call = step.calls[mode] if step.calls else step.call(run, values)
            result = step.operator(call, *[values[slot] for slot in step.inputs])
            if len(step.outputs) == 1:
                values[step.outputs[0]] = result[0] if isinstance(result, tuple) else result
            else:
                several = result if isinstance(result, tuple | list) else (result,)
                for slot, value in zip(step.outputs, several, strict=False):
                    values[slot] = value
            for slot in free:
                values[slot] = None
    except _FAILURES as error:
        _fail(step, error)


def _fail(step: Step | None, error: Exception) -> NoReturn:
    where = "model" if step is None else step.label
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        raise TrainingError(
            f"{where}: expected memory enough, got: {reason.partition('. ')[0][:300]}; choose a "
            "smaller batch size, or device 'cpu'"
        ) from error
    if isinstance(error, NotImplementedError):
        raise TrainingError(
            f"{where}: expected an operator that torch has for this device and type, got: "
            f"{reason.partition('. ')[0][:300]}; use device 'cpu', or float32"
        ) from error
    raise TrainingError(
        f"{where}: expected inputs that it can compute with, got an error of torch ({reason[:300]})"
        "; check shapes and types of the inputs, and whether the graph fixes the size of a batch"
    ) from error


def _first_input(call: Call, *inputs: Value) -> Value:
    return inputs[0]


def _recording(step: Step) -> Step:
    """The step with its first output kept in the run."""

    def record(call: Call, *inputs: Value) -> Value:
        result = step.operator(call.attributes["call"], *inputs)
        run = call.attributes["run"]
        first = result[0] if isinstance(result, tuple) else result
        for name in run.captures[step.address]:
            run.captured[name] = first
        return result

    return replace(step, operator=record, calls=(), make_call=_wrapped(step))


def _moving(step: Step) -> Step:
    """The step with some inputs moved to where the network is."""

    def move(call: Call, *inputs: Value) -> Value:
        device = call.attributes["run"].device
        moved = list(inputs)
        for index in step.moved:
            value = moved[index]
            if isinstance(value, torch.Tensor):
                moved[index] = value.to(device, non_blocking=True)
        return step.operator(call.attributes["call"], *moved)

    return replace(step, operator=move, calls=(), make_call=_wrapped(step))


def _wrapped(step: Step) -> Callable[[Run, list[Value]], Call]:
    """A call that hands on the run beside the step's own call."""

    def make_call(run: Run, values: list[Value]) -> Call:
        call = step.call(run, values)
        return Call({"run": run, "call": call}, call.outputs, call.opset, False, False)

    return make_call
