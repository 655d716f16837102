"""What is known while channels are followed, and how an operator joins those of two values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from nnw_onnx.graph.labels import (
    Axis,
    Form,
    Labels,
    Part,
    Value,
    added,
    fixed,
    length,
    rescaled,
)
from nnw_onnx.graph.regrouping import Dims
from nnw_onnx.graph.scopes import Scope, numbers
from nnw_onnx.graph.tensors import MOST_AXES

UNIT: Axis = (Part(1),)


@dataclass(frozen=True)
class Flow:
    """What a rule may ask for.

    Attributes:
        labels: channels so far.
        scope: the main graph.
        sizes: name of a value -> its sizes, as far as they can be inferred.
        opset: version of the standard's operators.
    """

    labels: Labels
    scope: Scope
    sizes: Mapping[str, Dims]
    opset: int

    def constant(self, node: NodeProto, index: int) -> list[int] | None:
        """A short constant input of whole numbers; None where it is none."""
        if len(node.input) <= index or not node.input[index]:
            return None
        tensor = self.scope.constant(node.input[index])
        counts = (TensorProto.INT64, TensorProto.INT32)
        if tensor is None or tensor.data_type not in counts or tensor.size > MOST_AXES:
            return None
        return [int(v) for v in np.ravel(tensor.array())]

    def integers(self, node: NodeProto, index: int, name: str) -> list[int] | None:
        """Whole numbers that are an input, or in old operator sets an attribute."""
        if len(node.input) > index and node.input[index]:
            return self.constant(node, index)
        return numbers(node, name)

    def sized(self, name: str, rank: int) -> tuple[Axis, ...]:
        """Fixed axes of a value of so many axes, with their sizes where these are known."""
        dims = self.sizes.get(name)
        if dims is None or len(dims) != rank:
            return (None,) * rank
        return tuple(fixed(d if isinstance(d, int) else None) for d in dims)

    def resolved(self, value: Value) -> Value:
        """The value in the channels of now."""
        return None if value is None else tuple(self.axis(axis) for axis in value)

    def axis(self, axis: Axis) -> Axis:
        """The axis in the channels of now."""
        return None if axis is None else self.labels.resolved(axis)

    def unscaled(self, value: Value) -> Value:
        """The value behind a function that does not pass scalings on."""
        value = self.resolved(value)
        for part in labelled(value):
            self.labels.vanishes(part.scale)
        return None if value is None else tuple(rescaled(a, lambda _: ()) for a in value)


Rule = Callable[[Flow, NodeProto, Sequence[Value]], Sequence[Value] | None]
"""The values of the outputs; None where the operator needs every entry in its place."""


Sum = Callable[[Form, Form], Form]


def labelled(value: Value) -> list[Part]:
    """The parts of a value that have channels."""
    return [part for axis in value or () for part in axis or () if part.channels is not None]


def joined(flow: Flow, first: Value, second: Value, how: Sum | None) -> Value:
    """Two values of which an operator combines each entry of one with one of the other.

    Args:
        flow: what is known.
        first: one of them.
        second: the other, or what is broadcast to it.
        how: the scaling of the result from those of both; None for a sum, which needs them equal.
    """
    if first is None or second is None:
        flow.labels.pin_value(first)
        flow.labels.pin_value(second)
        return None
    rank = max(len(first), len(second))
    left = (UNIT,) * (rank - len(first)) + first
    right = (UNIT,) * (rank - len(second)) + second
    done = [joined_axis(flow, a, b, how) for a, b in zip(left, right, strict=True)]
    # Pairing one axis may have cut or pinned channels of another one.
    return flow.resolved(tuple(done))


def joined_axis(flow: Flow, first: Axis, second: Axis, how: Sum | None) -> Axis:
    """An axis of the result of `joined`."""
    for one, other in ((first, second), (second, first)):
        if length(one) == 1:
            return _broadcast(flow, other, how, first_is_one=one is first)
    pairs = flow.labels.paired(first, second)
    if pairs is None:
        return fixed(length(first) if length(second) is None else length(second))
    scales: list[Form] = []
    for p, q in pairs:
        if how is None:
            flow.labels.vanishes(added(p.scale, q.scale, -1))
        scales.append(p.scale if how is None else how(p.scale, q.scale))
    told = iter(scales)
    return rescaled(flow.axis(first), lambda _: next(told))


def _broadcast(flow: Flow, axis: Axis, how: Sum | None, *, first_is_one: bool) -> Axis:
    found = flow.axis(axis)
    if how is None:
        for part in labelled((found,)):
            flow.labels.vanishes(part.scale)
        return rescaled(found, lambda _: ())
    return rescaled(found, lambda s: how((), s) if first_is_one else how(s, ()))


def product(first: Form, second: Form) -> Form:
    """The scale of a product."""
    return added(first, second)


def quotient(first: Form, second: Form) -> Form:
    """The scale of a quotient."""
    return added(first, second, -1)


def first_only(first: Form, second: Form) -> Form:
    """The scale of the first value, where the second one is not scaled."""
    return first
