"""Where a graph can be computed in two parts: a head that no new weight reaches, and the rest.

A cut lies between two nodes of the file's order, which is one of computation. What depends on
nothing that is fed, such as a kernel that arrives through arithmetic, is computed in either part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from onnx import GraphProto, NodeProto

from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import TensorInfo

LEAST_SHARE = 0.25
"""Of the nodes that read weights, so many must lie in the head: less is not worth a cut."""

# What a runtime joins with the node that follows: cut apart it is computed with other roundings.
_JOINED = frozenset(
    {
        "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "QLinearConv",
        "DequantizeLinear", "QuantizeLinear", "MatMulInteger", "ConvInteger",
    }
)  # fmt: skip
_SUMS = frozenset({"Add", "Sum", "Sub", "Mul"})
_ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu", "PRelu"}
)


@dataclass(frozen=True)
class Cut:
    """A cut between two nodes.

    Attributes:
        head: places of the nodes before it, and of what they need that depends on nothing fed.
        tail: places of those after it, likewise.
        values: what goes from the head to the tail, in the order of computation.
    """

    head: frozenset[int]
    tail: frozenset[int]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A part of a graph that is run by itself.

    Attributes:
        nodes: places of its nodes.
        given: values that it is fed beside inputs of the graph.
        outputs: names of what it answers; none for the outputs of the graph.
    """

    nodes: frozenset[int]
    given: tuple[TensorInfo, ...] = ()
    outputs: tuple[str, ...] = ()


def cuts(graph: GraphProto, changed: Collection[Address]) -> Iterator[Cut]:
    """Cuts before everything that depends on these tensors, the latest first.

    None where the order of nodes is not one of computation, where a tensor lies in a function, or
    where an output would be an answer of the head.
    """
    flow = _Flow(graph)
    first = flow.first_reached(changed) if flow.sorted else None
    if first is None:
        return
    live: set[str] = set()
    outputs = {value.name for value in graph.output}
    for place in reversed(flow.moving):
        live = (live - set(graph.node[place].output)) | (flow.reads[place] & flow.made.keys())
        if place > first or not live:
            continue
        head = [node for node in flow.moving if node < place]
        if flow.share(head) < LEAST_SHARE:
            return
        values = sorted(live, key=lambda name: (flow.made[name], name))
        answers = {name for node in head for name in graph.node[node].output} & outputs
        if not answers and all(flow.finished(name, place) for name in values):
            tail = [node for node in flow.moving if node >= place]
            yield Cut(flow.with_fixed(head), flow.with_fixed(tail), tuple(values))


def read_by(node: NodeProto) -> set[str]:
    """Names that a node reads; of its subgraphs those that are not their own."""
    found = set(node.input)
    for attribute in node.attribute:
        for inside in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            own = {t.name for t in (*inside.initializer, *inside.input)}
            own.update(name for n in inside.node for name in n.output)
            read = {value.name for value in inside.output}
            found |= read.union(*map(read_by, inside.node)) - own
    return found


@dataclass
class _Flow:
    """Who reads what.

    Attributes:
        reads: names that each node reads.
        sorted: whether every value is made before it is read.
        moving: places of the nodes that depend on what is fed.
        made: value of such a node -> its place.
    """

    graph: GraphProto
    reads: list[set[str]] = field(init=False)
    sorted: bool = field(init=False)
    moving: list[int] = field(default_factory=list)
    made: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reads = [read_by(node) for node in self.graph.node]
        self._fixed = {name: i for i, n in enumerate(self.graph.node) for name in n.output if name}
        later, self.sorted = set(self._fixed), True
        stored = {tensor.name for tensor in self.graph.initializer}
        fed = {value.name for value in self.graph.input} - stored
        for place, node in enumerate(self.graph.node):
            self.sorted &= not self.reads[place] & later
            later.difference_update(node.output)
            if not self.reads[place].isdisjoint(fed | self.made.keys()):
                self.moving.append(place)
                self.made.update((name, place) for name in node.output if name)
        self._fixed = {n: i for n, i in self._fixed.items() if n not in self.made}
        self._weighted = [p for p in self.moving if self.reads[p] & (stored | self._fixed.keys())]

    def first_reached(self, changed: Collection[Address]) -> int | None:
        """Place of the first node that depends on a tensor and on what is fed, or None."""
        if any(address[0] != ("graph", 0) for address in changed):
            return None
        places = [address[1] for address in changed]
        reached = {self.graph.initializer[i].name for kind, i in places if kind == "initializer"}
        nodes = {i for kind, i in places if kind == "node"}
        moving = set(self.moving)
        for place, node in enumerate(self.graph.node):
            if place in nodes or not self.reads[place].isdisjoint(reached):
                if place in moving:
                    return place
                reached.update(node.output)
        return None

    def share(self, head: Sequence[int]) -> float:
        """Which part of the nodes that read weights these are (0 to 1)."""
        return len(set(head).intersection(self._weighted)) / max(1, len(self._weighted))

    def finished(self, name: str, place: int) -> bool:
        """Whether nothing from this place on is computed together with what makes a value."""
        maker = self.graph.node[self.made[name]].op_type
        after = [p for p in self.moving if p >= place and name in self.reads[p]]
        readers = {self.graph.node[p].op_type for p in after}
        joins = {"BatchNormalization"} | (_ACTIVATIONS if maker in _SUMS else set())
        return maker not in _JOINED and readers.isdisjoint(joins)

    def with_fixed(self, nodes: Iterable[int]) -> frozenset[int]:
        """The nodes, and those without anything fed that they need."""
        found, waiting = set(nodes), list(nodes)
        while waiting:
            needed = {self._fixed[n] for n in self.reads[waiting.pop()] if n in self._fixed}
            waiting += needed - found
            found |= needed
        return frozenset(found)
