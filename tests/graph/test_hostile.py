"""Files that are broken or hostile: one line each, nothing read outside the folder, no hang."""

from __future__ import annotations

import os
import pickle  # written, never loaded: the tool must refuse such a file
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import nnw_onnx as nnw
from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import Limits, open_network, to_plain_form

from .handmade import CASES, make, node, tensor, values
from .quantized_forms import MATMUL_NBITS


def refusal(path: Path, limits: Limits | None = None) -> str:
    """The message of the error that opening raises."""
    with pytest.raises(ModelFileError) as error:
        open_network(path, limits)
    message = str(error.value)
    assert "\n" not in message
    assert message.isprintable()
    return message


def _external(
    folder: Path, location: str, offset: str | None = "0", length: str | None = "80"
) -> Path:
    """A model with one external tensor of 4 x 5 float32 at a location."""
    model = CASES["matmul"]().model
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            weight.external_data.add(key=key, value=value)
    folder.mkdir(exist_ok=True)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _data(folder: Path, name: str = "w.bin", size: int = 80) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(bytes(size))
    return path


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "a/../../w.bin", "..", "", "C:\\w.bin", "..\\w.bin", "\\\\host\\w.bin"],
)
def test_location_outside(location: str, tmp_path: Path) -> None:
    _data(tmp_path)
    message = refusal(_external(tmp_path / "m", location))
    assert message == (
        "tensor 'w': expected external data inside the model's folder, got the location "
        f"{location!a}; do not use this file, or export it again"
    )


@pytest.mark.parametrize("location", ["/dev/zero", "/etc/passwd"])
def test_absolute_location(location: str, tmp_path: Path) -> None:
    assert f"got the location '{location}'" in refusal(_external(tmp_path / "m", location))


def test_link_to_a_file_outside(tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "w.bin")
    (tmp_path / "m" / "w.bin").symlink_to(_data(tmp_path))
    assert refusal(path) == (
        "tensor 'w': expected external data inside the model's folder, got 'w.bin', a link to a "
        "place outside it; copy the data file itself beside the model"
    )


def test_linked_folder_outside(tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "sub/w.bin")
    _data(tmp_path / "elsewhere")
    (tmp_path / "m" / "sub").symlink_to(tmp_path / "elsewhere")
    assert "a link to a place outside it" in refusal(path)


def test_link_inside_is_fine(tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "w.bin")
    (tmp_path / "m" / "w.bin").symlink_to(_data(tmp_path / "m", "blob"))
    assert open_network(path).weights["w"].shape == (5, 4)


def test_link_in_a_circle(tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "w.bin")
    (tmp_path / "m" / "w.bin").symlink_to(tmp_path / "m" / "w.bin")
    assert refusal(path).startswith("tensor 'w': expected ")


def test_hard_link(tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "w.bin")
    os.link(_data(tmp_path), tmp_path / "m" / "w.bin")
    assert refusal(path) == (
        "tensor 'w': expected external data with one name, got 'w.bin' with 2 hard links; copy "
        "the data file itself beside the model"
    )
    assert len(open_network(path, Limits(hard_links=True)).layers) == 1


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_data_that_is_no_file(kind: str, tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "w.bin")
    target = tmp_path / "m" / "w.bin"
    if kind == "fifo":
        os.mkfifo(target)
    else:
        target.mkdir()
    assert refusal(path) == (
        "tensor 'w': expected a regular file as external data, got 'w.bin', which is none; do not "
        "use this model"
    )


def test_missing_data(tmp_path: Path) -> None:
    assert refusal(_external(tmp_path / "m", "w.bin")) == (
        "tensor 'w': expected its external data file 'w.bin', got none that can be read; put it "
        "into the model's folder"
    )


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [
        ("0", "800", "expected 80 bytes of external data for its shape, got length 800"),
        ("0", "8", "expected 80 bytes of external data for its shape, got length 8"),
        ("8", "80", "expected bytes 8 to 88 of 'w.bin', got a file of 80 bytes"),
        ("8", None, "expected bytes 8 to 88 of 'w.bin', got a file of 80 bytes"),
        ("100", "80", "expected bytes 100 to 180 of 'w.bin', got a file of 80 bytes"),
        ("-8", "80", "expected an external offset of digits, got '-8'"),
        ("0x8", "80", "expected an external offset of digits, got '0x8'"),
        ("9" * 30, "80", "expected an external offset of digits, got '999"),
        ("0", "-80", "expected an external length of digits, got '-80'"),
        ("", "80", "expected an external offset of digits, got ''"),
    ],
)
def test_offset_and_length(offset: str, length: str | None, message: str, tmp_path: Path) -> None:
    _data(tmp_path / "m")
    assert message in refusal(_external(tmp_path / "m", "w.bin", offset, length))


