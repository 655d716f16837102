"""From stored tensors to the weights that arrive at an operator, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.arithmetic import UnknownOperatorError
from nnw_onnx.graph.carrying import Carried
from nnw_onnx.graph.expressions import Leaf, evaluate
from nnw_onnx.graph.grids import Grid, rounded
from nnw_onnx.graph.layers import ListedLayer
from nnw_onnx.graph.solving import solve
from nnw_onnx.graph.tensors import (
    PLAIN,
    StoredTensor,
    finite,
    is_real,
    numpy_dtype,
    one_line,
    shown,
)
from nnw_onnx.graph.views import View
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array

Replaced = Mapping[Address, Array]
"""Address of a tensor -> its new values in stored layout and type; read-only."""


@dataclass(frozen=True)
class Reading:
    """How weights that arrive through arithmetic are read from a graph that is run.

    Reshape the value to `sizes`, transpose it by `order`, reshape it to `shape`: then it lies in
    the layout of which the layer's axes tell.

    Attributes:
        value: name of the value of the main graph that arithmetic computes.
        sizes: of its axes, split where several axes of the layer were joined.
        order: for each axis of the layer its place among these.
        shape: of the layer before `Layer.axes` are applied.
    """

    value: str
    sizes: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]


def reading(listed: ListedLayer) -> Reading | None:
    """How the weights of a layer are read; None where no arithmetic lies between."""
    if listed.weights is None or listed.view is None or isinstance(listed.weights.root, Leaf):
        return None
    root, view = listed.weights.root, listed.view
    value = str(root.node.output[root.output])
    if view.axes is None:
        return Reading(value, root.shape, tuple(range(len(root.shape))), root.shape)
    origins = [s for axis in view.axes for s in axis]
    sizes = tuple(view.stored[s] for s in origins)
    return Reading(value, sizes, tuple(map(int, np.argsort(origins))), view.stored)


def arrived(listed: ListedLayer, replaced: Replaced) -> Array:
    """The weights that arrive at the operator, in canonical layout; read-only."""
    if listed.weights is not None and listed.view is not None:
        values = _computed(listed.weights, listed.view, replaced)
    else:
        values = _stored_now(listed.tensor, replaced)
    if listed.dequantization is not None:
        values = Grid(listed.tensor, listed.dequantization).weights(values)
    array = values if listed.layer.axes is None else values.transpose(listed.layer.axes)
    array.setflags(write=False)
    return array


def solved(listed: ListedLayer, values: Array, replaced: Replaced) -> dict[Address, Array]:
    """New values of stored tensors with which such weights arrive, as nearly as may be.

    Args:
        listed: a layer that is replaceable.
        values: weights in canonical layout, of any real type.
        replaced: other tensors that have new values already.

    Raises:
        ModelFileError: a wrong shape, or values that are not finite, also once stored.
    """
    asked = _checked(listed, values)
    if listed.layer.axes is not None:
        asked = asked.transpose(np.argsort(listed.layer.axes))
    if listed.weights is not None and listed.view is not None:
        wanted = _as_computed(asked, listed.view).reshape(listed.weights.root.shape)
        return solve(listed.weights, wanted, lambda leaf: _leaf_now(leaf, replaced))
    return {listed.tensor.address: _stored(listed, asked, replaced)}


def stored_now(listed: ListedLayer, replaced: Replaced) -> Array:
    """The tensor of a layer in stored layout and type; read-only."""
    values = _stored_now(listed.tensor, replaced).view()
    values.setflags(write=False)
    return values


def fitted(listed: ListedLayer, values: Array) -> Array:
    """Values in stored layout as the tensor of a layer stores them; read-only.

    Raises:
        ModelFileError: the tensor is one of integers, or the values are of another shape or not
            finite once stored.
    """
    name, tensor = f"layer {shown(listed.layer.name)}", listed.tensor
    if not tensor.floating or values.shape != tensor.dims:
        raise ModelFileError(
            f"{name}: expected floating-point values of the stored shape {tensor.dims}, got "
            f"{values.shape} for {tensor.dtype}; keep the shape of the file"
        )
    if not finite(values):
        raise ModelFileError(
            f"{name}: expected finite weights, got NaN or infinity; correct the values"
        )
    return _stored(dataclasses.replace(listed, dequantization=None), values, {})


def on_grid(listed: ListedLayer) -> bool:
    """Whether new weights of the layer become the nearest that its integers can stand for."""
    return listed.dequantization is not None or listed.tensor.data_type not in PLAIN


def _computed(weights: Carried, view: View, replaced: Replaced) -> Array:
    """What arrives through arithmetic, in the layout of which the layer's axes tell."""
    try:
        values = evaluate(weights.root, lambda leaf: _leaf_now(leaf, replaced))
    except UnknownOperatorError as error:
        raise ModelFileError(
            f"layer {shown(weights.main.name)}: expected arithmetic on its weights that can be "
            f"computed, got a part that cannot ({one_line(error)}); choose another layer"
        ) from error
    return _as_stored(values[id(weights.root)], view)


