"""What a message of a model says, as bytes that do not depend on how it was written.

Protobuf leaves open in which order fields stand, whether a default is written, and how numbers are
packed; ONNX leaves open in which order attributes stand, and calls its own domain by two names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]  # has no stubs
from google.protobuf.message import Message  # type: ignore[import-untyped]  # has no stubs
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]  # has no stubs

from nnw_onnx.graph.tensors import DATA_FIELD_NAMES

LeftOut = Mapping[str, frozenset[str]]
"""Name of a type of message -> names of its fields that are not told."""

_VALUES = frozenset({*DATA_FIELD_NAMES, "external_data", "data_location"})
ELSEWHERE: LeftOut = {
    "ModelProto": frozenset({"graph", "functions", "opset_import", "training_info"}),
    "GraphProto": frozenset({"node", "initializer", "sparse_initializer", "input", "output"}),
    "FunctionProto": frozenset({"node"}),
    "TensorProto": _VALUES,
}
"""What is told apart from the message that it stands in: graphs, nodes and values of tensors."""
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "ModelProto": ("producer_name", "producer_version", "domain", "model_version"),
    "GraphProto": ("name", "value_info"),
    "NodeProto": ("name",),
    "FunctionProto": ("value_info",),
    "TensorProto": ("name",),
}
_KINDS = (
    "ModelProto", "GraphProto", "NodeProto", "FunctionProto", "AttributeProto", "TensorProto",
    "ValueInfoProto", "TrainingInfoProto",
)  # fmt: skip
SAYINGS: LeftOut = {
    kind: frozenset({*_TEXTS.get(kind, ()), "doc_string", "metadata_props"}) for kind in _KINDS
}
"""What a file says of itself, and what computes nothing: texts, labels, shapes of inner values."""
_SORTED: Mapping[tuple[str, str], str] = {
    ("NodeProto", "attribute"): "name",
    ("FunctionProto", "attribute_proto"): "name",
    ("FunctionProto", "opset_import"): "domain",
    ("FunctionProto", "value_info"): "name",
    ("GraphProto", "value_info"): "name",
    ("GraphProto", "quantization_annotation"): "tensor_name",
}
_INTEGERS = frozenset(
    {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_ENUM}
)


@dataclass(frozen=True)
class Teller:
    """Tells messages as bytes, each in one way only.

    Attributes:
        left_out: fields that are not told.
        renamed: names of values of which another is told instead, where nodes read or make them.
        graphs: whether graphs inside attributes are told too, or only that they are there.
    """

    left_out: LeftOut
    renamed: Mapping[str, str] = field(default_factory=dict)
    graphs: bool = False

    def told(self, message: Message) -> bytes:
        """The fields that differ from their defaults, by number, each with its length."""
        kind = message.DESCRIPTOR.name
        without = self.left_out.get(kind, frozenset())
        out = bytearray()
        for entry, value in message.ListFields():
            if entry.name not in without:
                content = self._field(kind, entry, value)
                if content is not None:
                    out += struct.pack("<IQ", entry.number, len(content)) + content
        return bytes(out + _unknown(UnknownFieldSet(message)))

    def _field(self, kind: str, entry: FieldDescriptor, value: Any) -> bytes | None:
        """A field as bytes, or None where it says no more than if it were absent."""
        if isinstance(value, Message):
            return self._message(value)
        if not isinstance(value, (str, bytes, int, float)):
            return self._list(kind, entry, value)
        if isinstance(value, str) and entry.name == "domain":
            value = plain_domain(value)
        content = _scalar(entry, value)
        default = not value if isinstance(value, (str, bytes)) else not any(content)
        # Of a oneof the field that is there says something, whatever its value.
        return None if default and entry.containing_oneof is None else content

    def _message(self, message: Message) -> bytes:
        if message.DESCRIPTOR.name == "GraphProto" and not self.graphs:
            return b""
        return self.told(message)

    def _list(self, kind: str, entry: FieldDescriptor, values: Any) -> bytes:
        if entry.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            ordered = _in_order(kind, entry.name, values)
            return listed(self._message(item) for item in ordered)
        if entry.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            renames = kind == "NodeProto" and entry.name in ("input", "output")
            names = (self.renamed.get(v, v) if renames else v for v in values)
            return listed(_scalar(entry, name) for name in names)
        return _numbers(entry, values)


def listed(items: Iterable[bytes]) -> bytes:
    """Several contents in their order, each with its length."""
    return b"".join(struct.pack("<Q", len(item)) + item for item in items)


def plain_domain(domain: str) -> str:
    """The domain of ONNX's own operators has two names; this is the shorter one."""
    return "" if domain == "ai.onnx" else domain


def _in_order(kind: str, name: str, values: Any) -> list[Message]:
    by = "key" if name == "metadata_props" else _SORTED.get((kind, name))
    if by is None:
        return list(values)
    read = attrgetter(by)
    return sorted(values, key=lambda item: plain_domain(read(item)))


def _scalar(entry: FieldDescriptor, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else _numbers(entry, [value])


def _numbers(entry: FieldDescriptor, values: Any) -> bytes:
    kind = entry.cpp_type
    if kind in _INTEGERS:
        dtype = "<i8"
    elif kind == FieldDescriptor.CPPTYPE_FLOAT:
        dtype = "<f4"
    elif kind == FieldDescriptor.CPPTYPE_DOUBLE:
        dtype = "<f8"
    else:
        dtype = "<u8"
    return np.fromiter(values, dtype, len(values)).tobytes()


def _unknown(fields: UnknownFieldSet) -> bytes:
    """Fields of a later ONNX, which a runtime may know: nothing of a file goes unseen."""
    out = bytearray()
    for item in sorted(fields, key=lambda item: item.field_number):
        data = item.data
        if isinstance(data, int):
            content = data.to_bytes(8, "little")
        else:
            content = data if isinstance(data, bytes) else _unknown(data)
        out += struct.pack("<IIQ", item.field_number | 1 << 31, item.wire_type, len(content))
        out += content
    return bytes(out)
