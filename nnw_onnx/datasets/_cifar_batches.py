"""Batches of CIFAR-10: the binary version, and the Python version read without unpickling.

A batch of the Python version is a pickle. Unpickling a file runs what the file says, so the opcodes
are only listed (`pickletools.genops` executes nothing) and a small stack machine follows those that
build plain values: dictionaries, lists, tuples, texts, bytes and integers. Names of functions are
never looked up; what would be called is kept as a `_Call` and compared with the few calls that make
a numpy array.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError

IMAGE_BYTES = 3 * 32 * 32
MAX_BATCH_BYTES = 64 * 2**20

Batch = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Labels (n,) and pixels (n, 3072), planes of red, green and blue."""


def binary_batch(title: str, content: bytes) -> Batch:
    """A batch of the binary version: n records of a label and 3072 pixels."""
    record = 1 + IMAGE_BYTES
    if not content or len(content) % record:
        raise DatasetError(
            f"{title}: expected records of {record} bytes, got {len(content)} bytes; get the file "
            "again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return _checked(title, rows[:, 0].astype(np.int64), rows[:, 1:])


def python_batch(title: str, content: bytes) -> Batch:
    """A batch of the Python version: a pickled dictionary with "data" and "labels"."""
    try:
        if len(content) > MAX_BATCH_BYTES:
            raise _UnexpectedError(f"{len(content)} bytes")
        value = _followed(content)
        if not isinstance(value, dict):
            raise _UnexpectedError("no dictionary")
        fields = {_text(k): v for k, v in value.items()}
        labels = fields.get("labels")
        if not isinstance(labels, list) or not all(type(v) is int for v in labels):
            raise _UnexpectedError("no list of labels")
        if any(not 0 <= v <= 9 for v in labels):
            raise _UnexpectedError("a label that is no digit")
        return _checked(title, np.array(labels, np.int64), _array(fields.get("data")))
    except _UnexpectedError as error:
        raise DatasetError(
            f"{title}: expected a batch of CIFAR-10's Python version, got {error}; get the file "
            "again"
        ) from error


class _UnexpectedError(Exception):
    """Something in a pickle that no batch of CIFAR-10 has."""


@dataclass
class _Name:
    """The name of a function or class, never looked up."""

    name: str


@dataclass
class _Call:
    """A call that is not made, with the state that would be set on its result."""

    function: str
    arguments: tuple[Any, ...]
    state: Any = None


class _Mark:
    """The mark of the pickle machine's stack."""


class _Machine:
    """The stack and memo of a pickle whose values are plain."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack:
            raise _UnexpectedError("a broken pickle")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        found = []
        while not isinstance(item := self.pop(), _Mark):
            found.append(item)
        return found[::-1]

    def top(self, kind: type[Any]) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise _UnexpectedError("a broken pickle")
        return self.stack[-1]

    def push_tuple(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.stack.append(tuple(items[::-1]))

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise _UnexpectedError("a broken pickle")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_text(key)] = value

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _UnexpectedError("a call of something unknown")
        call = _Call(function.name, arguments)
        self.stack.append(_encoded(call) if call.function == "_codecs encode" else call)

    def build(self) -> None:
        state = self.pop()
        self.top(_Call).state = state

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(_Name(f"{_text(module)} {_text(name)}"))

    def get(self, number: int) -> None:
        if number not in self.memo:
            raise _UnexpectedError("a broken pickle")
        self.stack.append(self.memo[number])


def _plain(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _old_text(machine: _Machine, value: str) -> None:
    # The str of Python 2, which holds bytes; pickletools shows it decoded as latin-1.
    machine.stack.append(value.encode("latin-1"))


_PLAIN = (
    "BININT BININT1 BININT2 LONG1 BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINBYTES8"
)
_ACTIONS: Mapping[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(_PLAIN.split(), _plain),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _old_text),
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "STOP": lambda m, _: None,
    "NONE": lambda m, _: _plain(m, None),
    "NEWTRUE": lambda m, _: _plain(m, True),
    "NEWFALSE": lambda m, _: _plain(m, False),
    "MARK": lambda m, _: _plain(m, _Mark()),
    "EMPTY_DICT": lambda m, _: _plain(m, {}),
    "EMPTY_LIST": lambda m, _: _plain(m, []),
    "EMPTY_TUPLE": lambda m, _: _plain(m, ()),
    "TUPLE1": lambda m, _: m.push_tuple(1),
    "TUPLE2": lambda m, _: m.push_tuple(2),
    "TUPLE3": lambda m, _: m.push_tuple(3),
    "TUPLE": lambda m, _: _plain(m, tuple(m.pop_to_mark())),
    "APPEND": lambda m, _: (item := m.pop(), m.top(list).append(item)),
    "APPENDS": lambda m, _: (items := m.pop_to_mark(), m.top(list).extend(items)),
    "SETITEM": lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_to_mark()),
    "BINPUT": lambda m, number: m.memo.__setitem__(number, m.top(object)),
    "LONG_BINPUT": lambda m, number: m.memo.__setitem__(number, m.top(object)),
    "MEMOIZE": lambda m, _: m.memo.__setitem__(len(m.memo), m.top(object)),
    "BINGET": lambda m, number: m.get(number),
    "LONG_BINGET": lambda m, number: m.get(number),
    "GLOBAL": lambda m, name: _plain(m, _Name(name)),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
}


def _followed(content: bytes) -> Any:
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise _UnexpectedError(f"the opcode {opcode.name}")
            action(machine, argument)
    except (ValueError, IndexError, TypeError) as error:
        raise _UnexpectedError(f"a broken pickle ({' '.join(str(error).split())[:80]})") from error
    return machine.pop()


def _encoded(call: _Call) -> bytes:
    match call.arguments:
        case (str() as text, "latin1" | b"latin1"):
            return text.encode("latin-1")
    raise _UnexpectedError("a call of _codecs encode")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise _UnexpectedError("a key that is no text")


def _array(value: Any) -> NDArray[np.uint8]:
    """The array that a call would make: `_reconstruct` with a state of plain bytes."""
    functions = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
    if not isinstance(value, _Call) or value.function not in functions:
        raise _UnexpectedError("no array of pixels")
    match value.state:
        case (int(), (int() as rows, int() as columns), _Call() as dtype, order, bytes() as data):
            pass
        case _:
            raise _UnexpectedError("an array of another form")
    if dtype.function != "numpy dtype" or _text(dtype.arguments[0]) not in ("u1", "|u1"):
        raise _UnexpectedError("pixels that are no unsigned bytes")
    if rows < 0 or columns < 0 or math.prod((rows, columns)) != len(data):
        raise _UnexpectedError("pixels of another number than said")
    flat = np.frombuffer(data, np.uint8)
    return flat.reshape((rows, columns), order="F" if order else "C")


def _checked(title: str, labels: NDArray[np.int64], pixels: NDArray[np.uint8]) -> Batch:
    if pixels.shape != (len(labels), IMAGE_BYTES) or labels.max(initial=0) > 9:
        raise DatasetError(
            f"{title}: expected one label below 10 for each row of {IMAGE_BYTES} pixels, got "
            f"{len(labels)} labels and pixels {pixels.shape}; get the file again"
        )
    return labels, pixels
