"""Operators through which weights pass unchanged: where each axis of the stored tensor goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from nnw_onnx.graph.quantized import Dequantization, from_dequantize_linear
from nnw_onnx.graph.scopes import Use, number, numbers
from nnw_onnx.graph.tensors import FLOATING, MOST_AXES, PLAIN, numpy_dtype

Axes = tuple[tuple[int, ...], ...]
"""For each axis of a value the axes of the stored tensor that it is made of, outermost first."""

_COMPUTING = frozenset(
    {
        "Neg", "Abs", "Sign", "Round", "Floor", "Ceil", "Clip", "Tanh", "Sigmoid", "Relu",
        "QuantizeLinear", "Quant", "BipolarQuant", "Trunc", "FloatQuant", "IntQuant",
    }
)  # fmt: skip
"""They keep each number in its place but not its value."""
_SAME_SHAPE = frozenset({"Identity", "Cast", "CastLike", "Dropout"}) | _COMPUTING
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
        data_type: number of the ONNX type in which the numbers are.
        dequantization: how integers became numbers on the way, if they did.
        choice: the stored axis of which one index is taken at a time, such as that of experts.
    """

    stored: tuple[int, ...]
    axes: Axes | None
    whole: bool = True
    data_type: int = TensorProto.FLOAT
    dequantization: Dequantization | None = None
    choice: int | None = None

    @classmethod
    def of(cls, stored: tuple[int, ...], data_type: int = TensorProto.FLOAT) -> View:
        """The stored tensor itself."""
        return cls(stored, tuple((k,) for k in range(len(stored))), True, data_type)

    @property
    def rank(self) -> int | None:
        """Number of axes of the value, if it can be followed."""
        return None if self.axes is None else len(self.axes)


def moves(use: Use, view: View, *, scaled: bool) -> bool:
    """Whether the operator passes numbers on as they are, at other places perhaps.

    So does a DequantizeLinear where the tensor is `scaled`: its numbers need scales to be weights.
    """
    operator = use.node.op_type
    if operator == "Concat":
        return True
    if use.index or operator not in _FIRST_ONLY or operator in _COMPUTING:
        return False
    if operator in ("Cast", "CastLike"):
        return _widens(use, view)
    if operator == "Slice":
        return not _reverses(use)
    return operator != "DequantizeLinear" or (scaled and view.dequantization is None)


def _widens(use: Use, view: View) -> bool:
    """Whether a Cast keeps every value: floating-point numbers to wider ones."""
    to = number(use.node, "to", 0)
    if use.node.op_type == "CastLike" or to not in PLAIN or view.data_type not in FLOATING:
        return False
    wide = numpy_dtype(to).itemsize
    return wide > numpy_dtype(view.data_type).itemsize or to == view.data_type


def _reverses(use: Use) -> bool:
    steps = _integers(use, 4, "steps") if len(use.node.input) > 4 else None
    return steps is not None and min(steps, default=1) < 0


def aligned(view: View, before: tuple[int, ...], after: tuple[int, ...]) -> View | None:
    """The view behind arithmetic that keeps each number in its place; None where it does not."""
    extra = len(after) - len(before)
    whole = view.whole and view.axes is not None and len(view.axes) == len(before)
    if not whole or extra < 0 or after[extra:] != before or any(s != 1 for s in after[:extra]):
        return None
    assert view.axes is not None
    return replace(view, axes=((),) * extra + view.axes, dequantization=None)


def regrouped(use: Use, view: View, shape: tuple[int, ...]) -> View | None:
    """Behind an operator that only merges and splits axes, to a shape that is known."""
    if use.node.op_type not in ("Reshape", "Flatten", "Squeeze", "Unsqueeze") or not view.axes:
        return None
    return replace(view, axes=_regrouped(view, list(shape)))


def chosen(use: Use, view: View, rank: int) -> View | None:
    """Behind a Gather that takes whole kernels out of several, of which axis 0 is the number."""
    axes = view.axes
    if axes is None or len(axes) < 3 or len(axes[0]) != 1 or view.choice is not None:
        return None
    if number(use.node, "axis", 0) % len(axes):
        return None
    index = () if rank == 0 else (axes[0], *[()] * (rank - 1))
    return replace(view, axes=(*index, *axes[1:]), whole=False, choice=axes[0][0])


def sliced(view: View) -> View | None:
    """Inside a Scan, which takes one index of axis 0 at a time."""
    axes = view.axes
    if axes is None or not axes or len(axes[0]) != 1:
        return None
    return replace(view, axes=axes[1:], whole=False, choice=axes[0][0])


def through(use: Use, view: View, *, scaled: bool) -> View | None:
    """The view that a view operator makes, or None where `use` is a consumer."""
    operator = use.node.op_type
    if operator in _FIRST_ONLY and use.index == 0:
        return _first_input(use, view, scaled=scaled)
    if operator == "Concat":
        return replace(view, whole=False)
    if operator in _SCALING and _other_is_scalar(use):
        return view
    return None


def _first_input(use: Use, view: View, *, scaled: bool) -> View:
    operator = use.node.op_type
    if operator == "DequantizeLinear":
        if not scaled or view.dequantization is not None:
            return view
        return replace(view, dequantization=from_dequantize_linear(use, view.axes))
    if operator in _CUTTING:
        return replace(view, whole=False)
    if operator == "Cast" and number(use.node, "to", 0) in FLOATING:
        view = replace(view, data_type=number(use.node, "to", 0))
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
