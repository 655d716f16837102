"""Sizes that a graph computes: what Shape tells, taken apart, multiplied and put together again.

Exporters write reshapes so where a batch or a sequence may have any size. A size that is not known
is a symbol of the axis that it was asked of, so that it is known to be the same one again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import NodeProto, TensorProto

from nnw_onnx.graph.channel_flow import Flow
from nnw_onnx.graph.labels import Value
from nnw_onnx.graph.regrouping import Dims, Size, dims_of
from nnw_onnx.graph.scopes import number
from nnw_onnx.graph.tensors import MOST_AXES

UNNAMED = "?"
"""How symbols begin that no file gave."""
_WHOLE = (TensorProto.INT64, TensorProto.INT32)
_SAME = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Floor", "Ceil")
_Numbers = Sequence[Size]
_Between = Callable[[int, int], int | None]


def dims(flow: Flow, name: str, value: Value) -> Dims:
    """Sizes of the axes of a value that has axes, with a symbol for each that is not known."""
    known = dims_of(value or (), flow.sizes.get(name))
    return tuple(f"{UNNAMED}{name} {k}" if d is None else d for k, d in enumerate(known))


def told(flow: Flow, name: str) -> Dims | None:
    """The whole numbers that a value holds, or symbols of sizes; None where they are not known."""
    if name in flow.numbers:
        return flow.numbers[name]
    tensor = flow.scope.constant(name)
    if tensor is None or tensor.data_type not in _WHOLE or tensor.size > MOST_AXES:
        return None
    return tuple(int(v) for v in np.ravel(tensor.array()))


def computed(flow: Flow, node: NodeProto, inputs: Sequence[Value]) -> Dims | None:
    """The numbers that an operator computes from sizes; a single one is a vector of one."""
    if node.op_type == "Shape":
        return None if inputs[0] is None else _shape(flow, node, inputs[0])
    given = [told(flow, name) for name in node.input if name]
    if not given or any(numbers is None for numbers in given):
        return None
    numbers = [numbers for numbers in given if numbers is not None]
    if node.op_type in _SAME:
        return numbers[0]
    if node.op_type in _BETWEEN and len(numbers) == 2:
        return _between(_BETWEEN[node.op_type], numbers[0], numbers[1])
    rule = _RULES.get(node.op_type)
    return None if rule is None else rule(node, numbers)


def _shape(flow: Flow, node: NodeProto, value: Value) -> Dims:
    all_of_them = dims(flow, node.input[0], value)
    return all_of_them[number(node, "start", 0) : number(node, "end", MOST_AXES)]


def _taken(node: NodeProto, given: Sequence[Dims]) -> Dims | None:
    numbers, places = given[:2] if len(given) > 1 else (given[0], ())
    kept = [numbers[k] for k in places if isinstance(k, int) and -len(numbers) <= k < len(numbers)]
    return tuple(kept) if len(kept) == len(places) else None


def _sliced(node: NodeProto, given: Sequence[Dims]) -> Dims | None:
    single = [numbers[0] for numbers in given[1:] if len(numbers) == 1]
    if len(given) < 3 or len(single) < len(given) - 1:
        return None
    start, stop, step = single[0], single[1], single[3] if len(single) > 3 else 1
    if not (isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and step):
        return None
    return given[0][start:stop:step]


def _together(node: NodeProto, given: Sequence[Dims]) -> Dims | None:
    whole = tuple(number for numbers in given for number in numbers)
    return whole if len(whole) <= MOST_AXES else None


def _product(node: NodeProto, given: Sequence[Dims]) -> Dims | None:
    symbols = [n for n in given[0] if not isinstance(n, int)]
    whole = math.prod(n for n in given[0] if isinstance(n, int))
    if not symbols:
        return (whole,)
    return (symbols[0] if len(symbols) == 1 and whole == 1 else None,)


def _between(how: _Between, first: Dims, second: Dims) -> Dims | None:
    size = max(len(first), len(second))
    if not first or not second or {len(first), len(second)} - {1, size}:
        return None
    pairs = zip(first * (size // len(first)), second * (size // len(second)), strict=True)
    return tuple(
        how(a, b)
        if isinstance(a, int) and isinstance(b, int)
        else a
        if b == _SAME_AT.get(how)
        else None
        for a, b in pairs
    )


def _times(a: int, b: int) -> int | None:
    return a * b


def _over(a: int, b: int) -> int | None:
    return a // b if b and a % b == 0 else None  # else it depends on the type how it is rounded


def _modulo(a: int, b: int) -> int | None:
    return a % b if b > 0 else None


def _plus(a: int, b: int) -> int | None:
    return a + b


def _minus(a: int, b: int) -> int | None:
    return a - b


_BETWEEN: Mapping[str, _Between] = {
    "Mul": _times,
    "Div": _over,
    "Add": _plus,
    "Sub": _minus,
    "Mod": _modulo,
}
_SAME_AT: Mapping[_Between, int] = {_times: 1, _over: 1, _plus: 0, _minus: 0}
"""The second number that leaves a first one as it is, whatever that is."""
_RULES: Mapping[str, Callable[[NodeProto, Sequence[Dims]], Dims | None]] = {
    "Gather": _taken,
    "Slice": _sliced,
    "Concat": _together,
    "ReduceProd": _product,
}
