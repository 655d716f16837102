"""The weights that arrive at an operator, judged by onnxruntime, and how new ones get there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ValueInfoProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.vocabulary import Layer

from .arithmetic_models import MADE, Made, mask
from .handmade import make, node, options, run_path, values


@pytest.fixture(params=MADE, ids=lambda n: n.replace(" ", "-"))
def made(request: pytest.FixtureRequest) -> Made:
    return MADE[request.param]()


def opened(model: onnx.ModelProto, folder: Path, name: str = "m.onnx") -> OnnxNetwork:
    onnx.save(model, folder / name)
    return open_network(folder / name)


def layer_of(network: OnnxNetwork, name: str = "w") -> Layer:
    return next(layer for layer in network.layers if layer.name == name)


def arriving(path: Path, made: Made) -> NDArray[Any]:
    """The value in front of the operator as onnxruntime computes it, in canonical order."""
    model = onnx.load(path)
    if not made.arrives:
        model = onnx.inliner.inline_local_functions(model)
    (consumer,) = [n for n in model.graph.node if n.op_type in ("MatMul", "Conv") and
                   n.output[0] == "y"]  # fmt: skip
    del model.graph.output[:]
    model.graph.output.append(ValueInfoProto(name=consumer.input[1]))
    plain = options()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), plain, ["CPUExecutionProvider"])
    feeds = {i.name: np.zeros(made.feed, np.float32) for i in session.get_inputs()}
    return np.transpose(session.run(None, feeds)[0], made.order)


def test_weights_are_what_arrives(made: Made, tmp_path: Path) -> None:
    network = opened(made.model, tmp_path)
    layer = layer_of(network, made.layer)
    got = arriving(network.path, made)
    assert (layer.role, layer.live, layer.learns) == ("kernel", True, True)
    assert set(layer.parts) == set(made.parts)
    read = network.weights[made.layer]
    assert not read.flags.writeable
    np.testing.assert_allclose(_by_axis(read), _by_axis(got), rtol=2e-6, atol=1e-7)


def _by_axis(array: NDArray[Any]) -> NDArray[Any]:
    """(out, the rest), since flattened inputs may have more axes in the file."""
    return np.asarray(array).reshape(array.shape[0], -1)


def test_new_weights_arrive(made: Made, tmp_path: Path) -> None:
    """Exactly where the arithmetic can; what arrives is told by the network and by the file."""
    network = opened(made.model, tmp_path)
    before = network.weights[made.layer]
    asked = (before * 0.9 + 0.02 * values(*before.shape, seed=9)).astype(np.float32)
    changed = network.with_weights({made.layer: asked})
    got = changed.weights[made.layer]
    changed.save(tmp_path / "new.onnx")
    ran = arriving(tmp_path / "new.onnx", made)
    np.testing.assert_allclose(_by_axis(got), _by_axis(ran), rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(open_network(tmp_path / "new.onnx").weights[made.layer], got)
    assert (changed.digest == network.digest) == np.array_equal(got, before)
    if made.exact:
        np.testing.assert_allclose(got, asked, rtol=1e-5, atol=1e-6)
    else:
        assert np.abs(got - asked).mean() <= np.abs(before - asked).mean() + 1e-6


def test_weights_that_stay_change_nothing(made: Made, tmp_path: Path) -> None:
    network = opened(made.model, tmp_path)
    same = network.with_weights({made.layer: network.weights[made.layer]})
    np.testing.assert_allclose(
        same.weights[made.layer], network.weights[made.layer], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("name", ["mask", "mask of conditions", "where"])
def test_masked_weights_stay_masked_and_what_they_hide_stays(name: str, tmp_path: Path) -> None:
    network = opened(MADE[name]().model, tmp_path)
    changed = network.with_weights({"w": np.ones((5, 4))})
    np.testing.assert_array_equal(changed.weights["w"], mask().T)
    stored = onnx.numpy_helper.to_array(
        next(t for t in _saved(changed, tmp_path).graph.initializer if t.name == "w")
    )
    np.testing.assert_array_equal(stored[mask() > 0], 1)
    np.testing.assert_array_equal(stored[mask() == 0], values(4, 5)[mask() == 0])


def _saved(network: OnnxNetwork, folder: Path) -> onnx.ModelProto:
    network.save(folder / "saved.onnx")
    return onnx.load(folder / "saved.onnx")


def test_filters_of_zeros_through_weight_normalisation(tmp_path: Path) -> None:
    """A direction cannot be zero: it stays, and the gain becomes zero."""
    network = opened(MADE["weight norm, ReduceL2"]().model, tmp_path)
    asked = values(5, 4, seed=7)
    asked[2] = 0
    changed = network.with_weights({"w": asked})
    np.testing.assert_allclose(changed.weights["w"], asked, rtol=1e-6, atol=1e-7)
    assert changed.weights["g"][0, 2] == 0
    ran = arriving(_path(changed, tmp_path), MADE["weight norm, ReduceL2"]())
    assert np.isfinite(ran).all()


def _path(network: OnnxNetwork, folder: Path) -> Path:
    network.save(folder / "saved.onnx")
    return folder / "saved.onnx"


def test_latent_weights_of_a_binary_kernel(tmp_path: Path) -> None:
    """Signs that are asked for arrive; weights whose sign stays keep their latent value."""
    latent = values(4, 5)
    nodes = [node("Sign", ["w"], ["k"]), node("MatMul", ["x", "k"], ["y"])]
    network = opened(make(nodes, {"w": latent}, (2, 4)), tmp_path)
    asked = np.array(np.sign(latent).T)
    asked[0] *= -1
    changed = network.with_weights({"w": asked})
    np.testing.assert_array_equal(changed.weights["w"], asked)
    stored = onnx.numpy_helper.to_array(_saved(changed, tmp_path).graph.initializer[0])
    np.testing.assert_array_equal(stored[:, 1:], latent[:, 1:])
    np.testing.assert_array_equal(stored[:, 0], -latent[:, 0])


def test_latent_weights_beyond_a_clip_stay(tmp_path: Path) -> None:
    latent = values(4, 5) * 3
    nodes = [node("Clip", ["w", "low", "high"], ["k"]), node("MatMul", ["x", "k"], ["y"])]
    arrays = {"w": latent, "low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    network = opened(make(nodes, arrays, (2, 4)), tmp_path)
    np.testing.assert_array_equal(network.weights["w"], np.clip(latent, -1, 1).T)
    half = network.with_weights({"w": network.weights["w"] * np.float32(0.5)})
    np.testing.assert_array_equal(half.weights["w"], np.clip(latent, -1, 1).T / 2)
    same = network.with_weights({"w": network.weights["w"]})
    assert same.digest == network.digest


@pytest.mark.parametrize(
    ("operators", "reason"),
    [
        (
            [node("ReduceMean", ["w"], ["n"], keepdims=1), node("Sub", ["w", "n"], ["k"])],
            "they are used twice on the way to the operator, and joined by Sub",
        ),
        (
            [node("ReduceL2", ["w"], ["n"], keepdims=1), node("Div", ["w", "n"], ["k"])],
            "they are normalised on the way to the operator, and nothing sets their scale",
        ),
        (
            [node("Einsum", ["w", "o"], ["k"], equation="ab,bc->ac")],
            "no weights can be solved for through Einsum",
        ),
    ],
)
def test_what_cannot_be_solved_says_why(operators: Any, reason: str, tmp_path: Path) -> None:
    arrays = {"w": values(4, 5), "o": values(5, 2, seed=4)}
    model = make([*operators, node("MatMul", ["x", "k"], ["y"])], arrays, (2, 4))
    network = opened(model, tmp_path)
    layer = layer_of(network)
    assert (layer.obstacle, layer.replaceable) == (reason, False)
    (got,) = run_path(network.path, {"x": np.vstack([np.eye(4)[:2]]).astype(np.float32)})
    np.testing.assert_allclose(network.weights["w"].T[:2], got, rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelFileError) as error:
        network.with_weights({"w": network.weights["w"]})
    assert str(error.value) == (
        f"layer 'w': expected a layer that takes new weights, got one where {reason}; "
        "choose another one with `nnw layers`"
    )


@pytest.mark.parametrize(
    "operators",
    [
        [node("Expand", ["w", "huge"], ["e"]), node("ReduceMax", ["e", "ax"], ["k"], keepdims=0)],
        [node("ConstantOfShape", ["huge"], ["e"]), node("ReduceSum", ["e"], ["s"], keepdims=0),
         node("Mul", ["w", "s"], ["k"])],
        [node("Tile", ["w", "often"], ["e"]), node("ReduceMax", ["e"], ["s"], keepdims=0),
         node("Mul", ["w", "s"], ["k"])],
    ],
)  # fmt: skip
def test_arithmetic_asks_for_no_more_memory_than_a_file_may(operators: Any, tmp_path: Path) -> None:
    """The runtime would need terabytes; reading says in one line that it does not."""
    arrays = {
        "w": values(4, 5),
        "huge": np.array([1 << 20, 1 << 20, 4, 5], np.int64),
        "often": np.array([1 << 20, 1 << 20], np.int64),
        "ax": np.array([0, 1], np.int64),
    }
    model = make([*operators, node("MatMul", ["x", "k"], ["y"])], arrays, (2, 4))
    network = opened(model, tmp_path)
    with pytest.raises(ModelFileError, match="expected arithmetic on its weights that can be"):
        dict(network.weights)


def test_a_long_chain_needs_no_stack(tmp_path: Path) -> None:
    nodes = [node("Neg", ["w"], ["n0"])]
    nodes += [node("Neg", [f"n{k}"], [f"n{k + 1}"]) for k in range(3_000)]
    nodes += [node("MatMul", ["x", "n3000"], ["y"])]
    network = opened(make(nodes, {"w": values(4, 5)}, (2, 4)), tmp_path)
    np.testing.assert_array_equal(network.weights["w"], -values(4, 5).T)


def test_a_layer_without_arithmetic_is_not_copied(tmp_path: Path) -> None:
    nodes = [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"], ["y"])]
    network = opened(make(nodes, {"w": values(50, 40)}, (2, 40)), tmp_path)
    layer = layer_of(network)
    assert (layer.arithmetic, layer.parts, layer.obstacle) == ((), (), None)
    assert network.weights["w"].base is not None
    assert not network.weights["w"].flags.owndata


def test_arithmetic_is_told(tmp_path: Path) -> None:
    network = opened(MADE["low rank"]().model, tmp_path)
    layer = layer_of(network)
    assert layer.arithmetic == ("MatMul", "Mul", "Add")
    assert {x.name: (x.role, x.learns) for x in network.layers if x.name in "ab"} == {
        "a": ("other", True),
        "b": ("other", True),
    }
    assert layer.consumers == ("MatMul:mm:1",)
