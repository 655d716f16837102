"""From a stored tensor forwards to the operators that compute with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import arithmetic, expressions, views
from nnw_onnx.graph.expressions import MOST_CALLS, Constants, Expression, Place
from nnw_onnx.graph.scopes import Call, Calls, Scope, Scopes, Use, bound, number
from nnw_onnx.graph.tensors import StoredTensor
from nnw_onnx.graph.views import View

MOST_STEPS = 10_000
"""Values that one tensor is followed through; then its axes count as unknown."""
MOST_STEPS_IN_ALL = 500_000

_LOOPS = frozenset({"Loop", "Scan"})


@dataclass(frozen=True)
class Arrival:
    """A consumer of a value that depends on the tensor.

    Attributes:
        use: the consumer as it stands in the file.
        calls: the calls of functions inside which it lies.
        view: how its input depends on the tensor, or on `base`.
        base: what is computed from stored tensors before that, where arithmetic lies between; its
            layout is that of the tensor as far as `base_view` tells.
        base_view: how `base` depends on the tensor; the tensor alone where there is no base.
        beyond: it lies behind an operator that joins the tensor with what the network is fed.
        instead: such an operator: the consumer where nothing behind it uses the tensor as kernel.
    """

    use: Use
    calls: Calls
    view: View
    base: Expression | None
    base_view: View
    beyond: bool = False
    instead: bool = False

    @property
    def bound(self) -> Use:
        """The use with the attributes that the call gives its node."""
        return replace(self.use, node=bound(self.use.node, self.use.scope, self.calls))


@dataclass(frozen=True)
class _Value:
    """A value that depends on the tensor."""

    place: Place
    view: View
    base: Expression | None
    base_view: View
    beyond: bool = False


class Walker:
    """Follows one tensor through views and arithmetic, subgraphs and functions."""

    def __init__(
        self, scopes: Scopes, constants: Constants, budget: Iterator[int], *, scaled: bool
    ) -> None:
        self._scopes, self._constants, self._budget = scopes, constants, budget
        self._scaled = scaled
        self._seen: set[tuple[object, bool]] = set()

    def follow(self, scope: Scope, name: str, tensor: StoredTensor) -> Iterator[Arrival]:
        """Each consumer; chains of any length need no stack."""
        whole = View.of(tensor.dims, tensor.data_type)
        under_way = [self._uses(_Value(Place(scope, name), whole, None, whole))]
        while under_way:
            found = next(under_way[-1], None)
            if found is None:
                under_way.pop()
            elif isinstance(found, _Value):
                under_way.append(self._uses(found))
            else:
                yield found

    def _uses(self, value: _Value) -> Iterator[_Value | Arrival]:
        place = value.place
        key = (place.key, value.beyond)
        if key in self._seen or len(place.calls) > MOST_CALLS:
            return
        self._seen.add(key)
        for use in place.scope.uses.get(place.name, ()):
            if next(self._budget, None) is None:
                raise ModelFileError(
                    f"model: expected at most {MOST_STEPS_IN_ALL} steps from weights to the "
                    "operators that use them, got more; simplify or split the model, or do not "
                    "use this file"
                )
            yield from self._use(use, value)
        yield from self._outputs(value)

    def _use(self, use: Use, value: _Value) -> Iterator[_Value | Arrival]:
        calls = value.place.calls
        body = self._scopes.body(use.node)
        if body is not None:
            if use.index < len(body.inputs):
                inside = Place(body, body.inputs[use.index], (*calls, (use.node, use.scope)))
                yield replace(value, place=inside)
            return
        if use.node.op_type in _LOOPS and (carried := self._carried(use, value)) is not None:
            yield carried
            return
        if len(self._seen) > MOST_STEPS:
            yield self._arrival(use, replace(value, view=replace(value.view, axes=None)))
            return
        seen = replace(use, node=bound(use.node, use.scope, calls))
        joined = self._joined(seen, value)
        looked_up = use.node.op_type == "Gather" and not use.index
        if joined is not None or looked_up:
            yield replace(self._arrival(use, value), instead=True)
        passed = joined is not None or looked_up
        for name in filter(None, use.node.output):
            after = self._after(seen, value, name) if joined is None else joined
            if after is not None:
                passed = True
                place = Place(use.scope, name, calls)
                yield replace(after, place=place, beyond=after.beyond or looked_up)
        if not passed:
            yield self._arrival(use, value)

    def _arrival(self, use: Use, value: _Value) -> Arrival:
        return Arrival(
            use, value.place.calls, value.view, value.base, value.base_view, value.beyond
        )

    def _after(self, use: Use, value: _Value, output: str) -> _Value | None:
        """The value behind an operator, or None where the operator is a consumer."""
        scaled = self._scaled and value.base is None
        computed = self._constants.of(use.scope, output, value.place.calls)
        known = computed is not None and expressions.infer_shapes(computed)
        if computed is not None and known and not views.moves(use, value.view, scaled=scaled):
            return self._computed(use, value, computed)
        view = views.through(use, value.view, scaled=scaled)
        if view is not None and view.axes is None and computed is not None and known:
            view = views.regrouped(use, value.view, computed.shape) or view
        return None if view is None else replace(value, view=view)

    def _computed(self, use: Use, value: _Value, computed: Expression) -> _Value:
        """Behind arithmetic: in the tensor's layout where each number stays in its place."""
        before = self._constants.of(use.scope, use.node.input[use.index], value.place.calls)
        fits = before is not None and arithmetic.keeps_places(use.node)
        view = views.aligned(value.view, before.shape, computed.shape) if fits and before else None
        view = view or View.of(computed.shape)
        return replace(value, view=view, base=computed, base_view=view)

    def _joined(self, use: Use, value: _Value) -> _Value | None:
        """Behind an operator that joins the tensor with what is fed, where it may be a kernel.

        A kernel times a style that the network computes, or one expert of several by its number.
        """
        node, view = use.node, value.view
        if len(node.input) < 2 or sum(s > 1 for s in view.stored) < 2:
            return None
        other = node.input[1 - use.index] if use.index < 2 else ""
        if node.op_type == "Gather" and not use.index:
            chosen = views.chosen(use, view, self._rank_of(use.scope, other))
            return None if chosen is None else replace(value, view=chosen, beyond=True)
        if self._constants.of(use.scope, other, value.place.calls) is not None:
            return None
        is_factor = node.op_type == "Mul" or (node.op_type == "Div" and not use.index)
        return replace(value, beyond=True) if is_factor and (view.rank or 0) > 2 else None

    def _rank_of(self, scope: Scope, name: str) -> int:
        """Number of axes of the indices of a Gather; one where nothing says it."""
        found = self._constants.of(scope, name, ())
        if found is not None and expressions.infer_shapes(found):
            return len(found.shape)
        return 1

    def _carried(self, use: Use, value: _Value) -> _Value | None:
        """Inside a loop to which the tensor is given, as a state or in slices."""
        body = use.scope.inside.get(id(use.node), {}).get("body")
        is_loop = use.node.op_type == "Loop"
        if body is None or use.index >= len(body.inputs) or (is_loop and use.index < 2):
            return None
        view = value.view
        if not is_loop and use.index >= len(body.inputs) - number(use.node, "num_scan_inputs", 0):
            sliced = views.sliced(view)
            if sliced is None:
                return None
            view = sliced
        place = Place(body, body.inputs[use.index], value.place.calls)
        return replace(value, place=place, view=view)

    def _outputs(self, value: _Value) -> Iterator[_Value]:
        """Continue where a function or a branch hands the value to the outside."""
        scope, calls = value.place.scope, value.place.calls
        index = scope.results.get(value.place.name)
        if scope.kind == "main" or index is None:
            return
        callers: list[Call] = []
        if scope.kind == "function":
            callers = [calls[-1]] if calls else self._scopes.callers[id(scope)]
        elif scope.owner is not None and scope.parent is not None:
            if scope.owner.op_type in _LOOPS:
                yield from self._next_round(value, index)
                index -= scope.owner.op_type == "Loop"
            if scope.owner.op_type in ("If", *_LOOPS):
                callers = [(scope.owner, scope.parent)]
        rest = calls[:-1] if scope.kind == "function" else calls
        for node, outside in callers:
            if 0 <= index < len(node.output):
                yield replace(value, place=Place(outside, node.output[index], rest))

    def _next_round(self, value: _Value, index: int) -> Iterator[_Value]:
        """The state of a loop that the value becomes."""
        scope = value.place.scope
        assert scope.owner is not None
        first = 1 if scope.owner.op_type == "Loop" else 0
        states = len(scope.inputs) - number(scope.owner, "num_scan_inputs", 0)
        if first <= index and index + first < states:
            place = Place(scope, scope.inputs[index + first], value.place.calls)
            yield replace(value, place=place)
