"""The layers of a model: every tensor of weights with its operators, role and layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnw_onnx.graph import quantized, roles, walking
from nnw_onnx.graph.carrying import Carried, carried
from nnw_onnx.graph.expressions import Constants, Expression
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.learning import Learning
from nnw_onnx.graph.liveness import live_of
from nnw_onnx.graph.order import order_of
from nnw_onnx.graph.quantized import Dequantization
from nnw_onnx.graph.roles import Role
from nnw_onnx.graph.scopes import Scope, Scopes, Use, build_scopes, constants
from nnw_onnx.graph.tensors import INTEGERS, PLAIN, StoredTensor
from nnw_onnx.graph.views import View
from nnw_onnx.graph.walking import Arrival, Walker
from nnw_onnx.vocabulary import Layer

_RANK = {k: n for n, k in enumerate(("kernel", "recurrent", "embedding", "norm", "bias", "other"))}


_BIASED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operators whose bias may follow them as an Add."""
_BETWEEN = "Cast", "DequantizeLinear", "Sub", "Mul"
"""What makes numbers of integers, the first the most telling."""


@dataclass(frozen=True)
class Sink:
    """An operator that computes with a tensor: where, as what, and how it gets there.

    Attributes:
        arrival: the consumer and the ways to it.
        role: what it makes of the tensor.
        dequantization: how integers become weights.
        weights: how what arrives is computed, where arithmetic lies between.
        live: whether what it computes can reach an output.
    """

    arrival: Arrival
    role: Role
    dequantization: Dequantization | None
    weights: Carried | None
    live: bool

    @property
    def use(self) -> Use:
        """The consumer as it stands in the file."""
        return self.arrival.use


@dataclass(frozen=True)
class ListedLayer:
    """A layer as it lies in the file.

    Attributes:
        layer: what is told of it.
        tensor: what stores it.
        dequantization: how integers in it become weights.
        result: name of the value that its operator computes with its bias, in the main graph;
            None for one inside a subgraph or function, whose values nobody outside can name.
        weights: how what arrives at the operator is computed, where arithmetic lies between.
        view: how what is computed lies in the layout of which `Layer.axes` tell.
        fixed: what it is that no training changes ("mask", "statistics", "constant"), or None.
    """

    layer: Layer
    tensor: StoredTensor
    dequantization: Dequantization | None
    result: str | None = None
    weights: Carried | None = None
    view: View | None = None
    fixed: str | None = None


@dataclass(frozen=True, eq=False)
class Listing(Mapping[str, ListedLayer]):
    """Name -> layer, in the order in which the network computes.

    Attributes:
        entries: the layers.
        others: why a stored tensor is no layer -> how many floating-point numbers.
    """

    entries: Mapping[str, ListedLayer]
    others: Mapping[str, int]

    def __getitem__(self, name: str) -> ListedLayer:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def list_layers(file: ModelFile) -> Listing:
    """Every layer of the file, in the order of computation; names are unique.

    A name that occurs in several graphs is preceded by the label of its subgraph or function.
    """
    scopes = build_scopes(file)
    return _Lister(scopes).listing(file)


