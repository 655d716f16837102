"""Where the tensors lie in the bytes of an ONNX file, and how to change only those bytes.

ONNX is a protobuf message. Parsing and writing it again loses unknown fields and the original
encoding, and doubles the memory; here the tensors are located in the bytes instead, so that an
edited file differs from the original in the edited tensors and in nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Buffer = memoryview
Address = tuple[tuple[str, int], ...]
Edit = tuple[int, int, Buffer | bytes]
"""Bytes `start` ... `stop` of the file are replaced by these."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
DIMS, DATA_TYPE, FLOAT_DATA, RAW_DATA, DOUBLE_DATA = 1, 2, 4, 9, 10
EXTERNAL_DATA, DATA_LOCATION = 13, 14
DATA_FIELDS = frozenset({4, 5, 6, 7, 9, 10, 11})
ATTRIBUTE_NAME, ATTRIBUTE_FLOATS = 1, 7
ATTRIBUTE_INTS = 8
FLOAT, DOUBLE = 1, 11
MOST_NAME_BYTES = 4096
MOST_LIST_BYTES = 1 << 26
"""Bytes of numbers in lists of attributes; parsed, each of them takes up to eight times more."""

_VALUE_FLOATS = b"value_floats"
_CHILDREN: Mapping[str, Mapping[int, tuple[str, str, bool]]] = {
    "model": {7: ("graph", "graph", False), 25: ("function", "functions", True)},
    "graph": {
        1: ("node", "node", True),
        5: ("tensor", "initializer", True),
        15: ("sparse", "sparse_initializer", True),
    },
    "function": {7: ("node", "node", True), 11: ("attribute", "attribute_proto", True)},
    "node": {5: ("attribute", "attribute", True)},
    "attribute": {
        5: ("tensor", "t", False),
        6: ("graph", "g", False),
        10: ("tensor", "tensors", True),
        11: ("graph", "graphs", True),
        22: ("sparse", "sparse_tensor", False),
        23: ("sparse", "sparse_tensors", True),
    },
    "sparse": {1: ("tensor", "values", False), 2: ("tensor", "indices", False)},
}
"""Kind of message -> field number -> (kind of child, name of the field, whether it repeats)."""


_NAMES: Mapping[str, frozenset[int]] = {
    "graph": frozenset({2}),
    "node": frozenset({1, 2, 3, 4, 7, 8}),
    "tensor": frozenset({8}),
    "attribute": frozenset({1, 21}),
    "function": frozenset({1, 4, 5, 6, 10, 13}),
}
"""Kind of message -> fields that hold names, which must be UTF-8."""


_RUNS: Mapping[int, re.Pattern[bytes]] = {
    ATTRIBUTE_FLOATS << 3 | FIXED32: re.compile(rb"(?s:\x3d.{4}){1,4096}"),
    ATTRIBUTE_INTS << 3 | VARINT: re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f]){1,4096}"),
}
"""Tag -> fields of that tag, one after another, as lists of numbers in attributes are stored."""


class WireError(ValueError):
    """Bytes that are no protobuf message of the expected shape."""


class LimitError(WireError):
    """More of something than is allowed; the message says what is expected and what is there."""


class Field(NamedTuple):
    """One field: its number, wire type and bytes (tag at `tag`, value at `start` ... `stop`)."""

    number: int
    wire: int
    tag: int
    start: int
    stop: int


@dataclass(slots=True)
class Message:
    """A message that is a tensor or contains one.

    Attributes:
        kind: key of the table of children, or "tensor".
        address: (field name, index) from the model down.
        tag: where its tag starts in the file (0 for the model).
        start: where its body starts.
        stop: where its body ends.
        children: messages inside that contain tensors, in the order of the file.
        fields: of a tensor and of an attribute with floats: the fields, in order.
    """

    kind: str
    address: Address
    tag: int
    start: int
    stop: int
    children: list[Message] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)

    def walk(self) -> Iterator[Message]:
        """This message and those inside it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class WireLimits:
    """Most fields, nodes and tensors in a file, and most levels of graphs in graphs."""

    fields: int
    nodes: int
    tensors: int
    depth: int


def read_varint(buffer: Buffer, position: int, stop: int) -> tuple[int, int]:
    """An unsigned integer of up to ten bytes and the position after it."""
    value = shift = 0
    while position < stop and shift < 70:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
    raise WireError(f"an integer that does not end at byte {position}")


def varint(value: int) -> bytes:
    """The encoding of an unsigned integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_field(number: int, body: Buffer | bytes) -> bytes:
    """A field of bytes with its tag."""
    return b"".join((varint(number << 3 | LENGTH), varint(len(body)), body))


