"""What is known while channels are followed, and how an operator joins those of two values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import NodeProto, TensorProto

from nnw_onnx.graph.forms import Action, added
from nnw_onnx.graph.labels import (
    Axis,
    Labels,
    Part,
    Value,
    acted,
    fixed,
    leaves,
    length,
)
from nnw_onnx.graph.regrouping import Dims
from nnw_onnx.graph.scopes import Scope, numbers
from nnw_onnx.graph.tensors import MOST_AXES, PLAIN

UNIT: Axis = (Part(1),)
_NUMBERS = PLAIN | {TensorProto.INT64, TensorProto.INT32}


@dataclass(frozen=True)
class Flow:
    """What a rule may ask for.

    Attributes:
        labels: channels so far.
        scope: the main graph.
        sizes: name of a value -> its sizes, as far as they can be inferred.
        opset: version of the standard's operators.
        constants: names of values that are computed from stored tensors alone.
        numbers: name of a value that is computed from sizes -> the numbers that it holds.
    """

    labels: Labels
    scope: Scope
    sizes: dict[str, Dims]
    opset: int
    constants: set[str] = field(default_factory=set)
    numbers: dict[str, Dims] = field(default_factory=dict)

    def constant(self, node: NodeProto, index: int) -> list[int] | None:
        """A short constant input of whole numbers; None where it is none."""
        if len(node.input) <= index or not node.input[index]:
            return None
        tensor = self.scope.constant(node.input[index])
        counts = (TensorProto.INT64, TensorProto.INT32)
        if tensor is None or tensor.data_type not in counts or tensor.size > MOST_AXES:
            return None
        return [int(v) for v in np.ravel(tensor.array())]

    def single(self, name: str) -> float | None:
        """The value of a constant of a single number, whatever its type; None for others."""
        tensor = self.scope.constant(name)
        if tensor is None or tensor.size != 1 or tensor.data_type not in _NUMBERS:
            return None
        return float(np.ravel(tensor.array())[0])

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

    def _passed(self, value: Value, change: Callable[[Labels, Action], Action]) -> Value:
        value = self.resolved(value)
        if value is None:
            return None
        return tuple(acted(axis, lambda a: change(self.labels, a)) for axis in value)

    def unscaled(self, value: Value) -> Value:
        """The value behind a function of which only the order of the channels is known."""
        return self._passed(value, Labels.still)

    def positive(self, value: Value) -> Value:
        """The value behind f(s x) = s f(x) for s > 0 only, such as Relu."""
        return self._passed(value, _positive)

    def magnitude(self, value: Value) -> Value:
        """The value behind a function of magnitudes with f(s x) = |s| f(x)."""
        return self._passed(value, _magnitude)

    def odd(self, value: Value) -> Value:
        """The value behind f(-x) = -f(x), such as Tanh."""
        return self._passed(value, _odd)

    def even(self, value: Value) -> Value:
        """The value behind f(-x) = f(x), such as Cos."""
        return self._passed(value, _even)


def _positive(labels: Labels, action: Action) -> Action:
    labels.signs.vanishes(action.sign)
    labels.mixes.vanishes(action.mix)
    return Action(scale=action.scale)


def _magnitude(labels: Labels, action: Action) -> Action:
    labels.mixes.vanishes(action.mix)
    return Action(scale=action.scale)


def _odd(labels: Labels, action: Action) -> Action:
    labels.scales.vanishes(action.scale)
    labels.mixes.vanishes(action.mix)
    return Action(sign=action.sign)


def _even(labels: Labels, action: Action) -> Action:
    labels.scales.vanishes(action.scale)
    labels.mixes.vanishes(action.mix)
    return Action()


Rule = Callable[[Flow, NodeProto, Sequence[Value]], Sequence[Value] | None]
"""The values of the outputs; None where the operator needs every entry in its place."""

Both = Callable[[Labels, Action, Action], Action]
Alone = Callable[[Labels, Action, bool], Action]


@dataclass(frozen=True)
class How:
    """How an operator combines each entry of one value with one of another.

    Attributes:
        both: from the actions on both to that on the result.
        alone: where the other value is the same for all channels; whether the first one has them.
    """

    both: Both
    alone: Alone


def _equal(labels: Labels, first: Action, second: Action) -> Action:
    labels.scales.vanishes(added(first.scale, second.scale, -1))
    labels.signs.vanishes(added(first.sign, second.sign))
    labels.mixes.vanishes(added(first.mix, second.mix, -1))
    return first


def _product(labels: Labels, first: Action, second: Action) -> Action:
    labels.mixes.vanishes(first.mix)
    labels.mixes.vanishes(second.mix)
    sign = added(first.sign, second.sign, modulus=2)
    return Action(added(first.scale, second.scale), sign)


def _inverse(action: Action) -> Action:
    return replace(action, scale=added((), action.scale, -1))


def _divided(labels: Labels, action: Action, is_first: bool) -> Action:  # an Alone
    if is_first:
        return action
    labels.mixes.vanishes(action.mix)
    return _inverse(replace(action, mix=()))


SUM = How(_equal, lambda labels, action, is_first: labels.still(action))
"""A sum: it needs equal actions."""
LARGEST = How(
    lambda labels, first, second: _equal(
        labels, _positive(labels, first), _positive(labels, second)
    ),
    SUM.alone,
)
"""Max and Min."""
PRODUCT = How(_product, lambda labels, action, is_first: action)
"""A product."""
QUOTIENT = How(lambda labels, a, b: _product(labels, a, _inverse(b)), _divided)
"""The first over the second."""
BESIDE = How(
    lambda labels, first, second: _product(labels, first, labels.still(second)),
    lambda labels, action, is_first: action if is_first else labels.still(action),
)
"""A function of the second value by which the first one is multiplied."""
GROUPED = How(lambda labels, first, second: first, lambda labels, action, is_first: action)
"""The second value only says which channels stay together."""


def labelled(value: Value) -> list[Part]:
    """The parts of a value that have channels; of heads, those inside."""
    return [part for axis in value or () for part in leaves(axis or ())]


def joined(flow: Flow, first: Value, second: Value, how: How) -> Value:
    """Two values of which an operator combines each entry of one with one of the other.

    Args:
        flow: what is known.
        first: one of them.
        second: the other, or what is broadcast to it.
        how: what becomes of the actions.
    """
    if first is None or second is None:
        flow.labels.pin_value(first)
        flow.labels.pin_value(second)
        return None
    rank = max(len(first), len(second))
    left = (UNIT,) * (rank - len(first)) + first
    right = (UNIT,) * (rank - len(second)) + second
    # Members of families are told apart by heads, so these are paired before them.
    order = sorted(range(rank), key=lambda k: _has_family(flow, (left[k], right[k])))
    done: dict[int, Axis] = {}
    for k in order:
        heads = aligned(flow, left, right, (p for p in done if p != k))
        done[k] = joined_axis(flow, left[k], right[k], how, heads)
    # Pairing one axis may have cut or pinned channels of another one.
    return flow.resolved(tuple(done[k] for k in range(rank)))


def _has_family(flow: Flow, axes: Sequence[Axis]) -> bool:
    parts = [part for axis in axes for part in flow.axis(axis) or ()]
    return any(p.channels is not None and flow.labels.family(p.channels) is not None for p in parts)


def aligned(flow: Flow, first: Value, second: Value, axes: Iterable[int]) -> set[int]:
    """Heads of which an operator combines each one with itself alone, from axes that were paired.

    Args:
        flow: what is known.
        first: one value.
        second: the other, of as many axes.
        axes: those that were paired.
    """
    found: list[int] = []
    for k in axes:
        pair = [flow.axis(value[k]) if value else None for value in (first, second)]
        named = [{p.channels for p in axis or () if p.channels is not None} for axis in pair]
        found += named[0] & named[1]
    return {channels for channels in found if found.count(channels) == 1}


def joined_axis(
    flow: Flow, first: Axis, second: Axis, how: How, heads: Collection[int] = ()
) -> Axis:
    """An axis of the result of `joined`."""
    for one, other in ((first, second), (second, first)):
        if length(one) == 1:
            is_first = one is not first
            return acted(flow.axis(other), lambda a: how.alone(flow.labels, a, is_first))  # noqa: B023  # called at once
    pairs = flow.labels.paired(first, second, heads)
    if pairs is None:
        return fixed(length(first) if length(second) is None else length(second))
    told = iter([how.both(flow.labels, p.action, q.action) for p, q in pairs])
    return acted(flow.axis(first), lambda _: next(told))
