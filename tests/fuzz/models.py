"""Mutants of ONNX models: what a message holds is changed, or its bytes, or the data beside it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..graph.arithmetic_models import MADE  # noqa: TID252 - shared by two rooms' tests
from ..graph.handmade import CASES  # noqa: TID252
from ..graph.quantized_forms import DEQUANTIZE_LINEAR, MATMUL_NBITS  # noqa: TID252
from .mutants import mutated_bytes
from .run_folders import TEXTS

Rng = np.random.Generator
DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
SECRET = b"a secret of somebody else's! " * 40
"""What lies outside the folder of every mutant, and must never be weights."""
INTEGERS = (
    0, -1, 1, 2, 3, 7, 16, 63, 64, 65, 255, 1 << 16, 2**31 - 1, 1 << 31, 1 << 40, 1 << 62,
    2**63 - 1, -(2**31), -(2**63),
)  # fmt: skip
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "own", "com.evil", "ai.onnx.training")
OTHERS = (
    "EPContext", "Loop", "If", "Scan", "ZipMap", "MoE", "QMoE", "MatMulNBits", "Attention",
    "SkipLayerNormalization", "FusedConv", "NoSuchOperator", "TreeEnsembleClassifier",
    "SequenceConstruct", "Optional", "PyOp",
)  # fmt: skip
PLACES = (
    "w.bin", "../outside/w.bin", "/dev/zero", "sub/../../outside/w.bin", "link/w.bin", "",
    ".", "w.bin\0x", "C:\\w.bin", ".hidden", "m.onnx", "key.npz", "\u202ew.bin", "w" * 5000,
)  # fmt: skip
NUMBERS = (
    "0",
    "8",
    "-8",
    "4096",
    "1" * 19,
    "9" * 30,
    "0x10",
    "1e3",
    "",
    "\u0663",
    "18446744073709551615",
)
_NOT_SO = (
    ValueError, TypeError, LookupError, OverflowError, AttributeError, DecodeError, EncodeError,
)  # fmt: skip
"""A change that does not fit a model that others have changed before."""
DATA = ("plain", "short", "sparse", "pipe", "link", "hard link", "folder", "gone", "device")


@functools.cache
def operators() -> tuple[str, ...]:
    """Types of operators: all of the standard, and some that runtimes or attackers add."""
    return (*sorted({s.name for s in onnx.defs.get_all_schemas()}), *OTHERS)


@functools.cache
def originals(more: tuple[Path, ...] = ()) -> tuple[bytes, ...]:
    """What mutants are made of: the tests' own networks, one of the package's, and `more`."""
    made = [*(make().model for make in CASES.values()), *(make().model for make in MADE.values())]
    made += [form().model for form in (*DEQUANTIZE_LINEAR.values(), *MATMUL_NBITS.values())]
    digits = DIGITS.read_bytes()
    return (*(m.SerializeToString() for m in made), *[digits] * 12, *(p.read_bytes() for p in more))


def mutant(rng: Rng, folder: Path, more: tuple[Path, ...] = ()) -> Path:
    """A changed model in a folder, with what lies beside it."""
    some = originals(more)
    model = ModelProto.FromString(some[rng.integers(len(some))])
    other = ModelProto.FromString(some[rng.integers(len(some))])
    for _ in range(rng.integers(1, 5)):
        change = CHANGES[rng.integers(len(CHANGES))]
        try:
            change(model, other, rng)
        except _NOT_SO:
            continue  # protobuf itself forbids the value
    data = model.SerializeToString()
    if rng.random() < 0.25:
        data = mutated_bytes(data, rng)
    path = folder / "m.onnx"
    path.write_bytes(data)
    lay_data(folder, str(rng.choice(DATA)))
    return path


def lay_data(folder: Path, kind: str) -> None:
    """The data file beside a model: one that fits, or what none should be."""
    path, outside = folder / "w.bin", folder.parent / "outside" / "w.bin"
    (folder / "link").symlink_to(outside.parent)
    match kind:
        case "plain":
            path.write_bytes(np.arange(4096, dtype="<f4").tobytes())
        case "short":
            path.write_bytes(b"short")
        case "sparse":
            path.touch()
            os.truncate(path, 1 << 40)
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(outside)
        case "hard link":
            os.link(outside, path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")


def _inside(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for one in value if field.is_repeated else (value,):
                yield from _inside(one)


def _some(model: ModelProto, rng: Rng, kind: type[Message] | None = None) -> Message:
    found = [m for m in _inside(model) if kind is None or isinstance(m, kind)]
    if not found:
        raise ValueError("none of this kind")
    return found[rng.integers(len(found))]


def _value(field: Any, rng: Rng) -> Any:
    """A value of a scalar field that a parser or a tool may stumble over."""
    match field.cpp_type:
        case field.CPPTYPE_STRING:
            text = (*TEXTS, *PLACES, "w", "x", "y")[rng.integers(len(TEXTS) + len(PLACES) + 3)]
            return rng.bytes(rng.integers(40)) if field.type == field.TYPE_BYTES else text
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return REALS[rng.integers(len(REALS))]
        case field.CPPTYPE_ENUM:
            numbers = list(field.enum_type.values_by_number)
            return int(rng.choice(numbers)) if rng.random() < 0.8 else int(rng.integers(-1, 99))
        case _:
            return INTEGERS[rng.integers(len(INTEGERS))]


def scalar(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """One field gets another value, one more, one less, or is set for the first time."""
    message = _some(model, rng)
    given = [f for f, _ in message.ListFields() if f.type != f.TYPE_MESSAGE]
    every = [f for f in message.DESCRIPTOR.fields if f.type != f.TYPE_MESSAGE]
    fields = given if given and rng.random() < 0.7 else every
    field = fields[rng.integers(len(fields))]
    if not field.is_repeated:
        setattr(message, field.name, _value(field, rng))
        return
    values = getattr(message, field.name)
    if len(values) and rng.random() < 0.7:
        values[rng.integers(len(values))] = _value(field, rng)
    else:
        values.append(_value(field, rng))


def cleared(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """A field is gone."""
    message = _some(model, rng)
    fields = [f for f, _ in message.ListFields()]
    message.ClearField(fields[rng.integers(len(fields))].name)


def repeated(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """Elements of a list are gone, twice there, many times, or in another order."""
    message = _some(model, rng)
    lists = [f for f, _ in message.ListFields() if f.is_repeated]
    values = getattr(message, lists[rng.integers(len(lists))].name)
    at = int(rng.integers(len(values)))
    match rng.integers(4):
        case 0:
            del values[at]
        case 1:
            values.extend([values[at]])
        case 2:
            values.extend([values[at]] * int(rng.integers(2, 60)))
        case _:
            order = list(values)[::-1]
            del values[:]
            values.extend(order)


def transplanted(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """A part of one model in the place of such a part of another."""
    target = _some(model, rng)
    target.CopyFrom(_some(other, rng, type(target)))


def connected(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """An edge leads from somewhere else: back, out of a subgraph, to nothing."""
    nodes = [m for m in _inside(model) if isinstance(m, NodeProto)]
    names = [n for m in nodes for n in (*m.output, *m.input)]
    names += [str(t.name) for t in model.graph.initializer] + ["x", "y", "", "absent"]
    node = nodes[rng.integers(len(nodes))]
    ends = node.input if rng.random() < 0.7 else node.output
    name = names[rng.integers(len(names))]
    if len(ends) and rng.random() < 0.7:
        ends[rng.integers(len(ends))] = name
    else:
        ends.append(name)


def operator(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """A node is of another type or domain."""
    node: Any = _some(model, rng, NodeProto)
    node.op_type = operators()[rng.integers(len(operators()))]
    if rng.random() < 0.4:
        node.domain = DOMAINS[rng.integers(len(DOMAINS))]


def outside(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """Values of a tensor lie in a file."""
    tensor: Any = _some(model, rng, TensorProto)
    tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.7:
        tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=PLACES[_often_first(len(PLACES), rng)])
    for key in ("offset", "length", "checksum", "__class__", "basepath"):
        if rng.random() < 0.4:
            tensor.external_data.add(key=key, value=NUMBERS[rng.integers(len(NUMBERS))])


def _often_first(count: int, rng: Rng) -> int:
    return 0 if rng.random() < 0.5 else int(rng.integers(count))


def shaped(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """A tensor says another shape or type, whose product or bytes may overflow."""
    tensor: Any = _some(model, rng, TensorProto)
    if rng.random() < 0.5:
        tensor.data_type = int(rng.integers(0, 30))
        return
    sizes = [INTEGERS[rng.integers(len(INTEGERS))] for _ in range(rng.integers(1, 5))]
    tensor.dims[:] = [*tensor.dims, 0] if rng.random() < 0.2 else sizes


def valued(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """Weights are not finite, or as large as there are, or all the same."""
    tensor: Any = _some(model, rng, TensorProto)
    inside = tensor.data_location != TensorProto.EXTERNAL
    if not inside or tensor.data_type not in TensorProto.DataType.values():
        return
    array = np.array(numpy_helper.to_array(tensor))
    array.flat[:: int(rng.integers(1, 9))] = REALS[rng.integers(len(REALS))]
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def nested(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """The nodes lie in a branch, of a branch, of a branch."""
    inner = model.graph
    for _ in range(int(rng.choice([1, 2, 5, 30]))):
        graph = onnx.GraphProto(name="g")
        graph.input.extend(inner.input)
        graph.output.extend(inner.output)
        branch = onnx.GraphProto()
        branch.CopyFrom(inner)
        del branch.input[:]
        graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
        outputs = [o.name for o in inner.output]
        made = helper.make_node("If", ["c"], outputs, then_branch=branch, else_branch=branch)
        graph.node.append(made)
        inner = graph
        if graph.ByteSize() > 1 << 17:
            break
    model.graph.CopyFrom(inner)


def functions(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """Functions that call others, each of them several times, or themselves."""
    depth, calls = int(rng.choice([1, 3, 40, 400])), int(rng.integers(1, 4))
    opset = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    last = rng.choice(["f0", "Relu"])
    for k in range(depth):
        called = f"f{k + 1}" if k + 1 < depth else str(last)
        domain = "own" if called != "Relu" else ""
        names = ["a", *(f"t{i}" for i in range(calls - 1)), "b"]
        body = [helper.make_node(called, [i], [o], domain=domain)
                for i, o in itertools.pairwise(names)]  # fmt: skip
        model.functions.append(helper.make_function("own", f"f{k}", ["a"], ["b"], body, opset))
    model.opset_import.add(domain="own", version=1)
    node = model.graph.node[rng.integers(len(model.graph.node))]
    result = node.output[0]
    node.output[0] = "before the call"
    model.graph.node.append(helper.make_node("f0", ["before the call"], [result], domain="own"))


def heavy(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """What is short to write and long to compute: huge constants, loops without an end."""
    graph, size = model.graph, INTEGERS[rng.integers(4, len(INTEGERS))]
    shape = numpy_helper.from_array(np.array([size, size], np.int64), "huge shape")
    graph.initializer.append(shape)
    node = graph.node[rng.integers(len(graph.node))]
    result, made = node.output[0], "before the load"
    node.output[0] = made
    kind = rng.integers(4)
    if kind == 0:
        graph.node.append(helper.make_node("ConstantOfShape", ["huge shape"], ["load"]))
    elif kind == 1:
        graph.node.append(helper.make_node("Expand", [made, "huge shape"], ["load"]))
    elif kind == 2:
        names = ["s0", *(f"s{k}" for k in range(1, 40))]
        graph.node.append(helper.make_node("Shape", [made], ["s0"]))
        for before, after in itertools.pairwise(names):
            graph.node.append(helper.make_node("Concat", [before] * 2, [after], axis=0))
        graph.node.append(helper.make_node("ConstantOfShape", ["s39"], ["load"]))
    else:
        _endless(graph, made, size)
    graph.node.append(helper.make_node("Add", [made, "load"], [result]))


def _endless(graph: Any, made: str, trips: int) -> None:
    graph.initializer.append(numpy_helper.from_array(np.array(trips, np.int64), "trips"))
    graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["u"])],
        "body",
        [value("i", 7, []), value("c", 9, []), value("v", 1, None)],
        [value("d", 9, []), value("u", 1, None)],
    )
    graph.node.append(helper.make_node("Loop", ["trips", "on", made], ["load"], body=body))


def versions(model: ModelProto, other: ModelProto, rng: Rng) -> None:
    """Operator sets of the past, the future, or twice."""
    model.ir_version = INTEGERS[rng.integers(len(INTEGERS))] if rng.random() < 0.3 else 8
    chosen = model.opset_import[rng.integers(len(model.opset_import))]
    chosen.version = int(rng.choice([0, 1, 6, 11, 13, 18, 25, 99, -1]))


Change = Callable[[ModelProto, ModelProto, Rng], None]
CHANGES: tuple[Change, ...] = (
    scalar, scalar, scalar, cleared, repeated, repeated, transplanted, transplanted, connected,
    connected, operator, operator, outside, outside, shaped, valued, nested, functions, heavy,
    versions,
)  # fmt: skip
