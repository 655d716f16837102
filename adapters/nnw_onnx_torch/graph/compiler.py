"""From a model's message to a program: names become slots, operators become functions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Array
from nnw_onnx_torch.graph import parsing
from nnw_onnx_torch.graph.operators import OPERATORS
from nnw_onnx_torch.graph.operators._table import Attribute, Call, Operator, Value
from nnw_onnx_torch.graph.placement import place
from nnw_onnx_torch.graph.program import (
    NOTHING,
    UNUSED,
    Address,
    Block,
    Program,
    Run,
    Step,
)

MOST_NESTED = 100
"""Functions and graphs inside one another."""


@dataclass(frozen=True)
class Bound:
    """A weight or constant of the model: the layer it is, if it is one, its value and type."""

    layer: str | None
    value: Value
    data_type: int = 0


@dataclass
class Frame:
    """Slots of a program that is being made, what is bound to them, what inputs say they hold."""

    size: int = 2
    bindings: dict[int, int] = field(default_factory=dict)
    declared: dict[int, int] = field(default_factory=dict)
    hosted: dict[int, Value] = field(default_factory=dict)

    def slot(self) -> int:
        """A new slot."""
        self.size += 1
        return self.size - 1


@dataclass
class Scope:
    """Names of a graph, and of the graphs around it, in a frame.

    Attributes:
        names: name -> slot.
        around: the graph around this one.
        frame: where the slots lie.
        opsets: version of each operator set.
        references: attributes of the function whose body this is, for nodes that refer to them.
        reads: slots around this graph that were read in it.
        depth: number of graphs and functions around this one.
        made: slots that nodes of this graph compute.
    """

    frame: Frame
    opsets: Mapping[str, int]
    names: dict[str, int] = field(default_factory=dict)
    around: Scope | None = None
    references: Mapping[str, Attribute] = field(default_factory=dict)
    reads: set[int] = field(default_factory=set)
    depth: int = 0
    made: set[int] = field(default_factory=set)

    def find(self, name: str) -> int | None:
        """Slot of a name here or in the graphs around; noted in `reads` if it lies around."""
        if name in self.names:
            return self.names[name]
        if self.around is None:
            return None
        slot = self.around.find(name)
        if slot is not None:
            self.reads.add(slot)
        return slot


class Compiler:
    """Makes the program of a model.

    Attributes:
        bound: weights and constants, in the order of their numbers.
        missing: operators that the table lacks.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        given: Mapping[str, Array],
        layers: Mapping[Address, str],
    ) -> None:
        self._model, self._given, self._layers = model, given, layers
        self._functions: dict[tuple[str, str, str], tuple[FunctionProto, Address]] = {
            (parsing.domain_of(f), f.name, f.overload): (f, (("functions", k),))
            for k, f in enumerate(model.functions)
        }
        self._programs: dict[tuple[Address, str], Program] = {}
        self._numbers: dict[Address, int] = {}
        self.bound: list[Bound] = []
        self.missing: set[str] = set()

    def compile(self) -> Program:
        """The program of the main graph; raises `TrainingError` for operators that are missing."""
        frame = Frame()
        scope = Scope(frame, parsing.opsets(self._model.opset_import))
        block = self._block(self._model.graph, (("graph", 0),), scope)
        if self.missing:
            names = ", ".join(sorted(self.missing))
            raise TrainingError(
                f"model: expected operators that can be trained, got {names}, which cannot; "
                "use a network without them, or enter them into nnw_onnx_torch.graph.operators"
            )
        return _program(block, frame, scope.names)

    def _block(self, graph: GraphProto, address: Address, scope: Scope) -> Block:
        """A graph; `scope` is its own, still empty."""
        self._check_depth(scope)
        for index, tensor in enumerate(graph.initializer):
            place_ = (*address, ("initializer", index))
            self._bind(scope, tensor.name, place_, partial(self._stored, tensor), tensor.data_type)
        for index, sparse in enumerate(graph.sparse_initializer):
            place_ = (*address, ("sparse_initializer", index))
            self._bind(scope, sparse.values.name, place_, partial(parsing.dense, sparse))
        inputs = []
        for value in graph.input:
            if value.name not in scope.names:
                scope.names[value.name] = scope.frame.slot()
                slot = scope.names[value.name]
                inputs.append(slot)
                scope.frame.declared[slot] = value.type.tensor_type.elem_type
        steps = self._nodes(graph.node, address, scope)
        outputs = tuple(self._slot(value.name, scope) for value in graph.output)
        unsure = inputs if scope.around else ()
        placed = place(steps, scope.frame, self.bound, unsure)
        return Block(tuple(inputs), outputs, placed, _constants(scope.frame))

    def _body(self, function: FunctionProto, address: Address, scope: Scope) -> Block:
        """The body of a function; inputs that a call leaves out are None."""
        self._check_depth(scope)
        for name in function.input:
            scope.names[name] = scope.frame.slot()
        inputs = tuple(scope.names[name] for name in function.input)
        steps = self._nodes(function.node, address, scope)
        outputs = tuple(self._slot(name, scope) for name in function.output)
        placed = place(steps, scope.frame, self.bound, ())
        return Block(inputs, outputs, placed, _constants(scope.frame))

    def _check_depth(self, scope: Scope) -> None:
        if scope.depth > MOST_NESTED:
            raise TrainingError(
                f"model: expected at most {MOST_NESTED} graphs and functions inside one another, "
                "got more; inline them"
            )

    def _stored(self, tensor: TensorProto) -> Value:
        return parsing.constant(tensor, self._given)

    def _bind(
        self,
        scope: Scope,
        name: str,
        address: Address,
        value: Callable[[], Value],
        data_type: int = 0,
    ) -> None:
        """Give a name its weight or constant; the same address is read once only."""
        if address not in self._numbers:
            self._numbers[address] = len(self.bound)
            self.bound.append(Bound(self._layers.get(address), value(), data_type))
        slot = scope.names.setdefault(name, scope.frame.slot())
        scope.frame.bindings[slot] = self._numbers[address]

    def _nodes(
        self, nodes: Sequence[NodeProto], address: Address, scope: Scope
    ) -> tuple[Step, ...]:
        """The steps, in an order in which each value is there before it is read."""
        for node in nodes:
            for name in filter(None, node.output):
                slot = scope.names.setdefault(name, scope.frame.slot())
                if node.op_type not in ("Constant", "Identity"):
                    scope.made.add(slot)
        steps = []
        for index, node in enumerate(nodes):
            place_ = (*address, ("node", index))
            if node.op_type == "Constant" and parsing.domain_of(node) == "":
                self._constant(node, place_, scope)
            else:
                step = self._step(node, place_, scope)
                if step is not None:
                    steps.append(step)
        return _sorted(steps)

    def _constant(self, node: NodeProto, address: Address, scope: Scope) -> None:
        """Bind a Constant; of two of one name the last counts, as in onnxruntime."""
        if not node.output:
            return
        attributes, _ = self._attributes(node, address, scope)
        value = parsing.constant_node(attributes)
        place_: Address = (*address, ("attribute", 0))
        for candidate in (place_, (*place_, ("t", 0))):
            if candidate in self._layers:
                place_ = candidate
        if any(a.ref_attr_name for a in node.attribute):
            # The value depends on the call of the function, so it is no weight of the model.
            scope.frame.hosted[scope.names[node.output[0]]] = value
            return
        data_type = next((a.t.data_type for a in node.attribute if a.HasField("t")), 0)
        self._bind(scope, node.output[0], place_, lambda: value, data_type)

    def _slot(self, name: str, scope: Scope) -> int:
        if not name:
            return NOTHING
        slot = scope.find(name)
        if slot is None:
            raise TrainingError(
                f"model: expected every value to be computed somewhere, got {name!a}, which "
                "is not; export the model again"
            )
        return slot

    def _step(self, node: NodeProto, address: Address, scope: Scope) -> Step | None:
        domain = parsing.domain_of(node)
        attributes, blocks = self._attributes(node, address, scope)
        operator, program = self._operator(node, domain, scope, attributes)
        if operator is None:
            self.missing.add(f"{domain}.{node.op_type}" if domain else str(node.op_type))
            return None
        wanted = tuple(bool(name) for name in node.output)
        opset = scope.opsets.get(domain, 1)
        inputs = tuple(self._slot(name, scope) for name in node.input)
        # Statistics that the graph computes are no running ones; exporters normalize layers so.
        batch = operator is not OPERATORS["", "BatchNormalization"] or inputs[3] not in scope.made
        kinds = ((False, False), (True, False), (True, batch))
        types = tuple(self._type(slot, scope.frame) for slot in inputs)
        calls = tuple(Call(attributes, wanted, opset, *kind, types) for kind in kinds)
        reads: set[int] = set().union(*(inner.reads for _, inner in blocks.values()))
        make_call = None
        if blocks or program is not None:
            held = {name: block for name, (block, _) in blocks.items()}
            make_call = _calls_with_graphs(calls, held, program)
        return Step(
            operator=operator,
            inputs=inputs,
            outputs=tuple(scope.names[name] if name else UNUSED for name in node.output),
            calls=() if make_call else calls,
            make_call=make_call,
            reads=frozenset(reads),
            address=address,
            label=f"{node.op_type} {node.name!a}",
        )

    def _type(self, slot: int, frame: Frame) -> int:
        """ONNX data type of a value that the file stores or is fed, or 0."""
        number = frame.bindings.get(slot)
        return frame.declared.get(slot, 0) if number is None else self.bound[number].data_type

    def _attributes(
        self, node: NodeProto, address: Address, scope: Scope
    ) -> tuple[dict[str, Attribute], dict[str, tuple[Block, Scope]]]:
        """Plain attributes, and graphs with their scopes."""
        plain: dict[str, Attribute] = {}
        graphs: dict[str, tuple[Block, Scope]] = {}
        for index, attribute in enumerate(node.attribute):
            if attribute.ref_attr_name:
                if attribute.ref_attr_name in scope.references:
                    plain[attribute.name] = scope.references[attribute.ref_attr_name]
            elif attribute.type == AttributeProto.GRAPH:
                inner = Scope(
                    scope.frame, scope.opsets, around=scope, references=scope.references,
                    depth=scope.depth + 1,
                )  # fmt: skip
                place_ = (*address, ("attribute", index), ("g", 0))
                graphs[attribute.name] = (self._block(attribute.g, place_, inner), inner)
            else:
                plain[attribute.name] = parsing.attribute_value(attribute)
        return plain, graphs

    def _operator(
        self, node: NodeProto, domain: str, scope: Scope, attributes: Mapping[str, Attribute]
    ) -> tuple[Operator | None, Program | None]:
        """The operator of a node: a function of the model, of the table, or of ONNX itself."""
        found = self._functions.get((domain, node.op_type, node.overload))
        if found is None and (domain, node.op_type) in OPERATORS:
            return OPERATORS[domain, node.op_type], None
        if found is None:
            found = _standard_function(domain, node.op_type, scope.opsets.get(domain, 1))
        if found is None:
            return None, None
        return _call_function, self._function(*found, attributes, scope)

    def _function(
        self,
        function: FunctionProto,
        address: Address,
        attributes: Mapping[str, Attribute],
        scope: Scope,
    ) -> Program:
        """The program of a function, for these attributes of its call."""
        references = {a.name: parsing.attribute_value(a) for a in function.attribute_proto}
        references |= attributes
        key = (address, repr(sorted(references.items())))
        if key not in self._programs:
            versions = parsing.opsets(function.opset_import) or scope.opsets
            inner = Scope(Frame(), versions, references=references, depth=scope.depth + 1)
            block = self._body(function, address, inner)
            self._programs[key] = _program(block, inner.frame, inner.names)
        return self._programs[key]


