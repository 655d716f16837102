"""What the runtime gets: arrays where it takes them, bytes or a folder where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network, runnable

from .handmade import make, node, run_path, run_runnable, tensor, values

FEED = {"x": values(2, 64, seed=5)}


def _external(tmp_path: Path, dtype: Any) -> OnnxNetwork:
    nodes = [node("Cast", ["w"], ["c"], to=1), node("MatMul", ["x", "c"], ["m"])]
    nodes += [node("Add", ["m", "b"], ["y"])]
    model = make(nodes, {"b": values(64)}, (2, 64))
    model.graph.initializer.append(tensor(values(64, 64).astype(dtype), "w"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0,
              location="m.data")  # fmt: skip
    return open_network(tmp_path / "m.onnx")


def _same(network: OnnxNetwork) -> bool:
    one, other = run_path(network.path, FEED), run_runnable(network.runnable(), FEED)
    return np.array_equal(one[0], other[0])


def test_large_arrays_are_taken_out(tmp_path: Path) -> None:
    network = _external(tmp_path, np.float32)
    made = network.runnable()
    assert list(made.initializers) == ["w"]
    assert made.initializers["w"].flags.aligned
    assert made.folder is None
    assert len(made.model) < 1000
    assert _same(network)


def test_types_the_runtime_takes_no_arrays_of(tmp_path: Path) -> None:
    network = _external(tmp_path, ml_dtypes.bfloat16)
    made = network.runnable()
    assert not made.initializers
    assert len(made.model) > 64 * 64 * 2
    assert _same(network)


def test_folder_for_what_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runnable, "_EMBED_BELOW", 1000)
    network = _external(tmp_path, ml_dtypes.bfloat16)
    made = network.runnable()
    assert made.folder == tmp_path
    assert len(made.model) < 1000
    assert _same(network)
    zeros = network.with_weights({"w": np.zeros((64, 64))})
    assert zeros.runnable().folder is None
    out: NDArray[Any] = run_runnable(zeros.runnable(), FEED)[0]
    np.testing.assert_array_equal(out, np.tile(values(64), (2, 1)))


def test_arrays_may_be_freed(tmp_path: Path) -> None:
    """The arrays of a Runnable are those of the overlay, not copies of copies."""
    network = _external(tmp_path, np.float32)
    changed = network.with_weights({"w": np.ones((64, 64))})
    assert changed.runnable().initializers["w"] is changed.runnable().initializers["w"]


def test_too_large_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Proto:
        def SerializeToString(self) -> bytes:  # noqa: N802  # the name is protobuf's
            raise ValueError("Message onnx.ModelProto exceeds maximum protobuf size of 2GB")

    with pytest.raises(ModelFileError) as error:
        runnable._serialized(Proto())
    assert str(error.value) == (
        "model: expected a graph below 2 GiB without its large weights, got more; store its "
        "constants as initializers"
    )
