"""Queries, keys and values that one kernel makes: values side by side along an axis of a few.

Exporters reshape what such a kernel makes to (..., 3, heads, entries) and take the three apart
again. The channels of each are others, so the value is kept as its members until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from onnx import NodeProto

from nnw_onnx.graph import channel_sizes, regrouping
from nnw_onnx.graph.channel_flow import SUM, UNIT, Flow, joined
from nnw_onnx.graph.channel_moves import cuts_of, sizes_of_split, target_of
from nnw_onnx.graph.labels import Axis, Value, fixed, is_fixed, length
from nnw_onnx.graph.scopes import number, numbers
from nnw_onnx.graph.tensors import PLAIN

_MOST_MEMBERS = 16
_MOST_STEPS = 8


@dataclass(frozen=True)
class Stack:
    """Values of equal sizes along an axis.

    Attributes:
        place: the axis.
        members: each without it.
    """

    place: int
    members: tuple[tuple[Axis, ...], ...]

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.members[0]) + 1


Held: TypeAlias = Value | Stack
_Taken = tuple[list[int], bool]
"""Which members an output has, and whether it has the axis of them."""


def resolved(flow: Flow, value: Held) -> Held:
    """The value in the channels of now."""
    if not isinstance(value, Stack):
        return flow.resolved(value)
    members = (tuple(flow.axis(axis) for axis in member) for member in value.members)
    return replace(value, members=tuple(members))


def whole(flow: Flow, value: Held) -> Value:
    """The value as an operator sees it that treats all members alike."""
    if not isinstance(value, Stack):
        return value
    one: Value = value.members[0]
    for other in value.members[1:]:
        one = joined(flow, one, other, SUM)
    return flow.resolved(_inserted(one or (), value.place, fixed(len(value.members))))


def members(value: Held) -> Sequence[Value]:
    """What a value is made of."""
    return value.members if isinstance(value, Stack) else [value]


def _inserted(value: tuple[Axis, ...], place: int, axis: Axis) -> tuple[Axis, ...]:
    return (*value[:place], axis, *value[place:])


def opened(flow: Flow, node: NodeProto, inputs: Sequence[Held]) -> Stack | None:
    """What a Reshape makes, if it is taken apart again along an axis of a few."""
    data = inputs[0] if inputs else None
    if node.op_type != "Reshape" or not data or isinstance(data, Stack):
        return None
    data = tuple(flow.axis(axis) for axis in data)
    dims = channel_sizes.dims(flow, node.input[0], data)
    target = target_of(flow, node, dims)
    for place, size in enumerate(target or ()):
        few = isinstance(size, int) and 1 < size <= _MOST_MEMBERS
        if few and target and _is_taken_apart(flow, node.output[0], place, len(target)):
            return _opened(flow, data, dims, target, place)
    return None


def _opened(
    flow: Flow, data: tuple[Axis, ...], dims: regrouping.Dims, target: regrouping.Dims, place: int
) -> Stack | None:
    left, right = regrouping.groups(dims, target)
    found = next((group for group in (*left, *right) if group[2] <= place < group[3]), None)
    if found is None or found[1] - found[0] != 1 or is_fixed(data[found[0]]):
        return None
    flow.labels.count(data[found[0]])
    if all(d == 1 for d in target[found[2] : place]):
        return _cut(flow, data, found[0], place, target)
    behind = target[place : found[3]]
    if not all(isinstance(d, int) for d in behind):
        return None
    together = 1
    for d in behind:
        together *= d if isinstance(d, int) else 1
    first = (*target[:place], together, *target[found[3] :])
    value = regrouping.regrouped(flow.labels, data, dims, first)
    return None if value is None else _cut(flow, value, place, place, target)


def _cut(
    flow: Flow, value: tuple[Axis, ...], axis: int, place: int, target: regrouping.Dims
) -> Stack | None:
    """Members cut out of an axis one after the other, each in the sizes of the others."""
    count, size = target[place], length(value[axis])
    if not isinstance(count, int) or not size or size % count:
        return None
    rest, each = (*target[:place], *target[place + 1 :]), size // count
    pieces = [flow.labels.cut(value[axis], k * each, (k + 1) * each) for k in range(count)]
    made: list[tuple[Axis, ...]] = []
    for piece in pieces:
        member = tuple(flow.axis(a) for a in (*value[:axis], piece, *value[axis + 1 :]))
        one = regrouping.regrouped(flow.labels, member, _dims(member, rest), rest)
        if one is None:
            return None
        made.append(one)
    return Stack(place, tuple(made))


def _dims(member: tuple[Axis, ...], rest: regrouping.Dims) -> regrouping.Dims:
    """Sizes of a member; those that are unknown keep the names that they have behind."""
    own = [length(axis) for axis in member]
    names = [d for d in rest if not isinstance(d, int)]
    told = iter(names if len(names) == own.count(None) else [None] * len(own))
    return tuple(next(told, None) if d is None else d for d in own)


def passed(flow: Flow, node: NodeProto, inputs: Sequence[Held]) -> Sequence[Held] | None:
    """What an operator makes of a stack whose members stay apart; None for other operators."""
    stack = inputs[0]
    if not isinstance(stack, Stack) or any(isinstance(value, Stack) for value in inputs[1:]):
        return None
    taken = _taken(flow, node, stack.place, stack.rank)
    if taken is not None:
        return [_picked(stack, *one) for one in taken]
    order = _order(flow, node, stack.rank)
    if order is None or stack.place not in order:
        return None
    place = order.index(stack.place)
    kept = [k for k in order if k != stack.place]
    return [Stack(place, tuple(tuple(_at(m, k, stack.place) for k in kept) for m in stack.members))]


def _at(member: tuple[Axis, ...], k: int | None, place: int) -> Axis:
    return UNIT if k is None else member[k - (k > place)]


def _picked(stack: Stack, indices: list[int], keeps: bool) -> Held:  # a _Taken
    if len(indices) > 1:
        return Stack(stack.place, tuple(stack.members[k] for k in indices))
    one = stack.members[indices[0]]
    return _inserted(one, stack.place, UNIT) if keeps else one


def _order(flow: Flow, node: NodeProto, rank: int) -> list[int | None] | None:
    """For each axis behind the operator the one before, None for a new one of size 1."""
    if _is_linear(flow, node):
        return list(range(rank))
    if node.op_type == "Transpose":
        order = numbers(node, "perm") or []
        return list(order) if sorted(order) == list(range(rank)) else None
    axes = flow.integers(node, 1, "axes")
    if axes is None or node.op_type not in ("Squeeze", "Unsqueeze"):
        return None
    if node.op_type == "Squeeze":
        gone = {a % rank for a in axes}
        return [k for k in range(rank) if k not in gone]
    new = {a % (rank + len(axes)) for a in axes}
    old = iter(range(rank))
    return [None if k in new else next(old, None) for k in range(rank + len(axes))]


def _is_linear(flow: Flow, node: NodeProto) -> bool:
    """Whether each entry stays in its place, but for a factor."""
    if node.op_type == "Cast":
        return number(node, "to", 0) in PLAIN
    if node.op_type in ("Mul", "Div") and len(node.input) > 1:
        return flow.single(node.input[1]) is not None
    return node.op_type in ("Identity", "Dropout")


def _taken(flow: Flow, node: NodeProto, place: int, rank: int) -> list[_Taken] | None:
    """What the outputs of an operator have of an axis, if it only takes entries of it."""
    if node.op_type == "Gather" and number(node, "axis", 0) % rank == place:
        chosen, tensor = flow.constant(node, 1), flow.scope.constant(node.input[1])
        return None if not chosen or tensor is None else [(chosen, bool(tensor.dims))]
    size = flow.sizes.get(node.input[0], (None,) * rank)[place]
    if not isinstance(size, int):
        return None
    if node.op_type == "Split" and number(node, "axis", 0) % rank == place:
        starts, sizes = 0, sizes_of_split(flow, node, size)
        found: list[_Taken] = []
        for count in sizes or ():
            found.append((list(range(starts, starts + count)), True))
            starts += count
        return found if sizes and min(sizes) > 0 else None
    cuts = cuts_of(flow, node) if node.op_type == "Slice" else None
    if cuts is None or len(cuts) != 1 or cuts[0][0] % rank != place:
        return None
    kept = list(range(size))[slice(*cuts[0][1:])]
    return [(kept, True)] if kept and cuts[0][3] > 0 else None


def _is_taken_apart(flow: Flow, name: str, place: int, rank: int, steps: int = _MOST_STEPS) -> bool:
    """Whether all that follows takes single entries of an axis."""
    uses = flow.scope.uses.get(name, ())
    if not uses or name in flow.scope.outputs or not steps:
        return False
    for use in uses:
        if use.index or use.scope is not flow.scope or not use.node.output:
            return False
        if _taken(flow, use.node, place, rank) is not None:
            continue
        order = _order(flow, use.node, rank)
        if order is None or place not in order:
            return False
        if not _is_taken_apart(flow, use.node.output[0], order.index(place), len(order), steps - 1):
            return False
    return True