def test_entry_twice(tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "w.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="v.bin")
    path.write_bytes(model.SerializeToString())
    assert "expected one external 'location', got two" in refusal(path)


def _edit(change: Callable[[onnx.ModelProto], None]) -> bytes:
    model = CASES["matmul"]().model
    change(model)
    data: bytes = model.SerializeToString()
    return data


def _longer(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data += bytes(4)


def _shorter(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = bytes(4)


def _huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**62, 2**62]


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-4, 5]


def _negative_empty(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1, 0]
    model.graph.initializer[0].raw_data = b""


def _type(number: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].data_type = number

    return change


def _twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(tensor(values(4, 5, seed=1), "w"))


def _nameless(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].name = ""


def _two_results(model: onnx.ModelProto) -> None:
    model.graph.node.append(node("Relu", ["x"], ["y"]))


def _segment(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].segment.begin = 1


def _typed_short(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.float_data[:] = [1.0] * 19


def _typed_short_half(model: onnx.ModelProto) -> None:
    _typed_short(model)
    weight = model.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_type = TensorProto.FLOAT16
    weight.int32_data[:] = [1] * 19


def _both(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].float_data[:] = [1.0] * 19


def _subgraph_tensor(model: onnx.ModelProto) -> None:
    inner = tensor(values(4, 5), "v")
    inner.dims[:] = [4, 6]
    graph = helper.make_graph([], "inner", [], [], [inner])
    model.graph.node.append(node("If", ["x"], ["z"], then_branch=graph, else_branch=graph))


def _external_text(model: onnx.ModelProto) -> None:
    text = model.graph.initializer.add(name="t", data_type=TensorProto.STRING, dims=[1])
    text.data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_longer, "tensor 'w': expected 80 bytes for shape [4, 5], got 84; the file is damaged"),
        (_shorter, "tensor 'w': expected 80 bytes for shape [4, 5], got 4; the file is damaged"),
        (_huge, "tensor 'w': expected at most 68719476736 elements, got shape [4611686018"),
        (_negative, "tensor 'w': expected dimensions >= 0, got [-4, 5]; export the model again"),
        (_negative_empty, "tensor 'w': expected dimensions >= 0, got [-1, 0]"),
        (_type(99), "tensor 'w': expected a data type of ONNX, got number 99"),
        (_type(0), "tensor 'w': expected a data type of ONNX, got number 0"),
        (_type(-1), "tensor 'w': expected a data type of ONNX, got number -1"),
        (_twice, "model: expected one initializer of each name in a graph, got two of the name"),
        (_nameless, "model: expected one initializer of each name in a graph, got one without"),
        (_two_results, "model: expected one result of each name in a graph, got two of the name"),
        (_segment, "tensor 'w': expected a whole tensor, got a segment of one"),
        (_typed_short, "tensor 'w': expected 80 bytes for shape [4, 5], got 76"),
        (_typed_short_half, "tensor 'w': expected 20 values for shape [4, 5], got 19"),
        (_both, "tensor 'w': expected its values in one field, got several"),
        (_subgraph_tensor, "tensor 'v': expected 96 bytes for shape [4, 6], got 80"),
        (_external_text, "tensor 't': expected text inside the model, got external data"),
    ],
)
def test_broken_tensors(
    change: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(_edit(change))
    assert message in refusal(tmp_path / "m.onnx")


def test_names_like_paths_are_only_names(tmp_path: Path) -> None:
    model = make([node("MatMul", ["x", "../../evil\n"], ["y"])], {"../../evil\n": values(4, 5)},
                 (2, 4))  # fmt: skip
    path = tmp_path / "deep" / "er" / "m.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
    network = open_network(path)
    network.with_weights({"../../evil\n": np.zeros((5, 4))}).save(path.with_name("n.onnx"))
    found = sorted(p.name for p in tmp_path.rglob("*"))
    assert found == ["deep", "er", "m.onnx", "n.onnx"]
    with pytest.raises(ModelFileError, match=r"layer '\.\./\.\./evil\\n'") as error:
        network.with_weights({"../../evil\n": np.zeros(3)})
    assert str(error.value).isprintable()


def _nested(levels: int) -> onnx.ModelProto:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(levels):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g",
                                  [], [])  # fmt: skip
    return helper.make_model(graph)


