"""The layers of a model: every tensor of weights with its operators, role and layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nnw_onnx.graph import quantized, roles, views
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.quantized import Dequantization
from nnw_onnx.graph.roles import Role
from nnw_onnx.graph.scopes import Scope, Scopes, Use, build_scopes, constants
from nnw_onnx.graph.tensors import INTEGERS, PLAIN, StoredTensor
from nnw_onnx.graph.views import View
from nnw_onnx.vocabulary import Layer

MOST_STEPS = 10_000
_RANK = {k: n for n, k in enumerate(("kernel", "recurrent", "embedding", "norm", "bias", "other"))}


@dataclass(frozen=True)
class Sink:
    """An operator that computes with a tensor: where, as what, and through which view."""

    use: Use
    role: Role
    view: View
    dequantization: Dequantization | None


@dataclass(frozen=True)
class ListedLayer:
    """A layer, the tensor that stores it, and how integers in it become weights."""

    layer: Layer
    tensor: StoredTensor
    dequantization: Dequantization | None


def list_layers(file: ModelFile) -> tuple[ListedLayer, ...]:
    """Every layer of the file, in its order; names are unique.

    A name that occurs in several graphs is preceded by the label of its subgraph or function.
    """
    scopes = build_scopes(file)
    found = list(constants(scopes))
    repeated = Counter(name for _, name, _ in found)
    listed = []
    taken: set[str] = set()
    for scope, name, tensor in found:
        sinks = _sinks_of(tensor, scope, name, scopes)
        if not sinks:
            continue
        unique = f"{scope.label}/{name}" if repeated[name] > 1 and scope.label else name
        while unique in taken:
            unique += "'"
        taken.add(unique)
        listed.append(_listed(unique, tensor, scope, sinks))
    return tuple(listed)


def _sinks_of(tensor: StoredTensor, scope: Scope, name: str, scopes: Scopes) -> list[Sink]:
    """Operators that use the tensor as weights; empty for one that holds no weights."""
    integers = tensor.data_type in INTEGERS
    if not (tensor.floating or integers) or not tensor.size:
        return []
    walker = _Walker(scopes, integers or tensor.data_type not in PLAIN)
    sinks = []
    for use, view in walker.follow(scope, name, View.of(tensor.dims)):
        role = roles.role_of(use, view.rank, tensor.dims)
        how = view.dequantization
        if how is None and integers:
            how = quantized.from_consumer(use, view.axes)
        if role is not None and (how is not None or tensor.floating):
            sinks.append(Sink(use, role, view, how))
    return sinks


class _Walker:
    """Follows one tensor through view operators, subgraphs and functions to its consumers."""

    def __init__(self, scopes: Scopes, stored_integers: bool) -> None:
        self.scopes, self.stored_integers = scopes, stored_integers
        self.seen: set[tuple[int, str, tuple[int, ...]]] = set()

    def follow(
        self, scope: Scope, name: str, view: View, calls: tuple[tuple[object, Scope], ...] = ()
    ) -> Iterator[tuple[Use, View]]:
        """Each consumer with the view that reaches it."""
        key = (id(scope), name, tuple(id(node) for node, _ in calls))
        if key in self.seen or len(self.seen) > MOST_STEPS or len(calls) > 32:
            return
        self.seen.add(key)
        for use in scope.uses.get(name, ()):
            yield from self._use(use, view, calls)
        yield from self._outputs(scope, name, view, calls)

    def _use(
        self, use: Use, view: View, calls: tuple[tuple[object, Scope], ...]
    ) -> Iterator[tuple[Use, View]]:
        body = self.scopes.functions.get((use.node.domain, use.node.op_type, use.node.overload))
        if body is not None:
            if use.index < len(body.inputs):
                inside = (*calls, (use.node, use.scope))
                yield from self.follow(body, body.inputs[use.index], view, inside)
            return
        after = views.through(use, view, stored_integers=self.stored_integers)
        if after is None:
            yield use, view
            return
        for output in filter(None, use.node.output):
            yield from self.follow(use.scope, output, after, calls)

    def _outputs(
        self, scope: Scope, name: str, view: View, calls: tuple[tuple[object, Scope], ...]
    ) -> Iterator[tuple[Use, View]]:
        """Continue where a function or a branch hands the value to the outside."""
        if scope.kind == "main" or name not in scope.outputs:
            return
        index = scope.outputs.index(name)
        callers: list[tuple[object, Scope]] = []
        if scope.kind == "function":
            key = next(k for k, s in self.scopes.functions.items() if s is scope)
            callers = [calls[-1]] if calls else list(self.scopes.calls.get(key, ()))
        elif scope.owner.op_type == "If" and scope.parent is not None:
            callers = [(scope.owner, scope.parent)]
        for node, outside in callers:
            outputs = node.output  # type: ignore[attr-defined]  # protobuf has no types
            if index < len(outputs):
                rest = calls[:-1] if scope.kind == "function" else calls
                yield from self.follow(outside, outputs[index], view, rest)


def _listed(name: str, tensor: StoredTensor, scope: Scope, sinks: list[Sink]) -> ListedLayer:
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
    )
    return ListedLayer(layer, tensor, how)


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