class _Lister:
    def __init__(self, scopes: Scopes) -> None:
        self._scopes, self._constants = scopes, Constants(scopes)
        self._positions = order_of(scopes)
        self._live = live_of(scopes, self._constants)
        self._learning = Learning(scopes, self._constants)
        self._budget = iter(range(walking.MOST_STEPS_IN_ALL))
        self._carried: dict[int, Carried | None] = {}

    def listing(self, file: ModelFile) -> Listing:
        found = list(constants(self._scopes))
        repeated = Counter(name for _, name, _ in found)
        listed: list[ListedLayer] = []
        twins: Counter[str] = Counter()
        taken: set[str] = set()
        others: Counter[str] = Counter()
        for scope, name, tensor in found:
            sinks = self._sinks(tensor, scope, name)
            if not sinks:
                others.update(_unlisted(tensor, scope, name))
                continue
            unique = f"{scope.label}/{name}" if repeated[name] > 1 and scope.label else name
            unique = _not_taken(unique, taken, twins)
            taken.add(unique)
            listed.append(self._listed(unique, tensor, scope, sinks))
        listed.sort(key=lambda entry: entry.layer.position)
        named = {id(tensor) for _, _, tensor in found}
        for tensor in file.tensors.values():
            if id(tensor) not in named and tensor.floating and tensor.size > 1:
                others[_where(tensor)] += tensor.size
        return Listing({entry.layer.name: entry for entry in listed}, others)

    def _sinks(self, tensor: StoredTensor, scope: Scope, name: str) -> list[Sink]:
        """Operators that use the tensor as weights; empty for one that holds no weights."""
        if not (tensor.floating or tensor.data_type in INTEGERS) or not tensor.size:
            return []
        walker = Walker(
            self._scopes, self._constants, self._budget, scaled=tensor.data_type not in PLAIN
        )
        live = self._live.value(scope, name)
        found = [
            (arrival, sink)
            for arrival in walker.follow(scope, name, tensor)
            if (sink := self._sink(tensor, arrival, live=live)) is not None
        ]
        behind = [
            s for a, s in found if a.beyond and s.role.kind == "kernel" and _is_main(s, tensor)
        ]
        before = [s for a, s in found if not a.beyond and (not a.instead or not behind)]
        return before + behind

    def _sink(self, tensor: StoredTensor, arrival: Arrival, *, live: bool) -> Sink | None:
        use, view, base = arrival.bound, arrival.view, arrival.base
        sizes = tensor.dims if base is None else base.shape
        role = roles.role_of(use, view.rank, sizes)
        if role is None:
            return None
        how = view.dequantization
        if how is None and base is None and tensor.data_type not in PLAIN:
            how = quantized.from_consumer(use, view.axes)
        weights = None if base is None else self._weights(base)
        if weights is None and base is not None:
            return None
        if weights is None and how is None and not tensor.floating:
            return None
        if weights is not None and weights.main.tensor is not tensor:
            assert weights.main.tensor is not None
            if not (tensor.floating and weights.main.tensor.floating and tensor.size > 1):
                return None  # single factors, and scales and zero points of integer weights
        return Sink(arrival, role, how, weights, live and self._live.uses(arrival.use))

    def _weights(self, base: Expression) -> Carried | None:
        if id(base) not in self._carried:
            self._carried[id(base)] = carried(base)
        return self._carried[id(base)]

    def _listed(
        self, name: str, tensor: StoredTensor, scope: Scope, sinks: list[Sink]
    ) -> ListedLayer:
        own = [sink for sink in sinks if _is_main(sink, tensor)]
        main = min(own or sinks, key=lambda s: (not s.live, _RANK[s.role.kind], _detour(s, tensor)))
        if not own:
            return self._part(name, tensor, scope, sinks)
        how = main.dequantization
        if how is None and main.weights is None:
            how = next((s.dequantization for s in own if s.dequantization), None)
        view = main.arrival.view
        axes = canonical_axes(main.role, view)
        shape = view.stored if axes is None else tuple(view.stored[a] for a in axes)
        if how is not None:
            axes, shape = _quantized_layout(tensor, how, axes, shape)
        weights = main.weights
        fixed = self._learning.fixed(tensor, [(s.arrival, s.role) for s in own])
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
            consumers=tuple(roles.describe(s.use.node, s.use.index) for s in own),
            storage=_storage(tensor, scope, quantized=how is not None or not tensor.floating),
            quantization=_quantization(tensor, how, weights),
            position=self._positions[id(main.use.node)],
            live=any(s.live for s in own),
            learns=fixed is None,
            parts=() if weights is None else tuple(p.name for p in weights.parts),
            arithmetic=() if weights is None else weights.operators,
            obstacle=_obstacle(shape, how, weights),
        )
        base_view = main.arrival.base_view if weights is not None else None
        return ListedLayer(layer, tensor, how, _result(main.use), weights, base_view, fixed)

    def _part(
        self, name: str, tensor: StoredTensor, scope: Scope, sinks: Sequence[Sink]
    ) -> ListedLayer:
        """A tensor that only takes part in the weights named after another one."""
        first = min(sinks, key=lambda s: not s.live)
        use = scope.uses[tensor_name(scope, tensor)][0]
        joined = [s.weights for s in sinks if s.weights is not None]
        fixed = self._learning.fixed_part(tensor, joined)
        layer = Layer(
            name=name,
            operator=use.node.op_type,
            role="other",
            shape=tensor.dims,
            axes=tuple(range(len(tensor.dims))),
            stored_shape=tensor.dims,
            dtype=tensor.dtype,
            node=use.node.name,
            consumers=tuple(roles.describe(s.use.node, s.use.index) for s in sinks),
            storage=_storage(tensor, scope, quantized=False),
            position=self._positions[id(first.use.node)],
            live=any(s.live for s in sinks),
            learns=fixed is None,
        )
        return ListedLayer(layer, tensor, None, _result(use), fixed=fixed)


