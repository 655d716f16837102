"""Operators through which weights pass unchanged: where each axis of the stored tensor goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from nnw_onnx.graph.quantized import Dequantization, from_dequantize_linear
from nnw_onnx.graph.scopes import Use, number, numbers
from nnw_onnx.graph.tensors import MOST_AXES

Axes = tuple[tuple[int, ...], ...]
"""For each axis of a value the axes of the stored tensor that it is made of, outermost first."""

_SAME_SHAPE = frozenset(
    {
        "Identity", "Cast", "CastLike", "Neg", "Abs", "Sign", "Round", "Floor", "Ceil", "Clip",
        "Tanh", "Sigmoid", "Relu", "QuantizeLinear", "Dropout", "Quant", "BipolarQuant", "Trunc",
        "FloatQuant", "IntQuant",
    }
)  # fmt: skip
_CUTTING = frozenset({"Slice", "Split", "Tile", "Pad"})
_COUNTING = frozenset({TensorProto.INT32, TensorProto.INT64})
_SCALING = frozenset({"Mul", "Div", "Add", "Sub"})
_FIRST_ONLY = _SAME_SHAPE | _CUTTING | {
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "DequantizeLinear",
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """How a value depends on the stored tensor.

    Attributes:
        stored: shape of the stored tensor.
        axes: origin of each axis of the value, or None where it cannot be followed.
        whole: whether the value holds every element once, so that it can be regrouped.
        dequantization: how integers became numbers on the way, if they did.
    """

    stored: tuple[int, ...]
    axes: Axes | None
    whole: bool = True
    dequantization: Dequantization | None = None

    @classmethod
    def of(cls, stored: tuple[int, ...]) -> View:
        """The stored tensor itself."""
        return cls(stored, tuple((k,) for k in range(len(stored))))

    @property
    def rank(self) -> int | None:
        """Number of axes of the value, if it can be followed."""
        return None if self.axes is None else len(self.axes)


def through(use: Use, view: View, *, stored_integers: bool) -> View | None:
    """The view that a view operator makes, or None where `use` is a consumer."""
    operator = use.node.op_type
    if operator in _FIRST_ONLY and use.index == 0:
        return _first_input(use, view, stored_integers=stored_integers)
    if operator == "Concat":
        return replace(view, whole=False)
    if operator in _SCALING and _other_is_scalar(use):
        return view
    return None


def _first_input(use: Use, view: View, *, stored_integers: bool) -> View:
    operator = use.node.op_type
    if operator == "DequantizeLinear":
        if not stored_integers or view.dequantization is not None:
            return view
        return replace(view, dequantization=from_dequantize_linear(use, view.axes))
    if operator in _CUTTING:
        return replace(view, whole=False)
    if view.axes is None or operator in _SAME_SHAPE:
        return view
    moved = _moved(use, view)
    if moved.axes is not None and len(moved.axes) > MOST_AXES:
        return replace(moved, axes=None)
    return moved


def _moved(use: Use, view: View) -> View:
    """The view after an operator that moves, adds or merges axes."""
    assert view.axes is not None
    operator = use.node.op_type
    if operator == "Transpose":
        return replace(view, axes=_transposed(view.axes, _permutation(use, len(view.axes))))
    if operator == "Expand":
        return _expanded(use, view)
    if operator in ("Squeeze", "Unsqueeze"):
        return replace(view, axes=_unit_axes(use, view))
    return replace(view, axes=_regrouped(view, _target(use, view)))


def _other_is_scalar(use: Use) -> bool:
    if len(use.node.input) != 2:
        return False
    other = use.scope.constant(use.node.input[1 - use.index])
    return other is not None and other.size == 1


def _transposed(axes: Axes, perm: Sequence[int] | None) -> Axes | None:
    if perm is None or sorted(perm) != list(range(len(axes))):
        return None
    return tuple(axes[k] for k in perm)


def _permutation(use: Use, rank: int) -> list[int] | None:
    if any(a.name == "perm" for a in use.node.attribute):
        return numbers(use.node, "perm")
    return list(range(rank))[::-1]


def _integers(use: Use, index: int, attribute: str) -> list[int] | None:
    """A list of integers given as a constant input or, in old opsets, as an attribute."""
    if len(use.node.input) > index and use.node.input[index]:
        tensor = use.scope.constant(use.node.input[index])
        if tensor is None or tensor.size > MOST_AXES or tensor.data_type not in _COUNTING:
            return None
        return [int(v) for v in np.ravel(tensor.array())]
    return numbers(use.node, attribute)


def _unit_axes(use: Use, view: View) -> Axes | None:
    axes = view.axes
    assert axes is not None
    given = _integers(use, 1, "axes")
    if use.node.op_type == "Unsqueeze":
        if given is None:
            return None
        rank = len(axes) + len(given)
        new = {k % rank for k in given} if rank else set()
        rest = iter(axes)
        return tuple(() if k in new else next(rest, ()) for k in range(rank))
    if given is None:
        gone = {k for k, a in enumerate(axes) if all(view.stored[s] == 1 for s in a)}
    else:
        gone = {k % len(axes) for k in given} if axes else set()
    return tuple(a for k, a in enumerate(axes) if k not in gone)


def _expanded(use: Use, view: View) -> View:
    shape = _integers(use, 1, "shape")
    assert view.axes is not None
    if shape is None:
        return replace(view, axes=None)
    new: Axes = ((),) * max(0, len(shape) - len(view.axes))
    return replace(view, axes=new + view.axes, whole=False)


def _target(use: Use, view: View) -> list[int] | None:
    """The shape that a Reshape or Flatten gives, with 0 and -1 resolved."""
    assert view.axes is not None
    dims = [math.prod(view.stored[s] for s in a) for a in view.axes]
    total = math.prod(dims)
    if use.node.op_type == "Flatten":
        axis = number(use.node, "axis", 1)
        return [math.prod(dims[:axis]), math.prod(dims[axis:])]
    target = _integers(use, 1, "shape")
    if target is None or target.count(-1) > 1:
        return None
    if not number(use.node, "allowzero", 0):
        if any(d == 0 and k >= len(dims) for k, d in enumerate(target)):
            return None
        target = [dims[k] if d == 0 else d for k, d in enumerate(target)]
    known = math.prod(d for d in target if d != -1)
    if -1 in target:
        if not known or total % known:
            return None
        target = [total // known if d == -1 else d for d in target]
    return target if math.prod(target) == total else None


def _regrouped(view: View, target: list[int] | None) -> Axes | None:
    """Follow a Reshape that only merges axes, splits merged ones, or moves unit axes."""
    assert view.axes is not None
    if target is None or not view.whole:
        return None
    atoms = [s for a in view.axes for s in a if view.stored[s] != 1]
    groups: list[tuple[int, ...]] = []
    for dim in target:
        group: list[int] = []
        while atoms and math.prod(view.stored[s] for s in group) < dim:
            group.append(atoms.pop(0))
        if math.prod(view.stored[s] for s in group) != dim:
            return None
        groups.append(tuple(group))
    return None if atoms else tuple(groups)
