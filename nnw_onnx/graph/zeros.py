"""Values that are 0 whatever a network is fed, as far as its graph tells."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from nnw_onnx.graph.carrying import consists_of
from nnw_onnx.graph.expressions import Constants, Leaf, Place, value_of
from nnw_onnx.graph.scopes import Scope, real

_DEEPEST = 40
_MOST_COMPUTED = 1 << 16
_KEEP_ZERO = frozenset(
    {
        "Identity", "Cast", "CastLike", "Neg", "Abs", "Sign", "Round", "Floor", "Ceil", "Relu",
        "LeakyRelu", "Tanh", "Sqrt", "Sin", "Erf", "Transpose", "Reshape", "Flatten", "Squeeze",
        "Unsqueeze",
        "Expand", "Slice", "Split", "Dropout", "Tile", "Gather", "ReduceSum", "ReduceMean",
        "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "MaxPool",
        "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Gelu", "Softsign", "PRelu",
    }
)  # fmt: skip
_ALL_ZERO = frozenset({"Add", "Sum", "Concat", "Min", "Max"})
_ANY_ZERO = frozenset({"Mul", "MatMul", "FusedMatMul", "Einsum"})
_WITH_BIAS = frozenset({"Conv", "ConvTranspose", "Gemm", "FusedConv", "FusedGemm"})
_LOOKED_AT = _KEEP_ZERO | _ALL_ZERO | _ANY_ZERO | _WITH_BIAS | {"Sub", "Clip", "Where", "Div"}


class Zeros:
    """Tells whether a value is 0 everywhere."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._known: dict[tuple[object, ...], bool] = {}

    def __call__(self, place: Place, depth: int = 0) -> bool:
        """Whether it is; no, where that is not seen."""
        if not place.name or depth > _DEEPEST:
            return False
        definer = place.scope.defining(place.name)
        if definer is None:
            return False
        key = Place(definer, place.name, place.calls).key
        if key not in self._known:
            self._known[key] = False  # what needs itself is not seen
            self._known[key] = self._is_zero(definer, place, depth)
        return self._known[key]

    def _is_zero(self, scope: Scope, place: Place, depth: int) -> bool:
        found = self._constants.of(scope, place.name, place.calls)
        if isinstance(found, Leaf):
            return consists_of(found, (0,))
        small = None if found is None else value_of(found, _MOST_COMPUTED)
        if small is not None:
            return not small.any()
        node = scope.producers.get(place.name)
        return node is not None and self._computes_zero(node, Place(scope, "", place.calls), depth)

    def _computes_zero(self, node: NodeProto, around: Place, depth: int) -> bool:
        operator = node.op_type
        places = [replace(around, name=name) for name in node.input]
        zero = [self(place, depth + 1) for place in places] if operator in _LOOKED_AT else []
        if operator in _ANY_ZERO:
            return any(zero)
        if operator in _WITH_BIAS:
            unbiased = len(zero) < 3 or not node.input[2] or zero[2]
            return unbiased and (any(zero[:2]) or real(node, "alpha", 1.0) == 0.0)
        if operator in ("Sub", "Clip", "Where") and len(zero) > 1:
            cancels = operator == "Sub" and node.input[0] == node.input[1]
            return cancels or all(zero[operator != "Sub" :])
        return bool(zero) and all(zero if operator in _ALL_ZERO else zero[:1])
