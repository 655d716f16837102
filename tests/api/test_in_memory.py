"""Networks that are in memory: what exporters return, without a file between."""

from __future__ import annotations

import copy
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from google.protobuf.message import EncodeError
from onnx import TensorProto, helper, numpy_helper

import nnw_onnx as nnw
from nnw_onnx.graph import InMemory, Limits, memory, open_in_memory

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
OTHER = MODEL.with_name("cnn-1.onnx")

Form = Callable[[Path], InMemory]

FORMS: dict[str, Form] = {
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "ModelProto": onnx.load,
    "onnx_ir.Model": onnx_ir.load,
    "of tf2onnx": lambda path: (onnx.load(path), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_network_in_memory_is_that_of_its_file(form: str, tmp_path: Path) -> None:
    given = FORMS[form](MODEL)
    marked = nnw.inject(given, "mine", seed=1)
    from_file = nnw.inject(MODEL, "mine", seed=1)
    assert marked.key.layers == from_file.key.layers == ("conv3.weight",)
    assert nnw.detect(marked.network.to_proto(), marked.claim)
    assert not nnw.detect(given, marked.claim)
    assert nnw.verify_commitment(marked.claim, given)
    if form != "onnx_ir.Model":  # which writes the fields in another order
        assert marked.network.digest == from_file.network.digest
        marked.network.save(tmp_path / "memory.onnx")
        from_file.network.save(tmp_path / "file.onnx")
        written = (tmp_path / "memory.onnx").read_bytes()
        assert written == (tmp_path / "file.onnx").read_bytes() == marked.network.to_bytes()


def test_every_function_takes_one() -> None:
    proto, other = onnx.load(MODEL), onnx.load(OTHER)
    marked = nnw.inject(proto, "mine", seed=1, reference=other)
    suspect = marked.network.to_bytes()
    assert nnw.decode(suspect, marked.claim).payload.text == "mine"
    shuffled = nnw.modify(suspect, "permutation", seed=1).network.to_proto()
    assert nnw.detect(shuffled, marked.claim, reference=proto)
    merged = nnw.modify(proto, "averaging", copies=[other])
    assert merged.change is not None
    assert nnw.verify_seal(proto, nnw.seal(nnw.open(MODEL)))
    assert not nnw.verify_seal(other, nnw.seal(proto))
    enrolled = nnw.inject(proto, nnw.Payload(), method="nct", seed=1)
    assert nnw.detect(proto, enrolled.claim)
    intact = nnw.inject(proto, nnw.Payload(), method="reversible", seed=1)
    assert nnw.restore(intact.network.to_proto(), intact.claim).to_bytes() == MODEL.read_bytes()


def test_what_was_given_is_not_changed_and_later_changes_do_not_count() -> None:
    proto = onnx.load(MODEL)
    before, network = copy.deepcopy(proto), nnw.open(proto)
    nnw.inject(proto, "mine", seed=1)
    assert proto == before
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    assert network.to_proto() == before
    given = bytearray(MODEL.read_bytes())
    network = nnw.open(given)
    given[:] = bytes(len(given))
    assert network.to_bytes() == MODEL.read_bytes()


def test_it_has_words_in_the_place_of_a_file(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "nnw_onnx"):
        network = nnw.open(MODEL.read_bytes())
    assert caplog.messages == [f"opened 8 layers in memory, SHA-256 {network.sha256}"]
    assert repr(network) == "OnnxNetwork('network in memory', 8 layers)"
    assert (network.sources, network.warnings) == ((), ())
    assert network.sha256 == nnw.open(MODEL).sha256


def outside(folder: Path) -> onnx.ModelProto:
    """A model whose values lie in a data file."""
    model = onnx.load(MODEL)
    onnx.save(
        model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    return onnx.load(folder / "m.onnx", load_external_data=False)


def test_values_outside_are_put_inside(tmp_path: Path) -> None:
    outside(tmp_path)
    opened = nnw.open(tmp_path / "m.onnx")
    proto = opened.to_proto()
    assert [(t.name, t.data_location) for t in proto.graph.initializer] == [
        (t.name, TensorProto.DEFAULT) for t in onnx.load(MODEL).graph.initializer
    ]
    for inside, whole in zip(
        proto.graph.initializer, onnx.load(MODEL).graph.initializer, strict=True
    ):
        assert np.array_equal(numpy_helper.to_array(inside), numpy_helper.to_array(whole))
    marked = nnw.inject(opened, "mine", seed=1)
    assert nnw.detect(marked.network.to_bytes(), marked.claim)
    onnx.checker.check_model(marked.network.to_proto(), full_check=True)


@pytest.mark.parametrize("form", ["ModelProto", "bytes", "onnx_ir.Model"])
def test_values_in_files_are_refused(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = outside(tmp_path)
    # The folder that a process happens to be in is not the model's.
    monkeypatch.chdir(tmp_path)
    given = {
        "ModelProto": proto,
        "bytes": proto.SerializeToString(),
        "onnx_ir.Model": onnx_ir.load(tmp_path / "m.onnx"),
    }[form]
    with pytest.raises(nnw.NnwError) as caught:
        nnw.inject(given, "mine")
    assert str(caught.value) == (
        "tensor 'conv1.weight': expected its values inside a network in memory, which has no "
        "folder, got the location 'm.data'; give the file that it was read from"
    )


def nested(levels: int) -> onnx.ModelProto:
    """A model with graphs in graphs."""
    model = onnx.ModelProto(ir_version=8)
    graph = model.graph
    for _ in range(levels):
        node = graph.node.add(op_type="If", input=["c"], output=["y"])
        graph = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g
    graph.name = "innermost"
    return model


def broken_ir() -> onnx_ir.Model:
    """A model of onnx_ir whose values cannot be computed."""

    def fail() -> onnx_ir.TensorProtocol:
        raise ValueError("no\nvalues")

    model = onnx_ir.load(MODEL)
    lazy = onnx_ir.LazyTensor(
        fail, dtype=onnx_ir.DataType.FLOAT, shape=onnx_ir.Shape([16, 1, 3, 3]), name="conv1.weight"
    )
    model.graph.initializers["conv1.weight"].const_value = lazy
    return model


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "model: expected a network in memory, got an empty one; give what the exporter"),
        (onnx.ModelProto(), "model: expected a network in memory, got an empty one; give what"),
        (b"\x93NUMPY", "got a numpy array at 'network in memory'; give the .onnx file"),
        (b"\x80\x04pickle", "got a Python pickle (never loaded here) at 'network in memory'"),
        (b"\xff" * 40, "expected an ONNX file, got bytes that are none"),
        (onnx.ModelProto(ir_version=8), "no graph inside"),
        (
            (onnx.ModelProto(), {}),
            "model: expected a network in memory below 2 GiB, got one with values beside it; save "
            "it with external data (onnx.save, or save of what made it) and give the file",
        ),
        (nested(30), "expected graphs nested at most 24 deep, got deeper ones"),
        ([onnx.ModelProto()], "got list; give the path of a .onnx file"),
        (broken_ir(), "model: expected an onnx_ir.Model that can be written, got"),
    ],
)  # fmt: skip
def test_it_is_as_untrusted_as_a_file(given: object, message: str) -> None:
    with pytest.raises(nnw.NnwError) as caught:
        nnw.open(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_message_that_protobuf_does_not_write_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than 2 GiB of values, in less memory than they take."""

    class Large:
        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            raise EncodeError("Failed to serialize proto")

    monkeypatch.setattr(memory, "ModelProto", Large)
    for given in (Large(), (Large(), None)):
        with pytest.raises(nnw.NnwError) as caught:
            nnw.open(given)
        assert str(caught.value) == (
            "model: expected a network in memory below 2 GiB, got one that protobuf does not "
            "write; save it with external data (onnx.save, or save of what made it) and give the "
            "file"
        )


def test_limits_hold() -> None:
    data = MODEL.read_bytes()
    with pytest.raises(nnw.NnwError, match=r"in memory, got \d+ bytes, more than 1000; give what"):
        open_in_memory(data, Limits(file_bytes=1000))
    with pytest.raises(nnw.NnwError, match="expected at most 3 tensors"):
        open_in_memory(data, Limits(tensors=3))


def test_more_than_a_message_holds_is_saved_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nnw.open(MODEL)
    monkeypatch.setattr(Limits, "file_bytes", 1000)
    for give in (network.to_bytes, network.to_proto):
        with pytest.raises(nnw.NnwError) as caught:
            give()
        assert str(caught.value) == (
            f"model: expected at most 1000 bytes with all values inside, got "
            f"{MODEL.stat().st_size}; save it to a file, which keeps external data"
        )


def test_packed_and_typed_values_come_out_as_they_are() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    wide = rng.normal(size=(64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
            helper.make_node("MatMul", ["h", "d"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [64, 64], wide.reshape(-1)),
            helper.make_tensor("q", TensorProto.INT4, [64, 8], rng.integers(-8, 8, 512)),
            numpy_helper.from_array(np.float32(0.1), "s"),
        ],
    )
    opsets = [helper.make_opsetid("", 21)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    marked = nnw.inject(proto, "ab", layer="w", seed=1)
    out = marked.network.to_proto()
    onnx.checker.check_model(out, full_check=True)
    assert out.graph.initializer[1] == proto.graph.initializer[1]
    assert np.array_equal(
        numpy_helper.to_array(out.graph.initializer[0]), marked.network.stored["w"]
    )


def test_what_torch_exports_needs_no_file() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 32, 3),
        torch.nn.Flatten(),
        torch.nn.Linear(512, 10),
    ).eval()
    program = torch.onnx.export(model, (torch.zeros(2, 1, 8, 8),), dynamo=True, verbose=False)
    marked = nnw.inject(program, "mine", seed=1)
    assert nnw.detect(marked.network.to_proto(), marked.claim)
    assert not nnw.detect(program.model_proto, marked.claim)
    assert not nnw.detect(program, marked.claim)


def test_a_gate_takes_the_file_that_goes_out(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text('key = "key.npz"\n')
    marked = nnw.inject(MODEL, "mine, 2026", seed=1)
    nnw.save_key(marked.claim, tmp_path / "key.npz")
    with pytest.raises(nnw.NnwError) as caught:
        nnw.gate(tmp_path / "gate.toml", marked.network)
    assert str(caught.value) == (
        "network: expected an ONNX file, got nnw_onnx.graph.network.OnnxNetwork; save it and give "
        "the path"
    )


def test_a_zip_in_memory_is_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("__MODEL_PROTO.onnx", MODEL.read_bytes())
    with pytest.raises(nnw.NnwError, match=r"a zip archive .* at 'network in memory'; export"):
        nnw.open((tmp_path / "m.zip").read_bytes())