def test_depth(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_nested(20).SerializeToString())
    assert open_network(path).layers == ()
    path.write_bytes(_nested(25).SerializeToString())
    assert refusal(path) == (
        f"model: expected graphs nested at most 24 deep, got deeper ones at {str(path)!r}; "
        "simplify or split the model, or do not use this file"
    )


def test_bottomless_bytes(tmp_path: Path) -> None:
    """Nesting made by hand, far deeper than any parser's stack."""
    inner = b""
    for k in range(6000):
        number = (7 if k == 5999 else (1, 5, 6)[k % 3]) << 3 | 2
        length, size = bytearray(), len(inner)
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        inner = bytes([number]) + bytes(length) + bytes([size]) + inner
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a" + inner)
    refusal(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(file_bytes=10), "bytes, more than 10"),
        (Limits(nodes=0), "expected at most 0 nodes, got more"),
        (Limits(tensors=0), "expected at most 0 tensors, got more"),
        (Limits(fields=3), "expected at most 3 fields, got more"),
        (Limits(elements=3), "expected at most 3 elements, got shape [4, 5]"),
    ],
)
def test_limits(limits: Limits, message: str, tmp_path: Path) -> None:
    onnx.save(CASES["matmul"]().model, tmp_path / "m.onnx")
    assert message in refusal(tmp_path / "m.onnx", limits)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file (Keras?)"),
        (pickle.dumps({"state": [1.0]}), "a Python pickle (never loaded here)"),
        (b"\x1f\x8b\x08" + bytes(20), "a gzip archive"),
        (b"\x1c\0\0\0TFL3" + bytes(20), "a TensorFlow Lite file"),
        (b"\x1c\0\0\0ORTM" + bytes(20), "an onnxruntime .ort file"),
        (b'\x40\0\0\0\0\0\0\0{"a":', "a safetensors file"),
        (b'ir_version: 3\ngraph {\n  name: "g"\n}\n', "the text form of an ONNX model (prototxt)"),
        (b'{"model": 1}\n', "a JSON file"),
        (b"../../assets/models/m.onnx", "the text of a link to another file"),
        (b"hello\nworld\n", "a text file"),
        (b"\x08\x0a", "bytes that are none (no graph inside)"),
        (b"\xff\xff\xff\xff", "bytes that are none ("),
        (bytes(100), "bytes that are none ("),
    ],
)
def test_other_formats_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    found = refusal(path)
    assert found.startswith(f"model: expected an ONNX file, got {message}")
    assert str(path) in found
    assert "; " in found


def test_zip(tmp_path: Path) -> None:
    _zip(tmp_path / "m.pt")
    assert "got a zip archive (a PyTorch or Keras checkpoint?)" in refusal(tmp_path / "m.pt")


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "got a folder at" in refusal(tmp_path)
    assert "got an empty file at" in refusal(tmp_path / "empty.onnx")
    assert "got a pipe or device at" in refusal(tmp_path / "pipe.onnx")
    assert "got a pipe or device at" in refusal(Path("/dev/zero"))
    assert refusal(tmp_path / "absent.onnx") == (
        "model: expected a readable .onnx file, got No such file or directory for "
        f"{str(tmp_path / 'absent.onnx')!r}; check the path"
    )
    refusal(Path("a\0b.onnx"))


def test_a_small_file_reserves_little(tmp_path: Path) -> None:
    """Reading up to a limit reserves that much memory first, which there may not be."""
    onnx.save(CASES["matmul"]().model, tmp_path / "m.onnx")
    tracemalloc.start()
    try:
        open_network(tmp_path / "m.onnx")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bits", [0, -1, 3, 9, 2**31, 2**63 - 1, -(2**63)])
def test_bits_that_no_runtime_packs(bits: int, tmp_path: Path) -> None:
    model = MATMUL_NBITS["groups"]().model
    next(a for a in model.graph.node[0].attribute if a.name == "bits").i = bits
    onnx.save(model, tmp_path / "m.onnx")
    network = open_network(tmp_path / "m.onnx")
    (layer,) = network.layers
    assert layer.obstacle == "its bits per weight are none of 1, 2, 4 and 8"
    with pytest.raises(ModelFileError) as refused:
        _ = network.weights[layer.name]
    assert str(refused.value) == (
        f"layer {layer.name!r}: expected 1, 2, 4 or 8 bits per weight for MatMulNBits, got "
        "another number; quantize the model again"
    )