def _call_function(call: Call, *inputs: Value) -> tuple[Value, ...]:
    return tuple(call.attributes["body"](*inputs))


def _calls_with_graphs(
    calls: tuple[Call, ...], blocks: Mapping[str, Block], program: Program | None
) -> Callable[[Run, list[Value]], Call]:
    """What an operator is told that holds graphs, or that is a function."""

    def make_call(run: Run, values: list[Value]) -> Call:
        plain = calls[run.mode]
        held = {name: block.as_function(run, values) for name, block in blocks.items()}
        if program is not None:
            held["body"] = program.as_function(run)
        return replace(plain, attributes={**plain.attributes, **held})

    return make_call


def _standard_function(domain: str, name: str, opset: int) -> tuple[FunctionProto, Address] | None:
    """The body that ONNX itself gives an operator, with a place that no model has."""
    try:
        schema = onnx.defs.get_schema(name, opset, domain)
    except onnx.defs.SchemaError:
        return None
    if not schema.has_function:  # type: ignore[attr-defined]  # onnx's types leave it out
        return None
    return schema.function_body, (("onnx", opset), (f"{domain}.{name}", 0))


def _constants(frame: Frame) -> frozenset[int]:
    return frozenset({*frame.bindings, *frame.hosted})


def _program(block: Block, frame: Frame, names: Mapping[str, int]) -> Program:
    return Program(
        block, frame.size, tuple(frame.bindings.items()), tuple(frame.hosted.items()), names
    )


def _sorted(steps: list[Step]) -> tuple[Step, ...]:
    """The steps in their order, or, where one reads what is made later, in one that works."""
    maker = {slot: k for k, step in enumerate(steps) for slot in step.outputs if slot != UNUSED}
    needs = [{maker[s] for s in {*step.inputs, *step.reads} if s in maker} for step in steps]
    if all(k > max(need, default=-1) for k, need in enumerate(needs)):
        return tuple(steps)
    followers: dict[int, list[int]] = {}
    for k, need in enumerate(needs):
        for source in need:
            followers.setdefault(source, []).append(k)
    ready = deque(k for k, need in enumerate(needs) if not need)
    order = []
    while ready:
        k = ready.popleft()
        order.append(k)
        for other in followers.get(k, ()):
            needs[other].discard(k)
            if not needs[other]:
                ready.append(other)
    if len(order) < len(steps):
        raise TrainingError(
            "model: expected a graph without cycles, got one with them; export the model again"
        )
    return tuple(steps[k] for k in order)
