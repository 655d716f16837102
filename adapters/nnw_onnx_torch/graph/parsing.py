"""What stands in a model's messages: attributes, constants, versions of operator sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import onnx
import torch
from onnx import (
    AttributeProto,
    FunctionProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
)

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Array
from nnw_onnx_torch.graph.dtypes import to_tensor
from nnw_onnx_torch.graph.operators._table import Attribute

STANDARD = ("", "ai.onnx")
Constant: TypeAlias = torch.Tensor | Array
"""A tensor, or an array of text."""


def parse(data: bytes) -> onnx.ModelProto:
    """The model in these bytes."""
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    return proto


def domain_of(node: NodeProto | FunctionProto) -> str:
    """Domain of a node's operator; the standard one is empty."""
    return "" if node.domain in STANDARD else str(node.domain)


def opsets(imports: Iterable[OperatorSetIdProto]) -> dict[str, int]:
    """Version of each operator set; the standard one is under the empty name."""
    return {("" if i.domain in STANDARD else i.domain): int(i.version) for i in imports}


def constant(proto: TensorProto, given: Mapping[str, Array]) -> Constant:
    """A stored tensor; text stays an array of numpy.

    Args:
        proto: the message.
        given: values of tensors that are stored outside, by name.
    """
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        return _tensor(given[proto.name])
    return _tensor(onnx.numpy_helper.to_array(proto))


def _tensor(array: Array) -> Constant:
    if array.dtype.kind in "OSU":
        return array
    try:
        return to_tensor(array)
    except TypeError as error:
        raise TrainingError(
            f"model: expected constants of types that torch has, got {array.dtype}; cast them to "
            "float32 first"
        ) from error


def dense(sparse: SparseTensorProto) -> torch.Tensor:
    """The dense tensor of a sparse one."""
    values = onnx.numpy_helper.to_array(sparse.values)
    indices = onnx.numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 2:
        array[tuple(indices.T)] = values
    else:
        array.reshape(-1)[indices] = values
    return to_tensor(array)


def attribute_value(attribute: AttributeProto) -> Attribute:
    """Value of an attribute that is no graph: numbers, text, lists of them, or tensors."""
    kind = attribute.type
    if kind == AttributeProto.STRING:
        return attribute.s.decode("utf-8", errors="replace")
    if kind == AttributeProto.STRINGS:
        return [s.decode("utf-8", errors="replace") for s in attribute.strings]
    if kind == AttributeProto.TENSOR:
        return constant(attribute.t, {})
    if kind == AttributeProto.SPARSE_TENSOR:
        return dense(attribute.sparse_tensor)
    value = onnx.helper.get_attribute_value(attribute)
    return list(value) if isinstance(value, (list, tuple)) else value


def constant_node(attributes: Mapping[str, Attribute]) -> Constant:
    """The value of a Constant node with these attributes."""
    for name, value in attributes.items():
        if name in ("value", "sparse_value"):
            found: Constant = value
            return found
        if name in ("value_int", "value_ints"):
            return torch.tensor(value, dtype=torch.int64)
        if name in ("value_float", "value_floats"):
            return torch.tensor(value, dtype=torch.float32)
        if name in ("value_string", "value_strings"):
            return np.array(value, object)
    raise TrainingError(
        "Constant: expected a value in one of its attributes, got none; export the model again"
    )
