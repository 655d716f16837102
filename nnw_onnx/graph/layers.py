"""The layers of a model: every tensor of weights with its operators, role and layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from onnx import NodeProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import quantized, roles, views
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.quantized import Dequantization
from nnw_onnx.graph.roles import Role
from nnw_onnx.graph.scopes import Scope, Scopes, Use, build_scopes, constants
from nnw_onnx.graph.tensors import INTEGERS, PLAIN, StoredTensor
from nnw_onnx.graph.views import View
from nnw_onnx.vocabulary import Layer

MOST_STEPS = 10_000
"""Values that one tensor is followed through; then its axes count as unknown."""
MOST_STEPS_IN_ALL = 500_000
_RANK = {k: n for n, k in enumerate(("kernel", "recurrent", "embedding", "norm", "bias", "other"))}


_BIASED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operators whose bias may follow them as an Add."""


@dataclass(frozen=True)
class Sink:
    """An operator that computes with a tensor: where, as what, and through which view."""

    use: Use
    role: Role
    view: View
    dequantization: Dequantization | None


@dataclass(frozen=True)
class ListedLayer:
    """A layer as it lies in the file.

    Attributes:
        layer: what is told of it.
        tensor: what stores it.
        dequantization: how integers in it become weights.
        result: name of the value that its operator computes with its bias, in the main graph;
            None for one inside a subgraph or function, whose values nobody outside can name.
    """

    layer: Layer
    tensor: StoredTensor
    dequantization: Dequantization | None
    result: str | None = None


def list_layers(file: ModelFile) -> tuple[ListedLayer, ...]:
    """Every layer of the file, in its order; names are unique.

    A name that occurs in several graphs is preceded by the label of its subgraph or function.
    """
    scopes = build_scopes(file)
    found = list(constants(scopes))
    repeated = Counter(name for _, name, _ in found)
    listed = []
    twins: Counter[str] = Counter()
    taken: set[str] = set()
    budget = iter(range(MOST_STEPS_IN_ALL))
    for scope, name, tensor in found:
        sinks = _sinks_of(tensor, scope, name, scopes, budget)
        if not sinks:
            continue
        unique = f"{scope.label}/{name}" if repeated[name] > 1 and scope.label else name
        unique = _not_taken(unique, taken, twins)
        taken.add(unique)
        listed.append(_listed(unique, tensor, scope, sinks, scopes.positions))
    return tuple(listed)


def _not_taken(name: str, taken: set[str], twins: Counter[str]) -> str:
    """The name itself, or with a mark and, from the third on, a number behind it."""
    unique = name
    while unique in taken:
        twins[name] += 1
        unique = f"{name}'" if twins[name] == 1 else f"{name}'{twins[name]}"
    return unique


def _sinks_of(
    tensor: StoredTensor, scope: Scope, name: str, scopes: Scopes, budget: Iterator[int]
) -> list[Sink]:
    """Operators that use the tensor as weights; empty for one that holds no weights."""
    integers = tensor.data_type in INTEGERS
    if not (tensor.floating or integers) or not tensor.size:
        return []
    walker = _Walker(scopes, integers or tensor.data_type not in PLAIN, budget)
    sinks = []
    for use, view in walker.follow(scope, name, View.of(tensor.dims)):
        role = roles.role_of(use, view.rank, tensor.dims)
        how = view.dequantization
        if how is None and integers:
            how = quantized.from_consumer(use, view.axes)
        if role is not None and (how is not None or tensor.floating):
            sinks.append(Sink(use, role, view, how))
    return sinks


@dataclass(frozen=True)
class _Value:
    """A value that depends on the tensor, and the calls of functions in which it lies."""

    scope: Scope
    name: str
    view: View
    calls: tuple[tuple[NodeProto, Scope], ...] = ()


