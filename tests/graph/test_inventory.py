"""What counts as the same network, and that nothing that counts goes unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from nnw_onnx.graph import open_network
from nnw_onnx.graph.canonical import Teller
from nnw_onnx.graph.inventory import Inventory

from .handmade import CASES, branch, make, node, tensor, values
from .reserialising import reserialised, typed, written


def taken(model: ModelProto, path: Path, **more: Any) -> Inventory:
    """The inventory of a model, by way of a file."""
    path.write_bytes(model.SerializeToString())
    return open_network(path).inventory(**more)


def content(found: Inventory) -> list[Any]:
    """All that an inventory says, values as bytes."""
    held = [
        (h.name, h.place, h.dtype, h.shape, b"".join(map(bytes, h.blocks(64))))
        for h in found.tensors
    ]
    return [[(p.name, p.operator, p.digest) for p in found.parts], held]


def rich() -> ModelProto:
    """A model with Constants, a branch, a function, text, numbers of four bits and attributes."""
    own = helper.make_function(
        "own", "Twice", ["a"], ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 21)],
    )  # fmt: skip
    four = helper.make_tensor("four", TensorProto.INT4, [5], [1, -2, 3, -4, 5])
    text = helper.make_tensor("text", TensorProto.STRING, [2], [b"one", b"two"])
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[1, 1]),
        node("Constant", [], ["c"], value=tensor(values(1, 4, 1, 1), "c")),
        node("Constant", [], ["flag"], value=numpy_helper.from_array(np.array(True))),
        node("Add", ["a", "c"], ["d"]),
        node("If", ["flag"], ["e"], then_branch=branch("t", 1), else_branch=branch("f", 2)),
        node("Twice", ["d"], ["y"], domain="own"),
    ]
    made = make(nodes, {"w": values(4, 3, 3, 3), "b": values(7)}, [1, 3, 8, 8], functions=[own])
    made.graph.initializer.extend([four, text])
    made.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    return made


def test_every_piece_is_there_once(tmp_path: Path) -> None:
    found = taken(rich(), tmp_path / "m.onnx")
    names = [part.name for part in found.parts]
    assert len(set(names)) == len(names)
    assert names[:5] == ["model", "operator sets", "graph", "input x", "output y"]
    assert {"node a", "node e", "graph in e.then_branch", "function own.Twice"} <= set(names)
    assert "node b in function own.Twice" in names
    held = {h.name: (h.place, h.dtype, h.shape) for h in found.tensors}
    assert held["w"] == ("initializer", "float32", (4, 3, 3, 3))
    assert held["c"] == ("Constant", "float32", (1, 4, 1, 1))
    assert held["four"] == ("initializer", "int4", (5,))
    assert held["text"] == ("initializer", "string", (2,))
    assert any(name.endswith("in e.then_branch") for name in held)
    (operator,) = {part.operator for part in found.parts if part.name == "node a"}
    assert operator == "Conv"


@pytest.mark.parametrize("name", CASES)
def test_how_a_file_is_written_does_not_count(name: str, tmp_path: Path) -> None:
    model = CASES[name]().model
    before = content(taken(model, tmp_path / "m.onnx"))
    rng = np.random.Generator(np.random.Philox(len(name)))
    for number in range(4):
        other = written(reserialised(model, rng), tmp_path / str(number) / "m.onnx", rng)
        assert content(open_network(other).inventory()) == before


def test_other_tools_write_the_same_network(tmp_path: Path) -> None:
    model = rich()
    before = content(taken(model, tmp_path / "m.onnx"))
    ir = onnx_ir.load(tmp_path / "m.onnx")
    onnx_ir.save(ir, tmp_path / "ir.onnx")
    onnx_ir.save(ir, tmp_path / "ir2.onnx", external_data="ir2.data")
    text = onnx.printer.to_text(model)
    assert "Conv" in text
    for name in ("ir.onnx", "ir2.onnx"):
        assert content(open_network(tmp_path / name).inventory()) == before
    open_network(tmp_path / "ir2.onnx").save(tmp_path / "own.onnx")
    assert content(open_network(tmp_path / "own.onnx").inventory()) == before


def test_typed_values_are_those_of_raw_ones(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(1))
    kinds = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int64,
             np.bool_, ml_dtypes.int4, ml_dtypes.uint4]  # fmt: skip
    for number, kind in enumerate(kinds):
        raw = numpy_helper.from_array(rng.integers(0, 2, (3, 5)).astype(kind), "w")
        model = make([node("Identity", ["x"], ["y"])], {}, [1])
        model.graph.initializer.append(raw)
        other = reserialised(model, np.random.Generator(np.random.Philox(number)))
        typed(other.graph.initializer[0])
        assert not other.graph.initializer[0].HasField("raw_data")
        same = content(taken(model, tmp_path / "b.onnx"))
        assert content(taken(other, tmp_path / "a.onnx")) == same


def test_bits_that_fill_the_last_byte_do_not_count(tmp_path: Path) -> None:
    model = rich()
    before = taken(model, tmp_path / "a.onnx")
    four = next(t for t in model.graph.initializer if t.name == "four")
    packed = bytearray(numpy_helper.from_array(numpy_helper.to_array(four)).raw_data)
    four.ClearField("int32_data")
    for filling, same in ((0x00, True), (0xF0, True), (0x01, False)):
        four.raw_data = bytes([*packed[:-1], packed[-1] ^ filling])
        found = taken(model, tmp_path / "b.onnx")
        assert (content(found) == content(before)) is same


Edit = Callable[[ModelProto], None]


def _swap_nodes(model: ModelProto) -> None:
    copies = [model.graph.node[k].SerializeToString() for k in (1, 2)]
    first, second = map(onnx.NodeProto.FromString, copies)
    model.graph.node[1].CopyFrom(second)
    model.graph.node[2].CopyFrom(first)


def _attribute(model: ModelProto) -> None:
    model.graph.node[0].attribute[0].ints[3] = 2


def _negative_zero(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("alpha", -0.0))


def _later_field(model: ModelProto) -> None:
    node = model.graph.node[0]
    node.CopyFrom(type(node).FromString(node.SerializeToString() + b"\xf8\x3f\x05"))


CHANGES: dict[str, tuple[Edit, set[str]]] = {
    "an attribute": (_attribute, {"node a"}),
    "an attribute of minus zero": (_negative_zero, {"node a"}),
    "a field of a later ONNX": (_later_field, {"node a"}),
    "an operator": (lambda m: setattr(m.graph.node[3], "op_type", "Mul"), {"node d"}),
    "a domain": (lambda m: setattr(m.graph.node[3], "domain", "mine"), {"node d"}),
    "an edge": (lambda m: m.graph.node[3].input.__setitem__(1, "a"), {"node d"}),
    "an operator set": (lambda m: setattr(m.opset_import[0], "version", 20), {"operator sets"}),
    "the version of the IR": (lambda m: setattr(m, "ir_version", m.ir_version - 1), {"model"}),
    "a shape of an input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 0),
        {"input x"},
    ),
    "a free size": (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].Clear(), {"input x"},
    ),
    "a function": (
        lambda m: setattr(m.functions[0].node[0], "op_type", "Mul"),
        {"node b in function own.Twice"},
    ),
    "a default of a function": (
        lambda m: m.functions[0].attribute.append("more"), {"function own.Twice"},
    ),
    "a node in a branch": (
        lambda m: setattr(m.graph.node[4].attribute[0].g.node[0], "op_type", "Mul"),
        {"in e."},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_the_graph_is_seen_where_it_is(what: str, tmp_path: Path) -> None:
    edit, wanted = CHANGES[what]
    model = rich()
    before = taken(model, tmp_path / "a.onnx")
    edit(model)
    after = taken(model, tmp_path / "b.onnx")
    old = {p.name: (p.operator, p.digest) for p in before.parts}
    new = {p.name: (p.operator, p.digest) for p in after.parts}
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if what == "a node in a branch":
        assert len(changed) == 1
        assert all("in e." in name for name in changed)
    else:
        assert changed == wanted
    assert content(before)[1] == content(after)[1]


def test_the_order_of_nodes_counts(tmp_path: Path) -> None:
    model = rich()
    before = taken(model, tmp_path / "a.onnx")
    _swap_nodes(model)
    after = taken(model, tmp_path / "b.onnx")
    assert set(before.parts) == set(after.parts)
    assert before.parts != after.parts


SAYINGS: dict[str, Edit] = {
    "a text": lambda m: setattr(m, "doc_string", "new"),
    "the producer": lambda m: setattr(m, "producer_name", "new"),
    "the version": lambda m: setattr(m, "model_version", 7),
    "metadata": lambda m: helper.set_model_props(m, {"a": "b"}),
    "the name of the graph": lambda m: setattr(m.graph, "name", "new"),
    "the name of a node": lambda m: setattr(m.graph.node[0], "name", "new"),
    "a text of a node": lambda m: setattr(m.graph.node[0], "doc_string", "new"),
    "a text of a tensor": lambda m: setattr(m.graph.initializer[0], "doc_string", "new"),
    "a text of an input": lambda m: setattr(m.graph.input[0], "doc_string", "new"),
    "shapes of inner values": lambda m: m.graph.value_info.pop(),
    "the name of a node of a function": lambda m: setattr(m.functions[0].node[0], "name", "new"),
}


@pytest.mark.parametrize("what", SAYINGS)
def test_what_a_file_says_of_itself_counts_where_asked_for(what: str, tmp_path: Path) -> None:
    model = rich()
    plain, whole = (taken(model, tmp_path / "a.onnx", everything=e) for e in (False, True))
    SAYINGS[what](model)
    assert content(taken(model, tmp_path / "b.onnx")) == content(plain)
    assert content(taken(model, tmp_path / "b.onnx", everything=True)) != content(whole)


def test_every_value_counts(tmp_path: Path) -> None:
    model = rich()
    before = content(taken(model, tmp_path / "a.onnx"))
    for tensor_ in model.graph.initializer:
        copy = TensorProto.FromString(tensor_.SerializeToString())
        if tensor_.HasField("raw_data"):
            tensor_.raw_data = bytes([tensor_.raw_data[0] ^ 1]) + tensor_.raw_data[1:]
        elif len(tensor_.string_data):
            tensor_.string_data[1] = b"twO"
        else:
            tensor_.int32_data[0] ^= 1
        after = content(taken(model, tmp_path / "b.onnx"))
        assert after[0] == before[0]
        (changed,) = (a[0] for a, b in zip(after[1], before[1], strict=True) if a != b)
        assert changed == tensor_.name
        tensor_.CopyFrom(copy)


def test_lists_of_text_are_cut_where_they_are_cut(tmp_path: Path) -> None:
    model = rich()
    before = content(taken(model, tmp_path / "a.onnx"))
    text = next(t for t in model.graph.initializer if t.name == "text")
    text.string_data[0], text.string_data[1] = b"onet", b"wo"
    assert content(taken(model, tmp_path / "b.onnx")) != before


def test_long_names_are_told_apart_and_short(tmp_path: Path) -> None:
    one, other = "n" * 3000 + "a", "n" * 3000 + "b"
    model = make([node("Add", [one, other], ["y"])], {one: values(2), other: values(2)}, [1])
    found = taken(model, tmp_path / "m.onnx")
    names = {h.name for h in found.tensors}
    assert len(names) == 2
    assert all(len(name) < 220 for name in names)


def test_a_teller_knows_a_default_from_a_choice() -> None:
    teller = Teller({})
    dim = onnx.TensorShapeProto.Dimension()
    unknown = teller.told(dim)
    dim.dim_value = 0
    assert teller.told(dim) != unknown
    one, other = onnx.NodeProto(op_type="A"), onnx.NodeProto(op_type="A", domain="ai.onnx")
    assert teller.told(one) == teller.told(other)
    assert teller.told(onnx.NodeProto(op_type="\0")) != teller.told(onnx.NodeProto())
