"""Who uses which value: names resolved through subgraphs and functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.arities import check_arity, standard_opset
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.tensors import MOST_AXES, StoredTensor, shown
from nnw_onnx.graph.wire import Address

FunctionName = tuple[str, str, str]
Call = tuple[NodeProto, "Scope"]
"""A node that calls a function, and where it stands."""
Calls = tuple[Call, ...]
"""The calls of functions inside which a value lies, the outermost first."""


@dataclass(frozen=True)
class Use:
    """One consumption of a value: input `index` of `node`, which lies in `scope`."""

    node: NodeProto
    index: int
    scope: Scope


@dataclass(eq=False)
class Scope:
    """A graph or the body of a function.

    Attributes:
        kind: "main", "subgraph" or "function".
        label: how to tell its tensors from those of the same name elsewhere.
        parent: the enclosing scope, whose names are visible here.
        owner: the node that holds this subgraph.
        inputs: names of its inputs in order.
        outputs: names of its outputs in order.
        names: every name defined here.
        uses: name -> where it is consumed, also in scopes inside.
        producers: name -> node.
        tensors: name -> initializer or value of a Constant node.
        twins: names that two Constants define; what they stand for is up to the runtime.
        defaults: attributes of a function that a call may leave out.
        nodes: its nodes in the order of the file.
        inside: identity of a node -> the subgraphs that it holds, by attribute.
    """

    kind: str
    label: str
    parent: Scope | None = None
    owner: NodeProto | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    names: set[str] = field(default_factory=set)
    uses: dict[str, list[Use]] = field(default_factory=dict)
    producers: dict[str, NodeProto] = field(default_factory=dict)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    twins: set[str] = field(default_factory=set)
    defaults: dict[str, AttributeProto] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    inside: dict[int, dict[str, Scope]] = field(default_factory=dict)

    @cached_property
    def results(self) -> Mapping[str, int]:
        """Name of an output -> its first place among the outputs."""
        return {name: k for k, name in reversed(list(enumerate(self.outputs)))}

    def constant(self, name: str) -> StoredTensor | None:
        """The initializer or Constant that a name stands for here, if it is one."""
        scope = self.defining(name)
        return None if scope is None else scope.tensors.get(name)

    def defining(self, name: str) -> Scope | None:
        """The innermost scope in which the name is defined."""
        scope: Scope | None = self
        while scope is not None and name not in scope.names:
            scope = scope.parent
        return scope


@dataclass(frozen=True)
class Scopes:
    """All scopes of a model, the main graph first, and who calls each function."""

    all: tuple[Scope, ...]
    functions: dict[FunctionName, Scope]
    calls: dict[FunctionName, list[Call]]

    @cached_property
    def callers(self) -> dict[int, list[Call]]:
        """Identity of the scope of a function -> who calls it."""
        return {id(s): self.calls.get(key, []) for key, s in self.functions.items()}

    def body(self, node: NodeProto) -> Scope | None:
        """The function that a node calls, if it is one of the model."""
        return self.functions.get((node.domain, node.op_type, node.overload))


def attributes(node: NodeProto) -> dict[str, int | str | Sequence[int]]:
    """Integers, texts and lists of integers among the attributes of a node, by name."""
    found: dict[str, int | str | Sequence[int]] = {}
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            continue
        if attribute.type == AttributeProto.INT:
            found[attribute.name] = attribute.i
        elif attribute.type == AttributeProto.STRING:
            found[attribute.name] = attribute.s.decode(errors="replace")
        elif attribute.type == AttributeProto.INTS:
            found[attribute.name] = attribute.ints
    return found


def real(node: NodeProto, name: str, default: float) -> float:
    """The floating-point attribute of that name, or the default where there is none."""
    given = [a.f for a in node.attribute if a.name == name and a.type == AttributeProto.FLOAT]
    return float(given[0]) if given else default


def bound(node: NodeProto, scope: Scope, calls: Calls) -> NodeProto:
    """A node of a scope with the attributes that the innermost call of its function gives it."""
    if not any(a.ref_attr_name for a in node.attribute):
        return node
    given = dict(_function(scope).defaults)
    if calls:
        caller, outside = calls[-1]
        given |= {a.name: a for a in bound(caller, outside, calls[:-1]).attribute}
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for attribute in node.attribute:
        found = given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if found is not None:
            copy.attribute.add().CopyFrom(found)
            copy.attribute[-1].name = attribute.name
    return copy


def _function(scope: Scope) -> Scope:
    """The body of the function in which a scope lies, or the main graph."""
    while scope.parent is not None:
        scope = scope.parent
    return scope


def number(node: NodeProto, name: str, default: int) -> int:
    """The integer attribute of that name, or the default where there is none."""
    found = attributes(node).get(name)
    return found if isinstance(found, int) else default


def numbers(node: NodeProto, name: str) -> list[int] | None:
    """The attribute of that name that gives axes or sizes, or None; longer than any is none."""
    found = attributes(node).get(name)
    if found is None or isinstance(found, (int, str)) or len(found) > MOST_AXES:
        return None
    return list(found)


def build_scopes(file: ModelFile) -> Scopes:
    """Resolve every name.

    Raises:
        ModelFileError: one is defined twice in a graph, or see `check_arity`.
    """
    builder = _Builder(file)
    builder.graph(file.proto.graph, (("graph", 0),), Scope("main", ""))
    for index, function in enumerate(file.proto.functions):
        builder.function(function, (("functions", index),))
    builder.connect()
    return Scopes(tuple(builder.scopes), builder.functions, builder.calls)


class _Builder:
    def __init__(self, file: ModelFile) -> None:
        self.file = file
        self.scopes: list[Scope] = []
        self.functions: dict[FunctionName, Scope] = {}
        self.calls: dict[FunctionName, list[Call]] = {}
        self.own = {(f.domain, f.name, f.overload) for f in file.proto.functions}
        self.opset = standard_opset(file.proto.opset_import)

    def graph(self, graph: GraphProto, address: Address, scope: Scope) -> None:
        """Enter a graph and everything inside it."""
        scope.inputs = tuple(v.name for v in graph.input)
        scope.outputs = tuple(v.name for v in graph.output)
        scope.names.update(scope.inputs)
        self.scopes.append(scope)
        for index, tensor in enumerate(graph.initializer):
            if not tensor.name or tensor.name in scope.tensors:
                raise _twice(tensor.name, "initializer")
            scope.names.add(tensor.name)
            stored = self.file.tensors[(*address, ("initializer", index))]
            scope.tensors[tensor.name] = stored
        scope.names.update(s.values.name for s in graph.sparse_initializer)
        self._nodes(graph.node, address, scope)

    def function(self, function: FunctionProto, address: Address) -> None:
        """Enter the body of a function of the model."""
        scope = Scope("function", f"{function.domain}.{function.name}")
        scope.inputs, scope.outputs = tuple(function.input), tuple(function.output)
        scope.names.update(scope.inputs)
        scope.defaults = {a.name: a for a in function.attribute_proto}
        self.scopes.append(scope)
        self.functions[function.domain, function.name, function.overload] = scope
        self.opset = standard_opset(function.opset_import)
        self._nodes(function.node, address, scope)

    def _result(self, scope: Scope, node: NodeProto, name: str) -> None:
        """Enter what a node computes, whose name nothing else may have that it can see.

        onnxruntime refuses such files but for a Constant beside an initializer, where it depends
        on sizes which of them it computes with.
        """
        if name in scope.producers:
            raise _twice(name, "result")
        if name in scope.names or _visible(name, scope.parent):
            raise ModelFileError(
                f"model: expected one value of each name, got a result of {node.op_type} with the "
                f"name {shown(name)} of another value; export the model again"
            )
        scope.names.add(name)
        scope.producers[name] = node

    def _nodes(self, nodes: Iterable[NodeProto], address: Address, scope: Scope) -> None:
        for index, node in enumerate(nodes):
            if (node.domain, node.op_type, node.overload) not in self.own:
                check_arity(node, self.opset)
            # Inside it its own results are not visible yet, so that they may be named alike there.
            self._inside(node, (*address, ("node", index)), scope)
            for output in filter(None, node.output):
                if _both_constants(node, scope.producers.get(output)):
                    scope.twins.add(output)
                    scope.tensors.pop(output, None)
                    continue
                self._result(scope, node, output)
            scope.nodes.append(node)

    def _inside(self, node: NodeProto, address: Address, scope: Scope) -> None:
        for index, attribute in enumerate(node.attribute):
            place = (*address, ("attribute", index))
            if attribute.type == AttributeProto.GRAPH or attribute.HasField("g"):
                self._subgraph(attribute.g, (*place, ("g", 0)), scope, node, attribute.name)
            for k, graph in enumerate(attribute.graphs):
                self._subgraph(graph, (*place, ("graphs", k)), scope, node, attribute.name)
            if node.op_type == "Constant" and node.output:
                stored = self.file.tensors.get((*place, ("t", 0))) or self.file.tensors.get(place)
                if stored is not None:
                    scope.tensors[node.output[0]] = stored

    def _subgraph(
        self, graph: GraphProto, address: Address, scope: Scope, node: NodeProto, name: str
    ) -> None:
        label = node.name or (node.output[0] if node.output else node.op_type)
        inside = Scope("subgraph", f"{label}.{name}", scope, node)
        scope.inside.setdefault(id(node), {})[name] = inside
        self.graph(graph, address, inside)

    def connect(self) -> None:
        """Enter each use into the scope that defines the name."""
        for scope in self.scopes:
            for node in scope.nodes:
                key = (node.domain, node.op_type, node.overload)
                if key in self.functions:
                    self.calls.setdefault(key, []).append((node, scope))
                for index, name in enumerate(node.input):
                    definer = scope.defining(name) if name else None
                    if definer is not None:
                        definer.uses.setdefault(name, []).append(Use(node, index, scope))


def _twice(name: str, what: str) -> ModelFileError:
    got = f"two of the name {shown(name)}" if name else "one without a name"
    return ModelFileError(
        f"model: expected one {what} of each name in a graph, got {got}; export the model again"
    )


def _visible(name: str, scope: Scope | None) -> bool:
    """Whether a scope or one around it has defined the name so far."""
    return scope is not None and scope.defining(name) is not None


def _both_constants(node: NodeProto, earlier: NodeProto | None) -> bool:
    """Whether a Constant repeats the name of an earlier one, which runtimes accept."""
    return earlier is not None and node.op_type == earlier.op_type == "Constant"


def constants(scopes: Scopes) -> Iterator[tuple[Scope, str, StoredTensor]]:
    """Every named tensor with its scope, in the order of the file."""
    for scope in scopes.all:
        for name, tensor in scope.tensors.items():
            yield scope, name, tensor
