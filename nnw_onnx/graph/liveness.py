"""What can reach an output: backwards from the outputs, past products with 0 and dead branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from onnx import NodeProto

from nnw_onnx.graph.expressions import MOST_CALLS, Constants, Place, value_of
from nnw_onnx.graph.reaching import Reaching
from nnw_onnx.graph.scopes import Calls, Scope, Scopes, Use, bound, number, real
from nnw_onnx.graph.zeros import Zeros
from nnw_onnx.vocabulary import Array

MOST_VALUES = 1_000_000
"""Values that are followed; of a larger model everything counts as live."""
_LINEAR = frozenset(
    {"Conv", "ConvTranspose", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Einsum"}
)
_NORMS = (
    "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization",
    "SimplifiedLayerNormalization",
)  # fmt: skip
_CUT_BY_ZERO: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "Div": (0, (1,)), "Pow": (1, (0,)), "BatchNormalization": (1, (0, 3, 4)),
    **dict.fromkeys(_NORMS, (1, (0,))),
}  # fmt: skip
"""Operators -> the input that makes others idle where it is 0, and those others."""
_ONLY_SIZES: Mapping[str, tuple[int, ...]] = {"Shape": (0,), "Size": (0,), "CastLike": (1,)}
"""Operators -> inputs of which they look at size or type alone."""


class Live:
    """Which values, and which consumers of them, can reach an output."""

    def __init__(
        self, found: set[tuple[int, int]], values: set[tuple[int, str]], *, everything: bool
    ) -> None:
        self._found, self._values, self._everything = found, values, everything

    def uses(self, use: Use) -> bool:
        """Whether this one does, in one call at least of the function in which it lies."""
        return self._everything or (id(use.node), use.index) in self._found

    def value(self, scope: Scope, name: str) -> bool:
        """Whether this value does, in one call at least."""
        return self._everything or (id(scope), name) in self._values


def live_of(scopes: Scopes, constants: Constants) -> Live:
    """Follow the outputs of the main graph backwards."""
    tracer = _Tracer(scopes, constants)
    finished = tracer.trace()
    return Live(tracer.found, tracer.values, everything=not finished)


class _Tracer:
    def __init__(self, scopes: Scopes, constants: Constants) -> None:
        self._scopes, self._constants = scopes, constants
        self._zero, self._reaching = Zeros(constants), Reaching(constants)
        self.found: set[tuple[int, int]] = set()
        self.values: set[tuple[int, str]] = set()

    def trace(self) -> bool:
        """Whether everything was followed; else it is not known what is live."""
        main = self._scopes.all[0]
        waiting = [Place(main, name) for name in main.outputs]
        seen: set[tuple[object, ...]] = set()
        while waiting:
            place = waiting.pop()
            definer = place.scope.defining(place.name) if place.name else None
            if definer is None:
                continue
            place = Place(definer, place.name, place.calls)
            if place.key in seen:
                continue
            seen.add(place.key)
            self.values.add((id(definer), place.name))
            if len(seen) > MOST_VALUES:
                return False
            waiting += self._before(place)
        return True

    def _before(self, place: Place) -> Iterator[Place]:
        """Values that this one is computed from."""
        scope, calls = place.scope, place.calls
        node = scope.producers.get(place.name)
        if node is None:
            yield from self._given(place)
            return
        output = list(node.output).index(place.name)
        body = self._scopes.body(node)
        if body is not None and len(calls) < MOST_CALLS:
            if output < len(body.outputs):
                yield Place(body, body.outputs[output], (*calls, (node, scope)))
            return
        inside = scope.inside.get(id(node), {})
        if inside:
            yield from self._inside(node, scope, calls, output)
            return
        for index in self._needed(bound(node, scope, calls), scope, calls):
            if index < len(node.input):
                self.found.add((id(node), index))
                yield from self._reaching.before(node, index, output, scope, calls)

    def _given(self, place: Place) -> Iterator[Place]:
        """What a call or a loop gives as an input of its body."""
        scope, calls = place.scope, place.calls
        if place.name not in scope.inputs:
            return
        index = scope.inputs.index(place.name)
        if scope.kind == "function" and calls:
            caller, outside = calls[-1]
            if index < len(caller.input):
                self.found.add((id(caller), index))
                yield Place(outside, caller.input[index], calls[:-1])
        elif scope.owner is not None and scope.parent is not None:
            if index < len(scope.owner.input):
                self.found.add((id(scope.owner), index))
                yield Place(scope.parent, scope.owner.input[index], calls)
            back = index - 1 if scope.owner.op_type == "Loop" else index
            if 0 <= back < len(scope.outputs):
                yield Place(scope, scope.outputs[back], calls)

    def _inside(self, node: NodeProto, scope: Scope, calls: Calls, output: int) -> Iterator[Place]:
        """A node with graphs inside: If, Loop, Scan, or one that is not known."""
        graphs = scope.inside[id(node)]
        operator = node.op_type
        for index, name in enumerate(node.input):
            carried = operator in ("Loop", "Scan") and index > (1 if operator == "Loop" else -1)
            if not carried or self._state(node, index, output, graphs):
                self.found.add((id(node), index))
                yield Place(scope, name, calls)
        if operator == "If":
            condition = self._value(Place(scope, node.input[0], calls)) if node.input else None
            graphs = _taken(graphs, condition)
        elif operator == "Loop" and self._never(node, scope, calls):
            return
        for graph in graphs.values():
            if operator == "If":
                yield from (Place(graph, name, calls) for name in graph.outputs[output:][:1])
            elif operator in ("Loop", "Scan"):
                first = 1 if operator == "Loop" else 0
                wanted = graph.outputs[:first] + graph.outputs[output + first :][:1]
                yield from (Place(graph, name, calls) for name in wanted)
            else:
                yield from (Place(graph, name, calls) for name in graph.outputs)

    def _state(self, node: NodeProto, index: int, output: int, graphs: dict[str, Scope]) -> bool:
        """Whether an input of a loop is the state that this output ends with."""
        states = len(node.input) - number(node, "num_scan_inputs", 0)
        place = index - 2 if node.op_type == "Loop" else index
        return place == output and index < states

    def _never(self, node: NodeProto, scope: Scope, calls: Calls) -> bool:
        """Whether a Loop makes no round."""
        given = [self._value(Place(scope, name, calls)) for name in node.input[:2]]
        return any(v is not None and v.size == 1 and not v.any() for v in given)

    def _value(self, place: Place) -> Array | None:
        found = self._constants.of(place.scope, place.name, place.calls)
        return None if found is None else value_of(found)

    def _needed(self, node: NodeProto, scope: Scope, calls: Calls) -> Iterable[int]:
        """Inputs on whose values the results depend."""
        everything = [k for k, name in enumerate(node.input) if name]
        cut = self._cut(node, scope, calls)
        return [k for k in everything if k not in cut]

    def _cut(self, node: NodeProto, scope: Scope, calls: Calls) -> set[int]:
        """Inputs on whose values nothing depends."""
        operator = node.op_type
        places = [Place(scope, name, calls) for name in node.input]
        if operator in ("Sub", "Div") and len(places) == 2 and places[0] == places[1]:
            return {0, 1}
        if operator in ("Mul", *_LINEAR) and len(places) > 1:
            return self._cut_by_factors(node, places)
        if operator == "Clip":
            return {0} if self._pinned(node, places) else set()
        if operator == "Where":
            return self._not_chosen(places)
        if operator in _CUT_BY_ZERO:
            where, cut = _CUT_BY_ZERO[operator]
            return set(cut) if where < len(places) and self._zero(places[where]) else set()
        return set(_ONLY_SIZES.get(operator, ()))

    def _cut_by_factors(self, node: NodeProto, places: list[Place]) -> set[int]:
        """The factor of a product whose other factor is 0."""
        zero = [self._zero(place) for place in places[:2]]
        cut = {1 - k for k in (0, 1) if zero[k]} if not all(zero) else set()
        if node.op_type in ("Gemm", "FusedGemm"):
            cut |= {0, 1} if real(node, "alpha", 1.0) == 0.0 else set()
            cut |= {2} if real(node, "beta", 1.0) == 0.0 else set()
        return cut

    def _pinned(self, node: NodeProto, places: list[Place]) -> bool:
        """Whether both ends of a Clip are one number."""
        ends = [self._value(p) if p.name else None for p in places[1:3]]
        numbers = [float(end.reshape(())) for end in ends if end is not None and end.size == 1]
        if len(numbers) == 2:
            return numbers[0] >= numbers[1]
        low, high = real(node, "min", -np.inf), real(node, "max", np.inf)
        return low >= high

    def _not_chosen(self, places: list[Place]) -> set[int]:
        """The operand of a Where that a constant condition never takes."""
        found = self._constants.of(places[0].scope, places[0].name, places[0].calls)
        value = None if found is None else value_of(found, 1 << 24)
        if value is None or not value.size:
            return set()
        return {2} if value.all() else {1} if not value.any() else set()


def _taken(graphs: dict[str, Scope], condition: Array | None) -> dict[str, Scope]:
    """The branches of an If that may be taken."""
    if condition is None or condition.size != 1:
        return graphs
    name = "then_branch" if condition.any() else "else_branch"
    return {name: graphs[name]} if name in graphs else {}
