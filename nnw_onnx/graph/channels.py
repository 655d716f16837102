"""The hidden axes of a network: channels that may change places, from producers to consumers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, TypeAlias

import onnx
from onnx import NodeProto

from nnw_onnx.graph.channel_flow import Flow
from nnw_onnx.graph.channel_rules import FEWEST_INPUTS, RULES, SETTINGS
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.labels import Form, Labels, Part, Value, fixed
from nnw_onnx.graph.layers import ListedLayer, Listing
from nnw_onnx.graph.order import order_of
from nnw_onnx.graph.regrouping import Dims
from nnw_onnx.graph.scopes import build_scopes
from nnw_onnx.graph.tensors import FLOATING, PLAIN, STRIP_ABOVE, StoredTensor
from nnw_onnx.vocabulary import HiddenAxis, Strand

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
    """A strand and how it is scaled."""

    strand: Strand
    size: int
    scale: Form


class _Follower:
    def __init__(self, file: ModelFile, listed: Listing) -> None:
        scopes = build_scopes(file)
        self._scope = scopes.all[0]
        self._functions = frozenset(scopes.functions)
        self._places = order_of(scopes)
        self._entries = {id(entry.tensor): entry for entry in listed.values()}
        self._parts = {part for entry in listed.values() for part in entry.layer.parts}
        standard = [o.version for o in file.proto.opset_import if o.domain in _STANDARD]
        self._labels = Labels()
        self._flow = Flow(self._labels, self._scope, _sizes(file), max(standard, default=1))
        self._values: dict[str, Value] = {}
        self._stored: dict[int, Value] = {}

    def follow(self) -> None:
        """Apply the rule of every node, in the order in which the network computes."""
        for name in self._scope.inputs:
            dims = self._flow.sizes.get(name)
            self._values[name] = None if dims is None else self._flow.sized(name, len(dims))
        for name, tensor in self._scope.tensors.items():
            self._keep(name, self._constant(tensor))
        for node in sorted(self._scope.nodes, key=lambda node: self._places[id(node)]):
            if node.output and node.output[0] not in self._scope.tensors:
                self._enter(node)
        for name in self._scope.outputs:
            self._labels.pin_value(self._values.get(name))

    def _enter(self, node: NodeProto) -> None:
        inputs = [self._flow.resolved(self._values.get(name)) for name in node.input]
        rule = RULES.get(node.op_type) if self._has_rule(node) else None
        if node.op_type in SETTINGS:
            for value in inputs[1:]:
                self._labels.pin_value(value)
        enough = len(inputs) >= FEWEST_INPUTS.get(node.op_type, 1)
        made = rule(self._flow, node, inputs) if rule is not None and enough else None
        if made is None:
            for value in inputs:
                self._labels.pin_value(value)
            made = [self._unknown(name) for name in node.output]
        for name, value in zip(node.output, made, strict=False):
            self._keep(name, value)

    def _has_rule(self, node: NodeProto) -> bool:
        called = (node.domain, node.op_type, node.overload) in self._functions
        # Before operator set 7 an attribute said which axes of two values meet.
        aligned = any(attribute.name == "broadcast" for attribute in node.attribute)
        return node.domain in _STANDARD and not called and not aligned

    def _unknown(self, name: str) -> Value:
        dims = self._flow.sizes.get(name)
        return None if dims is None else self._flow.sized(name, len(dims))

    def _keep(self, name: str, value: Value) -> None:
        """Enter a value; what a subgraph takes from outside stays as it is."""
        self._values[name] = value
        if any(use.scope is not self._scope for use in self._scope.uses.get(name, ())):
            self._labels.pin_value(value)

    def _constant(self, tensor: StoredTensor) -> Value:
        entry = self._entries.get(id(tensor))
        if entry is not None and self._may_move(entry):
            value: Value = tuple(
                (self._labels.fresh(d, scaled=True),) if d > 1 else fixed(d) for d in tensor.dims
            )
            self._stored[id(tensor)] = value
            return value
        if entry is None and _all_equal(tensor):
            # In whatever order equal numbers are, nothing moves.
            return tuple((self._labels.fresh(d),) if d > 1 else fixed(d) for d in tensor.dims)
        return tuple(fixed(d) for d in tensor.dims)

    def _may_move(self, entry: ListedLayer) -> bool:
        """Whether the layer is the stored tensor itself, and takes new values as they are."""
        layer = entry.layer
        plain = entry.weights is None and entry.dequantization is None
        plain = plain and entry.tensor.data_type in PLAIN
        return plain and layer.replaceable and layer.name not in self._parts

    def found(self) -> Iterator[HiddenAxis]:
        """What is still free, by its first layer."""
        by_channels: dict[int, list[_Found]] = {}
        for entry in self._entries.values():
            for channels, one in self._strands(entry):
                by_channels.setdefault(channels, []).append(one)
        for found in by_channels.values():
            made = any(one.strand.direction == "out" for one in found)
            if made and len(found) >= _FEWEST and found[0].size >= _FEWEST:
                strands = tuple(one.strand for one in found)
                yield HiddenAxis(found[0].size, strands, _scalings([f.scale for f in found]))

    def _strands(self, entry: ListedLayer) -> Iterator[tuple[int, _Found]]:
        value = self._stored.get(id(entry.tensor)) or ()
        order = entry.layer.axes or tuple(range(len(value)))
        for place, stored in enumerate(order):
            parts = self._labels.resolved(value[stored] or ()) if stored < len(value) else ()
            known = [replace(part, scale=self._labels.scale(part.scale)) for part in parts]
            start = 0
            for part, repeat in _repeated(known):
                if part.channels is not None:
                    strand = Strand(
                        entry.layer.name, place, _direction(entry, place), start, repeat, part.block
                    )
                    size = self._labels.size(part.channels)
                    yield part.channels, _Found(strand, size, part.scale)
                start += part.length * repeat


def _repeated(parts: Sequence[Part]) -> Iterator[tuple[Part, int]]:
    for part, same in groupby(parts):
        yield part, len(list(same))


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


def _all_equal(tensor: StoredTensor) -> bool:
    if tensor.data_type not in FLOATING or tensor.nbytes > STRIP_ABOVE or not tensor.size:
        return False
    values = tensor.array()
    return bool((values == values.flat[0]).all())


def _sizes(file: ModelFile) -> Mapping[str, Dims]:
    """Name -> sizes of the values of the main graph, as far as onnx infers them."""
    model = file.proto
    # What it refuses has fewer sizes, and fewer hidden axes.
    with contextlib.suppress(ValueError, RuntimeError, onnx.shape_inference.InferenceError):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
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
    return (str(dim.dim_param) or None) if which == "dim_param" else None