def _unlisted(tensor: StoredTensor, scope: Scope, name: str) -> Mapping[str, int]:
    """Why a tensor of weights is no layer -> how many; nothing for settings and sizes."""
    if not tensor.floating or tensor.size < 2 or scope.uses.get(name):
        return {}
    return {"an output itself" if name in scope.outputs else "unused": tensor.size}


def _where(tensor: StoredTensor) -> str:
    """Where a tensor is that has no name in a graph."""
    return "sparse" if any(part.startswith("sparse") for part, _ in tensor.address) else "attribute"


def _is_main(sink: Sink, tensor: StoredTensor) -> bool:
    return sink.weights is None or sink.weights.main.tensor is tensor


def _detour(sink: Sink, tensor: StoredTensor) -> tuple[bool, bool]:
    """Nearer is what arrives whole, then what arrives without arithmetic."""
    if sink.weights is None:
        return False, False
    return sink.weights.root.size != tensor.size, True


def _obstacle(
    shape: tuple[int, ...], how: Dequantization | None, weights: Carried | None
) -> str | None:
    if 0 in shape:
        return "there are no weights, or not as many as the graph says"
    if weights is not None:
        return weights.obstacle
    return None if how is None else how.obstacle


def _quantization(
    tensor: StoredTensor, how: Dequantization | None, weights: Carried | None
) -> str | None:
    if how is not None:
        return how.kind
    if weights is not None and not tensor.floating:
        return next((name for name in _BETWEEN if name in weights.operators), tensor.dtype)
    return tensor.dtype if tensor.packed else None


def tensor_name(scope: Scope, tensor: StoredTensor) -> str:
    """The name of a tensor in its scope."""
    return next(name for name, found in scope.tensors.items() if found is tensor)


def _not_taken(name: str, taken: set[str], twins: Counter[str]) -> str:
    """The name itself, or with a mark and, from the third on, a number behind it."""
    unique = name
    while unique in taken:
        twins[name] += 1
        unique = f"{name}'" if twins[name] == 1 else f"{name}'{twins[name]}"
    return unique


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
    if view.choice is not None:  # experts come first: each of them is a kernel of its own
        named = [view.choice, *(s for s in named if s != view.choice)]
    unit = [s for s in range(len(view.stored)) if s not in named]
    return (*named, *unit)


def _quantized_layout(
    tensor: StoredTensor, how: Dequantization, axes: tuple[int, ...] | None, shape: tuple[int, ...]
) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Axes and shape of weights whose stored form packs several into a byte, once unpacked."""
    sizes = how.sizes(tensor.dims)
    if sizes == tensor.dims:
        return axes, shape
    known = axes if axes is not None and len(axes) == len(sizes) else range(len(sizes))
    return tuple(known), tuple(sizes[k] for k in known)


def _storage(tensor: StoredTensor, scope: Scope, *, quantized: bool) -> str:
    if quantized:
        return "quantized"
    if scope.kind != "main":
        return scope.kind
    return "initializer" if tensor.address[-1][0] == "initializer" else "constant"
