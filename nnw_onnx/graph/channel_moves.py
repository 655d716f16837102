"""What operators that move, cut, join and resize values do to channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from nnw_onnx.graph import channel_sizes, regrouping
from nnw_onnx.graph.channel_flow import SUM, UNIT, Flow, Rule, joined
from nnw_onnx.graph.labels import Axis, Value, is_fixed, length
from nnw_onnx.graph.regrouping import Dims
from nnw_onnx.graph.scopes import attributes, number, numbers
from nnw_onnx.graph.tensors import MOST_AXES

_SIZES = 3
"""Which input of Resize tells sizes; Upsample has none."""
_TO_THE_END = 2**31 - 1
"""Ends of slices from here on mean that of the axis, however long it is."""


def _padded(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    pads = flow.integers(node, 1, "pads")
    if data is None or pads is None or len(pads) != 2 * len(data) or any(node.input[3:]):
        return None
    data = flow.resolved(data) if _pads_zero(flow, node) else flow.unscaled(data)
    assert data is not None
    after = list(flow.sized(node.output[0], len(data)))
    for k, axis in enumerate(data):
        if not pads[k] and not pads[k + len(data)]:
            after[k] = axis
        else:
            flow.labels.pin(axis)
    return [flow.resolved(tuple(after))]


def _pads_zero(flow: Flow, node: NodeProto) -> bool:
    """Whether what is put around the values scales as they do."""
    if attributes(node).get("mode", "constant") != "constant":
        return True
    if len(node.input) < 3 or not node.input[2]:
        return not any(a.name == "value" and a.f for a in node.attribute)
    tensor = flow.scope.constant(node.input[2])
    return tensor is not None and tensor.size == 1 and not tensor.array().any()


def _resized(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    """Axes that keep their length are not resized; others stay as they are."""
    data = flow.resolved(inputs[0])
    mode = attributes(node).get("coordinate_transformation_mode")
    if data is None or mode == "tf_crop_and_resize":
        return None
    if any(node.input[_SIZES:]):  # of all axes
        for axis in data:
            flow.labels.count(axis)
    return [_kept_where_as_long(flow, data, flow.sized(node.output[0], len(data)))]


def _kept_where_as_long(flow: Flow, data: tuple[Axis, ...], after: tuple[Axis, ...]) -> Value:
    """Axes whose length an operator does not change; the others are pinned."""
    done: list[Axis] = []
    for axis, new in zip(data, after, strict=True):
        kept = length(axis) is not None and length(axis) == length(new)
        if not kept:
            flow.labels.pin(axis)
        done.append(axis if kept else new)
    return tuple(done)


def _joined_ends(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    """Concat: one axis of the inputs one after the other, the others the same."""
    ranks = {None if v is None else len(v) for v in inputs}
    rank = next(iter(ranks))
    if len(ranks) != 1 or not rank:
        return None
    place = number(node, "axis", 1) % rank
    whole: Value = None
    for value in inputs:
        assert value is not None
        others = tuple(UNIT if k == place else a for k, a in enumerate(value))
        whole = others if whole is None else joined(flow, whole, others, SUM)
    assert whole is not None
    ends = [value[place] for value in inputs if value is not None]
    if any(end is None for end in ends):
        for end in ends:
            flow.labels.pin(end)
        return [(*whole[:place], None, *whole[place + 1 :])]
    parts = tuple(part for end in ends for part in end or ())
    return [flow.resolved((*whole[:place], parts, *whole[place + 1 :]))]


def _split(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    if not data:
        return None
    place = number(node, "axis", 0) % len(data)
    sizes = sizes_of_split(flow, node, length(data[place]))
    if sizes is None:
        return None
    flow.labels.count(data[place])
    done, start = [], 0
    for size in sizes:
        cut = flow.labels.cut(data[place], start, start + size)
        done.append((*data[:place], cut, *data[place + 1 :]))
        start += size
    return [flow.resolved(value) for value in done]


def sizes_of_split(flow: Flow, node: NodeProto, whole: int | None) -> list[int] | None:
    """How many entries each output of a Split gets; None where that is computed or wrong."""
    sizes, count = flow.integers(node, 1, "split"), len(node.output)
    if sizes is None and not any(node.input[1:]) and whole is not None:
        each = -(-whole // count)
        sizes = [each] * (count - 1) + [whole - each * (count - 1)]
    wrong = sizes is None or len(sizes) != count or min(sizes) < 0
    return None if wrong or (whole is not None and sum(sizes or ()) != whole) else sizes


def cuts_of(flow: Flow, node: NodeProto) -> list[tuple[int, ...]] | None:
    """Axis, start, end and step of each cut of a Slice; None where they are computed."""
    starts, stops = flow.integers(node, 1, "starts"), flow.integers(node, 2, "ends")
    if starts is None or stops is None:
        return None
    axes = flow.integers(node, 3, "axes")
    axes = list(range(len(starts))) if axes is None and not any(node.input[3:4]) else axes
    steps = [1] * len(starts) if not any(node.input[4:5]) else flow.constant(node, 4)
    if axes is None or steps is None or not len(axes) == len(steps) == len(starts) == len(stops):
        return None
    return list(zip(axes, starts, stops, steps, strict=True))


def _sliced(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data, cuts = inputs[0], cuts_of(flow, node)
    if not data or cuts is None:
        return None
    done = list(data)
    known = flow.sized(node.output[0], len(data))
    for axis, start, stop, step in cuts:
        place = axis % len(data)
        whole = length(data[place])
        if whole is None or step != 1:
            flow.labels.pin(data[place])
            done[place] = known[place]
        else:
            low, high = (min(max(x + whole * (x < 0), 0), whole) for x in (start, stop))
            if start or stop < _TO_THE_END:
                flow.labels.count(data[place])
            done[place] = flow.labels.cut(data[place], low, high)
    return [flow.resolved(tuple(done))]


def _gathered(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data, indices = inputs[:2]
    if not data or indices is None:
        return None
    place = number(node, "axis", 0) % len(data)
    flow.labels.pin(data[place])
    flow.labels.pin_value(indices)
    return [flow.resolved((*data[:place], *indices, *data[place + 1 :]))]


def _turned(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data = inputs[0]
    if data is None:
        return None
    order = numbers(node, "perm") or list(range(len(data)))[::-1]
    return [tuple(data[k] for k in order)] if sorted(order) == list(range(len(data))) else None


def _shaped(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    """Reshape, Flatten, Squeeze and Unsqueeze: axes are merged and split again."""
    data = flow.resolved(inputs[0])
    if data is None:
        return None
    dims = channel_sizes.dims(flow, node.input[0], data)
    target = target_of(flow, node, dims)
    if target is None:
        return None
    flow.sizes[node.output[0]] = target
    made = regrouping.regrouped(flow.labels, data, dims, target)
    if node.op_type == "Reshape":
        _count_asked(flow, node, made)
    return [made]


def _count_asked(flow: Flow, node: NodeProto, made: Value) -> None:
    """Channels whose number a Reshape is given, or computes in a way that is not followed."""
    asked = _asked(flow, node)
    keeps = not number(node, "allowzero", 0)
    for k, axis in enumerate(made or ()):
        size = asked[k] if asked is not None and k < len(asked) else None
        if size != -1 and not (size == 0 and keeps):
            flow.labels.count(axis)


def target_of(flow: Flow, node: NodeProto, dims: Dims) -> Dims | None:
    """The sizes that the operator makes."""
    if node.op_type == "Flatten":
        return regrouping.flattened(dims, number(node, "axis", 1))
    if node.op_type == "Reshape":
        return _reshaped(flow, node, dims)
    axes = flow.integers(node, 1, "axes")
    rank = len(dims) + (len(axes or ()) if node.op_type == "Unsqueeze" else 0)
    if axes is None or not rank:
        return flow.sizes.get(node.output[0])
    chosen = {a % rank for a in axes}
    if node.op_type == "Squeeze":
        return tuple(d for k, d in enumerate(dims) if k not in chosen)
    rest = iter(dims)
    return tuple(1 if k in chosen else next(rest, None) for k in range(rank))


def _reshaped(flow: Flow, node: NodeProto, dims: Dims) -> Dims | None:
    """The sizes that Reshape makes: those it is given, and those that are inferred."""
    known, asked = flow.sizes.get(node.output[0]), _asked(flow, node)
    if asked is None:
        return known
    keeps = not number(node, "allowzero", 0)
    made = regrouping.asked(dims, asked, known, zero_keeps=keeps)
    if known is None or len(known) != len(made):
        return made
    return tuple(k if d is None else d for d, k in zip(made, known, strict=True))


def _asked(flow: Flow, node: NodeProto) -> Sequence[regrouping.Size] | None:
    """The sizes that Reshape is given; None for those that are not known."""
    if len(node.input) < 2 or not node.input[1]:
        return numbers(node, "shape")
    return channel_sizes.told(flow, node.input[1]) or _unknown(flow, node.input[1])


def _unknown(flow: Flow, name: str) -> Sequence[None] | None:
    """As many unknown sizes as a vector holds, where its length is known."""
    dims = flow.sizes.get(name)
    count = dims[0] if dims is not None and len(dims) == 1 else None
    return [None] * count if isinstance(count, int) and count <= MOST_AXES else None


def _expanded(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value] | None:
    data, known = flow.resolved(inputs[0]), flow.sizes.get(node.output[0])
    if data is None or known is None or len(known) < len(data):
        return None
    old = (UNIT,) * (len(known) - len(data)) + data
    given = flow.constant(node, 1)
    done: list[Axis] = []
    for k, (axis, new) in enumerate(zip(old, flow.sized(node.output[0], len(known)), strict=True)):
        if not is_fixed(axis) and length(axis) != length(new):
            return None
        asked = [1] * (len(known) - len(given)) + given if given is not None else None
        if asked is None or asked[k] != 1:
            flow.labels.count(axis)
        done.append(new if is_fixed(axis) else axis)
    return [tuple(done)]


def _sizes(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
    """Only the sizes of its input matter."""
    rank = 0 if node.op_type == "Size" else 1
    value = flow.resolved(inputs[0]) or ()
    for k in _sizes_looked_at(flow, node, len(value)):
        flow.labels.count(value[k])
    return [flow.sized(node.output[0], rank)]


def _sizes_looked_at(flow: Flow, node: NodeProto, rank: int) -> set[int]:
    """The axes whose sizes something may depend on."""
    uses = flow.scope.uses.get(node.output[0], ())
    known = node.op_type == "Shape" and not node.attribute
    if not known or node.output[0] in flow.scope.outputs:
        return set(range(rank))
    places: set[int] = set()
    for use in uses:
        taken = _entries_taken(flow, use.node, rank) if use.scope is flow.scope else None
        places |= set(range(rank)) if taken is None else taken
    return places


def _entries_taken(flow: Flow, node: NodeProto, size: int) -> set[int] | None:
    """Which entries of a vector an operator takes; None where it may be all."""
    if node.op_type == "Gather":
        chosen = flow.constant(node, 1)
        return None if not chosen or not size else {k % size for k in chosen}
    cuts = cuts_of(flow, node) if node.op_type == "Slice" else None
    if cuts is None or len(cuts) != 1 or not cuts[0][3]:
        return None
    return set(range(size)[slice(*cuts[0][1:])])


MOVES: Mapping[str, Rule] = {
    **dict.fromkeys(("Resize", "Upsample"), _resized),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _shaped),
    **dict.fromkeys(("Shape", "Size"), _sizes),
    "Pad": _padded,
    "Concat": _joined_ends,
    "Split": _split,
    "Slice": _sliced,
    "Gather": _gathered,
    "Transpose": _turned,
    "Expand": _expanded,
}
