"""All that a network consists of, piece by piece: its graph, and the values of its tensors.

Two files with the same inventory compute the same, however they were written: the order of
protobuf's fields, raw or typed values, values inside or outside the file and the order of
initializers and attributes do not count. Names of values, the order of nodes, the operator sets and
the version of the IR do, and so does whether a tensor is an initializer or a Constant: a runtime
treats them alike, but the graph is another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto

from nnw_onnx.graph.canonical import ELSEWHERE, SAYINGS, LeftOut, Teller, listed, plain_domain
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.tensors import STRING, StoredTensor, raw_bytes, stored_bytes
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array

_LONGEST = 200
_KEPT = 160
_BYTE = 8
_UNNAMED: LeftOut = {"TensorProto": ELSEWHERE["TensorProto"] | {"name", "dims", "data_type"}}


@dataclass(frozen=True)
class Part:
    """A piece of the graph.

    Attributes:
        name: tells it from all others: what it is and where, such as "node y".
        operator: type of the operator, where it is a node; else "".
        digest: SHA-256 (32 bytes) of what it says, not of its name.
    """

    name: str
    operator: str
    digest: bytes


@dataclass(frozen=True)
class Held:
    """A stored tensor.

    Attributes:
        name: tells it from all others; of an initializer or Constant of the main graph its own.
        place: "initializer", "Constant", "sparse" or "attribute".
        dtype: numpy name of the stored type; "string" for text.
        shape: as stored.
    """

    name: str
    place: str
    dtype: str
    shape: tuple[int, ...]
    _tensor: StoredTensor
    _replaced: Array | None

    def blocks(self, weights: int) -> Iterator[bytes | memoryview]:
        """The values, so many (a multiple of 8) at a time, in the order in which they are stored.

        They are little-endian; elements smaller than a byte are packed, and a last byte that they
        do not fill ends in zeros. Of external data no more than a block is in memory.
        """
        if self._tensor.data_type == STRING:
            texts = self._tensor.proto.string_data
            for start in range(0, len(texts), weights):
                yield listed(texts[start : start + weights])
            return
        values, step = self._values(), raw_bytes(self._tensor.data_type, (weights,))
        whole = len(values) - 1 if self._filling() else len(values)
        for start in range(0, len(values), step):
            block = values[start : start + step]
            last = start + step > whole and whole < len(values)
            yield bytes(block[:-1]) + self._last(block[-1]) if last else block

    def _values(self) -> memoryview:
        tensor = self._tensor
        if self._replaced is not None:
            return stored_bytes(self._replaced, tensor.data_type).data
        if tensor.external is not None or tensor.values is not None:
            return tensor.raw()
        return stored_bytes(tensor.array(), tensor.data_type).data

    def _filling(self) -> int:
        """Bits of the last byte that belong to no element."""
        if not self._tensor.packed:
            return 0
        bits = raw_bytes(self._tensor.data_type, (_BYTE,))
        return -(self._tensor.size * bits) % _BYTE

    def _last(self, byte: int) -> bytes:
        return bytes([byte & ((1 << (_BYTE - self._filling())) - 1)])


@dataclass(frozen=True)
class Inventory:
    """The pieces of a network: parts in the order of the graph, tensors sorted by name."""

    parts: tuple[Part, ...]
    tensors: tuple[Held, ...]


def take(
    file: ModelFile,
    replaced: Mapping[Address, Array],
    *,
    everything: bool = False,
    renamed: Mapping[str, str] | None = None,
) -> Inventory:
    """The inventory of a model.

    Args:
        file: the model.
        replaced: values of tensors other than in the file.
        everything: whether what computes nothing counts too: names of nodes and graphs, texts,
            metadata, producer, shapes of inner values.
        renamed: names of values of the model that are told as others.
    """
    left_out = ELSEWHERE if everything else _joined(ELSEWHERE, SAYINGS)
    taker = _Taker(file, replaced, Teller(left_out, renamed or {}), everything)
    taker.model()
    tensors = sorted(taker.tensors, key=lambda held: held.name)
    return Inventory(tuple(taker.parts), tuple(tensors))


def _joined(first: LeftOut, second: LeftOut) -> LeftOut:
    empty: frozenset[str] = frozenset()
    return {k: first.get(k, empty) | second.get(k, empty) for k in {*first, *second}}


class _Taker:
    def __init__(
        self, file: ModelFile, replaced: Mapping[Address, Array], teller: Teller, everything: bool
    ) -> None:
        self.file, self.replaced, self.teller = file, replaced, teller
        self.everything = everything
        self.parts: list[Part] = []
        self.tensors: list[Held] = []
        self._names: dict[str, set[str]] = {"part": set(), "tensor": set()}
        self._times: Counter[str] = Counter()

    def model(self) -> None:
        """The header, the graph, and the functions sorted by what they are called by."""
        proto = self.file.proto
        self._part("model", self.teller.told(proto))
        opsets = sorted(
            (plain_domain(x.domain), x.version, self.teller.told(x)) for x in proto.opset_import
        )
        self._part("operator sets", listed(told for _, _, told in opsets))
        if len(proto.training_info):
            whole = Teller({}, graphs=True)
            self._part("training", listed(whole.told(x) for x in proto.training_info))
        self._graph(proto.graph, (("graph", 0),), "")
        called = sorted(
            (plain_domain(f.domain), f.name, f.overload, k) for k, f in enumerate(proto.functions)
        )
        for *_, k in called:
            self._function(proto.functions[k], (("functions", k),))

    def _part(self, name: str, content: bytes, operator: str = "") -> None:
        self.parts.append(Part(self._alone("part", name), operator, sha256(content).digest()))

    def _alone(self, kind: str, name: str) -> str:
        """The name, with a number where a piece before has the same."""
        names, found = self._names[kind], name
        while found in names:
            self._times[name] += 1
            found = f"{name} #{self._times[name] + 1}"
        names.add(found)
        return found

    def _known(self, name: str) -> str:
        return self.teller.renamed.get(name, name)

    def _graph(self, graph: GraphProto, address: Address, inside: str) -> None:
        self._part(f"graph{_of(inside)}", self.teller.told(graph))
        for value in graph.input:
            self._part(f"input {_short(value.name)}{_of(inside)}", self.teller.told(value))
        for value in graph.output:
            self._part(f"output {_short(value.name)}{_of(inside)}", self.teller.told(value))
        for k, tensor in enumerate(graph.initializer):
            place = (*address, ("initializer", k))
            self._tensor(self._known(tensor.name), "initializer", place, tensor, inside)
        ordered = sorted((s.values.name, k) for k, s in enumerate(graph.sparse_initializer))
        for name, k in ordered:
            sparse = graph.sparse_initializer[k]
            self._part(f"sparse {_short(name)}{_of(inside)}", self.teller.told(sparse))
            self._sparse(name, (*address, ("sparse_initializer", k)), inside)
        self._nodes(graph.node, address, inside)

    def _function(self, function: FunctionProto, address: Address) -> None:
        words = (plain_domain(function.domain), function.name, function.overload)
        name = f"function {_short('.'.join(filter(None, words)))}"
        self._part(name, self.teller.told(function))
        for k, attribute in enumerate(function.attribute_proto):
            self._attribute(attribute, (*address, ("attribute_proto", k)), name, name, "attribute")
        self._nodes(function.node, address, name)

    def _nodes(self, nodes: Iterable[NodeProto], address: Address, inside: str) -> None:
        for k, node in enumerate(nodes):
            self._node(node, k, (*address, ("node", k)), inside)

    def _node(self, node: NodeProto, number: int, address: Address, inside: str) -> None:
        output = next((name for name in node.output if name), "")
        called = self._known(output) if output else f"{node.op_type} {number}"
        name = f"node {_short(called)}{_of(inside)}"
        self._part(name, self.teller.told(node), node.op_type)
        ordered = sorted((a.name, j) for j, a in enumerate(node.attribute))
        for word, j in ordered:
            place = (*address, ("attribute", j))
            constant = node.op_type == "Constant" and word == "value"
            self._attribute(
                node.attribute[j],
                place,
                called if constant else f"{called}.{word}",
                inside,
                "Constant" if constant else "attribute",
            )

    def _attribute(
        self, attribute: AttributeProto, address: Address, name: str, inside: str, place: str
    ) -> None:
        if attribute.HasField("t"):
            self._tensor(name, place, (*address, ("t", 0)), attribute.t, inside)
        for k, tensor in enumerate(attribute.tensors):
            self._tensor(f"{name}.{k}", place, (*address, ("tensors", k)), tensor, inside)
        if attribute.HasField("sparse_tensor"):
            self._sparse(name, (*address, ("sparse_tensor", 0)), inside)
        for k in range(len(attribute.sparse_tensors)):
            self._sparse(f"{name}.{k}", (*address, ("sparse_tensors", k)), inside)
        if attribute.HasField("g"):
            self._graph(attribute.g, (*address, ("g", 0)), _inner(name, inside))
        for k, graph in enumerate(attribute.graphs):
            self._graph(graph, (*address, ("graphs", k)), _inner(f"{name}.{k}", inside))

    def _sparse(self, name: str, address: Address, inside: str) -> None:
        for field in ("values", "indices"):
            place = (*address, (field, 0))
            stored = self.file.tensors.get(place)
            if stored is not None:
                self._held(f"{name}.{field}", "sparse", place, stored, inside)

    def _tensor(
        self, name: str, place: str, address: Address, proto: TensorProto, inside: str
    ) -> None:
        if self.everything:
            said = Teller(_UNNAMED).told(proto)
            if said:
                self._part(f"text of {_short(name)}{_of(inside)}", said)
        self._held(name, place, address, self.file.tensors[address], inside)

    def _held(
        self, name: str, place: str, address: Address, stored: StoredTensor, inside: str
    ) -> None:
        alone = self._alone("tensor", f"{_short(name)}{_of(inside)}")
        new = self.replaced.get(address)
        self.tensors.append(Held(alone, place, stored.dtype, stored.dims, stored, new))


def _of(inside: str) -> str:
    return f" in {inside}" if inside else ""


def _inner(name: str, inside: str) -> str:
    """What the graph inside an attribute is called."""
    return _short(f"{_short(name)}{_of(inside)}")


def _short(name: str) -> str:
    """A name that tells two apart and does not fill memory, however long and deep names are."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_KEPT]}...{sha256(name.encode()).hexdigest()[:32]}"
