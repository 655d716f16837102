"""A Keras model seen as a network: names, layouts, roles, inference."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest

from nnw_onnx.errors import InferenceError, ModelFileError
from nnw_onnx_tensorflow import KerasNetwork

L = keras.layers


def test_the_package_is_imported_without_a_framework():
    code = (
        "import sys, nnw_onnx_tensorflow; "
        "print(sorted({'keras', 'tensorflow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_loaded_when_asked_for():
    import nnw_onnx_tensorflow

    assert set(dir(nnw_onnx_tensorflow)) == {
        "Exported", "KerasNetwork", "Watermark", "export", "rekey",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nnw_onnx_tensorflow.nothing


def _built(layer, *shape):
    model = keras.Sequential([keras.Input(shape), layer])
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=tuple(variable.shape)))
    return model


def _only(model, name):
    network = KerasNetwork(model)
    (layer,) = [x for x in network.layers if x.name.endswith(f"/{name}")]
    stored = np.asarray(keras.ops.convert_to_numpy(network.entry(layer.name).variable))
    return layer, network.weights[layer.name], stored


@pytest.mark.parametrize(
    ("layer", "shape", "operator", "element"),
    [
        (L.Dense(3), (5,), "MatMul", lambda w, o, i: w[i, o]),
        (L.Conv1D(3, 4), (9, 5), "Conv", lambda w, o, i, a: w[a, i, o]),
        (L.Conv2D(3, (2, 4)), (9, 9, 5), "Conv", lambda w, o, i, a, b: w[a, b, i, o]),
        (L.Conv3D(3, 2), (5, 5, 5, 2), "Conv", lambda w, o, i, a, b, c: w[a, b, c, i, o]),
        (L.Conv1DTranspose(3, 4), (9, 5), "ConvTranspose", lambda w, o, i, a: w[a, o, i]),
        (
            L.Conv2DTranspose(3, (2, 4)), (9, 9, 5), "ConvTranspose",
            lambda w, o, i, a, b: w[a, b, o, i],
        ),
        (
            L.DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 5), "Conv",
            lambda w, o, i, a, b: w[a, b, o // 2, o % 2],
        ),
        (
            L.EinsumDense("abc,cde->abde", (None, 2, 3)), (7, 5), "Einsum",
            lambda w, d, e, c: w[c, d, e],
        ),
    ],
)  # fmt: skip
def test_kernels_are_out_in_kernel(layer, shape, operator, element):
    found, canonical, stored = _only(_built(layer, *shape), "kernel")
    assert (found.operator, found.role) == (operator, "kernel")
    assert found.shape == canonical.shape
    assert found.stored_shape == stored.shape
    for index in np.ndindex(canonical.shape):
        assert canonical[index] == element(stored, *index)
    if found.axes is not None and found.group == 1:
        assert np.array_equal(canonical, stored.transpose(found.axes))


def test_a_depthwise_kernel_has_a_group_a_channel_and_one_input():
    layer, canonical, _ = _only(_built(L.DepthwiseConv2D(3), 9, 9, 5), "kernel")
    assert (layer.group, canonical.shape, layer.axes) == (5, (5, 1, 3, 3), (2, 3, 0, 1))
    layer, canonical, _ = _only(_built(L.DepthwiseConv2D(3, depth_multiplier=2), 9, 9, 5), "kernel")
    assert (layer.group, canonical.shape, layer.axes) == (5, (10, 1, 3, 3), None)


def test_a_grouped_and_a_separable_convolution():
    layer, canonical, _ = _only(_built(L.Conv2D(6, 3, groups=2), 9, 9, 4), "kernel")
    assert (layer.group, canonical.shape) == (2, (6, 2, 3, 3))
    model = _built(L.SeparableConv2D(7, 3), 9, 9, 4)
    assert _only(model, "depthwise_kernel")[1].shape == (4, 1, 3, 3)
    assert _only(model, "pointwise_kernel")[1].shape == (7, 4, 1, 1)


def test_roles():
    inputs = keras.Input((6,))
    x = L.Embedding(20, 8, name="words")(inputs)
    x = L.LSTM(4, return_sequences=True, name="lstm")(x)
    x = L.GRU(4, return_sequences=True, name="gru")(x)
    x = L.LayerNormalization(name="ln")(x)
    x = L.BatchNormalization(name="bn")(x)
    model = keras.Model(inputs, L.Dense(3, name="head")(x))
    roles = {layer.name: (layer.role, layer.operator) for layer in KerasNetwork(model).layers}
    assert roles == {
        "words/embeddings": ("embedding", "Gather"),
        "lstm/lstm_cell/kernel": ("recurrent", "LSTM"),
        "lstm/lstm_cell/recurrent_kernel": ("recurrent", "LSTM"),
        "lstm/lstm_cell/bias": ("bias", "Add"),
        "gru/gru_cell/kernel": ("recurrent", "GRU"),
        "gru/gru_cell/recurrent_kernel": ("recurrent", "GRU"),
        "gru/gru_cell/bias": ("bias", "Add"),
        "ln/gamma": ("norm", "LayerNormalization"),
        "ln/beta": ("norm", "LayerNormalization"),
        "bn/gamma": ("norm", "BatchNormalization"),
        "bn/beta": ("norm", "BatchNormalization"),
        "bn/moving_mean": ("other", "BatchNormalization"),
        "bn/moving_variance": ("other", "BatchNormalization"),
        "head/kernel": ("kernel", "MatMul"),
        "head/bias": ("bias", "Add"),
    }


def test_weights_are_read_only_copies(classifier):
    model = classifier()
    network = KerasNetwork(model)
    name = next(x.name for x in network.layers if x.name.endswith("first/kernel"))
    before = network.weights[name]
    network.entry(name).variable.assign(2 * network.entry(name).variable)
    assert np.array_equal(network.weights[name], 2 * before)
    with pytest.raises(ValueError, match="read-only"):
        before[:] = 0
    assert len(network.weights) == len(network.layers) == 6
    assert set(network.weights) == {x.name for x in network.layers}


def test_two_variables_of_one_path_get_two_names():
    parts = []
    for number in range(2):
        inside = keras.Input((4,))
        parts.append(keras.Model(inside, L.Dense(4, name="d")(inside), name=f"part{number}"))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, parts[1](parts[0](inputs)))
    names = [layer.name for layer in KerasNetwork(model).layers]
    assert names == ["d/kernel", "d/bias", "d/kernel'2", "d/bias'2"]


def test_a_layer_may_be_named_briefly(classifier):
    network = KerasNetwork(classifier())
    (full,) = [x.name for x in network.layers if x.name.endswith("second/kernel")]
    assert {network.named(words) for words in (full, "second/kernel", "second")} == {full}
    assert network.named("kernel") == "kernel"
    assert network.named("third") == "third"


def test_replaced_weights_reach_the_model_only_when_written(classifier, digits):
    model = classifier()
    network = KerasNetwork(model)
    name = next(x.name for x in network.layers if x.name.endswith("second/kernel"))
    old = network.weights[name]
    other = network.with_weights({name: old + 1})
    assert np.array_equal(other.weights[name], old + 1)
    assert np.array_equal(network.weights[name], old)
    with pytest.raises(
        InferenceError, match=r"expected the model's own weights, got .*; call write\(\) first"
    ):
        other.run({"x": digits[0][:2]})
    other.write()
    assert np.array_equal(network.weights[name], old + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, w: {"first/kernal": w}, "expected the name of a layer of model 'net', got"),
        (lambda n, w: {n: w[:-1]}, r"expected shape \(16, 1, 3, 3\) for '.*', got \(15, 1, 3, 3\)"),
        (lambda n, w: {n: w * np.inf}, "expected values of '.*' that are finite as float32"),
        (lambda n, w: {n: np.float64(1e300) + w}, "finite as float32, got others; give smaller"),
    ],
)
def test_weights_that_do_not_fit_are_refused(classifier, change, message):
    network = KerasNetwork(classifier())
    name = next(x.name for x in network.layers if x.name.endswith("first/kernel"))
    with pytest.raises(ModelFileError, match=message) as caught:
        network.with_weights(change(name, network.weights[name].astype(np.float64)))
    assert "\n" not in str(caught.value)


def test_inference_is_that_of_the_model(classifier, digits):
    model = classifier(norm=True)
    (scores,) = KerasNetwork(model).run({"x": digits[0][:300]}).values()
    wanted = keras.ops.convert_to_numpy(model(digits[0][:300], training=False))
    assert np.allclose(scores, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda: 3, "int"),
        (lambda: keras.Sequential([L.Dense(3)]), "one that is not built"),
    ],
)
def test_what_is_no_built_model_is_refused(make, got):
    message = f"model: expected a built keras.Model with weights, got {got}; call it on a batch"
    with pytest.raises(ModelFileError, match=message):
        KerasNetwork(make())


def test_a_static_method_can_write_into_the_model(classifier):
    from nnw_onnx.methods.block_spread import BlockSpread
    from nnw_onnx.testing import ArrayBench
    from nnw_onnx.vocabulary import Payload

    model = classifier()
    network, payload = KerasNetwork(model), Payload.from_text("mine")
    method = BlockSpread()
    key = method.make_key(network, len(payload), bytes(32), ArrayBench())
    method.inject(network, payload, key, ArrayBench()).write()
    assert method.decode(network, key).payload == payload


def test_inner_layers_answer_as_the_runtime_says_of_the_exported_file(classifier, digits, tmp_path):
    from nnw_onnx.inference import Session
    from nnw_onnx_tensorflow import export

    model = classifier(hidden=12)
    network = KerasNetwork(model)
    names = [network.named(name) for name in ("first", "hidden", "head")]
    inputs = digits[0][:5]
    found = network.run({"x": inputs}, names)
    exported = export(model, tmp_path / "model.onnx", inputs)
    renamed = [exported.renamed[name] for name in names]
    made = exported.network.runnable(renamed)
    told = Session(made).predict(inputs)
    for name, other in zip(names, renamed, strict=True):
        assert np.allclose(found[name], told[made.inner[other]], atol=1e-5)
    assert network.digest == KerasNetwork(model).digest
    assert network.digest != KerasNetwork(classifier(seed=1)).digest
    assert network.inputs[0].shape == (None, 8, 8, 1)