def read_fields(buffer: Buffer, start: int, stop: int, *, runs: bool = False) -> Iterator[Field]:
    """The fields of the message in `start` ... `stop`.

    With `runs`, up to 4096 numbers of a list of an attribute are one field that spans them all.
    """
    position = start
    while position < stop:
        tag = position
        key = buffer[position]
        if runs and key in _RUNS and (run := _RUNS[key].match(buffer, position, stop)):
            position = run.end()
            yield Field(key >> 3, key & 7, tag, tag + 1, position)
            continue
        if key < 0x80:
            position += 1
        else:
            key, position = read_varint(buffer, position, stop)
        wire = key & 7
        if wire == LENGTH:
            size, position = read_varint(buffer, position, stop)
            end = position + size
        elif wire == VARINT:
            _, end = read_varint(buffer, position, stop)
        elif wire in (FIXED32, FIXED64):
            end = position + (4 if wire == FIXED32 else 8)
        else:
            raise WireError(f"a field of unknown kind at byte {tag}")
        if end > stop or not key >> 3:
            raise WireError(f"a field that ends outside its message at byte {tag}")
        yield Field(key >> 3, wire, tag, position, end)
        position = end


def expect_name(name: str, size: int) -> None:
    """Raise `LimitError` for a name of too many bytes."""
    if size > MOST_NAME_BYTES:
        raise LimitError(
            f"names of at most {MOST_NAME_BYTES} bytes, got one of {size} ({name[:20]!a}...)"
        )


