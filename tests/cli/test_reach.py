"""What `nnw layers` and `nnw modify` say of the weights that they reach and that they do not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .conftest import Nnw

LONG = "model.encoder.layers.0." + "submodule." * 12 + "self_attention.query.weight"


def values(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Normal values of a shape."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.standard_normal(shape).astype(np.float32)


def written(
    path: Path, nodes: Sequence[Any], arrays: Mapping[str, NDArray[Any]], feed: Sequence[int]
) -> Path:
    """A model from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(feed))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """A masked kernel, and one that no output depends on."""
    nodes = [
        helper.make_node("Mul", ["w", "m"], ["k"]),
        helper.make_node("MatMul", ["x", "k"], ["y"]),
        helper.make_node("MatMul", ["x", "idle"], ["nobody"]),
    ]
    arrays = {"w": values(8, 8), "m": (values(8, 8) > 0).astype(np.float32), "idle": values(8, 2)}
    return written(tmp_path / "masked.onnx", nodes, arrays, (1, 8))


def test_layers_tells_arithmetic_masks_and_dead_layers(nnw: Nnw, masked: Path) -> None:
    answer = nnw("layers", masked)
    rows = {line.split()[0]: line for line in answer.out.splitlines()}
    assert rows["w"].endswith("arrives by Mul, with m")
    assert rows["m"].endswith("does not learn")
    assert rows["idle"].endswith("dead: reaches no output")
    warning = "nnw: warning: all reaches 44.4% of 144 float weights; left: mask 64, dead 16\n"
    assert answer.err.endswith(warning)


def test_modify_says_what_all_and_what_a_named_layer_reach(
    nnw: Nnw, masked: Path, tmp_path: Path
) -> None:
    words = ("modify", masked, "--modification", "gaussian-noise", "--intensity", "0.1")
    answer = nnw(*words, "-o", tmp_path / "all.onnx")
    assert answer.status == 0
    assert "warning: all reaches 44.4% of 144 float weights; left: mask 64, dead 16" in answer.err
    answer = nnw(*words, "-o", tmp_path / "one.onnx", "--layer", "w")
    assert "nnw: w reaches 44.4% of 144 float weights" in answer.err
    assert "warning: w reaches" not in answer.err


def test_a_name_with_brackets_is_that_layer_alone(nnw: Nnw, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("MatMul", ["h", "w[1]"], ["y"]),
    ]
    arrays = {"w1": values(8, 8), "w[1]": values(8, 8, seed=1)}
    model = written(tmp_path / "m.onnx", nodes, arrays, (1, 8))
    words = ("modify", model, "-o", tmp_path / "n.onnx", "--modification", "gaussian-noise")
    answer = nnw(*words, "--intensity", "0.1", "--layer", "w[1]")
    assert answer.status == 0
    stored = {t.name: t for t in onnx.load(tmp_path / "n.onnx").graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(stored["w1"]), arrays["w1"])
    assert (numpy_helper.to_array(stored["w[1]"]) != arrays["w[1]"]).any()


def test_long_names_and_copies(nnw: Nnw, tmp_path: Path) -> None:
    """A name of 170 letters widens no table; equal tensors are told with their names."""
    nodes = [
        helper.make_node("MatMul", ["x", LONG], ["h"]),
        helper.make_node("MatMul", ["h", "copy"], ["y"]),
    ]
    arrays = {LONG: values(8, 8), "copy": values(8, 8)}
    model = written(tmp_path / "m.onnx", nodes, arrays, (1, 8))
    answer = nnw("layers", model)
    assert max(map(len, answer.out.splitlines())) < 120
    assert LONG[:20] in answer.out
    assert LONG[-20:] in answer.out
    assert "long names are shortened here; '--format json' has them whole" in answer.err
    assert f"equal weights in tensors of their own: {LONG}, copy" in answer.err
    described = json.loads(nnw("layers", model, "--format", "json").out)
    assert described["copies"] == [[LONG, "copy"]]
    assert described["coverage"] == {"reached": 128, "total": 128, "left": {}}
