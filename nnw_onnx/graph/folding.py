"""Normalisations folded into the operator before them, as deployment tools do.

BatchNormalization in evaluation is y = s x + t for each channel, s = scale / sqrt(var + epsilon)
and t = shift - s mean, so that s goes into the kernel and t into the bias of a linear operator:
W' = s W, b' = s b + t. The kernel keeps its name; its values are others, and a negative s turns the
sign of a filter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from nnw_onnx.graph.editing import Constants, remove_nodes, rewrite_file, unused_name, uses
from nnw_onnx.graph.inferring import with_sizes
from nnw_onnx.graph.scopes import number
from nnw_onnx.vocabulary import Array

Vector: TypeAlias = NDArray[np.float64]

_WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
_SPATIAL_UNTIL, _TEST_UNTIL = 9, 7
"""Operator sets in which BatchNormalization has the attributes `spatial` and `is_test`."""


def fold_batch_norms(source: Path, target: Path) -> int:
    """Fold every BatchNormalization that follows a linear operator; how many there were.

    That operator is Conv, ConvTranspose, Gemm or MatMul, possibly with an Add of its bias in
    between; its weights are constants, and nothing else uses its output. Computed in float64 and
    stored in the type of the weights.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the folded one is written.

    Raises:
        ModelFileError: a file cannot be read or written.
    """
    return len(fold_normalisations(source, target))


@dataclass(frozen=True)
class Folded:
    """One BatchNormalization that went into the operator before it, by names of initializers.

    Attributes:
        kernel: of the operator, as it was.
        folded: its kernel now.
        bias: its bias now.
        scale, shift, mean, variance: of the normalisation.
        epsilon: what was added to the variance.
    """

    kernel: str
    folded: str
    bias: str
    scale: str
    shift: str
    mean: str
    variance: str
    epsilon: float


def fold_normalisations(source: Path, target: Path) -> tuple[Folded, ...]:
    """As `fold_batch_norms`; what went into what."""
    found: list[Folded] = []
    rewrite_file(source, target, lambda model: found.extend(_Folder(model).fold()))
    return tuple(found)


@dataclass(frozen=True)
class _Affine:
    """What a BatchNormalization does with each channel: scale x + shift."""

    scale: Vector
    shift: Vector
    epsilon: float


@dataclass(frozen=True)
class _Linear:
    """The operator that takes it in: its node, the kernel as stored, and the bias (channels,).

    `add` is the node that adds the bias, where that is one of its own, and `place` the number of
    the input that holds it.
    """

    node: NodeProto
    kernel: Array
    bias: Vector
    add: NodeProto | None = None
    place: int = 2


class _Folder:
    def __init__(self, model: ModelProto) -> None:
        self._model, self._graph = model, model.graph
        standard = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
        self._opset = max(standard, default=1)
        self._constants, self._uses = Constants(model), uses(model.graph)
        self._producers = {name: node for node in model.graph.node for name in node.output if name}

    def fold(self) -> list[Folded]:
        """Change the model; which normalisations are gone."""
        gone: list[int] = []
        done: list[Folded] = []
        for place, node in enumerate(self._graph.node):
            affine = self._affine(node)
            linear = None if affine is None else self._linear(node.input[0], len(affine.scale))
            if affine is None or linear is None or not self._fits(linear, affine):
                continue
            kernel, (scale, shift, mean, variance) = linear.node.input[1], node.input[1:5]
            if linear.node.op_type == "MatMul" and linear.add is None:
                self._scale_kernel(linear, affine)
                self._become_add(node, linear, affine)
                bias = node.input[1]
            else:
                self._scale_kernel(linear, affine)
                self._put_bias(linear, affine)
                (linear.add or linear.node).output[0] = node.output[0]
                self._producers[node.output[0]] = linear.add or linear.node
                bias = (linear.add or linear.node).input[linear.place]
                gone.append(place)
            done.append(
                Folded(
                    kernel, linear.node.input[1], bias, scale, shift, mean, variance, affine.epsilon
                )
            )
        remove_nodes(self._graph, gone, self._uses)
        return done

    def _affine(self, node: NodeProto) -> _Affine | None:
        """Scale and shift of a normalisation in evaluation with constant statistics."""
        if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx"):
            return None
        learns = number(node, "training_mode", 0) or any(node.output[1:])
        if self._opset < _TEST_UNTIL:
            learns = learns or not number(node, "is_test", 0)
        by_place = self._opset < _SPATIAL_UNTIL and not number(node, "spatial", 1)
        if learns or by_place or any(name not in self._constants for name in node.input[1:5]):
            return None
        scale, shift, mean, var = (
            self._constants[name].astype(np.float64) for name in node.input[1:5]
        )
        given = [a.f for a in node.attribute if a.name == "epsilon"]
        epsilon = float(given[0]) if given else 1e-5
        with np.errstate(all="ignore"):
            scale = scale / np.sqrt(var + epsilon)
        return _Affine(scale, shift - scale * mean, epsilon)

    def _linear(self, name: str, channels: int) -> _Linear | None:
        """The operator that computes this value, where a normalisation can go into it."""
        node = self._producers.get(name)
        if node is None or self._uses[name] != 1 or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Add":
            return self._with_bias_behind(node, channels)
        if node.op_type not in (*_WITH_BIAS, "MatMul") or node.input[1] not in self._constants:
            return None
        if node.op_type == "MatMul" and self._rank(name) != 2:
            return None  # the channels of a normalisation are axis 1, those of MatMul the last
        bias = np.zeros(channels)
        if len(node.input) > 2 and node.input[2]:
            found = self._vector(node.input[2], channels)
            if found is None:
                return None
            bias = found * (_factor(node, "beta") if node.op_type == "Gemm" else 1.0)
        return _Linear(node, self._constants[node.input[1]], bias)

    def _with_bias_behind(self, add: NodeProto, channels: int) -> _Linear | None:
        """The operator without a bias of its own whose output gets one from this node."""
        for place in (0, 1):
            found = self._linear(add.input[1 - place], channels)
            if found is None or found.add is not None or any(found.node.input[2:]):
                continue
            bias = self._vector(add.input[place], channels, found.kernel.ndim)
            return None if bias is None else replace(found, bias=bias, add=add, place=place)
        return None

    def _vector(self, name: str, channels: int, rank: int = 2) -> Vector | None:
        """A constant (channels,) that lies along axis 1 of values of so many axes, or None."""
        if name not in self._constants:
            return None
        values = self._constants[name].astype(np.float64)
        shape = (*[1] * (rank - values.ndim), *values.shape)
        if values.size not in (1, channels) or len(shape) != rank or shape[1] != values.size:
            return None
        return np.broadcast_to(values.reshape(-1), (channels,))

    def _rank(self, name: str) -> int | None:
        """Number of axes of a value, or None where it cannot be inferred."""
        inferred = with_sizes(self._model, computed=False)
        for value in (*inferred.graph.value_info, *inferred.graph.output):
            if value.name == name and value.type.tensor_type.HasField("shape"):
                return len(value.type.tensor_type.shape.dim)
        return None

    def _fits(self, linear: _Linear, affine: _Affine) -> bool:
        """Whether the kernel has these channels, and the results are numbers of its type."""
        kernel, axes = linear.kernel, 3 if linear.node.op_type.startswith("Conv") else 2
        if kernel.ndim < axes or _channels(linear.node, kernel) != len(affine.scale):
            return False
        with np.errstate(all="ignore"):
            results = (
                _scaled(linear.node, kernel, affine.scale).astype(kernel.dtype),
                (affine.scale * linear.bias + affine.shift).astype(kernel.dtype),
            )
        return all(bool(np.isfinite(values.astype(np.float64)).all()) for values in results)

    def _scale_kernel(self, linear: _Linear, affine: _Affine) -> None:
        values = _scaled(linear.node, linear.kernel, affine.scale)
        self._put(linear.node, 1, values.astype(linear.kernel.dtype), "kernel")

    def _put_bias(self, linear: _Linear, affine: _Affine) -> None:
        values = (affine.scale * linear.bias + affine.shift).astype(linear.kernel.dtype)
        if linear.add is not None:
            values = values.reshape(1, -1, *[1] * (linear.kernel.ndim - 2))
        self._put(linear.add or linear.node, linear.place, values, f"{linear.node.input[1]}_bias")
        for attribute in linear.node.attribute:
            if attribute.name == "beta":
                attribute.f = 1.0

    def _become_add(self, node: NodeProto, linear: _Linear, affine: _Affine) -> None:
        """Turn the normalisation into the Add of its shift, since MatMul has no bias."""
        name = unused_name(self._graph, f"{linear.node.input[1]}_bias")
        values = affine.shift.astype(linear.kernel.dtype)
        add = helper.make_node("Add", [node.input[0], name], [node.output[0]], node.name)
        node.CopyFrom(add)
        self._constants.put(name, values)

    def _put(self, node: NodeProto, place: int, values: Array, wish: str) -> None:
        """Set a constant input; one that others use stays for them, and a new one is made."""
        given = len(node.input) > place and node.input[place]
        if given and self._uses[node.input[place]] == 1:
            self._constants.put(node.input[place], values)
            return
        name = unused_name(self._graph, f"{node.input[place]}_folded" if given else wish)
        self._constants.put(name, values)
        if len(node.input) <= place:
            node.input.append(name)
        node.input[place] = name


def _channels(node: NodeProto, kernel: Array) -> int:
    if node.op_type == "ConvTranspose":
        return int(kernel.shape[1]) * number(node, "group", 1)
    if node.op_type == "Conv":
        return int(kernel.shape[0])
    return int(kernel.shape[0 if number(node, "transB", 0) else 1])


def _scaled(node: NodeProto, kernel: Array, scale: Vector) -> Vector:
    """The kernel times the scale of each output channel, in float64."""
    values = kernel.astype(np.float64)
    if node.op_type == "ConvTranspose":
        # Stored as (in, out / group, *kernel); output channels count group by group.
        groups = number(node, "group", 1)
        parts = values.reshape(groups, -1, *kernel.shape[1:])
        factors = scale.reshape(groups, 1, -1, *[1] * (kernel.ndim - 2))
        return (parts * factors).reshape(kernel.shape)
    if node.op_type == "Conv" or number(node, "transB", 0):
        return values * scale.reshape(-1, *[1] * (kernel.ndim - 1))
    return values * scale


def _factor(node: NodeProto, name: str) -> float:
    given = [float(a.f) for a in node.attribute if a.name == name]
    return given[0] if given else 1.0