class _Locator:
    """Builds the tree of messages; counts what it meets against the limits."""

    def __init__(self, buffer: Buffer, limits: WireLimits) -> None:
        self.buffer, self.limits = buffer, limits
        self.fields = self.nodes = self.tensors = self.list_bytes = 0

    def locate(self, message: Message, depth: int) -> Message | None:
        """`message` with its children, or None where there is no tensor inside."""
        if message.kind == "graph":
            depth += 1
        self._check(message.kind, depth)
        table = _CHILDREN.get(message.kind, {})
        names = _NAMES.get(message.kind, frozenset())
        counts: dict[str, int] = {}
        floats = False
        is_tensor, is_attribute = message.kind == "tensor", message.kind == "attribute"
        for item in read_fields(self.buffer, message.start, message.stop, runs=is_attribute):
            self._count_field()
            if item.number in names and item.wire == LENGTH:
                self._expect_text(item)
            child = table.get(item.number)
            if child is not None and item.wire == LENGTH:
                self._add_child(message, item, child, counts, depth)
            elif is_tensor:
                message.fields.append(item)
            elif is_attribute:
                floats = floats or self._named_floats(item)
                self._count_list(item)
        if floats:
            message.fields = self._constant_floats(message)
        return message if message.children or message.fields or not message.tag else None

    def _count_field(self) -> None:
        self.fields += 1
        if self.fields > self.limits.fields:
            raise LimitError(f"at most {self.limits.fields} fields, got more")

    def _count_list(self, item: Field) -> None:
        if item.number in (ATTRIBUTE_FLOATS, ATTRIBUTE_INTS):
            self.list_bytes += item.stop - item.start
            if self.list_bytes > MOST_LIST_BYTES:
                raise LimitError(
                    f"at most {MOST_LIST_BYTES} bytes of numbers in attributes, got more"
                )

    def _expect_text(self, item: Field) -> None:
        try:
            name = str(self.buffer[item.start : item.stop], "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"a name that is no text at byte {item.start}") from error
        expect_name(name, item.stop - item.start)

    def _named_floats(self, item: Field) -> bool:
        """Whether this field of an attribute names it "value_floats"."""
        return (
            item.number == ATTRIBUTE_NAME
            and item.stop - item.start == len(_VALUE_FLOATS)
            and self.buffer[item.start : item.stop] == _VALUE_FLOATS
        )

    def _constant_floats(self, attribute: Message) -> list[Field]:
        """The fields that hold the values of a list of floats."""
        found = []
        for item in read_fields(self.buffer, attribute.start, attribute.stop):
            if item.number == ATTRIBUTE_FLOATS:
                self._count_field()
                found.append(item)
        return found

    def _add_child(
        self,
        message: Message,
        item: Field,
        child: tuple[str, str, bool],
        counts: dict[str, int],
        depth: int,
    ) -> None:
        kind, name, repeated = child
        index = counts.get(name, 0)
        counts[name] = index + 1
        if index and not repeated:
            raise WireError(f"the field {name!r} twice")
        address = (*message.address, (name, index))
        found = self.locate(Message(kind, address, item.tag, item.start, item.stop), depth)
        if found is not None or kind == "tensor":
            message.children.append(
                found or Message(kind, address, item.tag, item.start, item.stop)
            )

    def _check(self, kind: str, depth: int) -> None:
        self.nodes += kind == "node"
        self.tensors += kind == "tensor"
        if self.nodes > self.limits.nodes:
            raise LimitError(f"at most {self.limits.nodes} nodes, got more")
        if self.tensors > self.limits.tensors:
            raise LimitError(f"at most {self.limits.tensors} tensors, got more")
        if depth > self.limits.depth:
            raise LimitError(f"graphs nested at most {self.limits.depth} deep, got deeper ones")


def locate(buffer: Buffer, limits: WireLimits) -> Message:
    """The tree of messages that contain tensors; raises `WireError` for broken bytes."""
    root = _Locator(buffer, limits).locate(Message("model", (), 0, 0, len(buffer)), 0)
    return root if root is not None else Message("model", (), 0, 0, len(buffer))


def payload(buffer: Buffer, tensor: Message) -> Field | None:
    """The field that holds all values as little-endian bytes, or None where there is none."""
    data = [f for f in tensor.fields if f.number in DATA_FIELDS]
    if len(data) != 1 or data[0].wire != LENGTH:
        return None
    data_type = 0
    for item in tensor.fields:
        if item.number == DATA_TYPE and item.wire == VARINT:
            data_type, _ = read_varint(buffer, item.start, item.stop)
    expected = {FLOAT_DATA: FLOAT, DOUBLE_DATA: DOUBLE, RAW_DATA: data_type}
    return data[0] if expected.get(data[0].number) == data_type else None


def replace_values(buffer: Buffer, tensor: Message, values: Buffer) -> list[Edit]:
    """Edits that give a tensor other values of the same number of bytes, little-endian."""
    if tensor.kind == "attribute":
        return _replace_floats(tensor, values)
    found = payload(buffer, tensor)
    if found is not None and found.stop - found.start == len(values):
        return [(found.start, found.stop, values)]
    data = [f for f in tensor.fields if f.number in DATA_FIELDS]
    first = data[0].tag if data else tensor.stop
    edits: list[Edit] = [(f.tag, f.stop, b"") for f in data]
    return [(first, first, length_field(RAW_DATA, values)), *edits]


def _replace_floats(attribute: Message, values: Buffer) -> list[Edit]:
    edits: list[Edit] = []
    position = 0
    for item in attribute.fields:
        size = item.stop - item.start
        edits.append((item.start, item.stop, values[position : position + size]))
        position += size
    return edits


def replace_external(tensor: Message, entries: Mapping[str, str]) -> list[Edit]:
    """Edits that give an externally stored tensor another place."""
    old = [f for f in tensor.fields if f.number == EXTERNAL_DATA]
    body = b"".join(
        length_field(EXTERNAL_DATA, length_field(1, k.encode()) + length_field(2, v.encode()))
        for k, v in entries.items()
    )
    return [(old[0].tag, old[0].tag, body), *((f.tag, f.stop, b"") for f in old)]


def put_inside(tensor: Message, values: Buffer) -> list[Edit]:
    """Edits that put the values of an externally stored tensor into the file."""
    outside = [f for f in tensor.fields if f.number in (EXTERNAL_DATA, DATA_LOCATION)]
    first = outside[0].tag
    edits: list[Edit] = [(f.tag, f.stop, b"") for f in outside]
    return [(first, first, length_field(RAW_DATA, values)), *edits]


def strip_values(buffer: Buffer, root: Message, threshold: int) -> dict[Address, list[Edit]]:
    """Edits that take values of `threshold` bytes and more out of the file."""
    edits: dict[Address, list[Edit]] = {}
    for message in root.walk():
        if message.kind == "tensor":
            found = payload(buffer, message)
            if found is not None and found.stop - found.start >= threshold:
                edits[message.address] = [(found.tag, found.stop, b"")]
    return edits


def rewrite(
    buffer: Buffer, root: Message, edits: Mapping[Address, Sequence[Edit]]
) -> list[Buffer | bytes]:
    """The bytes of the file with the edits, as pieces to be written one after another."""
    dirty = {address[:n] for address in edits for n in range(len(address) + 1)}
    return _rewrite_body(buffer, root, edits, dirty)


def _rewrite_body(
    buffer: Buffer,
    message: Message,
    edits: Mapping[Address, Sequence[Edit]],
    dirty: set[Address],
) -> list[Buffer | bytes]:
    pieces: list[Buffer | bytes] = []
    position = message.start
    for start, stop, inside in _changes(buffer, message, edits, dirty):
        pieces.append(buffer[position:start])
        pieces.extend(inside)
        position = stop
    pieces.append(buffer[position : message.stop])
    return pieces


def _changes(
    buffer: Buffer,
    message: Message,
    edits: Mapping[Address, Sequence[Edit]],
    dirty: set[Address],
) -> list[tuple[int, int, list[Buffer | bytes]]]:
    changes: list[tuple[int, int, list[Buffer | bytes]]] = [
        (start, stop, [new]) for start, stop, new in edits.get(message.address, ())
    ]
    for child in message.children:
        if child.address in dirty:
            body = _rewrite_body(buffer, child, edits, dirty)
            key, _ = read_varint(buffer, child.tag, child.start)
            header = varint(key) + varint(sum(map(len, body)))
            changes.append((child.tag, child.stop, [header, *body]))
    return sorted(changes, key=lambda c: (c[0], c[1]))
