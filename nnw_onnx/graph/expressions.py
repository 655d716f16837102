"""Values that a model computes from its own tensors alone, as expressions over those tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from onnx import AttributeProto, NodeProto

from nnw_onnx.graph import arithmetic
from nnw_onnx.graph.arithmetic import UnknownOperatorError
from nnw_onnx.graph.operators import Shape
from nnw_onnx.graph.scopes import Calls, Scope, Scopes, bound
from nnw_onnx.graph.tensors import STRING, StoredTensor
from nnw_onnx.vocabulary import Array

MOST_NODES = 4_000
"""Operators in one expression; a longer one is not evaluated."""
MOST_CALLS = 32
_MOST_ELEMENTS = 1 << 25
_ELEMENTS_EACH = 16
"""Elements that an evaluation may compute: so many, and so many for each that is stored."""
_MOST_SETTINGS = 4_096
_MOST_LOOKED = 200
"""Operators in an expression that is evaluated only to look at its value."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """A stored tensor, or the value of a Constant that is no tensor (then `values` has it)."""

    tensor: StoredTensor | None
    name: str
    values: Array | None = None

    @property
    def shape(self) -> Shape:
        """Its shape."""
        if self.tensor is not None:
            return self.tensor.dims
        return () if self.values is None else self.values.shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(eq=False)
class Result:
    """What a node computes from expressions.

    Attributes:
        node: the node, with the attributes that a call gives it.
        inputs: its inputs; None for one that is left out.
        output: which of its outputs.
        sized: whether its shape can be told; None where nobody has looked yet. It is kept, since a
            chain of nodes is looked at from each of them.
    """

    node: NodeProto
    inputs: tuple[Expression | None, ...]
    output: int
    sized: bool | None = None

    @property
    def data(self) -> tuple[Expression, ...]:
        """The inputs but for those that only say how large the result is."""
        settings = arithmetic.settings_of(self.node)
        return tuple(e for k, e in enumerate(self.inputs) if e is not None and k not in settings)

    @cached_property
    def shape(self) -> Shape:
        """Its shape; raises `UnknownOperatorError` where it cannot be told."""
        settings = arithmetic.settings_of(self.node)
        sizes = [None if e is None or k in settings else e.shape for k, e in enumerate(self.inputs)]
        given = [
            _setting(e) if e is not None and k in settings else None
            for k, e in enumerate(self.inputs)
        ]
        found = arithmetic.shapes(self.node, sizes, given)
        if self.output >= len(found):  # such as the mask of a Dropout
            raise UnknownOperatorError(self.node.op_type)
        return found[self.output]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


Expression: TypeAlias = Leaf | Result
Values = dict[int, Array]
"""Identity of an expression -> what it is."""


def parts_of(
    root: Expression, *, settings: bool = True, most: int = MOST_NODES
) -> list[Expression]:
    """The expression and all inside it, each after those that it is made of.

    Raises:
        UnknownOperatorError: more than so many.
    """
    done: dict[int, Expression] = {}
    under_way: list[tuple[Expression, Iterator[Expression]]] = [(root, _inside(root, settings))]
    entered = {id(root)}
    while under_way:
        expression, rest = under_way[-1]
        below = next((e for e in rest if id(e) not in entered), None)
        if below is None:
            under_way.pop()
            done[id(expression)] = expression
        else:
            entered.add(id(below))
            under_way.append((below, _inside(below, settings)))
        if len(entered) > most:
            raise UnknownOperatorError("an expression that is too long")
    return list(done.values())


def _inside(expression: Expression, settings: bool) -> Iterator[Expression]:
    if isinstance(expression, Leaf):
        return iter(())
    return iter([e for e in expression.inputs if e is not None] if settings else expression.data)


def leaves_of(root: Expression) -> list[Leaf]:
    """The stored tensors of which it is made, those that only say sizes left out."""
    return [e for e in parts_of(root, settings=False) if isinstance(e, Leaf)]


def infer_shapes(root: Expression) -> bool:
    """Whether the shapes of the expression and of all inside it can be told; they are kept."""
    waiting = [root]
    while waiting:
        now = waiting[-1]
        below = [] if isinstance(now, Leaf) else [e for e in now.inputs if isinstance(e, Result)]
        unknown = [e for e in below if e.sized is None]
        if isinstance(now, Result) and now.sized is None and unknown:
            waiting += unknown
            continue
        waiting.pop()
        if isinstance(now, Result) and now.sized is None:
            now.sized = all(e.sized for e in below) and _is_sized(now)
    return isinstance(root, Leaf) or bool(root.sized)


def _is_sized(result: Result) -> bool:
    try:
        _ = result.shape
    except UnknownOperatorError:
        return False
    return True


def evaluate(root: Expression, read: Callable[[Leaf], Array]) -> Values:
    """The values of the expression and of all inside it.

    Args:
        root: the expression.
        read: the values of a stored tensor.

    Raises:
        UnknownOperatorError: inputs that do not fit, or more elements than a file may ask for.
    """
    parts = parts_of(root)
    budget = _MOST_ELEMENTS + _ELEMENTS_EACH * sum(e.size for e in parts if isinstance(e, Leaf))
    found: Values = {}
    for part in parts:
        if isinstance(part, Leaf):
            found[id(part)] = read(part) if part.values is None else part.values
            continue
        budget -= part.size
        if budget < 0:
            raise UnknownOperatorError("more elements than a file may ask for")
        inputs = [None if e is None else found[id(e)] for e in part.inputs]
        found[id(part)] = arithmetic.compute(part.node, inputs)[part.output]
        if found[id(part)].shape != part.shape:  # operands that a runtime would refuse
            raise UnknownOperatorError(part.node.op_type)
    return found


def stored(leaf: Leaf) -> Array:
    """The values of a tensor as they are in the file."""
    assert leaf.tensor is not None
    return leaf.tensor.array()


def value_of(root: Expression, most: int = _MOST_SETTINGS) -> Array | None:
    """What a small expression is in the file; None for a larger one, or one not evaluated."""
    try:
        if not infer_shapes(root) or any(e.size > most for e in parts_of(root, most=_MOST_LOOKED)):
            return None
        return evaluate(root, stored)[id(root)]
    except UnknownOperatorError:
        return None


def _setting(expression: Expression) -> Array:
    found = value_of(expression)
    if found is None:
        raise UnknownOperatorError("sizes that cannot be told")
    return found


@dataclass(frozen=True)
class Place:
    """A value of the model: a name in a scope, inside some calls of functions."""

    scope: Scope
    name: str
    calls: Calls = ()

    @property
    def key(self) -> tuple[int, str, tuple[int, ...]]:
        """What tells it from others."""
        return id(self.scope), self.name, tuple(id(node) for node, _ in self.calls)


_Steps = Generator[Place, "Expression | None", "Expression | None"]


class Constants:
    """Which values of a model are computed from its own tensors alone."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._known: dict[tuple[int, str, tuple[int, ...]], Expression | None] = {}

    def of(self, scope: Scope, name: str, calls: Calls) -> Expression | None:
        """The expression that a name stands for, or None where it depends on what is fed."""
        # Steps that ask for others are kept on a list: a chain may be as long as a file.
        first = self._place(scope, name, calls)
        if first is None:
            return None
        places, result = [first], None
        under_way: list[_Steps] = []
        while True:
            place = places[-1]
            if len(under_way) < len(places) and place.key in self._known:
                result = self._known[place.key]
                places.pop()
            else:
                if len(under_way) < len(places):
                    self._known[place.key] = None  # what needs itself is no constant
                    under_way.append(self._resolve(place))
                    result = None
                try:
                    places.append(under_way[-1].send(result))
                    continue
                except StopIteration as done:
                    result = self._known[place.key] = done.value
                    under_way.pop()
                    places.pop()
            if not places:
                return result

    def _place(self, scope: Scope, name: str, calls: Calls) -> Place | None:
        definer = scope.defining(name) if name else None
        return None if definer is None else Place(definer, name, calls)

    def _resolve(self, place: Place) -> _Steps:
        scope, name = place.scope, place.name
        tensor = scope.tensors.get(name)
        if tensor is not None:
            return Leaf(tensor, name) if tensor.data_type != STRING else None
        node = scope.producers.get(name)
        if node is None:
            return (yield from self._argument(place))
        if self._scopes.body(node) is not None:
            return (yield from self._called(node, place))
        if node.op_type == "If":
            return (yield from self._chosen(node, place))
        if node.op_type == "Constant" and name not in scope.twins:
            return _literal(bound(node, scope, place.calls), name)
        return (yield from self._computed(node, place))

    def _computed(self, node: NodeProto, place: Place) -> _Steps:
        """What an operator makes of its inputs, if all of them are constants."""
        scope, calls = place.scope, place.calls
        if not arithmetic.is_known(node) or not node.input:
            return None
        inputs: list[Expression | None] = []
        for wanted in node.input:
            needed = self._place(scope, wanted, calls)
            found = None if needed is None else (yield needed)
            if wanted and found is None:
                return None
            inputs.append(found)
        output = list(node.output).index(place.name)
        return Result(bound(node, scope, calls), tuple(inputs), output)

    def _called(self, node: NodeProto, place: Place) -> _Steps:
        """A result of a function of the model."""
        body, output = self._scopes.body(node), list(node.output).index(place.name)
        if body is None or output >= len(body.outputs) or len(place.calls) >= MOST_CALLS:
            return None
        calls = (*place.calls, (node, place.scope))
        inside = self._place(body, body.outputs[output], calls)
        return None if inside is None else (yield inside)

    def _argument(self, place: Place) -> _Steps:
        """What a call gives as an input of its function."""
        scope, calls = place.scope, place.calls
        if scope.kind != "function" or not calls or place.name not in scope.inputs:
            return None
        caller, outside = calls[-1]
        index = scope.inputs.index(place.name)
        name = caller.input[index] if index < len(caller.input) else ""
        given = self._place(outside, name, calls[:-1])
        return None if given is None else (yield given)

    def _chosen(self, node: NodeProto, place: Place) -> _Steps:
        """The result of an If whose condition is a constant."""
        output = list(node.output).index(place.name)
        needed = self._place(place.scope, node.input[0], place.calls) if node.input else None
        condition = None if needed is None else (yield needed)
        value = None if condition is None else value_of(condition)
        if value is None or value.size != 1:
            return None
        branch = "then_branch" if value.reshape(()) else "else_branch"
        inside = place.scope.inside.get(id(node), {}).get(branch)
        if inside is None or output >= len(inside.outputs):
            return None
        found = self._place(inside, inside.outputs[output], place.calls)
        return None if found is None else (yield found)


_LITERALS: Mapping[str, tuple[str, type[np.generic]]] = {
    "value_float": ("f", np.float32), "value_int": ("i", np.int64),
    "value_floats": ("floats", np.float32), "value_ints": ("ints", np.int64),
}  # fmt: skip


def _literal(node: NodeProto, name: str) -> Leaf | None:
    """The value of a Constant that is a number or a list of numbers."""
    for attribute in node.attribute:
        if attribute.name in _LITERALS and attribute.type != AttributeProto.UNDEFINED:
            dtype = _LITERALS[attribute.name][1]
            found = {
                "value_float": attribute.f, "value_int": attribute.i,
                "value_floats": list(attribute.floats), "value_ints": list(attribute.ints),
            }[attribute.name]  # fmt: skip
            return Leaf(None, name, np.array(found, dtype))
    return None
