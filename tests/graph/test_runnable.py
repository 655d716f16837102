"""What the runtime gets: arrays where it takes them, bytes or a folder where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
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


def _branch(name: str, weights: str, inside: dict[str, NDArray[Any]] | None = None) -> Any:
    return onnx.helper.make_graph(
        [node("MatMul", ["x", weights], [f"{name}_out"])],
        name,
        [],
        [onnx.helper.make_tensor_value_info(f"{name}_out", 1, None)],
        [tensor(a, n) for n, a in (inside or {}).items()],
    )


def _never(out: str) -> list[onnx.NodeProto]:
    """A choice by the input between two branches; the first one uses w, the second one u."""
    return [
        node("ReduceMax", ["x"], ["top"], keepdims=0),
        node("Greater", ["top", "huge"], ["go"]),
        node("If", ["go"], [out], then_branch=_branch("a", "w"), else_branch=_branch("b", "u")),
    ]


_HUGE = {"huge": np.float32(9)}
_PLAIN = [node("MatMul", ["x", "w"], ["y"])]
_SHADOWED = [
    *_never("unused")[:2],
    node("If", ["go"], ["y"], then_branch=_branch("a", "w"),
         else_branch=_branch("b", "u", {"u": values(64, 64, seed=8)})),
]  # fmt: skip
IDLE = {
    "nothing reads it": (_PLAIN, {}),
    "a node reads it whose value nothing reads": ([*_PLAIN, node("Neg", ["u"], ["z"])], {}),
    "a branch reads it": (_never("y"), _HUGE),
    "a branch reads it whose value nothing reads": ([*_PLAIN, *_never("z")], _HUGE),
    "a branch has another one of its name": (_SHADOWED, _HUGE),
}


@pytest.mark.parametrize("kind", IDLE)
@pytest.mark.parametrize("width", [64, 3], ids=["large", "small"])
def test_tensors_that_nothing_reads_do_not_stop_a_network(
    tmp_path: Path, kind: str, width: int
) -> None:
    nodes, more = IDLE[kind]
    width = 64 if "branch reads" in kind else width
    model = make(nodes, {"w": values(64, 64), "u": values(width, 64, seed=7), **more}, (2, 64))
    onnx.save(model, tmp_path / "m.onnx")
    assert _same(open_network(tmp_path / "m.onnx"))


def test_a_default_value_that_nothing_reads_needs_no_feed(tmp_path: Path) -> None:
    extra = [onnx.helper.make_tensor_value_info("u", 1, [64, 64])]
    model = make(_PLAIN, {"w": values(64, 64), "u": values(64, 64)}, (2, 64), extra_inputs=extra)
    onnx.save(model, tmp_path / "m.onnx")
    assert _same(open_network(tmp_path / "m.onnx"))


def test_new_weights_of_one_that_nothing_reads_are_saved(tmp_path: Path) -> None:
    nodes = [*_PLAIN, node("MatMul", ["x", "u"], ["z"])]
    onnx.save(make(nodes, {"w": values(64, 64), "u": values(64, 64)}, (2, 64)), tmp_path / "m.onnx")
    changed = open_network(tmp_path / "m.onnx").with_weights({"u": values(64, 64, seed=9)})
    assert _same(changed)
    changed.save(tmp_path / "n.onnx")
    assert np.array_equal(open_network(tmp_path / "n.onnx").weights["u"], changed.weights["u"])


def test_the_runtime_folds_normalisations_into_the_weights_of_each_variant(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["y"]),
    ]
    norm = {name: np.abs(values(16, seed=i)) + 1 for i, name in enumerate("sbmv")}
    onnx.save(make(nodes, {"w": values(16, 8, 3, 3), **norm}, (2, 8, 6, 6)), tmp_path / "m.onnx")
    base = open_network(tmp_path / "m.onnx")
    made = base.with_weights({"w": base.weights["w"] * 2}).runnable()
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    given = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in made.initializers.items()}
    options.add_external_initializers(list(given), list(given.values()))
    ort.InferenceSession(made.model, options, providers=["CPUExecutionProvider"])
    left = {n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "w" in made.initializers
    assert "BatchNormalization" not in left
