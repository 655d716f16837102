"""How Keras stores the weights of a layer, and where their axes are in ONNX's order.

Keras keeps the channels of a kernel last: a convolution is (*kernel, in, out), its transpose
(*kernel, out, in), a depthwise one (*kernel, in, multiplier), a Dense (in, out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnw_onnx.vocabulary import Array, Layer

_NORMS = ("gamma", "beta", "scale")


@dataclass(frozen=True)
class Layout:
    """What a variable is, and how its stored array becomes canonical.

    Attributes:
        operator: the ONNX operator that will consume it.
        role: role of the layer, as in `Layer.role`.
        axes: for each axis after transposing the stored axis.
        merged: whether the first two axes after that are one in ONNX, with an input axis behind:
            (channels, multiplier, *kernel) becomes (channels * multiplier, 1, *kernel).
        group: number of groups of a convolution.
    """

    operator: str
    role: str
    axes: tuple[int, ...]
    merged: bool = False
    group: int = 1

    def canonical(self, stored: Array) -> Array:
        """The array in canonical layout."""
        array = stored.transpose(self.axes)
        if not self.merged:
            return array
        return array.reshape(array.shape[0] * array.shape[1], 1, *array.shape[2:])

    def stored(self, canonical: Array, shape: tuple[int, ...]) -> Array:
        """The inverse of `canonical`, for a variable of this shape."""
        array = canonical.reshape([shape[axis] for axis in self.axes])
        return array.transpose(np.argsort(self.axes))

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Canonical shape of a variable of this shape."""
        sizes = tuple(stored[axis] for axis in self.axes)
        return (sizes[0] * sizes[1], 1, *sizes[2:]) if self.merged else sizes

    def layer(self, name: str, variable: Any, owner: str, position: int) -> Layer:
        """The description of a variable with this layout."""
        stored = tuple(map(int, variable.shape))
        several = self.merged and stored[self.axes[1]] > 1
        return Layer(
            name=name,
            operator=self.operator,
            role=self.role,
            shape=self.shape(stored),
            axes=None if several else self.axes,
            stored_shape=stored,
            dtype=str(variable.dtype),
            node=owner,
            group=self.group,
            consumers=(f"{self.operator}:{owner}:1",),
            position=position,
            learns=bool(variable.trainable),
        )


def layout_of(owner: Any, variable: Any) -> Layout:
    """The layout of a variable of a Keras layer; unknown ones keep theirs, with role "other"."""
    name, rank = str(variable.name), len(variable.shape)
    if name.endswith("kernel"):
        return _kernel(owner, name, tuple(variable.shape)) or _other(owner, rank)
    if name == "bias":
        return Layout("Add", "bias", tuple(range(rank)))
    if name == "embeddings" and type(owner).__name__ == "Embedding":
        return Layout("Gather", "embedding", tuple(range(rank)))
    if name in _NORMS and variable.trainable:
        return Layout(type(owner).__name__, "norm", tuple(range(rank)))
    return _other(owner, rank)


def _other(owner: Any, rank: int) -> Layout:
    return Layout(type(owner).__name__, "other", tuple(range(rank)))


def _kernel(owner: Any, name: str, shape: tuple[int, ...]) -> Layout | None:
    """The layout of a variable called a kernel, or None for one of a layer of the user's own."""
    from keras import layers

    rank = len(shape)
    depthwise = layers.DepthwiseConv1D | layers.DepthwiseConv2D
    transposed = layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose
    cells = layers.LSTMCell | layers.GRUCell | layers.SimpleRNNCell
    last = (rank - 2, rank - 1, *range(rank - 2))
    layout = None
    if name == "depthwise_kernel" or isinstance(owner, depthwise):
        layout = Layout("Conv", "kernel", last, merged=True, group=int(shape[-2]))
    elif name == "pointwise_kernel":
        layout = _convolution(rank)
    elif isinstance(owner, layers.Conv1D | layers.Conv2D | layers.Conv3D):
        layout = _convolution(rank, int(owner.groups))
    elif isinstance(owner, transposed):
        layout = Layout("ConvTranspose", "kernel", last)
    elif isinstance(owner, layers.Dense):
        layout = Layout("MatMul", "kernel", (1, 0))
    elif isinstance(owner, layers.EinsumDense):
        layout = _einsum(str(owner.equation), rank)
    elif isinstance(owner, cells) and rank == 2:
        operator = {"LSTMCell": "LSTM", "GRUCell": "GRU"}.get(type(owner).__name__, "RNN")
        layout = Layout(operator, "recurrent", (1, 0))
    return layout


def _convolution(rank: int, group: int = 1) -> Layout:
    return Layout("Conv", "kernel", (rank - 1, rank - 2, *range(rank - 2)), group=group)


def _einsum(equation: str, rank: int) -> Layout:
    """Letters of the output come first, then letters that are summed: as for ONNX's Einsum."""
    operands, _, result = equation.replace(" ", "").partition("->")
    other, _, kernel = operands.partition(",")
    out = [k for k, letter in enumerate(kernel) if letter in result and letter not in other]
    inner = [k for k, letter in enumerate(kernel) if letter in other and letter not in result]
    rest = [k for k in range(rank) if k not in out and k not in inner]
    if not (out and inner) or rank != len(kernel):
        return Layout("Einsum", "other", tuple(range(rank)))
    return Layout("Einsum", "kernel", (*out, *inner, *rest))