def test_sizes_below_zero_are_not_known(tmp_path: Path) -> None:
    model = CASES["matmul"]().model
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -(2**31)
    onnx.save(model, tmp_path / "m.onnx")
    assert open_network(tmp_path / "m.onnx").inputs[0].shape[0] is None


@pytest.mark.parametrize("field", ["attribute", "output"])
def test_constants_of_nothing(field: str, tmp_path: Path) -> None:
    model = CASES["matmul"]().model
    empty = helper.make_node("Constant", [], ["c"], value=tensor(np.ones(1, np.float32), "c"))
    empty.ClearField(field)
    model.graph.node.append(empty)
    onnx.save(model, tmp_path / "m.onnx")
    to_plain_form(tmp_path / "m.onnx", tmp_path / "p.onnx")
    assert empty in onnx.load(tmp_path / "p.onnx").graph.node


@pytest.mark.parametrize("name", ["N", "K"])
@pytest.mark.parametrize("size", [0, -1, 1 << 20, 2**63 - 1, -(2**63)])
def test_a_layer_without_weights_takes_none(name: str, size: int, tmp_path: Path) -> None:
    model = MATMUL_NBITS["groups"]().model
    next(a for a in model.graph.node[0].attribute if a.name == name).i = size
    onnx.save(model, tmp_path / "m.onnx")
    (layer,) = open_network(tmp_path / "m.onnx").layers
    reason = "there are no weights, or not as many as the graph says"
    assert (layer.size, layer.obstacle) == (0, reason)
    with pytest.raises(ModelFileError, match="there are no weights"):
        nnw.modify(tmp_path / "m.onnx", "grid-noise")


def test_groups_that_are_no_integers(tmp_path: Path) -> None:
    model = MATMUL_NBITS["groups"]().model
    given = next(t for t in model.graph.initializer if t.name == "g")
    given.CopyFrom(tensor(onnx.numpy_helper.to_array(given).astype(np.float32), "g"))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="expected numbers, scales and zero points that fit"):
        _ = open_network(tmp_path / "m.onnx").weights["q"]


@pytest.mark.parametrize(
    ("operator", "inputs", "outputs", "told"),
    [
        ("Where", ["x", "x"], ["u"], "3 inputs of an operator 'Where', got 2"),
        ("Relu", ["x", "x"], ["u"], "1 input of an operator 'Relu', got 2"),
        ("Concat", [], ["u"], "at least 1 inputs of an operator 'Concat', got 0"),
        ("Conv", ["x"], ["u"], "2 to 3 inputs of an operator 'Conv', got 1"),
        ("Split", ["x"], [], "at least 1 outputs of an operator 'Split', got 0"),
    ],
)
def test_too_few_or_too_many(
    operator: str, inputs: list[str], outputs: list[str], told: str, tmp_path: Path
) -> None:
    model = CASES["matmul"]().model
    model.graph.node.append(helper.make_node(operator, inputs, outputs))
    onnx.save(model, tmp_path / "m.onnx")
    assert refusal(tmp_path / "m.onnx") == f"model: expected {told}; export the model again"
    model.graph.node[-1].domain = "own"
    onnx.save(model, tmp_path / "m.onnx")
    assert open_network(tmp_path / "m.onnx").layers


def test_a_function_of_its_own_has_its_own_inputs(tmp_path: Path) -> None:
    model = CASES["matmul"]().model
    body = [helper.make_node("Add", ["a", "b"], ["c"])]
    sets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("", "Relu", ["a", "b"], ["c"], body, sets))
    model.graph.node.append(helper.make_node("Relu", ["x", "x"], ["u"]))
    onnx.save(model, tmp_path / "m.onnx")
    assert open_network(tmp_path / "m.onnx").layers


def test_a_function_whose_result_nothing_makes(tmp_path: Path) -> None:
    model = CASES["matmul"]().model
    body = [helper.make_node("Relu", ["a"], ["c"])]
    made = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, tmp_path / "m.onnx")
    nnw.modify(tmp_path / "m.onnx", "dropped-names").network.save(tmp_path / "d.onnx")
    (function,) = onnx.load(tmp_path / "d.onnx").functions
    assert (list(function.input), list(function.output)) == (["1"], ["b"])