def _as_stored(array: Array, view: View) -> Array:
    """An array in the layout of the stored tensor, from that of a value whose axes are known."""
    if view.axes is None:
        return array
    order = [s for axis in view.axes for s in axis]
    grouped = array.reshape([view.stored[s] for s in order])
    return grouped.transpose(np.argsort(order)).reshape(view.stored)


def _as_computed(array: Array, view: View) -> Array:
    """The inverse of `_as_stored`, but for axes of one element."""
    if view.axes is None:
        return array
    order = [s for axis in view.axes for s in axis]
    unit = [s for s in range(len(view.stored)) if s not in order]
    return array.transpose(*order, *unit)


def _leaf_now(leaf: Leaf, replaced: Replaced) -> Array:
    assert leaf.tensor is not None
    return _stored_now(leaf.tensor, replaced)


def _stored_now(tensor: StoredTensor, replaced: Replaced) -> Array:
    found = replaced.get(tensor.address)
    return tensor.array() if found is None else found


def _nobody_writes(array: Array, dtype: np.dtype[Any]) -> bool:
    """Whether an array is as it is stored and stays so: then a large one need not be copied."""
    owner = array if array.base is None else array.base
    return (
        array.dtype == dtype
        and array.flags.c_contiguous
        and isinstance(owner, np.ndarray)
        and owner.flags.owndata
        and not owner.flags.writeable
    )


def _checked(listed: ListedLayer, values: Array) -> Array:
    layer = listed.layer
    name = f"layer {shown(layer.name)}"
    array = np.asarray(values)
    if not layer.replaceable:
        raise ModelFileError(
            f"{name}: expected a layer that takes new weights, got one where {layer.obstacle}; "
            "choose another one with `nnw layers`"
        )
    if array.shape != layer.shape or not is_real(array.dtype):
        raise ModelFileError(
            f"{name}: expected real weights of shape {layer.shape}, got {array.dtype} of shape "
            f"{array.shape}; keep the shape (out, in, *kernel)"
        )
    if not finite(array):
        raise ModelFileError(
            f"{name}: expected finite weights, got NaN or infinity; correct the values"
        )
    return array


def _stored(listed: ListedLayer, asked: Array, replaced: Replaced) -> Array:
    """Values in stored layout and type; those that are on a grid become the nearest of it."""
    if listed.dequantization is not None:
        now = replaced.get(listed.tensor.address)
        now = listed.tensor.array() if now is None else now
        nearest = Grid(listed.tensor, listed.dequantization).nearest(asked, now)
        nearest.setflags(write=False)
        return nearest
    dtype = numpy_dtype(listed.tensor.data_type)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = asked if listed.tensor.floating else rounded(asked, dtype)
        stored = whole if _nobody_writes(whole, dtype) else np.array(whole, dtype, order="C")
    if not finite(stored):
        raise ModelFileError(
            f"layer {shown(listed.layer.name)}: expected weights that fit its type "
            f"{listed.layer.dtype}, got larger ones; reduce the change"
        )
    stored.setflags(write=False)
    return stored