class _Walker:
    """Follows one tensor through view operators, subgraphs and functions to its consumers."""

    def __init__(self, scopes: Scopes, stored_integers: bool, budget: Iterator[int]) -> None:
        self.scopes, self.stored_integers, self.budget = scopes, stored_integers, budget
        self.seen: set[tuple[int, str, tuple[int, ...]]] = set()

    def follow(self, scope: Scope, name: str, view: View) -> Iterator[tuple[Use, View]]:
        """Each consumer with the view that reaches it; chains of any length need no stack."""
        under_way = [self._uses(_Value(scope, name, view))]
        while under_way:
            found = next(under_way[-1], None)
            if found is None:
                under_way.pop()
            elif isinstance(found, _Value):
                under_way.append(self._uses(found))
            else:
                yield found

    def _uses(self, value: _Value) -> Iterator[_Value | tuple[Use, View]]:
        key = (id(value.scope), value.name, tuple(id(node) for node, _ in value.calls))
        if key in self.seen or len(value.calls) > 32:
            return
        self.seen.add(key)
        for use in value.scope.uses.get(value.name, ()):
            if next(self.budget, None) is None:
                raise ModelFileError(
                    f"model: expected at most {MOST_STEPS_IN_ALL} steps from weights to the "
                    "operators that use them, got more; simplify or split the model, or do not "
                    "use this file"
                )
            yield from self._use(use, value)
        yield from self._outputs(value)

    def _use(self, use: Use, value: _Value) -> Iterator[_Value | tuple[Use, View]]:
        view, calls = value.view, value.calls
        body = self.scopes.functions.get((use.node.domain, use.node.op_type, use.node.overload))
        if body is not None:
            if use.index < len(body.inputs):
                yield _Value(body, body.inputs[use.index], view, (*calls, (use.node, use.scope)))
            return
        after = views.through(use, view, stored_integers=self.stored_integers)
        if after is None:
            yield use, view
        elif len(self.seen) > MOST_STEPS:
            yield use, replace(view, axes=None)
        else:
            yield from (
                _Value(use.scope, name, after, calls) for name in filter(None, use.node.output)
            )

    def _outputs(self, value: _Value) -> Iterator[_Value]:
        """Continue where a function or a branch hands the value to the outside."""
        scope, calls = value.scope, value.calls
        index = scope.results.get(value.name)
        if scope.kind == "main" or index is None:
            return
        callers: list[tuple[NodeProto, Scope]] = []
        if scope.kind == "function":
            callers = [calls[-1]] if calls else self.scopes.callers[id(scope)]
        elif scope.owner is not None and scope.owner.op_type == "If" and scope.parent is not None:
            callers = [(scope.owner, scope.parent)]
        rest = calls[:-1] if scope.kind == "function" else calls
        for node, outside in callers:
            if index < len(node.output):
                yield _Value(outside, node.output[index], value.view, rest)


def _listed(
    name: str,
    tensor: StoredTensor,
    scope: Scope,
    sinks: list[Sink],
    positions: Mapping[int, int],
) -> ListedLayer:
    main = min(sinks, key=lambda s: _RANK[s.role.kind])
    how = main.dequantization or next((s.dequantization for s in sinks if s.dequantization), None)
    axes = canonical_axes(main.role, main.view)
    shape = tensor.dims if axes is None else tuple(tensor.dims[a] for a in axes)
    if how is not None:
        axes, shape = _quantized_layout(tensor, how, axes, shape)
    layer = Layer(
        name=name,
        operator=main.use.node.op_type,
        role=main.role.kind,
        shape=shape,
        axes=axes,
        stored_shape=tensor.dims,
        dtype=tensor.dtype,
        node=main.use.node.name,
        group=main.role.group,
        consumers=tuple(roles.describe(s.use.node, s.use.index) for s in sinks),
        storage=_storage(tensor, scope, how),
        quantization=how.kind if how is not None else (tensor.dtype if tensor.packed else None),
        position=positions[id(main.use.node)],
    )
    return ListedLayer(layer, tensor, how, _result(main.use))


def _result(use: Use) -> str | None:
    """The first value that a node of the main graph computes; optional ones may have no name.

    With its bias, in whichever form: one exporter writes Gemm where another one writes MatMul and
    Add, and a framework tells what its layer answers, which is the sum.
    """
    if use.scope.kind != "main":
        return None
    name = next((str(output) for output in use.node.output if output), None)
    if name is None or use.node.op_type not in _BIASED or name in use.scope.outputs:
        return name
    then = use.scope.uses.get(name, [])
    return name if len(then) != 1 else _biased(then[0]) or name


def _biased(use: Use) -> str | None:
    """The sum, where a value is used by the Add of a constant vector."""
    node = use.node
    if use.scope.kind != "main" or node.op_type != "Add" or len(node.input) != 2:
        return None
    bias = use.scope.constant(node.input[1 - use.index])
    is_vector = bias is not None and sum(size != 1 for size in bias.dims) <= 1
    return str(node.output[0]) if is_vector else None


def canonical_axes(role: Role, view: View) -> tuple[int, ...] | None:
    """For each canonical axis the stored axis; None where the output axis is unknown."""
    if role.order is None or view.axes is None:
        return None if role.order != () else tuple(range(len(view.stored)))
    if role.order == ():
        return tuple(range(len(view.stored)))
    if any(not -len(view.axes) <= k < len(view.axes) for k in role.order):
        return None
    if not view.axes[role.order[0]]:
        return None
    rest = [k for k in range(len(view.axes)) if k not in role.order]
    named = [s for k in (*role.order, *rest) for s in view.axes[k]]
    unit = [s for s in range(len(view.stored)) if s not in named]
    return (*named, *unit)


def _quantized_layout(
    tensor: StoredTensor, how: Dequantization, axes: tuple[int, ...] | None, shape: tuple[int, ...]
) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Axes and shape of weights whose stored form packs several into a byte."""
    if how.shape is not None:
        return None, how.shape
    if how.bits:
        return None, (*tensor.dims[:-1], tensor.dims[-1] * 8 // how.bits)
    return axes, shape


def _storage(tensor: StoredTensor, scope: Scope, how: Dequantization | None) -> str:
    if how is not None:
        return "quantized"
    if scope.kind != "main":
        return scope.kind
    return "initializer" if tensor.address[-1][0] == "initializer" else "constant"
