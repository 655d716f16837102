"""The penalty in the loss of Keras: value and gradient are the method's own."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Additions, Moment, Payload, Penalty
from nnw_onnx_tensorflow import KerasNetwork, Watermark
from nnw_onnx_tensorflow.additions import Addition

L = keras.layers


def told(mark):
    """The penalty of the model's weights, straight from the method."""
    network, claim = KerasNetwork(mark.model), mark.claim
    added = mark.method.additions(network, claim.payload, claim.key)
    weights = {name: network.weights[name] for name in added.carriers}
    moment = Moment(weights, {}, None, np.zeros(0, bool), {}, 0, lambda given: {})
    return added.penalty(moment)


def _gradients(loss, variables):
    """Value and gradients of a function of no arguments, by the backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss()
        found = tape.gradient(value, [v.value for v in variables])
        return float(value), [np.asarray(g) for g in found]
    for variable in variables:
        variable.value.grad = None
    value = loss()
    value.backward()
    return float(value.detach()), [v.value.grad.numpy().copy() for v in variables]


def _model(dtype):
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((9, 9, 4), dtype=dtype),
        L.Conv2D(6, 3, dtype=dtype, name="plain"),
        L.Conv2DTranspose(5, 3, dtype=dtype, name="transposed"),
        L.DepthwiseConv2D(4, dtype=dtype, name="depthwise"),
        L.Flatten(dtype=dtype),
        L.Dense(3, dtype=dtype, name="dense"),
    ]
    return keras.Sequential(layers, name="net")


@pytest.mark.parametrize("name", ["plain", "transposed", "depthwise", "dense"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_the_gradient_is_the_one_of_the_method(name, dtype, tolerance):
    mark = Watermark(_model(dtype), Payload.from_bits("1011001"), layer=f"{name}/kernel", seed=0)
    (entry,) = mark.learning
    value, (gradient,) = _gradients(lambda: 3 * mark.penalty(), [entry.variable])
    penalty = told(mark)
    wanted = 3 * penalty.weights[mark.key.layers[0]]
    assert value == pytest.approx(3 * penalty.value, rel=tolerance)
    got = entry.layout.canonical(gradient)
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()
    assert np.abs(wanted).max() > 0


def test_the_gradient_is_that_of_finite_differences():
    mark = Watermark(_model("float64"), Payload.from_bits("10110"), layer="plain/kernel", seed=0)
    variable = mark.learning[0].variable
    _, (gradient,) = _gradients(mark.penalty, [variable])
    start = keras.ops.convert_to_numpy(variable).copy()
    for index in [(0, 0, 0, 0), (1, 2, 3, 4), (2, 2, 1, 5)]:
        values = []
        for step in (1e-5, -1e-5):
            moved = start.copy()
            moved[index] += step
            variable.assign(moved)
            values.append(float(mark.penalty()))
        assert gradient[index] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_a_penalty_of_several_layers_reaches_each_of_them():
    """A penalty that couples two layers: (sum of one) x (sum of the other)."""
    network = KerasNetwork(_model("float64"))
    names = tuple(network.named(name) for name in ("plain", "dense"))

    def product(now):
        one, other = (np.asarray(now.weights[name], np.float64) for name in names)
        gradient = {
            names[0]: np.full(one.shape, other.sum()),
            names[1]: np.full(other.shape, one.sum()),
        }
        return Penalty(float(one.sum() * other.sum()), gradient)

    addition = Addition(Additions(product, carriers=names), network)
    variables = [entry.variable for entry in addition.learning]
    one, other = (keras.ops.convert_to_numpy(v).copy() for v in variables)

    def compute(arrays, targets):
        return addition.compute(arrays, None, lambda weights: {}, advance=True)

    module = importlib.import_module(f"nnw_onnx_tensorflow._gradient_{keras.backend.backend()}")
    value, gradients = _gradients(lambda: module.term(compute, variables, []), variables)
    assert value == pytest.approx(one.sum() * other.sum())
    assert np.allclose(gradients[0], other.sum())
    assert np.allclose(gradients[1], one.sum())
    assert addition.step == 1


def test_it_works_in_a_traced_function():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs on another backend")
    mark = Watermark(_model("float32"), Payload.from_bits("10110"), layer="plain/kernel", seed=0)
    (entry,) = mark.learning

    @tf.function
    def traced():
        with tf.GradientTape() as tape:
            value = mark.penalty()
        return tape.gradient(value, entry.variable.value)

    _, (wanted,) = _gradients(mark.penalty, [entry.variable])
    assert np.array_equal(traced().numpy(), wanted)


def test_another_backend_is_refused(monkeypatch):
    mark = Watermark(_model("float32"), Payload.from_bits("10110"), seed=0)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(TrainingError, match="tensorflow or torch, got jax; set KERAS_BACKEND"):
        mark.penalty()
