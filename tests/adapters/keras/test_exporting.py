"""The exported file: the same function, the trained kernels, and the key that reads them."""

from __future__ import annotations

import dataclasses
import sys
import warnings
import weakref

import keras
import numpy as np
import pytest

import nnw_onnx as nnw
import nnw_onnx_tensorflow.exporting as exporting
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, ModelFileError
from nnw_onnx.inference import Session
from nnw_onnx.testing import ArrayBench
from nnw_onnx.vocabulary import Payload
from nnw_onnx_tensorflow import KerasNetwork, Watermark, export, reading_back, rekey

L = keras.layers
MINE = Payload.from_text("mine")
TENSORFLOW = keras.backend.backend() == "tensorflow"


def _randomized(model):
    """Every vector of the model becomes random, so that none is like another."""
    rng = np.random.Generator(np.random.PCG64(0))
    for variable in model.variables:
        if len(variable.shape) == 1 and str(variable.dtype) == "float32":
            variable.assign(rng.uniform(0.5, 1.5, tuple(variable.shape)))
    return model


def _fit(model, digits, mark, epochs=4):
    inputs, labels = (part[:1024] for part in digits)
    model.fit(inputs, labels, epochs=epochs, batch_size=64, verbose=0, callbacks=[mark.callback()])


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_the_watermark_is_in_the_file(classifier, digits, tmp_path, norm, keep):
    model = classifier(norm=norm)
    mark = Watermark(model, MINE, layer="second", options={"strength": 0.1}, seed=1)
    _fit(model, digits, mark)
    path = tmp_path / "model.onnx"
    exported = export(model, digits[0][:4], path, keep_kernels=keep)
    assert mark.symbol_error_rate() == 0
    claim = rekey(mark.claim, exported)
    nnw.save_key(claim, tmp_path / "key.npz")
    assert nnw.decode(path, nnw.load_key(tmp_path / "key.npz")).payload == MINE
    assert nnw.detect(path, claim).log10_p == pytest.approx(32 * np.log10(0.5))
    assert 0 <= exported.max_difference < 1e-5
    assert bool(exported.factors) == (TENSORFLOW and norm and not keep)
    assert exported.network.path == path
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".onnx"] == ["model.onnx"]


def test_every_kernel_is_found_under_its_new_name(classifier, digits, tmp_path):
    model = _randomized(classifier(norm=True))
    exported = export(model, tmp_path / "model.onnx", digits[0][:4])
    own, file = KerasNetwork(model).weights, exported.network.weights
    kernels = [x.name for x in KerasNetwork(model).layers if x.role == "kernel"]
    assert len(kernels) == 3
    for name in kernels:
        assert np.array_equal(own[name], file[exported.renamed[name]])
    assert exported.renamed.keys() | exported.lost.keys() == own.keys()
    assert not exported.renamed.keys() & exported.lost.keys()
    gamma = next(name for name in own if name.endswith("gamma"))
    assert exported.lost[gamma] == "the exporter merged it into other constants, or left it out"
    assert exported.network.inputs[0].shape[1:] == (8, 8, 1)
    assert not isinstance(exported.network.inputs[0].shape[0], int)


def test_many_kinds_of_layers(tmp_path):
    inputs = keras.Input((12, 12, 4))
    x = L.Conv2D(6, 3, name="conv")(inputs)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = L.SeparableConv2D(5, 3, name="separable")(x)
    x = L.Conv2DTranspose(7, 3, strides=2, name="transposed")(x)
    x = L.Reshape((-1, 7))(x)
    x = L.Conv1D(8, 3, name="conv1d")(x)
    x = L.EinsumDense("abc,cd->abd", (None, 9), name="einsum")(x)
    model = _randomized(
        keras.Model(inputs, [L.Dense(3, name="head")(L.GlobalAveragePooling1D()(x)), x])
    )
    example = np.random.Generator(np.random.PCG64(1)).random((3, 12, 12, 4), np.float32)
    exported = export(model, tmp_path / "model.onnx", example)
    names = {"conv", "depthwise", "transposed", "conv1d", "einsum", "head"}
    kernels = {f"{name}/kernel" for name in names} | {
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
    }
    assert kernels <= exported.renamed.keys()
    shapes = {layer.name: layer.shape for layer in exported.network.layers}
    own = {layer.name: layer.shape for layer in KerasNetwork(model).layers}
    for name in kernels:
        found = shapes[exported.renamed[name]]
        assert [n for n in found if n > 1] == [n for n in own[name] if n > 1]


def test_a_carrier_that_has_an_axis_more_in_the_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20, 16)), L.Conv1D(16, 5, name="conv"), L.Flatten()])
    mark = Watermark(model, Payload.from_bits("10"), layer="conv", seed=1)
    network = KerasNetwork(model)
    mark.method.inject(network, mark.payload, mark.key, ArrayBench()).write()
    exported = export(model, tmp_path / "model.onnx", np.ones((2, 20, 16), np.float32))
    key = rekey(mark.claim, exported).key
    assert key.shapes == (((16, 16, 1, 5) if TENSORFLOW else (16, 16, 5)),)
    assert key.notes[-1].endswith(f"of the Keras model is {key.layers[0]} in the file")
    assert nnw.decode(exported.network, key).payload == mark.payload
    assert key.commitment == mark.key.commitment


