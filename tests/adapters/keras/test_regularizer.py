"""The penalty in the loss of Keras: value and gradient are the method's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Mark, Payload, Penalty
from nnw_onnx_tensorflow import KerasNetwork, Watermark

L = keras.layers


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
    (entry,) = mark.entries()
    regularizer = mark.regularizer()
    value, (gradient,) = _gradients(lambda: 3 * regularizer(entry.variable), [entry.variable])
    weights = KerasNetwork(mark.model).weights
    penalty = mark.method.weight_penalty(weights, mark.payload, mark.key)
    wanted = 3 * penalty.gradient[mark.key.layers[0]]
    assert value == pytest.approx(3 * penalty.value, rel=tolerance)
    got = entry.layout.canonical(gradient)
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()
    assert np.abs(wanted).max() > 0


def test_the_gradient_is_that_of_finite_differences():
    mark = Watermark(_model("float64"), Payload.from_bits("10110"), layer="plain/kernel", seed=0)
    variable = mark.entries()[0].variable
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


@dataclass(frozen=True)
class Product:
    """A method whose penalty couples two layers: (sum of one) x (sum of the other)."""

    name: ClassVar[str] = "product"
    summary: ClassVar[str] = "for tests"

    def weight_penalty(self, weights, payload, key):
        one, other = (np.asarray(weights[name], np.float64) for name in key.layers)
        gradient = {
            key.layers[0]: np.full(one.shape, other.sum()),
            key.layers[1]: np.full(other.shape, one.sum()),
        }
        return Penalty(float(one.sum() * other.sum()), gradient)


def test_a_key_of_several_layers_reaches_each_of_them():
    from nnw_onnx.vocabulary import Key
    from nnw_onnx_tensorflow.regularizer import WatermarkRegularizer

    network = KerasNetwork(_model("float64"))
    names = tuple(network.named(name) for name in ("plain", "dense"))
    key = Key("product", bytes(32), names, ((), ()), 1)
    entries = [network.entry(name) for name in names]
    beside = keras.regularizers.L2(0.5)
    regularizer = WatermarkRegularizer(Mark(Product(), Payload((1,)), key), entries, beside)
    variables = [entry.variable for entry in entries]
    one, other = (keras.ops.convert_to_numpy(v).copy() for v in variables)
    value, gradients = _gradients(lambda: regularizer(variables[0]), variables)
    assert value == pytest.approx(one.sum() * other.sum() + 0.5 * np.square(one).sum())
    assert np.allclose(gradients[0], other.sum() + one)
    assert np.allclose(gradients[1], one.sum())


def test_it_works_in_a_traced_function():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs on another backend")
    mark = Watermark(_model("float32"), Payload.from_bits("10110"), layer="plain/kernel", seed=0)
    (entry,) = mark.entries()

    @tf.function
    def traced():
        with tf.GradientTape() as tape:
            value = mark.penalty()
        return tape.gradient(value, entry.variable.value)

    _, (wanted,) = _gradients(mark.penalty, [entry.variable])
    assert np.array_equal(traced().numpy(), wanted)


def test_the_key_is_never_saved_with_a_model():
    mark = Watermark(_model("float32"), Payload.from_bits("10110"), seed=0)
    with pytest.raises(TrainingError, match="expected a model without the key to be saved, got"):
        mark.regularizer().get_config()


def test_another_backend_is_refused(monkeypatch):
    mark = Watermark(_model("float32"), Payload.from_bits("10110"), seed=0)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(TrainingError, match="tensorflow or torch, got jax; set KERAS_BACKEND"):
        mark.regularizer()
