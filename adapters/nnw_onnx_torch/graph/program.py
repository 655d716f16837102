"""A graph as a list of steps over numbered values, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TypeAlias

import torch

from nnw_onnx_torch.graph.failures import FAILURES, failed
from nnw_onnx_torch.graph.fusing import fused
from nnw_onnx_torch.graph.operators._table import Call, Operator, Value

Address = tuple[tuple[str, int], ...]
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})
"""Operators that take a number of the CPU beside tensors of any device."""
_MOST_FOLDED = 8
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
        hosted: whether it computes on the CPU, of shapes and small constants alone.
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
    hosted: bool = False

    def call(self, run: Run, values: list[Value]) -> Call:
        """What the operator is told in this run and frame."""
        if self.make_call is None:
            return self.calls[run.mode]
        return self.make_call(run, values)


class Timed(NamedTuple):
    """A step and what following it needs, at hand.

    Attributes:
        step: as it stands.
        operator: its.
        calls: its.
        inputs: its.
        output: its only output, or -1 where there are others.
        free: slots that are free after it.
    """

    step: Step
    operator: Operator
    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    output: int
    free: tuple[int, ...]


def timed_step(step: Step, free: tuple[int, ...]) -> Timed:
    """A step, and the slots that are free after it."""
    output = step.outputs[0] if len(step.outputs) == 1 else -1
    return Timed(step, step.operator, step.calls, step.inputs, output, free)


_Kind: TypeAlias = tuple[frozenset[Address], frozenset[Address], bool]


@dataclass(frozen=True, eq=False)
class Folded:
    """A plan for inputs of certain shapes.

    Attributes:
        known: slots with the values that shapes alone decide.
        steps: what is left, each with its place in the plan.
    """

    known: tuple[tuple[int, Value], ...]
    steps: tuple[Timed, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps that are needed.

    Attributes:
        steps: in order.
        foldable: whether some of them compute of shapes alone.
        folded: shapes of the inputs -> the plan for them; None for some that cannot be folded.
    """

    steps: tuple[Timed, ...]
    foldable: bool
    folded: dict[tuple[torch.Size, ...], Folded | None] = field(default_factory=dict)


@dataclass(slots=True)
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
    """A graph: its inputs, outputs and steps, in a frame that it may share with others.

    Attributes:
        inputs: slots of what it is given.
        outputs: slots of what it answers.
        steps: in order.
        constants: slots of the frame that hold weights and constants.
        plans: those that were made.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    constants: frozenset[int] = frozenset()
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
        carry_out(self, self.plan(run, wanted), run, values)
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


def make_plan(block: Block, wanted: tuple[int, ...], run: Run) -> Plan:
    """The steps that the wanted slots or captures need, and when each value is used last."""
    own = {*block.inputs, UNUSED}.union(*(step.outputs for step in block.steps))
    steps = fused(_needed(block, wanted, run), set(wanted), {*run.captures, *run.skipped})
    needed, kept = set(wanted), {*wanted, NOTHING}
    chosen: list[Timed] = []
    for step in reversed(steps):
        read = {*step.inputs, *step.reads}
        last = (read | set(step.outputs)) - needed - kept
        chosen.append(timed_step(_adapted(step, run), tuple(sorted(last & own))))
        needed |= read
    return Plan(tuple(reversed(chosen)), any(step.hosted for step in steps))


def _needed(block: Block, wanted: tuple[int, ...], run: Run) -> list[Step]:
    """The steps that the wanted slots or captures need, in order."""
    needed, found = set(wanted), []
    for step in reversed(block.steps):
        if step.address in run.captures or needed.intersection(step.outputs):
            found.append(step)
            needed |= {*step.inputs, *step.reads}
    return found[::-1]


def _adapted(step: Step, run: Run) -> Step:
    """The step as this kind of run needs it."""
    if step.address in run.skipped:
        step = replace(step, operator=_first_input)
    if step.address in run.captures:
        step = _recording(step)
    return _moving(step) if step.moved and run.device.type != "cpu" else step


def carry_out(block: Block, plan: Plan, run: Run, values: list[Value]) -> None:
    """Run a plan in a frame; what shapes alone decide is computed once for all inputs of a shape.

    Raises:
        TrainingError: naming the node that fails.
    """
    shapes = _shapes(values, block.inputs) if plan.foldable else None
    if shapes is None or (shapes not in plan.folded and len(plan.folded) >= _MOST_FOLDED):
        follow(plan.steps, run, values)
    elif shapes not in plan.folded:
        plan.folded[shapes] = _fold(block, plan, run, values)
    else:
        _follow_folded(plan, shapes, run, values)


def _shapes(values: list[Value], inputs: tuple[int, ...]) -> tuple[torch.Size, ...] | None:
    """Shapes of the inputs, if all of them are tensors and nobody traces what is done."""
    # What is made in inference mode cannot be used in a training later.
    if torch.is_inference_mode_enabled() or torch.compiler.is_compiling():
        return None
    if torch._C._get_tracing_state() is not None:
        return None
    found = [values[slot] for slot in inputs]
    shapes = tuple(value.shape for value in found if isinstance(value, torch.Tensor))
    return shapes if len(shapes) == len(found) else None


def _fold(block: Block, plan: Plan, run: Run, values: list[Value]) -> Folded:
    """Run a plan, and keep what its hosted steps made."""
    slots = {slot for timed in plan.steps if timed.step.hosted for slot in timed.step.outputs}
    seen = {*slots, *block.inputs}
    left: list[Timed] = []
    for k, timed in enumerate(plan.steps):
        step, free = timed.step, timed.free
        # The type of a weight changes where a module is moved to another, which CastLike sees.
        sure = seen if step.label.startswith("CastLike") else seen | block.constants
        guard = _guard(k, step, values, sure) if step.hosted else step
        seen.update(guard.inputs if step.hosted else ())
        follow((timed_step(step, tuple(s for s in free if s not in slots)),), run, values)
        left.append(timed_step(guard, free))
    known = tuple((slot, values[slot]) for slot in sorted(slots))
    return Folded(known, _merged(left, slots))


def _guard(place: int, step: Step, values: list[Value], sure: Set[int]) -> Step:
    """What stands for a hosted step: it sees that what it has read looks as it did."""
    read = [slot for slot in step.inputs if slot not in sure]
    looks = [_look(values[slot]) for slot in read]
    operator = _Guard(place, tuple(looks)) if any(looks) else _nothing
    return replace(step, operator=operator, inputs=tuple(read), outputs=(UNUSED,))


def _merged(steps: list[Timed], hosted: set[int]) -> tuple[Timed, ...]:
    """The steps that do something, each with the slots that those before it have left to free."""
    found: list[Timed] = []
    waiting: list[int] = []
    for timed in steps:
        waiting += [slot for slot in timed.free if slot not in hosted]
        if timed.operator is not _nothing:
            found.append(timed_step(timed.step, tuple(waiting)))
            waiting = []
    return tuple(found)


def _follow_folded(
    plan: Plan, shapes: tuple[torch.Size, ...], run: Run, values: list[Value]
) -> None:
    folded = plan.folded[shapes]
    if folded is None:
        follow(plan.steps, run, values)
        return
    for slot, value in folded.known:
        values[slot] = value
    try:
        follow(folded.steps, run, values)
    except _OtherShape as other:
        # Shapes hang on values here: go on from there, and do not try again.
        plan.folded[shapes] = None
        follow(plan.steps[other.place :], run, values)


class _OtherShape(Exception):  # noqa: N818 - no error
    """A shape inside the graph is another than before, although those of the inputs are not."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def _look(value: Value) -> tuple[torch.Size, torch.dtype] | None:
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else None


