"""Another number of channels along a hidden axis: tensors of other sizes, and their graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import GraphProto, ModelProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.files import Limits, ModelFile, from_bytes, resolve
from nnw_onnx.graph.layers import ListedLayer, Listing
from nnw_onnx.graph.runnable import whole
from nnw_onnx.graph.tensors import DATA_FIELD_NAMES, StoredTensor, finite, numpy_dtype, stored_bytes
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array, HiddenAxis, Strand, Weights


def resized(
    file: ModelFile,
    listed: Listing,
    replaced: Mapping[Address, Array],
    axis: HiddenAxis,
    weights: Weights,
) -> ModelFile:
    """The model with other sizes of the layers of an axis, in memory.

    The number of groups of depthwise convolutions follows, and what the file tells of the sizes of
    inner values is left out.

    Raises:
        ModelFileError: see `vocabulary.Network.with_resized`; a model of more than 2 GiB.
    """
    new_size(axis, listed, weights)
    new = {
        listed[name].tensor.address: _stored(listed[name], weights[name]) for name in axis.layers
    }
    model = whole(file)
    for address, values in {**replaced, **new}.items():
        _put(model, file.tensors[address], values)
    _set_groups(model.graph, listed, axis, weights)
    _retell(model.graph, {listed[name].tensor.name: new[listed[name].tensor.address].shape
                          for name in axis.layers})  # fmt: skip
    try:
        whole_again = memoryview(model.SerializeToString())
        return from_bytes(file.path, file.folder, whole_again, Limits())
    except (EncodeError, ValueError) as error:
        raise ModelFileError(
            "model: expected one below 2 GiB, so that its channels can be resized, got more; use a "
            "smaller one"
        ) from error


def new_size(axis: HiddenAxis, listed: Listing, weights: Weights) -> int:
    """The number of channels that all weights agree on.

    Raises:
        ModelFileError: the axis is not resizable, a layer is missing, or the weights do not agree.
    """
    missing = [name for name in axis.layers if name not in weights]
    if not axis.resizable or missing:
        got = f"no weights of {missing[0]!a}" if missing else f"{axis.name!a}, which is not"
        raise ModelFileError(
            f"channels: expected a resizable axis and weights of all of its layers, got {got}; see "
            "`hidden_axes`, and make the weights with `kit.channels.resized`"
        )
    first = axis.strands[0]
    before, after = (shape[first.axis] for shape in _shapes(first.layer, listed, weights))
    per_channel = sum(s.repeat * s.block for s in axis.strands if _beside(s, first))
    size = axis.size + (after - before) // per_channel
    for name in axis.layers:
        before_, got_ = _shapes(name, listed, weights)
        wanted = list(before_)
        for strand in axis.strands:
            if strand.layer == name:
                wanted[strand.axis] += strand.repeat * strand.block * (size - axis.size)
        if tuple(wanted) != got_ or size < 1:
            raise ModelFileError(
                f"layer {name!a}: expected weights of shape {tuple(wanted)}, as many channels as "
                f"{first.layer!a} has now, got {got_}; resize all layers of the axis alike"
            )
    return size


def _shapes(
    name: str, listed: Listing, weights: Weights
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    before, after = listed[name].layer.shape, weights[name].shape
    return before, after if len(after) == len(before) else (0,) * len(before)


def _beside(one: Strand, other: Strand) -> bool:
    return (one.layer, one.axis) == (other.layer, other.axis)


def shifted(axes: Sequence[HiddenAxis], axis: HiddenAxis, size: int) -> Iterator[HiddenAxis]:
    """The hidden axes of the network once one of them has another size."""
    for one in axes:
        strands = tuple(
            dataclasses.replace(strand, start=strand.start + _grown(strand, axis, size))
            for strand in one.strands
        )
        yield dataclasses.replace(one, strands=strands, size=size if one == axis else one.size)


def _grown(strand: Strand, axis: HiddenAxis, size: int) -> int:
    """By how many entries what lies before a strand has grown."""
    before = (s for s in axis.strands if _beside(s, strand) and s.start < strand.start)
    return sum(s.repeat * s.block * (size - axis.size) for s in before)


def _stored(entry: ListedLayer, values: Array) -> Array:
    axes = entry.layer.axes
    asked = np.asarray(values) if axes is None else np.asarray(values).transpose(np.argsort(axes))
    with np.errstate(over="ignore", invalid="ignore"):
        stored = np.array(asked, numpy_dtype(entry.tensor.data_type), order="C")
    if not finite(stored):
        raise ModelFileError(
            f"layer {entry.layer.name!a}: expected weights that are finite as "
            f"{entry.layer.dtype}, got others; correct the values"
        )
    return stored


def _put(model: ModelProto, tensor: StoredTensor, values: Array) -> None:
    message = resolve(model, tensor.address)
    content = stored_bytes(values, tensor.data_type).tobytes()
    if tensor.is_floats:
        del message.floats[:]
        message.floats.extend(np.frombuffer(content, "<f4").tolist())
        return
    for name in (*DATA_FIELD_NAMES, "external_data", "dims"):
        message.ClearField(name)
    message.ClearField("data_location")
    message.dims.extend(values.shape)
    message.raw_data = content


def _set_groups(graph: GraphProto, listed: Listing, axis: HiddenAxis, weights: Weights) -> None:
    """A depthwise convolution has as many groups as its input has channels."""
    for name in axis.layers:
        layer = listed[name].layer
        if layer.group == 1:
            continue
        several = layer.shape[0] // layer.group
        for node in graph.node:
            if node.op_type == "Conv" and listed[name].tensor.name in node.input[1:2]:
                for attribute in node.attribute:
                    if attribute.name == "group":
                        attribute.i = weights[name].shape[0] // several


def _retell(graph: GraphProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Correct what is told of sizes: old files list initializers among the inputs."""
    del graph.value_info[:]
    for value in graph.input:
        if value.name in shapes:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, shapes[value.name], strict=False):
                dim.dim_value = size
