"""The hidden axes of a network: channels that may change places, from producers to consumers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

import onnx
from onnx import NodeProto

from nnw_onnx.graph import channel_sizes, inferring
from nnw_onnx.graph import channel_stacks as stacks
from nnw_onnx.graph.channel_flow import Flow
from nnw_onnx.graph.channel_rules import FEWEST_INPUTS, PER_HEAD, RULES, SETTINGS
from nnw_onnx.graph.channel_stacks import Held
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.forms import Action, Form
from nnw_onnx.graph.labels import Axis, Labels, Part, Value, acted, fixed
from nnw_onnx.graph.layers import ListedLayer, Listing
from nnw_onnx.graph.order import order_of
from nnw_onnx.graph.regrouping import Dims
from nnw_onnx.graph.scopes import build_scopes
from nnw_onnx.graph.tensors import FLOATING, PLAIN, STRIP_ABOVE, StoredTensor
from nnw_onnx.vocabulary import HiddenAxis, Layer, Strand

Direction: TypeAlias = Literal["out", "in", "along"]
_STANDARD = ("", "ai.onnx")
_FEWEST = 2
"""Channels of an axis, and strands, of which one alone would not be used."""


def hidden_axes(file: ModelFile, listed: Listing) -> tuple[HiddenAxis, ...]:
    """Every hidden axis that the main graph proves; see `vocabulary.HiddenAxis`.

    A channel may change places where every operator that it reaches, from the weights that make it
    to those that take it in, has a rule that says so. Channels that reach an output of the graph, a
    subgraph, a function or an operator without a rule stay where they are.
    """
    follower = _Follower(file, listed)
    follower.follow()
    return tuple(follower.found())


@dataclass(frozen=True)
class _Found:
    """A strand and what may be done to it."""

    strand: Strand
    size: int
    action: Action


@dataclass(frozen=True)
class _Run:
    """A run of equal parts along a stored axis: which channels, of which head, and where."""

    channels: int
    head: int | None
    start: int
    repeat: int
    block: int
    action: Action


class _Follower:
    def __init__(self, file: ModelFile, listed: Listing) -> None:
        scopes = build_scopes(file)
        self._scope = scopes.all[0]
        self._functions = frozenset(scopes.functions)
        self._places = order_of(scopes)
        self._entries = {id(entry.tensor): entry for entry in listed.values()}
        self._by_name = dict(listed)
        self._parts = {part for entry in listed.values() for part in entry.layer.parts}
        standard = [o.version for o in file.proto.opset_import if o.domain in _STANDARD]
        self._labels = Labels()
        self._flow = Flow(self._labels, self._scope, _sizes(file), max(standard, default=1))
        self._values: dict[str, Held] = {}
        self._stored: dict[int, tuple[Axis, ...]] = {}

    def follow(self) -> None:
        """Apply the rule of every node, in the order in which the network computes."""
        for name in self._scope.inputs:
            dims = self._flow.sizes.get(name)
            self._values[name] = None if dims is None else self._flow.sized(name, len(dims))
        for name, tensor in self._scope.tensors.items():
            self._flow.constants.add(name)
            self._keep(name, self._constant(tensor))
        for node in sorted(self._scope.nodes, key=lambda node: self._places[id(node)]):
            if node.output and node.output[0] not in self._scope.tensors:
                self._enter(node)
        for name in self._scope.outputs:
            self._pin(self._values.get(name))

    def _pin(self, value: Held) -> None:
        for member in stacks.members(value):
            self._labels.pin_value(member)

    def _enter(self, node: NodeProto) -> None:
        held = [stacks.resolved(self._flow, self._values.get(name)) for name in node.input]
        named = [name for name in node.input if name]
        if named and self._flow.constants.issuperset(named):
            self._flow.constants.update(node.output)
        fewest = FEWEST_INPUTS.get(node.op_type, 1)
        known = self._has_rule(node) and len(held) >= fewest and all(node.input[:fewest])
        made: Sequence[Held] | None = None
        if known:
            made = self._stacked(node, held)
        if made is None:
            values = [self._flow.resolved(stacks.whole(self._flow, value)) for value in held]
            made = self._ruled(node, values, known=known)
        for name, value in zip(node.output, made, strict=False):
            self._keep(name, value)

    def _stacked(self, node: NodeProto, held: Sequence[Held]) -> Sequence[Held] | None:
        """What becomes of values that one kernel makes side by side."""
        made = stacks.passed(self._flow, node, held)
        if made is not None:
            return made
        stack = stacks.opened(self._flow, node, held)
        return None if stack is None else [stack]

    def _ruled(self, node: NodeProto, inputs: Sequence[Value], *, known: bool) -> Sequence[Held]:
        if node.op_type in SETTINGS:
            for value in inputs[1:]:
                self._labels.pin_value(value)
        if node.op_type not in PER_HEAD:
            for value in inputs:
                self._labels.share_value(value)
        numbers = channel_sizes.computed(self._flow, node, inputs) if known else None
        if numbers is not None:
            self._flow.numbers[node.output[0]] = numbers
        rule = RULES.get(node.op_type) if known else None
        made = None if rule is None else rule(self._flow, node, inputs)
        if made is not None:
            return made
        for value in inputs:
            self._labels.pin_value(value)
        return [self._unknown(name) for name in node.output]

    def _has_rule(self, node: NodeProto) -> bool:
        called = (node.domain, node.op_type, node.overload) in self._functions
        # Before operator set 7 an attribute said which axes of two values meet.
        aligned = any(attribute.name == "broadcast" for attribute in node.attribute)
        return node.domain in _STANDARD and not called and not aligned

    def _unknown(self, name: str) -> Value:
        dims = self._flow.sizes.get(name)
        return None if dims is None else self._flow.sized(name, len(dims))

    def _keep(self, name: str, value: Held) -> None:
        """Enter a value; what a subgraph takes from outside stays as it is."""
        self._values[name] = value
        for member in stacks.members(stacks.resolved(self._flow, value)):
            self._labels.settle(member)
        if any(use.scope is not self._scope for use in self._scope.uses.get(name, ())):
            self._pin(value)

    def _constant(self, tensor: StoredTensor) -> Value:
        entry = self._entries.get(id(tensor))
        if entry is not None and self._may_move(entry):
            value = tuple(
                (self._labels.fresh(d, free=True),) if d > 1 else fixed(d) for d in tensor.dims
            )
            self._stored[id(tensor)] = value
            return value
        if entry is None and _all_equal(tensor):
            # In whatever order equal numbers are, nothing moves; there stay as many.
            equal = tuple((self._labels.fresh(d),) if d > 1 else fixed(d) for d in tensor.dims)
            for axis in equal:
                self._labels.count(axis)
            return equal
        return tuple(fixed(d) for d in tensor.dims)

    def _may_move(self, entry: ListedLayer) -> bool:
        """Whether the layer is the stored tensor itself, and takes new values as they are."""
        layer = entry.layer
        plain = entry.weights is None and entry.dequantization is None
        plain = plain and entry.tensor.data_type in PLAIN
        return plain and layer.replaceable and layer.name not in self._parts

    def found(self) -> Iterator[HiddenAxis]:
        """What is still free, by its first layer."""
        for value in self._stored.values():
            for part in (p for axis in value for p in self._labels.resolved(axis or ())):
                if not part.inner:  # a member of a family would lie across another axis
                    self._labels.share(part.channels)
        counted = self._labels.counted()
        by_channels: dict[tuple[int, int | None], list[_Found]] = {}
        for entry in self._entries.values():
            for key, one in self._strands(entry):
                by_channels.setdefault(key, []).append(one)
        for (channels, head), found in by_channels.items():
            made = any(one.strand.direction == "out" for one in found)
            if made and len(found) >= _FEWEST and found[0].size >= _FEWEST:
                free = head is None and channels not in counted
                yield self._axis(found, resizable=free)

    def _axis(self, found: Sequence[_Found], *, resizable: bool) -> HiddenAxis:
        strands = tuple(one.strand for one in found)
        entries = [self._by_name[strand.layer] for strand in strands]
        takes = any(strand.direction == "in" for strand in strands)
        return HiddenAxis(
            found[0].size,
            strands,
            _scalings([one.action.scale for one in found]),
            _signs([one.action.sign for one in found]),
            _mixings([one.action.mix for one in found]),
            resizable and takes and all(_used_alike(entry.layer) for entry in entries),
        )

    def _strands(self, entry: ListedLayer) -> Iterator[tuple[tuple[int, int | None], _Found]]:
        value = self._stored.get(id(entry.tensor)) or ()
        order = entry.layer.axes or tuple(range(len(value)))
        for place, stored in enumerate(order):
            parts = self._labels.resolved(value[stored] or ()) if stored < len(value) else ()
            for run in self._runs(_freed(self._labels, parts), 0, None):
                strand = Strand(
                    entry.layer.name,
                    place,
                    _direction(entry, place),
                    run.start,
                    run.repeat,
                    run.block,
                )
                size = self._labels.size(run.channels)
                yield (run.channels, run.head), _Found(strand, size, run.action)

    def _runs(self, parts: Sequence[Part], start: int, head: int | None) -> Iterator[_Run]:
        """Where channels lie; of a family those of this head are meant."""
        for part, repeat in _repeated(parts):
            if part.channels is not None:
                own = None if self._labels.family(part.channels) is None else head
                again = repeat if not part.inner else 1
                for k in range(repeat // again):
                    at = start + k * part.length
                    yield _Run(part.channels, own, at, again, part.block, part.action)
                    yield from self._inside(part, at)
            start += part.length * repeat

    def _inside(self, part: Part, start: int) -> Iterator[_Run]:
        """Where the channels inside of heads lie."""
        count, kinds = part.length // part.block, list(_repeated(part.inner))
        if len(kinds) == 1 and part.inner and not part.inner[0].inner:
            channels = part.inner[0].channels
            if channels is not None and self._labels.family(channels) is None:
                repeat, (one, again) = count, kinds[0]
                yield _Run(channels, None, start, repeat * again, one.block, one.action)
                return
        for k in range(count if part.inner else 0):
            yield from self._runs(part.inner, start + k * part.block, k)


def _freed(labels: Labels, parts: Sequence[Part]) -> list[Part]:
    """The parts with actions over variables that are free in the end."""
    return list(acted(tuple(parts), labels.free) or ())


def _repeated(parts: Sequence[Part]) -> Iterator[tuple[Part, int]]:
    for part, same in groupby(parts):
        yield part, len(list(same))


def _used_alike(layer: Layer) -> bool:
    """Whether all operators that use a layer take the same axis of it in."""
    uses = {(use.partition(":")[0], use.rpartition(":")[2]) for use in layer.consumers}
    return len(uses) == 1 and layer.axes is not None


def _direction(entry: ListedLayer, place: int) -> Direction:
    layer = entry.layer
    if layer.role == "embedding":
        return "out" if place else "along"
    depthwise = layer.group > 1 and len(layer.shape) > 1 and layer.shape[1] == 1
    if layer.role != "kernel" or depthwise or place > 1:
        return "along"
    return "in" if place else "out"


def _scalings(forms: Sequence[Form]) -> tuple[tuple[int, ...], ...]:
    """For each free factor its power in every strand; the first one that is not 0 is positive."""
    found = []
    for variable in dict.fromkeys(variable for form in forms for variable, _ in form):
        powers = [dict(form).get(variable, 0) for form in forms]
        sign = 1 if next(p for p in powers if p) > 0 else -1
        found.append(tuple(sign * power for power in powers))
    return tuple(dict.fromkeys(found))


def _signs(forms: Sequence[Form]) -> tuple[tuple[int, ...], ...]:
    """For each free sign whether it is that of every strand."""
    variables = dict.fromkeys(variable for form in forms for variable, _ in form)
    return tuple(dict.fromkeys(tuple(dict(f).get(v, 0) % 2 for f in forms) for v in variables))


def _mixings(forms: Sequence[Form]) -> tuple[int, ...]:
    """The power of the matrix that most strands are mixed by; empty where there is none."""
    return max(_scalings(forms), key=lambda powers: sum(map(abs, powers)), default=())


def _all_equal(tensor: StoredTensor) -> bool:
    if tensor.data_type not in FLOATING or tensor.nbytes > STRIP_ABOVE or not tensor.size:
        return False
    values = tensor.array()
    return bool((values == values.flat[0]).all())


def _sizes(file: ModelFile) -> dict[str, Dims]:
    """Name -> sizes of the values of the main graph, as far as onnx infers them."""
    # What onnx refuses has fewer sizes, and fewer hidden axes.
    graph = inferring.with_sizes(file.proto).graph
    found: dict[str, Dims] = {}
    for info in (*graph.value_info, *graph.input, *graph.output):
        tensor = info.type.tensor_type
        if tensor.HasField("shape"):
            found[info.name] = tuple(_size(d) for d in tensor.shape.dim)
    return found


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    which = dim.WhichOneof("value")
    if which == "dim_value":
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    named = which == "dim_param" and not str(dim.dim_param).startswith(channel_sizes.UNNAMED)
    return (str(dim.dim_param) or None) if named else None