@dataclass(frozen=True)
class _Guard:
    """Stands for a step that reads shapes and types, while they are those of before."""

    place: int
    looks: tuple[tuple[torch.Size, torch.dtype] | None, ...]

    def __call__(self, call: Call, *inputs: Value) -> None:
        for value, look in zip(inputs, self.looks, strict=True):
            if _look(value) != look:
                raise _OtherShape(self.place)


def _nothing(call: Call, *inputs: Value) -> None:
    return None


def follow(steps: Sequence[Timed], run: Run, values: list[Value]) -> None:
    """Run steps in a frame; raises `TrainingError` naming the node that fails."""
    mode = run.mode
    step = None
    try:
        for step, operator, calls, inputs, output, free in steps:
            call = calls[mode] if calls else step.call(run, values)
            result = operator(call, *[values[slot] for slot in inputs])
            if output >= 0:
                values[output] = result[0] if isinstance(result, tuple) else result
            else:
                several = result if isinstance(result, tuple | list) else (result,)
                for slot, value in zip(step.outputs, several, strict=False):
                    values[slot] = value
            for slot in free:
                values[slot] = None
    except FAILURES as error:
        raise failed("model" if step is None else step.label, error) from error


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
    arithmetic = step.label.partition(" ")[0] in ARITHMETIC
    there: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def moved(index: int, value: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The value there; what was computed of shapes is the very object of the last time."""
        before, copy = there.get(index, (None, value))
        if before is not value or copy.device != device:
            copy = value.to(device, non_blocking=True)
            if copy is not value and not value.requires_grad and not torch.is_inference(value):
                there[index] = value, copy
        return copy

    def move(call: Call, *inputs: Value) -> Value:
        device = call.attributes["run"].device
        given = list(inputs)
        for index in step.moved:
            value = given[index]
            # A number of the CPU is an argument of the kernels of arithmetic.
            if isinstance(value, torch.Tensor) and (value.dim() or not arithmetic):
                given[index] = moved(index, value, device)
        return step.operator(call.attributes["call"], *given)

    return replace(step, operator=move, calls=(), make_call=_wrapped(step))


def _wrapped(step: Step) -> Callable[[Run, list[Value]], Call]:
    """A call that hands on the run beside the step's own call."""

    def make_call(run: Run, values: list[Value]) -> Call:
        call = step.call(run, values)
        return Call({"run": run, "call": call}, call.outputs, call.opset, False, False)

    return make_call
