"""Only weights learn: masks, statistics and constants of normalisation stay, and it is told."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from nnw_onnx.kit import trainings
from nnw_onnx.vocabulary import Recipe

from .made_networks import HEAD, by_runtime, opened
from .small_networks import Data, job

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch
from nnw_onnx_torch.training.trainer import TorchTrainer  # noqa: E402 - needs torch

# As an exporter writes a pruned network that normalises its own input.
NORMALISED = (
    HEAD
    + """g (float[n, 3, 6, 6] x) => (float[n, 4] y) {
    centred = Sub(x, mean)
    scaled = Div(centred, std)
    w1 = Mul(orig, mask)
    h = Conv<pads = [1, 1, 1, 1]>(scaled, w1, b)
    hn = BatchNormalization(h, gamma, beta, rm, rv)
    r = Relu(hn)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    y = Gemm<transB = 1>(f, v, c)
}"""
)


@pytest.fixture
def normalised(tmp_path, rng):
    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return opened(
        tmp_path, NORMALISED, mean=normal(1, 3, 1, 1), std=np.full((1, 3, 1, 1), 0.5, np.float32),
        orig=normal(8, 3, 3, 3), mask=(rng.random((8, 3, 3, 3)) < 0.5).astype(np.float32),
        b=normal(8), gamma=np.ones(8, np.float32), beta=normal(8), rm=normal(8),
        rv=np.ones(8, np.float32), v=normal(4, 8), c=normal(4),
    )  # fmt: skip


def images(rng, count=48):
    return Data(rng.random((count, 3, 6, 6), dtype=np.float32), np.arange(count) % 4)


def test_a_training_moves_weights_and_nothing_else(normalised, rng):
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.1, batch_norm="freeze")
    trained = TorchTrainer().train(normalised, job(images(rng), recipe))
    before, after = normalised.stored, trained.network.stored
    constants = {"mean", "std", "mask", "rm", "rv"}
    for name in before:
        assert np.array_equal(before[name], after[name]) == (name in constants), name
    assert set(np.unique(after["mask"])) == {0.0, 1.0}
    pruned = before["mask"] == 0
    assert (trained.network.weights["orig"][pruned] == 0).all()
    assert sorted(trained.facts["frozen"]) == sorted(constants)
    assert sorted(trained.facts["trained"]) == sorted(set(before) - constants)


def test_what_learns_is_told_in_words(normalised):
    found = trainings.learning(normalised.layers)
    assert str(found).startswith("6 layers (orig, b, gamma, beta, v, c) learn; 5 layers (")
    assert "mask" in found.frozen
    last = trainings.learning(normalised.layers, ("v", "c", "mask"))
    assert last.trained == ("v", "c")
    assert str(trainings.learning(())) == "no layers learn"


def test_the_module_answers_as_the_runtime_and_shows_what_arrives(normalised, rng):
    module = OnnxModule(normalised).eval()
    x = rng.random((5, 3, 6, 6), dtype=np.float32)
    (wanted,) = by_runtime(normalised, x)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach(), wanted, atol=1e-5)
    parameters = {name for name, t in module.tensors.items() if t.requires_grad}
    assert parameters == {"orig", "b", "gamma", "beta", "v", "c"}
    np.testing.assert_array_equal(module.weights["orig"], normalised.weights["orig"])
    module.arriving("orig").sum().backward()
    gradient = module.parameter("orig").grad.numpy()
    np.testing.assert_array_equal(gradient, normalised.stored["mask"])


def test_a_function_that_is_called_twice_has_its_weights_once(tmp_path, rng):
    """One parameter, which gets the gradients of both calls."""
    model = parser.parse_model(
        HEAD
        + """g (float[n, 4] x) => (float[n, 4] y) {
            h = mine.twice(x)
            y = mine.twice(h)
        }
        <domain: "mine", opset_import: ["" : 17]> twice (a) => (b) { b = MatMul(a, w) }"""
    )
    values = rng.normal(size=(4, 4)).astype(np.float32)
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(values))
    model.functions[0].node.insert(0, constant)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    network = opened(tmp_path, model)
    module = OnnxModule(network)
    ((name, parameter),) = module.tensors.items()
    x = torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32))
    module(x).sum().backward()
    own = torch.from_numpy(values.copy()).requires_grad_()
    (x @ own @ own).sum().backward()
    torch.testing.assert_close(parameter.grad, own.grad)
    changed = network.with_weights({name: network.weights[name] * 2})
    (answer,) = by_runtime(changed, x.numpy())
    np.testing.assert_allclose(answer, x.numpy() @ values @ values * 4, rtol=1e-5)
