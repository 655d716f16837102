"""Mutants of small models: a network or one line, never anything else."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import open_network, wire

from .handmade import CASES


def _open_all(path: Path) -> str | None:
    """Open, list, read; None where that works, the message of a clean refusal otherwise."""
    try:
        network = open_network(path)
        for name in network.weights:
            _ = network.weights[name].shape
        _ = (network.inputs, network.outputs, network.opset, network.producer, network.sha256)
        _ = (network.no_weights_reason, network.warnings)
        network.runnable()
    except ModelFileError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["conv", "subgraph", "function constant", "unit axes", "tied "
                                  "embedding", "constant floats"])  # fmt: skip
def test_random_bytes(name: str, tmp_path: Path) -> None:
    """A few hundred mutants of each model: a network or one line, never anything else."""
    rng = np.random.Generator(np.random.PCG64(len(name)))
    data = np.frombuffer(CASES[name]().model.SerializeToString(), np.uint8)
    outcomes = []
    for k in range(150):
        mutant = data.copy()
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            mutant[position] ^= np.uint8(rng.integers(1, 256))
        cut = rng.integers(1, len(data)) if k % 5 == 0 else len(data)
        (tmp_path / "m.onnx").write_bytes(mutant[:cut].tobytes())
        outcomes.append(_open_all(tmp_path / "m.onnx"))
    refusals = [message for message in outcomes if message is not None]
    assert 0 < len(refusals) < len(outcomes)
    assert all("\n" not in message for message in refusals)


@pytest.mark.parametrize("field", ["op_type", "domain", "name", "input", "output"])
def test_names_that_are_no_text(field: str, tmp_path: Path) -> None:
    model = CASES["matmul"]().model
    node = model.graph.node[0]
    if field in ("input", "output"):
        getattr(node, field)[0] = "NAME"
    else:
        setattr(node, field, "NAME")
    data = model.SerializeToString().replace(b"NAME", b"N\xff\xfeE")
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ModelFileError, match="a name that is no text at byte"):
        open_network(tmp_path / "m.onnx")


def test_other_text_that_is_no_text(tmp_path: Path) -> None:
    """Descriptions in an old encoding do not matter; a place of external data does."""
    model = CASES["matmul"]().model
    model.doc_string = model.graph.input[0].name = model.producer_name = "NAME"
    model.opset_import.add(domain="NAME", version=1)
    data = model.SerializeToString().replace(b"NAME", b"N\xff\xfeE")
    (tmp_path / "m.onnx").write_bytes(data)
    assert _open_all(tmp_path / "m.onnx") is None
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="NAME")
    data = model.SerializeToString().replace(b"NAME", b"N\xff\xfeE")
    (tmp_path / "m.onnx").write_bytes(data)
    found = _open_all(tmp_path / "m.onnx") or ""
    assert "expected text as the place of external data, got other bytes" in found


def _field(number: int, body: bytes) -> bytes:
    return wire.length_field(number, body)


MANY = {
    "initializers": lambda n: b"".join(
        _field(5, b"\x08\x01\x10\x01\x42\x06%06d\x4a\x04\0\0\0\0" % i) for i in range(n)
    ),
    "of one name": lambda n: _field(5, b"\x08\x01\x10\x01\x42\x01w\x4a\x04\0\0\0\0") * n,
    "without anything": lambda n: _field(5, b"") * n,
    "dimensions": lambda n: _field(5, b"\x08\x01" * 10 * n + b"\x10\x01"),
    "numbers": lambda n: _field(5, b"\x28\0" * 10 * n + b"\x10\x06"),
    "places": lambda n: _field(5, b"\x6a\0" * 10 * n + b"\x10\x01"),
    "attributes": lambda n: _field(1, _field(5, b"") * 5 * n),
    "sparse": lambda n: _field(15, b"") * n,
    "chain": lambda n: b"".join(
        _field(1, b"\x0a\x06%06d\x12\x06%06d\x22\x04Relu" % (i, i + 1)) for i in range(n)
    ),
}


@pytest.mark.parametrize("kind", list(MANY))
def test_time_grows_with_the_size_and_no_faster(kind: str, tmp_path: Path) -> None:
    """A megabyte of anything is opened or refused in seconds."""
    model = CASES["matmul"]().model
    base = model.graph.SerializeToString()
    seconds = []
    for many in (4_000, 16_000):
        graph = _field(7, base + MANY[kind](many))
        (tmp_path / "m.onnx").write_bytes(b"\x08\x08" + graph + _field(8, b"\x10\x11"))
        seconds.append(min(_time_of_opening(tmp_path / "m.onnx") for _ in range(3)))
    assert seconds[1] < 10 * seconds[0] + 0.3


def _time_of_opening(path: Path) -> float:
    """Processor time, without that of collecting what other tests have left in the process."""
    gc.collect()
    gc.freeze()
    try:
        began = time.process_time()
        _open_all(path)
        return time.process_time() - began
    finally:
        gc.unfreeze()
