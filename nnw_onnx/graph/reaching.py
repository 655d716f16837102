"""Pieces that are joined and cut again: which of them a cut leaves."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from nnw_onnx.graph import arithmetic
from nnw_onnx.graph.arithmetic import UnknownOperatorError
from nnw_onnx.graph.expressions import Constants, Place, infer_shapes, value_of
from nnw_onnx.graph.scopes import Calls, Scope, bound, number
from nnw_onnx.vocabulary import Array

_DEEPEST = 30
_MOST_PIECES = 1 << 16
_PLAIN = frozenset({"Identity", "Cast", "Dropout"})
_ALIKE = _PLAIN | {
    "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Gelu", "Erf", "Neg", "Abs", "Exp",
    "BatchNormalization", "PRelu", "Elu", "HardSwish", "HardSigmoid", "Softmax",
}  # fmt: skip


class Reaching:
    """Follows values backwards, past the pieces of a Concat that a Slice leaves out."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def before(
        self, node: NodeProto, index: int, output: int, scope: Scope, calls: Calls
    ) -> Iterator[Place]:
        """Values that come in by an input: of a cut Concat only the pieces that are left."""
        place = Place(scope, node.input[index], calls)
        pieces = None
        if not index and node.op_type in ("Slice", "Split", "Gather"):
            pieces = self._pieces(bound(node, scope, calls), output, place)
        yield from [place] if pieces is None else pieces

    def _pieces(self, node: NodeProto, output: int, place: Place) -> list[Place] | None:
        """The pieces that a cut leaves; None where there is no Concat or sizes are not known."""
        definer, joined = self._joined(place)
        if joined is None or definer is None:
            return None
        axis = number(joined, "axis", 0)
        parts = [Place(definer, name, place.calls) for name in joined.input]
        sizes = [self._size(part, axis) for part in parts]
        if any(size is None for size in sizes) or sum(s or 0 for s in sizes) > _MOST_PIECES:
            return None
        which = [k for k, size in enumerate(sizes) for _ in range(size or 0)]
        left = self._left(node, output, axis, which, place)
        return None if left is None else [parts[k] for k in sorted(set(left))]

    def _joined(self, place: Place) -> tuple[Scope | None, NodeProto | None]:
        """The Concat that computes a value, and where it stands."""
        for _ in range(_DEEPEST):
            definer = place.scope.defining(place.name) if place.name else None
            node = None if definer is None else definer.producers.get(place.name)
            if node is None or definer is None:
                break
            if node.op_type == "Concat":
                return definer, bound(node, definer, place.calls)
            if node.op_type not in _PLAIN or not node.input:
                break
            place = Place(definer, node.input[0], place.calls)
        return None, None

    def _left(
        self, node: NodeProto, output: int, axis: int, which: list[int], place: Place
    ) -> list[int] | None:
        """Numbers of the pieces at the places that are left, where only this axis is cut."""
        inputs: list[Array | None] = [None] * len(node.input)
        for k, name in enumerate(node.input):
            if k and name:
                found = self._constants.of(place.scope, name, place.calls)
                inputs[k] = None if found is None else value_of(found)
                if inputs[k] is None:
                    return None
        try:
            return arithmetic.left_of(node, output, axis, which, inputs)
        except UnknownOperatorError:
            return None

    def _size(self, place: Place, axis: int, depth: int = 0) -> int | None:
        """Size of a value along an axis, where constants tell it."""
        found = self._constants.of(place.scope, place.name, place.calls)
        if found is not None and infer_shapes(found):
            return found.shape[axis] if -len(found.shape) <= axis < len(found.shape) else None
        definer = place.scope.defining(place.name) if place.name else None
        node = None if definer is None else definer.producers.get(place.name)
        if node is None or definer is None or not node.input or depth > _DEEPEST:
            return None
        if node.op_type in _ALIKE:
            return self._size(Place(definer, node.input[0], place.calls), axis, depth + 1)
        kernel = None
        if node.op_type in ("Conv", "Gemm", "ConvTranspose") and axis == 1 < len(node.input):
            kernel = self._constants.of(definer, node.input[1], place.calls)
        if kernel is None or not infer_shapes(kernel) or len(kernel.shape) < 2:
            return None
        return _channels(node, kernel.shape)


def _channels(node: NodeProto, kernel: tuple[int, ...]) -> int:
    """Size of axis 1 of what an operator computes with a kernel of that shape."""
    if node.op_type == "ConvTranspose":
        return kernel[1] * number(node, "group", 1)
    return kernel[1 if node.op_type == "Gemm" and not number(node, "transB", 0) else 0]