def test_the_factors_are_those_of_the_normalization(classifier, digits, tmp_path):
    if not TENSORFLOW:
        pytest.skip("only TensorFlow's exporter folds a normalization")
    model = _randomized(classifier(norm=True))
    exported = export(model, tmp_path / "model.onnx", digits[0][:4], keep_kernels=False)
    norm = model.get_layer("norm")
    gamma, variance = (keras.ops.convert_to_numpy(v) for v in (norm.gamma, norm.moving_variance))
    (name,) = exported.factors
    assert name.endswith("second/kernel")
    assert np.allclose(exported.factors[name], gamma / np.sqrt(variance + norm.epsilon), rtol=1e-5)
    mark = Watermark(model, MINE, layer="second", seed=1)
    assert "the exporter multiplied its filters by" in rekey(mark.claim, exported).key.notes[-1]
    kept = export(model, tmp_path / "kept.onnx", digits[0][:4])
    assert not kept.factors
    assert kept.max_difference < 1e-5


def test_several_inputs(tmp_path):
    one, other = keras.Input((3,), name="one"), keras.Input((4,), name="other")
    model = keras.Model([one, other], L.Dense(2)(L.Concatenate()([one, other])))
    examples = [np.ones((5, 3), np.float32), np.full((5, 4), 2, np.float32)]
    exported = export(model, tmp_path / "model.onnx", examples)
    assert [x.name for x in exported.network.inputs] == ["one", "other"]


def test_a_recurrent_model(tmp_path):
    pytest.importorskip("onnxscript")
    model = _randomized(keras.Sequential([keras.Input((5, 3)), L.LSTM(4), L.Dense(6, name="head")]))
    exported = export(model, tmp_path / "model.onnx", np.ones((2, 5, 3), np.float32))
    assert any(name.endswith("head/kernel") for name in exported.renamed)


def test_nothing_of_the_model_is_changed(classifier, digits, tmp_path):
    model = classifier(norm=True)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    if not TENSORFLOW:
        model.train()
        model.get_layer("head").eval()
    export(model, tmp_path / "model.onnx", digits[0][:4])
    for variable, old in zip(model.variables, before, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(variable), old)
    if not TENSORFLOW:
        assert model.training
        assert model.get_layer("first").training
        assert not model.get_layer("head").training


def test_an_export_prints_nothing(classifier, digits, tmp_path, capfd, monkeypatch):
    # Marks of other tests may still live, on models of this kind.
    monkeypatch.setattr(reading_back, "_MADE", weakref.WeakSet())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        export(classifier(), tmp_path / "model.onnx", digits[0][:4])
    assert "Saved" not in "".join(capfd.readouterr())


def test_a_file_that_computes_something_else_is_refused(classifier, digits, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    write = exporting.write
    monkeypatch.setattr(exporting, "write", lambda m, p, x: write(classifier(seed=1), p, x))
    message = r"export: expected a file that computes what the model does to 0.0001, got a relative"
    with pytest.raises(ModelFileError, match=message) as caught:
        export(classifier(), path, digits[0][:4])
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            RuntimeError("no\nsuch op"),
            ModelFileError,
            "write as ONNX, got 'net' with: no such op;",
        ),
        (ImportError("no tf2onnx"), ConfigurationError, "got: no tf2onnx; install nnw-onnx\\["),
    ],
)
def test_what_keras_cannot_export_is_refused(
    classifier, digits, tmp_path, monkeypatch, error, kind, message
):
    model = classifier()

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(type(model), "export", fail)
    with pytest.raises(kind, match=message):
        export(model, tmp_path / "model.onnx", digits[0][:4])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused(classifier, digits, tmp_path):
    with pytest.raises(ModelFileError, match="expected a path where a model can be written, got:"):
        export(classifier(), tmp_path / "absent" / "model.onnx", digits[0][:4])


def test_a_call_without_a_path_says_what_to_give(classifier, digits):
    with pytest.raises(
        ConfigurationError, match=r"got 0 paths; call export\(model, example_inputs"
    ):
        export(classifier(), digits[0][:4], digits[0][:4])


def test_rekeying_refuses_a_carrier_that_is_not_in_the_file(classifier, digits, tmp_path):
    model = classifier()
    mark = Watermark(model, MINE, layer="second", seed=1)
    exported = export(model, tmp_path / "model.onnx", digits[0][:4])
    (name,) = mark.key.layers
    without = dataclasses.replace(exported, renamed={}, lost={name: "no kernel has these values"})
    message = f"carrier: expected layer '{name}' in 'model.onnx', got none: no kernel has these val"
    with pytest.raises(CarrierNotFoundError, match=message):
        rekey(mark.claim, without)
    elsewhere = dataclasses.replace(mark.key, layers=("elsewhere/kernel",))
    other = dataclasses.replace(mark.claim, key=elsewhere)
    with pytest.raises(CarrierNotFoundError, match="the exported model has no such variable"):
        rekey(other, exported)


def test_a_file_opens_without_keras(classifier, digits, tmp_path):
    export(classifier(), tmp_path / "model.onnx", digits[0][:4])
    session = Session(nnw.open(tmp_path / "model.onnx").runnable())
    (scores,) = session.predict(digits[0][:10]).values()
    assert scores.shape == (10, 10)
    assert "keras" in sys.modules


def test_a_file_that_keras_wrote_is_rekeyed_by_its_values(classifier, digits, tmp_path):
    model = classifier(norm=False)
    mark = Watermark(model, MINE, layer="second", options={"strength": 0.1}, seed=1)
    _fit(model, digits, mark)
    path = tmp_path / "plain.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(path, format="onnx", verbose=False)
    for file in (path, nnw.open(path)):
        claim = rekey(mark.claim, file, model)
        assert claim.key.layers != mark.claim.key.layers
        assert claim.key.notes[-1].endswith(f"is {claim.key.layers[0]} in the file")
        assert nnw.decode(path, claim).payload == MINE
    (found,) = nnw.detect(path, claim).found
    assert (found.layer, found.way) == (claim.key.layers[0], "name")
